//! Options of the commands that bring the cluster to processes on the laptop: `run` and its kin.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bridge_inside::environment::{Choice, Variable};
use bridge_os::life::Life;
use bridge_proto::target::Target;
use clap::{Args, ValueEnum};

use super::connect::{CHOSEN_REQUESTS, ClusterArgs, ConnectArgs, OutputArgs};
use crate::cli::forward::wanted::Wanted;
use crate::cli::names::{RunName, duration, process};

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  bridge run orders npm start
  bridge run orders --port 3000:http -- go run ./cmd/orders --verbose
  bridge run orders --env LOG_LEVEL=debug --env-exclude 'OTEL_*' -- python app.py
  bridge run deploy/worker python worker.py             a workload without a Service: no requests
  bridge run deploy/worker --replace python worker.py   its pods end meanwhile
  bridge run cronjob/report -- go run ./cmd/report";

pub(super) const SHIM_EXAMPLES: &str = "\
Examples:
  bridge shim orders -- node                   .bridge/shims/orders/node, for a debugger's runtimeExecutable
  bridge shim orders --port 3000:http -- .venv/bin/python
  bridge shim orders --file bin/dlv -- dlv";

/// The options about requests.
const REQUESTS: [&str; 9] =
    ["headers", "paths", "method", "compat", "everything", "copy", "ports", "mode", "keep_cache_headers"];

/// How a command that runs here sees the target.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct InsideArgs {
    /// Set an environment variable
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub(crate) env: Vec<Variable>,
    /// Set environment variables from a file with lines NAME=VALUE
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) variables: VariablesArgs,
    /// Where to put the files of the target's volumes (default: auto)
    #[arg(long, value_enum, value_name = "WHERE", default_value_t, hide_default_value = true)]
    pub(crate) files: FilesAt,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// End the command after this time, by SIGTERM
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) lasts: Option<Duration>,
    /// End the command, by SIGTERM, when this process ends
    ///
    /// For programs that start bridge and may be killed, as editors may be.
    #[arg(long, value_name = "PID", value_parser = process)]
    pub(crate) until_exit: Option<Life>,
}

/// Which of the target's variables come.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct VariablesArgs {
    /// Include a variable of the target although local programs act on it
    ///
    /// By default, bridge leaves out variables that make shells, interpreters and tools run or load something
    /// (NODE_OPTIONS, BASH_ENV, JAVA_TOOL_OPTIONS, GIT_*, ...), and PATH, HOME and the like. It prints the names that it
    /// leaves out.
    #[arg(long, value_name = "NAME")]
    pub(crate) env_include: Vec<String>,
    /// Leave out a variable of the target; a `*` at the end matches anything
    #[arg(long, value_name = "NAME")]
    pub(crate) env_exclude: Vec<String>,
}

impl VariablesArgs {
    pub(crate) fn choice(&self) -> Choice {
        Choice { include: self.env_include.clone(), exclude: self.env_exclude.clone() }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FilesAt {
    /// mount if the system allows it and nothing is lost by it, else dir; bridge prints which, and why
    #[default]
    Auto,
    /// In a local directory, $BRIDGE_ROOT, kept up to date
    Dir,
    /// In $BRIDGE_ROOT, and at their own absolute paths, visible only to the command
    Mount,
    /// No files
    None,
}

/// What the command reaches through the cluster.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ScopeArgs {
    /// Also reach this network, address or name through the cluster
    #[arg(long, value_name = "CIDR|NAME")]
    pub(crate) also_cluster: Vec<String>,
    /// Do not reach this network, address or name through the cluster
    #[arg(long, value_name = "CIDR|NAME")]
    pub(crate) not_cluster: Vec<String>,
    /// Where connections to the outside world start (default: laptop)
    #[arg(long, value_enum, value_name = "WHERE", default_value_t, hide_default_value = true)]
    pub(crate) egress: Egress,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Egress {
    /// From your laptop
    #[default]
    Laptop,
    /// From the agents, in the cluster
    Cluster,
}

/// Without requests, beside the target's pods or in place of them.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct AsideArgs {
    /// Take no requests: only the target's environment and files, and the cluster's network
    ///
    /// bridge starts one agent beside the target's pods and changes no Service. This is what happens anyway for a workload
    /// that no Service selects.
    #[arg(long, conflicts_with_all = REQUESTS)]
    pub(crate) no_requests: bool,
    /// Scale the target to zero while the command runs: no worker and no loop runs twice
    ///
    /// For Deployments and StatefulSets. The command begins once their pods have ended, and they come back when it ends.
    /// All requests to their Service, if there is one, come to the command meanwhile. `bridge clean` restores the pods if
    /// it cannot.
    #[arg(long, conflicts_with_all = CHOSEN_REQUESTS)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) aside: AsideArgs,
    #[command(flatten)]
    pub(crate) inside: InsideArgs,
    /// Go on in the background under this name: see `bridge ps`, `stop NAME`, `logs NAME`
    ///
    /// Returns once the command runs. Its output goes to a log.
    #[arg(long, value_name = "NAME")]
    pub(crate) detach: Option<RunName>,
    /// The process that goes on
    #[arg(long, value_name = "NAME", hide = true, conflicts_with = "detach")]
    pub(crate) detached: Option<RunName>,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ShimArgs {
    /// The file to write (default: .bridge/shims/TARGET/PROGRAM)
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) aside: AsideArgs,
    #[command(flatten)]
    pub(crate) inside: InsideArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// Target: a Service or a workload, as for `bridge connect`
    pub(crate) target: Target,
    /// Output format (default: dotenv)
    #[arg(long, value_enum, default_value_t, hide_default_value = true)]
    pub(crate) format: EnvFormat,
    #[command(flatten)]
    pub(crate) variables: VariablesArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnvFormat {
    /// A .env file: NAME="value"
    #[default]
    Dotenv,
    Json,
    /// For `eval` in sh, bash and zsh
    Shell,
    /// For `source` in fish
    Fish,
    /// For `docker run --env-file`, which has no quotes
    Docker,
}

#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// Service, one of its ports (number or name), and the local port
    #[arg(value_name = "[LOCAL:]SERVICE[:PORT]", required_unless_present = "all")]
    pub(crate) services: Vec<Wanted>,
    /// Forward all Services of the namespace
    #[arg(long, conflicts_with = "services")]
    pub(crate) all: bool,
    /// Target to go through (default: the only connected one)
    #[arg(long, value_name = "TARGET")]
    pub(crate) via: Option<Target>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// Target from whose pod to resolve names and open connections
    pub(crate) target: Target,
    /// Local port (default: any free port)
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub(crate) listen: u16,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DnsArgs {
    /// Name to look up, as a program would, or an address to look up its name
    pub(crate) name: String,
    /// Record type: A, AAAA, SRV, CNAME, TXT, PTR … (default: A)
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: Option<String>,
    /// Target in whose pod to look up (default: the only connected one)
    #[arg(long, value_name = "TARGET")]
    pub(crate) target: Option<Target>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
