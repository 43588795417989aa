//! The options of the commands that bring the cluster to processes of this machine: `run` and its kin.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ClusterArgs, ConnectArgs, OutputArgs};
use crate::cli::environment::Variable;
use crate::cli::forward::Wanted;
use crate::cli::names::Target;

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  bridge run orders npm start
  bridge run orders --port 3000:http -- go run ./cmd/orders --verbose
  bridge run orders --env LOG_LEVEL=debug --env-exclude 'OTEL_*' -- python app.py";

/// How a command that runs here sees the target.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct InsideArgs {
    /// Set a variable of the environment
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub(crate) env: Vec<Variable>,
    /// Set the variables of a file with lines NAME=VALUE
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) variables: VariablesArgs,
    /// Where the files of the target's volumes are to be (default: auto)
    #[arg(long, value_enum, value_name = "WHERE", default_value_t, hide_default_value = true)]
    pub(crate) files: FilesAt,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
}

/// Which of the target's variables come.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct VariablesArgs {
    /// Take a variable of the target although programs of this machine act on it
    ///
    /// What makes shells, interpreters and tools run or load something (NODE_OPTIONS, BASH_ENV, JAVA_TOOL_OPTIONS, GIT_*,
    /// ...) stays out otherwise, as do PATH, HOME and the like. The names that are left out are printed.
    #[arg(long, value_name = "NAME")]
    pub(crate) env_include: Vec<String>,
    /// Leave a variable of the target out; `*` at the end stands for anything
    #[arg(long, value_name = "NAME")]
    pub(crate) env_exclude: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FilesAt {
    /// As mount where this system permits it and nothing is lost by it, else as dir; which and why is said
    #[default]
    Auto,
    /// In a directory of this machine, $BRIDGE_ROOT, kept up to date
    Dir,
    /// There, and at their own absolute paths, which only the command sees
    Mount,
    /// Nowhere
    None,
}

/// What is reached through the cluster.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ScopeArgs {
    /// Count a network, an address or a name to the cluster
    #[arg(long, value_name = "CIDR|NAME")]
    pub(crate) also_cluster: Vec<String>,
    /// Do not count a network, an address or a name to the cluster
    #[arg(long, value_name = "CIDR|NAME")]
    pub(crate) not_cluster: Vec<String>,
    /// Where connections to the rest of the world go out (default: laptop)
    #[arg(long, value_enum, value_name = "WHERE", default_value_t, hide_default_value = true)]
    pub(crate) egress: Egress,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Egress {
    /// From this machine
    #[default]
    Laptop,
    /// From the target's place in the cluster
    Cluster,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) inside: InsideArgs,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    #[command(flatten)]
    pub(crate) inside: InsideArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// Whose environment: a Service or a workload, as for `bridge connect`
    pub(crate) target: Target,
    /// For which reader (default: dotenv)
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
    /// For `docker run --env-file`, which knows no quotes
    Docker,
}

#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// The Service, one of its ports by number or name, and which local port leads there
    #[arg(value_name = "[LOCAL:]SERVICE[:PORT]", required_unless_present = "all")]
    pub(crate) services: Vec<Wanted>,
    /// All Services of the namespace
    #[arg(long, conflicts_with = "services")]
    pub(crate) all: bool,
    /// Through which target's agents (default: the only one that is connected)
    #[arg(long, value_name = "TARGET")]
    pub(crate) via: Option<Target>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// In whose pod names are looked up and connections begin
    pub(crate) target: Target,
    /// The local port (default: any that is free)
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub(crate) listen: u16,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DnsArgs {
    /// The name, as a program would ask for it, or an address for its name
    pub(crate) name: String,
    /// A, AAAA, SRV, CNAME, TXT, PTR … (default: A)
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: Option<String>,
    /// In whose pod (default: the only one that is connected)
    #[arg(long, value_name = "TARGET")]
    pub(crate) target: Option<Target>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
