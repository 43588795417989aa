//! Errors of a cluster: what happened, to which object, and what to do next. Causes are variants, so that code can
//! match on them; `cause` maps them to the names that other programs know.

mod cause;

use std::{fmt, path::PathBuf};

use bridge_deploy::DeployError;
use bridge_proto::target::Kind;

use crate::{
    obstacle::{Against, Obstacle},
    unquoted,
};

/// A call to the API server, for errors: verb and resource as RBAC knows them, "get" "pods/log".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub verb: &'static str,
    pub resource: &'static str,
    /// `None` for cluster-scoped objects, and for all namespaces.
    pub namespace: Option<String>,
    /// `None` for all objects.
    pub name: Option<String>,
}

impl Call {
    /// A call about one object.
    #[must_use]
    pub fn new(verb: &'static str, resource: &'static str, namespace: &str, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::all(verb, resource, namespace) }
    }

    /// A call about all objects of a namespace.
    #[must_use]
    pub fn all(verb: &'static str, resource: &'static str, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..Self::everywhere(verb, resource) }
    }

    /// A call about cluster-scoped objects, or about all namespaces.
    #[must_use]
    pub fn everywhere(verb: &'static str, resource: &'static str) -> Self {
        Self { verb, resource, namespace: None, name: None }
    }

    /// Turns kube's error about this call into ours. See [`Cluster::call`](crate::client::Cluster::call), which also
    /// names the server.
    #[must_use]
    pub fn failed(&self, error: kube::Error) -> ClusterError {
        ClusterError::of(&error, self.clone(), None)
    }
}

/// "create deployments orders-bridge-7f3a in namespace shop"
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

/// Why something could not be done with a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    #[error("no kubeconfig found: looked for {}", paths(.tried))]
    NoKubeconfig { tried: Vec<PathBuf> },
    #[error("cannot use the kubeconfig: {reason}")]
    Kubeconfig { reason: String },
    #[error("the kubeconfig has no current context")]
    NoContext { known: Vec<String> },
    #[error("the kubeconfig has no context {name:?}")]
    UnknownContext { name: String, nearest: Vec<String> },

    #[error("cannot reach the API server{}: {reason}", said(.server.as_deref()))]
    Unreachable { server: Option<String>, reason: String },
    #[error("the API server{} did not answer within {seconds} s ({call})", said(.server.as_deref()))]
    NoAnswer { server: Option<String>, call: Call, seconds: u64 },
    #[error("the API server{} rejected your credentials", said(.server.as_deref()))]
    Credentials { server: Option<String> },
    #[error("the kubeconfig's credential plugin failed: {reason}")]
    CredentialPlugin { reason: String },
    #[error("{} may not {call}", .user.as_deref().unwrap_or("you"))]
    Forbidden { call: Call, user: Option<String> },
    #[error("{} not found in {}", object(.call), place(.call.namespace.as_deref()))]
    NotFound { call: Call },
    #[error("{} in {} was changed by someone else at the same time", object(.call), place(.call.namespace.as_deref()))]
    Conflict { call: Call },
    #[error("{} in {} already exists", object(.call), place(.call.namespace.as_deref()))]
    Exists { call: Call },
    /// Admission (Pod Security, quota, policies) or validation said no.
    #[error("the cluster refused to {call}: {reason}")]
    Refused { call: Call, reason: String },
    #[error("cannot {call}: {reason}")]
    Api { call: Call, code: u16, reason: String },

    #[error("namespace {name:?} not found")]
    NoSuchNamespace { name: String, nearest: Vec<String> },
    #[error("{kind} {name:?} not found in namespace {namespace}")]
    NoSuchTarget { kind: Kind, name: String, namespace: String, nearest: Vec<String>, elsewhere: Vec<String> },
    #[error("no Service in namespace {namespace} selects the pods of {workload}")]
    NoServiceSelects { workload: String, namespace: String },
    #[error("several Services select the pods of {workload}: {}", .services.join(", "))]
    SeveralServices { workload: String, services: Vec<String> },
    #[error("Service {service} has several ports: {}", .ports.join(", "))]
    AmbiguousPort { service: String, ports: Vec<String> },
    #[error("Service {service} has no TCP port {wanted:?}; it has {}", .ports.join(", "))]
    NoSuchPort { service: String, wanted: String, ports: Vec<String> },
    #[error("Service {service} cannot be connected: {}", sentences(.against))]
    Obstacles { service: String, against: Vec<Against> },
    #[error("there cannot be an agent beside {target}: {}", obstacles(.reasons))]
    NoAside { target: String, reasons: Vec<Obstacle> },
    #[error("{target} cannot be replaced: {reason}")]
    NotReplaced { target: String, reason: Obstacle },
    #[error("{target} cannot be restored: {reason}")]
    NotRestored { target: String, reason: Obstacle },
    #[error("{holder} already replaces {workload}")]
    Replaced { workload: String, holder: String },
    /// A session with the target is there, and does not replace it.
    #[error("a command of yours runs beside {target} already, and does not replace it")]
    RunsBeside { target: String },
    #[error(transparent)]
    Deploy(#[from] DeployError),

    #[error("{holder} already takes these requests of {service}")]
    Held { service: String, holder: String },
    #[error("{other} is connected to {service}, too: who replaces {replaced} has to be the only one")]
    NotAlone { service: String, other: String, replaced: String },
    #[error("cannot read the annotation {annotation} of Service {service}: {reason}")]
    Annotation { service: String, annotation: &'static str, reason: String },
    #[error("cannot read the session of the agent {deployment}: {reason}")]
    Session { deployment: String, reason: String },
    #[error("the attachment of Service {service} was written by a newer bridge (version {version})")]
    NewerAttachment { service: String, version: u64 },
    #[error("Service {service} is connected in the mode {mode:?}, which this bridge does not know")]
    UnknownMode { service: String, mode: String },
    /// An object of that name exists and does not belong to this stand-in.
    #[error("{resource} {name} in namespace {namespace} already exists and is not bridge's: {reason}")]
    NotOurs { resource: &'static str, name: String, namespace: String, reason: &'static str },
    #[error("someone else changed the selector of Service {service} during connect")]
    SelectorChanged { service: String },
    #[error("the stand-in {stand_in} did not become ready: {reason}")]
    NotReady { stand_in: String, reason: String },
    #[error("the agent of Deployment {deployment} did not become ready: {reason}")]
    AsideNotReady { deployment: String, reason: String },
    #[error("{workload} did not roll out with an agent in its pods: {reason}")]
    NotRolledOut { workload: String, reason: String },
    /// Their template is undone, but the controller waits for them.
    #[error(
        "{workload} goes back only once its pods that did not become ready are deleted, and you may not delete pods: \
         run `kubectl -n {namespace} delete pod {}`, or ask an admin",
        .pods.join(" ")
    )]
    StuckPods { workload: String, pods: Vec<String>, namespace: String },
    #[error("could not restore everything: {}", .left.join("; "))]
    LeftBehind { left: Vec<String> },
}

impl ClusterError {
    /// Advice, for errors whose message has none.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::NoKubeconfig { .. } => Some(
                "pass --kubeconfig or set KUBECONFIG; `kubectl config view` shows what kubectl uses"
                    .into(),
            ),
            Self::NoContext { known } if known.is_empty() => {
                Some("the kubeconfig has no contexts".into())
            }
            Self::NoContext { known } => Some(format!("choose one with --context: {}", known.join(", "))),
            Self::UnknownContext { nearest, .. } | Self::NoSuchNamespace { nearest, .. } => {
                did_you_mean(nearest)
            }
            Self::Unreachable { .. } | Self::NoAnswer { .. } => Some(
                "check that the cluster is up, and the network or VPN to it; `kubectl version` should answer, too"
                    .into(),
            ),
            Self::Credentials { .. } => {
                Some("log in again, as for kubectl; `kubectl auth whoami` checks it".into())
            }
            Self::CredentialPlugin { .. } => Some("`kubectl auth whoami` runs the same plugin".into()),
            Self::Forbidden { call, .. } if is_of_sidecars(call) => {
                Some("ask for the Role in deploy/rbac-sidecar.yaml".into())
            }
            Self::Forbidden { call, .. } => Some(format!(
                "ask for the Role in deploy/rbac-developer.yaml{}; `bridge doctor` lists all missing rights",
                call.namespace
                    .as_ref()
                    .map(|name| format!(" in namespace {name}, or choose another with -n"))
                    .unwrap_or_default()
            )),
            Self::NoSuchTarget { nearest, elsewhere, name, .. } => {
                match (nearest.as_slice(), elsewhere.as_slice()) {
                    ([], []) => Some("`bridge list` shows what can be connected".into()),
                    (_, [namespace, ..]) => Some(format!(
                        "{name} is in namespace {}: add `-n {namespace}`",
                        elsewhere.join(" and ")
                    )),
                    (nearest, []) => did_you_mean(nearest),
                }
            }
            Self::NoServiceSelects { .. } => Some(
                "bridge connects Services, and `bridge list` shows them; `bridge run`, without options for requests, \
                 works without a Service"
                    .into(),
            ),
            Self::SeveralServices { .. } => Some("connect one of them by name".into()),
            Self::AmbiguousPort { .. } => Some("choose one: --port LOCAL:REMOTE".into()),
            Self::Conflict { .. } | Self::Exists { .. } | Self::SelectorChanged { .. } => {
                Some("run the command again".into())
            }
            Self::Annotation { annotation, service, .. } => Some(format!(
                "another version of bridge wrote it, or someone edited it: fix it, or remove it \
                 (`kubectl annotate service {service} {annotation}-`) and run `bridge clean`"
            )),
            Self::NewerAttachment { .. } | Self::UnknownMode { .. } => Some("upgrade bridge".into()),
            Self::NotOurs { resource, name, namespace, .. } => Some(format!(
                "run the command again: it will use another name; to see who made this one: `kubectl get \
                 {resource} {name} -n \
                 {namespace} -o yaml`"
            )),
            Self::Held { .. } => {
                Some("use another --header, or ask them; `bridge list` shows who is connected".into())
            }
            Self::NotAlone { .. } => {
                Some("ask them, or connect without --replace; `bridge list` shows who is connected".into())
            }
            Self::LeftBehind { .. } => Some("`bridge clean` tries again, from any laptop".into()),
            _ => None,
        }
    }

    /// Turns kube's error about a call into ours.
    #[must_use]
    pub fn of(error: &kube::Error, call: Call, server: Option<&str>) -> Self {
        let server = server.map(str::to_owned);
        if let Some(error) = unquoted::within(error) {
            return Self::CredentialPlugin { reason: unquoted::plugin(error) };
        }
        match error {
            kube::Error::Api(status) => Self::of_status(status, call, server),
            kube::Error::Service(_) | kube::Error::HyperError(_) => {
                Self::Unreachable { server, reason: unquoted::call(error) }
            }
            kube::Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(code)) => {
                match code.as_u16() {
                    401 => Self::Credentials { server },
                    403 => Self::Forbidden { call, user: None },
                    404 => Self::NotFound { call },
                    code => Self::Api { call, code, reason: unquoted::call(error) },
                }
            }
            other => Self::Api { call, code: 0, reason: unquoted::call(other) },
        }
    }

    fn of_status(status: &kube::core::Status, call: Call, server: Option<String>) -> Self {
        let reason = status.message.clone();
        match status.code {
            401 => Self::Credentials { server },
            403 if let Some(user) = without_rights(status) => Self::Forbidden { call, user: Some(user) },
            403 | 422 => Self::Refused { call, reason },
            404 => Self::NotFound { call },
            409 if status.reason == "AlreadyExists" => Self::Exists { call },
            // Quota writes conflict under load, and show up here.
            409 => Self::Conflict { call },
            code => Self::Api { call, code, reason },
        }
    }

    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// Whether only sidecars in workloads other than Deployments need it.
fn is_of_sidecars(call: &Call) -> bool {
    matches!((call.verb, call.resource), ("patch" | "watch", "statefulsets" | "daemonsets"))
}

/// The user whom the authorizer has refused; `None`: admission has refused.
///
/// Both answer by the API server's `NewForbidden`: code 403, reason `Forbidden`, the object in `details`. Only the text
/// after "forbidden: " differs, and the authorizer's begins `User "alice" cannot create resource …`. Causes in `details`
/// are those of policies.
fn without_rights(status: &kube::core::Status) -> Option<String> {
    if status.details.as_ref().is_some_and(|details| !details.causes.is_empty()) {
        return None;
    }
    let (_, why) = status.message.split_once("forbidden: ")?;
    let (user, rest) = why.strip_prefix("User \"")?.split_once('"')?;
    rest.starts_with(" cannot ").then(|| user.to_owned())
}

fn did_you_mean(nearest: &[String]) -> Option<String> {
    (!nearest.is_empty()).then(|| format!("did you mean {}?", nearest.join(" or ")))
}

fn object(call: &Call) -> String {
    match &call.name {
        Some(name) => format!("{} {name:?}", call.resource),
        None => call.resource.to_owned(),
    }
}

fn place(namespace: Option<&str>) -> String {
    namespace.map_or_else(|| "the cluster".to_owned(), |name| format!("namespace {name}"))
}

fn said(server: Option<&str>) -> String {
    server.map(|server| format!(" {server}")).unwrap_or_default()
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn obstacles(all: &[Obstacle]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The reasons against every mode; without such, the reasons against each, with its name.
fn sentences(against: &[Against]) -> String {
    let [first, others @ ..] = against else { return String::new() };
    let common = |reason: &&Obstacle| others.iter().all(|other| other.reasons.contains(reason));
    let common: Vec<String> = first.reasons.iter().filter(common).map(ToString::to_string).collect();
    if !common.is_empty() {
        return common.join("; ");
    }
    against.iter().map(|one| format!("as {}: {one}", one.mode)).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use bridge_proto::v1::failure::Cause;

    use super::*;

    fn status(code: u16, reason: &str, message: &str) -> kube::Error {
        let status = kube::core::Status::failure(message, reason);
        kube::Error::Api(Box::new(kube::core::Status { code, ..status }))
    }

    fn create_deployment() -> Call {
        Call::all("create", "deployments", "shop")
    }

    #[test]
    fn rights_and_admission_are_distinguished() {
        let rights = status(
            403,
            "Forbidden",
            "deployments.apps is forbidden: User \"developer\" cannot create resource \"deployments\" in API group \
             \"apps\" in the namespace \"shop\"",
        );
        let error = ClusterError::of(&rights, create_deployment(), Some("https://k8s"));
        assert_eq!(error.to_string(), "developer may not create deployments in namespace shop");
        assert_eq!(error.cause(), Cause::Forbidden);
        assert!(error.advice().unwrap().contains("rbac-developer.yaml in namespace shop"));

        for said in [
            "exceeded quota: small",
            "a policy says: User \"developer\" cannot do this",
            "User \"developer\" is on holiday, and you cannot deploy",
        ] {
            let refused = status(403, "Forbidden", &format!("deployments.apps \"x\" is forbidden: {said}"));
            let error = ClusterError::of(&refused, create_deployment(), Some("https://k8s"));
            assert_eq!(error.cause(), Cause::Refused);
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn answers_have_names() {
        for (code, reason, expected, cause) in [
            (401, "Unauthorized", "the API server https://k8s rejected your credentials", Cause::Credentials),
            (404, "NotFound", "deployments \"x\" not found in namespace shop", Cause::NotFound),
            (
                409,
                "Conflict",
                "deployments \"x\" in namespace shop was changed by someone else at the same time",
                Cause::Conflict,
            ),
            (409, "AlreadyExists", "deployments \"x\" in namespace shop already exists", Cause::Conflict),
            (500, "InternalError", "cannot create deployments x in namespace shop: why", Cause::Api),
        ] {
            let call = Call::new("create", "deployments", "shop", "x");
            let error = ClusterError::of(&status(code, reason, "why"), call, Some("https://k8s"));
            assert_eq!((error.to_string().as_str(), error.cause()), (expected, cause));
        }
    }

    #[test]
    fn a_target_in_another_namespace_is_suggested_before_similar_names() {
        let error = |nearest: &[&str], elsewhere: &[&str]| ClusterError::NoSuchTarget {
            kind: Kind::Service,
            name: "orders".into(),
            namespace: "default".into(),
            nearest: nearest.iter().map(ToString::to_string).collect(),
            elsewhere: elsewhere.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(error(&[], &[]).to_string(), "Service \"orders\" not found in namespace default");
        for (error, advice) in [
            (error(&[], &[]), "`bridge list` shows what can be connected"),
            (error(&["order"], &[]), "did you mean order?"),
            (error(&["order"], &["shop"]), "orders is in namespace shop: add `-n shop`"),
        ] {
            assert_eq!(error.advice().as_deref(), Some(advice));
        }
    }
}
