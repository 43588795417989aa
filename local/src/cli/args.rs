//! What can be typed: the commands, their options, and their help (short for `-h`, long for `--help`). `inside` has those
//! that bring the cluster to processes of this machine.

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
    about = "Run one service of a Kubernetes application on this machine",
    long_about = "Run one service of a Kubernetes application on this machine, under any debugger, while everything \
        else stays in the cluster. Only the requests that carry your header come to you; everyone else's go to the \
        pods, as before.",
    after_help = "Begin with:  bridge list,  bridge connect SERVICE,  bridge disconnect SERVICE",
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
  bridge run orders npm start                your own process in the place of orders, for your requests
  bridge connect orders                      requests with `x-bridge: $USER` come to this machine
  bridge connect orders --header x-tenant=7  requests with this header, instead
  bridge connect orders --path ^=/v1/        of your requests, those whose path begins so
  bridge connect orders --port 3000:http     the Service's port `http` leads to localhost:3000
  bridge status                              what is connected, and whether it works
  bridge requests -f                         what goes where, and why
  bridge disconnect orders                   give it back

Exit codes:
  0  done
  1  something inside bridge went wrong
  2  the command line, the config file or the kubeconfig is wrong
  3  the target cannot be connected
  4  rights or credentials are missing
  5  the cluster cannot be reached
  6  the match is held by someone else
  7  the stand-in did not become ready
  8  something was left that could not be cleaned
  126  `bridge run`: the command cannot be run; 127: there is none of that name. Otherwise its own code
  130  interrupted; what was begun is undone

Files:
  $XDG_CONFIG_HOME/bridge/config.toml  defaults: me, namespace, context, header, compat, fallback, replicas,
                                       agent_image, and for each target its ports. A flag comes before a variable (BRIDGE_ME,
                                       BRIDGE_NAMESPACE, ...), and that before the file.
  $XDG_RUNTIME_DIR/bridge/             the daemon's socket and log";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take the requests that carry your header
    ///
    /// Puts a stand-in in front of the target. It hands the requests that carry your header to a port of this machine
    /// and all others to the target's own pods. Connecting again with other options changes the session.
    #[command(after_long_help = CONNECT_EXAMPLES)]
    Connect {
        #[command(flatten)]
        connect: ConnectArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Run a command of this machine as if it stood in the target's pod
    ///
    /// It sees the target's environment, and the cluster's names, Services and pods; files, terminal and everything else
    /// are this machine's. Connects the target first, unless it is connected already, and disconnects it when the command
    /// ends. Needs no root.
    #[command(after_long_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// The same with your shell
    Shell(ShellArgs),
    /// The target's environment, for a program that is started otherwise
    Env(EnvArgs),
    /// Ports of this machine that lead to Services, for programs that run already
    ///
    /// Through a target that is connected. Each Service's port is listened for under its own number where that is free.
    Forward(ForwardArgs),
    /// A proxy into the cluster (SOCKS5 with UDP, HTTP), for programs that run already
    ///
    /// On loopback. Names are looked up as in the target's pod; what is not the cluster's is reached from this machine.
    Proxy(ProxyArgs),
    /// What a name means in the target's pod, and who says so
    Dns(DnsArgs),
    /// Give a target back
    ///
    /// Puts back what `connect` changed. Connections that still run are not cut: the stand-in's pods go when the last
    /// of them has ended, after ten minutes at most.
    Disconnect(DisconnectArgs),
    /// What is connected, and whether it works
    Status(OutputArgs),
    /// What went where, and why: the requests that the agents saw
    ///
    /// Time, method, path, status, duration, to whose laptop or to the origin, and the reason: which match took it, or what
    /// kept it away. Without -f: the last ones. Queries, bodies and headers that no match names are never shown.
    Requests(RequestsArgs),
    /// What can be connected, and who is there
    ///
    /// Lists the namespace's Services: whether each can be connected, by which mode, and which developers' sessions it
    /// has now.
    List(ListArgs),
    /// Put back what sessions left behind whose daemon is gone
    ///
    /// Works from what is written in the cluster alone, and leaves living sessions alone.
    Clean(CleanArgs),
    /// Check what bridge needs, and say what is missing
    Doctor(ListArgs),
    /// What the daemon or a target's agents have logged
    Logs(LogsArgs),
    /// Print the completion script of a shell
    ///
    /// For example:  source <(bridge completion bash)
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The versions of this command, of the daemon, and of the agent inside
    Version {
        /// Only this command's version
        #[arg(long, conflicts_with = "output")]
        short: bool,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// The process that holds sessions and tunnels; commands start it when they need it
    #[command(hide = true)]
    Daemon {
        /// Stop after so many seconds without a session
        #[arg(long, default_value_t = 300)]
        idle: u64,
    },
}

const CONNECT_EXAMPLES: &str = "\
Examples:
  bridge connect orders
  bridge connect orders -n shop --port 3000:http --port 9090:metrics
  bridge connect deploy/orders --header x-tenant=7 --header x-canary=yes    both must be there
  bridge connect orders --header user-agent~=Firefox --path ^=/v1/ --method GET
  bridge connect orders --everything                                        in a namespace of your own";

/// Which cluster, and where in it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClusterArgs {
    /// The namespace (default: the context's)
    #[arg(short, long, env = "BRIDGE_NAMESPACE", value_name = "NS")]
    pub(crate) namespace: Option<String>,
    /// The kubeconfig context (default: the current one)
    #[arg(long, env = "BRIDGE_CONTEXT", value_name = "CTX")]
    pub(crate) context: Option<String>,
    /// The kubeconfig file (default: $KUBECONFIG, else ~/.kube/config)
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct OutputArgs {
    /// Print the result for programs
    ///
    /// The fields are stable: later versions add some, and remove or rename none.
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
    /// 503 and a sentence that says what to do
    Answer,
    /// The target's own pods
    Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Compat {
    /// The header `kubernetes-route-as: ME`, beside the default
    BridgeToKubernetes,
}

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// A Service, or a workload that one Service selects: orders, deploy/orders, sts/orders, rs/x, pod/x
    pub(crate) target: Target,
    /// Take the requests with this header; more than once: with all of them
    ///
    /// NAME=VALUE is the whole value, NAME^=BEGINNING how it begins, NAME~=PATTERN a regular expression that is found in
    /// it. Replaces the default, which is the header `x-bridge: ME` or the member `bridge=ME` of the W3C header
    /// `baggage` (applications with OpenTelemetry hand `baggage` on from service to service).
    #[arg(long = "header", value_name = "NAME=VALUE", conflicts_with = "everything")]
    pub(crate) headers: Vec<HeaderMatch>,
    /// Of these, take only the requests to this path; more than once: all must fit
    ///
    /// /PATH is the whole path, ^=/BEGINNING how it begins, ~=PATTERN a regular expression that is found in it. The query
    /// is not looked at.
    #[arg(long = "path", value_name = "PATH", conflicts_with = "everything")]
    pub(crate) paths: Vec<PathMatch>,
    /// Of these, take only the requests with this method
    #[arg(long, value_name = "METHOD", conflicts_with = "everything")]
    pub(crate) method: Option<MethodMatch>,
    /// Take the requests that are marked as another tool marks them, too
    #[arg(long, value_enum, value_name = "TOOL", conflicts_with_all = ["everything", "headers"])]
    pub(crate) compat: Option<Compat>,
    /// Take everything that no other session takes; refused while another session does so
    #[arg(long)]
    pub(crate) everything: bool,
    /// Your name, as in `x-bridge: NAME` and as others see it (default: $BRIDGE_ME, else $USER)
    #[arg(long, value_name = "NAME")]
    pub(crate) me: Option<UserName>,
    /// Which local port the target's port leads to (default: the port the pods listen on)
    ///
    /// REMOTE is a port of the Service, by number or name. Without it: the Service's only port. `bridge run` takes all ports
    /// of the Service by default, and finds out if the command listens on the Service's port rather than on the pods'.
    #[arg(long = "port", value_name = "LOCAL[:REMOTE]")]
    pub(crate) ports: Vec<PortMap>,
    /// What a request gets when nothing listens on the local port (default: answer; with --everything: origin)
    #[arg(long, value_enum, env = "BRIDGE_FALLBACK", value_name = "WHAT")]
    pub(crate) fallback: Option<Fallback>,
    /// How many agents stand in (default: as many as the target has pods)
    #[arg(long, env = "BRIDGE_REPLICAS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) replicas: Option<u32>,
    /// An image with the agent, instead of the target's own image
    #[arg(long, env = "BRIDGE_AGENT_IMAGE", value_name = "IMAGE")]
    pub(crate) agent_image: Option<String>,
    /// Leave what your answers say to caches as it is
    ///
    /// Otherwise no shared cache may keep them and hand them to others: `Cache-Control` says `private`, what is for shared
    /// caches alone says `no-store`, and the rest stays.
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
    /// What to give back (default: the only session there is)
    #[arg(conflicts_with = "all")]
    pub(crate) target: Option<Target>,
    /// Give everything back
    #[arg(long)]
    pub(crate) all: bool,
    /// Wait until the last connection through the stand-in has ended
    #[arg(long)]
    pub(crate) wait: bool,
    /// Only what is connected by this name
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
    /// What is connected (default: all that is)
    pub(crate) target: Option<Target>,
    /// Go on as more come
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
    /// Only this Service (default: all of the namespace)
    pub(crate) service: Option<Target>,
    /// End the sessions of other laptops, too
    ///
    /// Nobody can see from here whether those laptops are still there: ask first.
    #[arg(long)]
    pub(crate) others: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The target whose agents are asked
    #[arg(required_unless_present = "daemon", conflicts_with = "daemon")]
    pub(crate) target: Option<Target>,
    /// The daemon of this machine
    #[arg(long)]
    pub(crate) daemon: bool,
    /// Go on as more is logged
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last N lines
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
