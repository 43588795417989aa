//! Options of commands that connect a target, and those that most commands have: which cluster, which output.

use std::path::PathBuf;

use bridge_proto::matching::{HeaderMatch, MethodMatch, PathMatch};
use bridge_proto::target::Target;
use clap::Args;

use crate::cli::choices::{Compat, Fallback, Mode};
use crate::cli::names::{PortMap, UserName};
use crate::cli::output::Format;

pub(super) const CONNECT_EXAMPLES: &str = "\
Examples:
  bridge connect orders
  bridge connect orders -n shop --port 3000:http --port 9090:metrics
  bridge connect deploy/orders --header x-tenant=7 --header x-canary=yes    both must match
  bridge connect orders --header user-agent~=Firefox --path ^=/v1/ --method GET
  bridge connect orders --everything                                        in your own namespace
  bridge connect orders --copy                                              the pods answer, you watch
  bridge connect orders --replace                                           no pods meanwhile, only you";

/// The options that choose requests or another way to get them; `--replace` takes all.
pub(super) const CHOSEN_REQUESTS: [&str; 6] = ["headers", "paths", "method", "compat", "copy", "mode"];

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

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// A Service, or a workload that one Service selects: orders, deploy/orders, sts/orders, rollout/orders, pod/x
    ///
    /// `bridge run`, `shell`, `env`, `proxy` and `dns` also take workloads that no Service selects, and CronJobs:
    /// deploy/worker, cronjob/report.
    pub(crate) target: Target,
    /// Take requests with this header; repeat to require several
    ///
    /// NAME=VALUE matches the whole value, NAME^=BEGINNING its beginning, NAME~=PATTERN a regular expression anywhere in
    /// it. Replaces the default, which is the member `bridge=ME` of the W3C header `baggage` (applications with
    /// OpenTelemetry forward it from service to service) or `tracestate`, or the header `x-bridge: ME`.
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
    /// Get copies: the pods answer the requests, and your answers are dropped
    ///
    /// A copy never slows the request down: it is given up whole if your laptop cannot follow, and `bridge requests` says
    /// so. WebSockets, and connections that are not HTTP, are not copied. `--fallback` does not apply.
    #[arg(long, conflicts_with = "keep_cache_headers")]
    pub(crate) copy: bool,
    /// Your name, as in `baggage: bridge=NAME` and as shown to others (default: $BRIDGE_ME, else $USER)
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
    /// The way to connect the target (default: the first that is possible)
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) mode: Option<Mode>,
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
    /// A connect with only a target.
    pub(crate) fn plain(target: Target, cluster: ClusterArgs) -> Self {
        ConnectArgs {
            target,
            headers: Vec::new(),
            paths: Vec::new(),
            method: None,
            compat: None,
            everything: false,
            copy: false,
            me: None,
            ports: Vec::new(),
            fallback: None,
            mode: None,
            replicas: None,
            agent_image: None,
            keep_cache_headers: false,
            cluster,
        }
    }

    /// Whether it names no requests and no ports.
    pub(crate) fn is_plain(&self) -> bool {
        self.headers.is_empty()
            && self.paths.is_empty()
            && self.method.is_none()
            && self.compat.is_none()
            && !self.everything
            && !self.copy
            && self.ports.is_empty()
            && self.fallback.is_none()
            && !self.keep_cache_headers
    }
}
