//! The command line: commands, options and their help (short for `-h`, long for `--help`). `connect` has the options of
//! commands that connect, `inside` those of commands that bring the cluster to processes on the laptop.

mod connect;
mod inside;

use std::time::Duration;

use bridge_inside::open::Origin;
use bridge_proto::target::Target;
use clap::{Args, Parser, Subcommand};

use self::connect::{CHOSEN_REQUESTS, CONNECT_EXAMPLES};
pub(crate) use self::connect::{ClusterArgs, ConnectArgs, OutputArgs};
pub(crate) use self::inside::{
    AsideArgs, DnsArgs, Egress, EnvArgs, EnvFormat, FilesAt, ForwardArgs, InsideArgs, ProxyArgs, RunArgs,
    ScopeArgs, ShellArgs, ShimArgs,
};
use self::inside::{RUN_EXAMPLES, SHIM_EXAMPLES};
use super::call::typed::{self, Body, Called, Expected, Typed};
use super::names::{RunName, UserName, duration};
use super::open::typed::{self as opened, Also, Host};
use super::output::{Format, ProgressAs};
use super::requests::wanted::Wanted;

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
    /// How to show steps and messages on stderr (default: auto)
    #[arg(long, global = true, value_enum, value_name = "HOW", default_value_t, hide_default_value = true)]
    pub(crate) progress: ProgressAs,
}

const AFTER_LONG_HELP: &str = "\
Examples:
  bridge run orders npm start                run your process in place of orders
  bridge connect orders                      send requests with `baggage: bridge=$USER` to your laptop
  bridge connect orders --header x-tenant=7  send requests with this header instead
  bridge connect orders --path ^=/v1/        only those of your requests whose path starts with /v1/
  bridge connect orders --port 3000:http     send the Service's port `http` to localhost:3000
  bridge status                              show sessions and whether they work
  bridge open web                            open web in the browser; every request is yours
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
        /// Restart the target once connected, so that callers with open connections reach you
        ///
        /// As `kubectl rollout restart` does: the pods are replaced by the rules of their workload. Callers that keep
        /// connections, above all of gRPC, would otherwise stay with the pods that they have.
        #[arg(long)]
        restart_origin: bool,
        /// Restart these callers once connected, so that they open new connections; repeat for several
        ///
        /// The same for workloads that call the target and keep their connections: deploy/web, or web for all that is behind
        /// Service web.
        #[arg(long, value_name = "TARGET")]
        restart_callers: Vec<Target>,
        /// Scale the target to zero until you disconnect; all requests come to you
        ///
        /// For Deployments and StatefulSets: no consumer and no loop runs twice. Nobody else can be connected meanwhile. The
        /// pods are back before the requests are theirs again.
        #[arg(long, conflicts_with_all = CHOSEN_REQUESTS, conflicts_with = "restart_origin")]
        replace: bool,
        /// Disconnect after this time
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        lasts: Option<Duration>,
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
    /// List commands that `bridge run --detach` has started
    Ps(PsArgs),
    /// End a command that `bridge run --detach` has started, and forget it
    Stop(StopArgs),
    /// Start your shell as if it ran in the target's pod
    Shell(ShellArgs),
    /// Write an executable that runs a program as `bridge run` does, for debuggers and editors
    ///
    /// Prints its path: .bridge/shims/TARGET/PROGRAM. Whatever lets you choose an interpreter or a tool can use it. It hands
    /// its arguments, descriptors and signals on to the program.
    #[command(after_long_help = SHIM_EXAMPLES)]
    Shim(ShimArgs),
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
    /// Send one request from inside the cluster with your mark, and show who answers and why
    ///
    /// To any Service of the namespace: also to one that calls the connected one. Prints the answer's body on stdout, and on
    /// stderr its status, and where each hop went that your sessions saw. HTTP/1 only.
    #[command(after_long_help = CALL_EXAMPLES)]
    Call(CallArgs),
    /// Open a Service in your browser, with your mark on every request
    ///
    /// Serves a URL on loopback that leads to the Service through the cluster, or to a real URL. Redirects, cookies,
    /// WebSockets and requests between hosts work as at the real host, which bridge finds from the Ingress or HTTPRoute.
    /// Only your browser is let in: the one that opens the URL.
    #[command(after_long_help = OPEN_EXAMPLES)]
    Open(OpenArgs),
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
    /// Show one Service in detail: ports, pods, mode, names of variables, volumes, URLs, who is connected
    Describe(DescribeArgs),
    /// Clean up after sessions whose daemon died
    ///
    /// Needs only what is recorded in the cluster, and does not touch live sessions.
    Clean(CleanArgs),
    /// Check your laptop, the cluster and your rights, and report what is missing
    Doctor(DoctorArgs),
    /// Print the logs of the daemon or of a target's agents
    Logs(LogsArgs),
    /// Serve agents that write code, by the Model Context Protocol on stdin and stdout
    ///
    /// What they may do is limited by the section [mcp] of the config file.
    Mcp,
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

impl Command {
    /// The format of its result, and of its failure.
    pub(crate) fn format(&self) -> Format {
        match self {
            Command::Connect { output, .. } | Command::Version { output, .. } | Command::Status(output) => {
                output.output
            }
            Command::Disconnect(args) => args.output.output,
            Command::Requests(args) => args.output.output,
            Command::List(args) => args.output.output,
            Command::Doctor(args) => args.output.output,
            Command::Describe(args) => args.output.output,
            Command::Clean(args) => args.output.output,
            Command::Forward(args) => args.output.output,
            Command::Dns(args) => args.output.output,
            Command::Call(args) => args.output.output,
            Command::Ps(args) => args.output.output,
            Command::Stop(args) => args.output.output,
            Command::Run(_)
            | Command::Shell(_)
            | Command::Shim(_)
            | Command::Env(_)
            | Command::Proxy(_)
            | Command::Open(_)
            | Command::Logs(_)
            | Command::Mcp
            | Command::Completion { .. }
            | Command::Daemon { .. } => Format::Text,
        }
    }

    /// The target that it is about.
    pub(crate) fn target(&self) -> Option<&Target> {
        match self {
            Command::Connect { connect, .. } => Some(&connect.target),
            Command::Run(args) => Some(&args.connect.target),
            Command::Shell(args) => Some(&args.connect.target),
            Command::Shim(args) => Some(&args.run.connect.target),
            Command::Env(args) => Some(&args.target),
            Command::Describe(args) => Some(&args.target),
            Command::Proxy(args) => Some(&args.target),
            Command::Forward(args) => args.via.as_ref(),
            Command::Dns(args) => args.target.as_ref(),
            Command::Disconnect(args) => args.target.as_ref(),
            Command::Requests(args) => args.target.as_ref(),
            Command::Clean(args) => args.service.as_ref(),
            Command::Logs(args) => args.target.as_ref(),
            Command::Call(_)
            | Command::Open(_)
            | Command::Ps(_)
            | Command::Stop(_)
            | Command::Status(_)
            | Command::List(_)
            | Command::Doctor(_)
            | Command::Mcp
            | Command::Completion { .. }
            | Command::Version { .. }
            | Command::Daemon { .. } => None,
        }
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
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RequestsArgs {
    /// Connected target (default: all)
    pub(crate) target: Option<Target>,
    /// Keep printing as requests arrive
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Wait for new requests that meet all of these conditions; exit code 1 if they do not come
    ///
    /// to=me (your laptop), laptop (anyone's), origin or copy; status=200 or 2xx; path=/PATH or /BEGINNING*; method; reason,
    /// as in `-o json`. For example: --wait to=me,status=2xx,path=/v1/*
    #[arg(long, value_name = "CONDITIONS", conflicts_with = "follow")]
    pub(crate) wait: Option<Wanted>,
    /// Number of requests to wait for
    #[arg(long, value_name = "N", default_value_t = 1, requires = "wait", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "wait", value_parser = duration)]
    pub(crate) timeout: Duration,
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
pub(crate) struct PsArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Name that it was given
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) name: Option<RunName>,
    /// End all of them
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

const CALL_EXAMPLES: &str = "\
Examples:
  bridge call orders /v1/items
  bridge call web / --expect laptop                exit code 1 unless it reaches your laptop, directly or later
  bridge call orders:8080 /v1/items -d @item.json -H 'content-type: application/json' --expect 201";

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// Service, and one of its ports (number or name)
    #[arg(value_name = "SERVICE[:PORT]")]
    pub(crate) service: Called,
    /// Path and query
    #[arg(default_value = "/", value_parser = typed::path)]
    pub(crate) path: http::Uri,
    /// Method (default: GET, or POST with -d)
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub(crate) method: Option<http::Method>,
    /// Body; @FILE reads a file, @- stdin
    #[arg(short, long, value_name = "DATA")]
    pub(crate) data: Option<Body>,
    /// Header; repeat for several. Replaces your mark, if it is the same header
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<Typed>,
    /// Exit with code 1 unless it is answered so: laptop (yours, at any hop), origin, or a status
    #[arg(long, value_name = "WHAT")]
    pub(crate) expect: Option<Expected>,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

const OPEN_EXAMPLES: &str = "\
Examples:
  bridge open web
  bridge open web /cart --host shop.example.com    as at this host, whatever leads to the Service
  bridge open web --also api.example.com=api       an application of two hosts
  bridge open web --url https://shop.example.com   from this machine, through the real Ingress";

#[derive(Debug, Args)]
pub(crate) struct OpenArgs {
    /// Service, and one of its ports (number or name)
    #[arg(value_name = "SERVICE[:PORT]")]
    pub(crate) service: Called,
    /// Path and query to begin with (default: where the Ingress leads to the Service)
    #[arg(value_parser = typed::path)]
    pub(crate) path: Option<http::Uri>,
    /// Real host (default: from an Ingress or HTTPRoute, else the Service's name)
    ///
    /// With https, unless the Ingress says otherwise or you type http://HOST.
    #[arg(long, value_name = "HOST", conflicts_with = "url")]
    pub(crate) host: Option<Host>,
    /// Send requests to this URL from your laptop, not through the cluster
    #[arg(long, value_name = "URL", value_parser = opened::url)]
    pub(crate) url: Option<Origin>,
    /// Another host of the application: a Service, or a URL reached from your laptop; repeat for several
    #[arg(long, value_name = "HOST=SERVICE[:PORT]|URL")]
    pub(crate) also: Vec<Also>,
    /// Local port (default: any free port)
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub(crate) listen: u16,
    /// Only print the URL
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// List the contexts of the kubeconfig instead
    #[arg(long, conflicts_with = "namespaces")]
    pub(crate) contexts: bool,
    /// List the namespaces of the cluster instead; without the right to it, only yours
    #[arg(long)]
    pub(crate) namespaces: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// A Service, or a workload that one Service selects
    pub(crate) target: Target,
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
    /// Change nothing; print what would be changed
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Target whose agents' logs to print, or the name of a command that was detached
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
