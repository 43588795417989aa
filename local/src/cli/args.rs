//! The command line: commands, options and their help (short for `-h`, long for `--help`). `inside` has the commands that
//! bring the cluster to processes on the laptop.

mod inside;

use std::path::PathBuf;

use bridge_proto::matching::{HeaderMatch, MethodMatch, PathMatch};
use clap::{Args, Parser, Subcommand, ValueEnum};

use self::inside::RUN_EXAMPLES;
pub(crate) use self::inside::{
    DnsArgs, Egress, EnvArgs, EnvFormat, FilesAt, ForwardArgs, InsideArgs, ProxyArgs, RunArgs, ShellArgs,
    VariablesArgs,
};
use super::names::{PortMap, Target, UserName};

#[derive(Debug, Parser)]
#[command(
    name = "bridge",
    version,
    about = "Run one service of a Kubernetes application on your laptop",
    long_about = "Run one service of a Kubernetes application on your laptop, under any debugger, while everything \
        else stays in the cluster. Only requests that carry your header reach your laptop; everyone else keeps using \
        the pods as before.",
    after_help = "Start with:  bridge list,  bridge connect SERVICE,  bridge disconnect SERVICE",
    after_long_help = AFTER_LONG_HELP,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_LONG_HELP: &str = "\
Examples:
  bridge run orders npm start                run your process in place of orders
  bridge connect orders                      send requests with `x-bridge: $USER` to your laptop
  bridge connect orders --header x-tenant=7  send requests with this header instead
  bridge connect orders --path ^=/v1/        only those of your requests whose path starts with /v1/
  bridge connect orders --port 3000:http     send the Service's port `http` to localhost:3000
  bridge status                              show sessions and whether they work
  bridge requests -f                         follow where each request goes, and why
  bridge disconnect orders                   restore the Service

Exit codes:
  0  done
  1  internal error
  2  invalid command line, config file or kubeconfig
  3  the target cannot be connected
  4  missing rights or credentials
  5  the cluster cannot be reached
  6  someone else has the match
  7  the stand-in did not become ready
  8  something was left behind
  126  `bridge run`: the command cannot be run; 127: it was not found. Otherwise its own exit code
  130  interrupted; bridge has undone what it had started

Files:
  $XDG_CONFIG_HOME/bridge/config.toml  defaults: me, namespace, context, header, compat,
                                       fallback, replicas, agent_image, and the ports of
                                       each target. Flags override variables (BRIDGE_ME,
                                       BRIDGE_NAMESPACE, ...), which override the file.
  $XDG_RUNTIME_DIR/bridge/             the daemon's socket and log";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send requests that carry your header to your laptop
    ///
    /// Puts a stand-in in front of the target. It sends requests that carry your header to a port on your laptop, and all
    /// others to the target's own pods. To change a session, connect again with other options.
    #[command(after_long_help = CONNECT_EXAMPLES)]
    Connect {
        #[command(flatten)]
        connect: ConnectArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Run a local command as if it ran in the target's pod
    ///
    /// The command sees the target's environment, and the cluster's names, Services and pods; files, terminal and
    /// everything else are your laptop's. Connects the target first, unless it is already connected, and disconnects it
    /// when the command ends. Needs no root.
    #[command(after_long_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Start your shell as if it ran in the target's pod
    Shell(ShellArgs),
    /// Print the target's environment, for programs that bridge does not start
    Env(EnvArgs),
    /// Forward local ports to Services, for programs that are already running
    ///
    /// Goes through a connected target. Each Service's port gets the same local port number if that is free.
    Forward(ForwardArgs),
    /// Start a proxy into the cluster (SOCKS5 with UDP, HTTP), for programs that are already running
    ///
    /// Listens on loopback. Resolves names as in the target's pod; connections to anything outside the cluster go out from
    /// your laptop.
    Proxy(ProxyArgs),
    /// Show what a name resolves to in the target's pod, and which resolver answers
    Dns(DnsArgs),
    /// Disconnect a target and restore its Service
    ///
    /// Undoes what `connect` changed. Open connections are not cut: the stand-in's pods go when the last of them has
    /// ended, after ten minutes at most.
    Disconnect(DisconnectArgs),
    /// Show sessions and whether they work
    Status(OutputArgs),
    /// Show requests that the agents saw: where each went, and why
    ///
    /// Prints time, method, path, status, duration, destination (whose laptop, or the origin) and reason: the match that
    /// took the request, or why none did. Without -f, prints the last requests. Never shows queries, bodies, or headers
    /// that no match names.
    Requests(RequestsArgs),
    /// List Services: which can be connected, and who is connected
    ///
    /// Shows for each Service of the namespace whether and how it can be connected, and whose sessions it has.
    List(ListArgs),
    /// Clean up after sessions whose daemon died
    ///
    /// Needs only what is recorded in the cluster, and does not touch live sessions.
    Clean(CleanArgs),
    /// Check your laptop, the cluster and your rights, and report what is missing
    Doctor(ListArgs),
    /// Print the logs of the daemon or of a target's agents
    Logs(LogsArgs),
    /// Print a shell completion script
    ///
    /// For example:  source <(bridge completion bash)
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the versions of the command, the daemon and the built-in agent
    Version {
        /// Print only this command's version
        #[arg(long, conflicts_with = "output")]
        short: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Run the process that holds sessions and tunnels; other commands start it when they need it
    #[command(hide = true)]
    Daemon {
        /// Stop after this many seconds without a session
        #[arg(long, default_value_t = 300)]
        idle: u64,
    },
}

const CONNECT_EXAMPLES: &str = "\
Examples:
  bridge connect orders
  bridge connect orders -n shop --port 3000:http --port 9090:metrics
  bridge connect deploy/orders --header x-tenant=7 --header x-canary=yes    both must match
  bridge connect orders --header user-agent~=Firefox --path ^=/v1/ --method GET
  bridge connect orders --everything                                        in your own namespace";

/// Which cluster and namespace.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClusterArgs {
    /// Namespace (default: the context's)
    #[arg(short, long, env = "BRIDGE_NAMESPACE", value_name = "NS")]
    pub(crate) namespace: Option<String>,
    /// Kubeconfig context (default: the current context)
    #[arg(long, env = "BRIDGE_CONTEXT", value_name = "CTX")]
    pub(crate) context: Option<String>,
    /// Kubeconfig file (default: $KUBECONFIG, else ~/.kube/config)
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct OutputArgs {
    /// Output format
    ///
    /// json and yaml are for programs. Their fields are stable: later versions may add fields, but never remove or rename
    /// any.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t, hide_default_value = true)]
    pub(crate) output: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
    Yaml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fallback {
    /// A 503 with a message that says what to do
    Answer,
    /// The target's own pods
    Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Compat {
    /// The header `kubernetes-route-as: ME`, in addition to the default
    BridgeToKubernetes,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// A Service, or a workload that one Service selects: orders, deploy/orders, sts/orders, rs/x, pod/x
    pub(crate) target: Target,
    /// Take requests with this header; repeat to require several
    ///
    /// NAME=VALUE matches the whole value, NAME^=BEGINNING its beginning, NAME~=PATTERN a regular expression anywhere in
    /// it. Replaces the default, which is the header `x-bridge: ME` or the member `bridge=ME` of the W3C header
    /// `baggage` (applications with OpenTelemetry forward `baggage` from service to service).
    #[arg(long = "header", value_name = "NAME=VALUE", conflicts_with = "everything")]
    pub(crate) headers: Vec<HeaderMatch>,
    /// Of these, take only requests to this path; repeat to require several
    ///
    /// /PATH matches the whole path, ^=/BEGINNING its beginning, ~=PATTERN a regular expression anywhere in it. The query
    /// is ignored.
    #[arg(long = "path", value_name = "PATH", conflicts_with = "everything")]
    pub(crate) paths: Vec<PathMatch>,
    /// Of these, take only requests with this method
    #[arg(long, value_name = "METHOD", conflicts_with = "everything")]
    pub(crate) method: Option<MethodMatch>,
    /// Also take requests that carry another tool's header
    #[arg(long, value_enum, value_name = "TOOL", conflicts_with_all = ["everything", "headers"])]
    pub(crate) compat: Option<Compat>,
    /// Take all requests that no other session takes; only one session at a time can do so
    #[arg(long)]
    pub(crate) everything: bool,
    /// Your name, as in `x-bridge: NAME` and as shown to others (default: $BRIDGE_ME, else $USER)
    #[arg(long, value_name = "NAME")]
    pub(crate) me: Option<UserName>,
    /// Local port for a port of the target (default: the port that the pods listen on)
    ///
    /// REMOTE is a port of the Service, by number or name. It can be omitted if the Service has only one port. `bridge run`
    /// takes all ports of the Service by default, and notices if the command listens on the Service's port instead of the
    /// pods'.
    #[arg(long = "port", value_name = "LOCAL[:REMOTE]")]
    pub(crate) ports: Vec<PortMap>,
    /// Who answers when nothing listens on the local port (default: answer; with --everything: origin)
    #[arg(long, value_enum, env = "BRIDGE_FALLBACK", value_name = "WHAT")]
    pub(crate) fallback: Option<Fallback>,
    /// Number of agents (default: as many as the target has pods)
    #[arg(long, env = "BRIDGE_REPLICAS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) replicas: Option<u32>,
    /// Image that contains the agent, instead of the target's own image
    #[arg(long, env = "BRIDGE_AGENT_IMAGE", value_name = "IMAGE")]
    pub(crate) agent_image: Option<String>,
    /// Leave the cache headers of your answers unchanged
    ///
    /// By default, shared caches must not store your answers and serve them to others: `Cache-Control` becomes `private`,
    /// headers for shared caches become `no-store`, and the rest stays.
    #[arg(long)]
    pub(crate) keep_cache_headers: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

impl ConnectArgs {
    /// A connect with nothing but a target.
    pub(crate) fn plain(target: Target, cluster: ClusterArgs) -> Self {
        ConnectArgs {
            target,
            headers: Vec::new(),
            paths: Vec::new(),
            method: None,
            compat: None,
            everything: false,
            me: None,
            ports: Vec::new(),
            fallback: None,
            replicas: None,
            agent_image: None,
            keep_cache_headers: false,
            cluster,
        }
    }

    /// Whether it says nothing of which requests are wanted, and where.
    pub(crate) fn is_plain(&self) -> bool {
        self.headers.is_empty()
            && self.paths.is_empty()
            && self.method.is_none()
            && self.compat.is_none()
            && !self.everything
            && self.ports.is_empty()
            && self.fallback.is_none()
            && !self.keep_cache_headers
    }
}

#[derive(Debug, Args)]
pub(crate) struct DisconnectArgs {
    /// Target to disconnect (default: the only session)
    #[arg(conflicts_with = "all")]
    pub(crate) target: Option<Target>,
    /// Disconnect all sessions
    #[arg(long)]
    pub(crate) all: bool,
    /// Wait until the last connection through the stand-in has ended
    #[arg(long)]
    pub(crate) wait: bool,
    /// Only sessions with this name
    #[arg(long, value_name = "NAME")]
    pub(crate) me: Option<UserName>,
    /// Only in this namespace
    #[arg(short, long, value_name = "NS")]
    pub(crate) namespace: Option<String>,
    /// Only in the cluster of this kubeconfig context
    #[arg(long, value_name = "CTX")]
    pub(crate) context: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RequestsArgs {
    /// Connected target (default: all)
    pub(crate) target: Option<Target>,
    /// Keep printing as requests arrive
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only in this namespace
    #[arg(short, long, value_name = "NS")]
    pub(crate) namespace: Option<String>,
    /// Only in the cluster of this kubeconfig context
    #[arg(long, value_name = "CTX")]
    pub(crate) context: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    /// Only this Service (default: all Services of the namespace)
    pub(crate) service: Option<Target>,
    /// Also end sessions of other laptops
    ///
    /// bridge cannot tell whether those laptops are still in use: ask first.
    #[arg(long)]
    pub(crate) others: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Target whose agents' logs to print
    #[arg(required_unless_present = "daemon", conflicts_with = "daemon")]
    pub(crate) target: Option<Target>,
    /// Print the log of the daemon on your laptop
    #[arg(long)]
    pub(crate) daemon: bool,
    /// Keep printing as lines are logged
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Print only the last N lines
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<usize>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
