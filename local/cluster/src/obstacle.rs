//! The reasons not to connect a Service in a mode, each with a message that says what to do; and warnings.
//! `obstacles` finds them.

use std::fmt;

use crate::{mode::Mode, workload::Labels};

/// A reason against connecting a Service in a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Against {
    pub mode: Mode,
    pub reasons: Vec<Obstacle>,
}

impl Against {
    /// A reason against the only mode.
    pub(crate) fn stand_in(reason: Obstacle) -> Vec<Self> {
        vec![Self { mode: Mode::StandIn, reasons: vec![reason] }]
    }
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }
}

/// A reason not to connect a Service in a mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    #[error("it is an alias for {0} (ExternalName): connect the Service that it points to")]
    ExternalName(String),
    #[error(
        "it has no selector, so something else writes its endpoints: connect a Service that selects the pods"
    )]
    NoSelector,
    #[error(
        "it is headless: callers, and the pods among themselves, dial the addresses that it lists, at the container's \
         own port, where no agent can listen: connect a Service with a cluster IP that selects the same pods"
    )]
    Headless,
    #[error(
        "it gives the pods of StatefulSet {0} their names, and callers dial them at the container's own port, where no \
         agent can listen: connect a Service with a cluster IP that selects the same pods"
    )]
    NamedPods(String),
    #[error(
        "it keeps each client at one pod (sessionAffinity: ClientIP), and behind a stand-in all callers would \
         be one client: remove the affinity"
    )]
    ClientIpAffinity,
    #[error("clients stick to one of its pods ({0}), and behind a stand-in they could not: turn that off")]
    CookieAffinity(String),
    #[error(
        "it sends traffic only to pods on the same node ({field}: Local), and a stand-in may be on another: \
         set it to Cluster"
    )]
    LocalTraffic { field: &'static str },
    #[error("its port {} is not TCP: connect a Service that has only TCP ports", .0.join(", "))]
    NotTcp(Vec<String>),
    #[error("it has no ports: connect a Service with ports")]
    NoPorts,
    #[error(
        "no container has a port named {name:?}, the targetPort of its port {port}: correct the targetPort"
    )]
    NoSuchTargetPort { port: u16, name: String },
    #[error(
        "a load balancer targets its pods directly ({0}) and takes minutes to learn new ones: connect a \
         Service without such a load balancer"
    )]
    PodsBehindLoadBalancer(String),
    #[error("{0} writes its selector (key {1:?}): connect another Service that selects the same pods")]
    WrittenSelector(&'static str, String),
    #[error(
        "{mesh} routes its traffic ({sign}) and would bypass a stand-in: use a namespace without the mesh"
    )]
    Mesh { mesh: Mesh, sign: String },
    #[error(
        "NetworkPolicies select its pods by labels that a stand-in does not have: {}; make them select all pods \
         (`podSelector: {{}}`), allow pods with the label bridge.dev/service, or use a namespace without them",
        .0.join(", ")
    )]
    NetworkPolicies(Vec<String>),
    #[error("no pods match its selector ({}): check whether the workload is scaled to zero", selector_text(.selector))]
    NoPods { selector: Labels },
    #[error("none of its {pods} pods is ready: `kubectl get pods -l {}` shows why", selector_text(.selector))]
    NoneReady { pods: usize, selector: Labels },
    #[error("it selects pods of several workloads ({}): connect a Service of one of them", .0.join(", "))]
    SeveralWorkloads(Vec<String>),
    #[error(
        "its pods use their node's network (hostNetwork), and a stand-in cannot have the node's ports: connect \
         another Service"
    )]
    HostNetwork,
    #[error(
        "its pods run on {wanted}, but this bridge has an agent for {carried}: use a bridge with the other \
         agent, or --agent-image"
    )]
    Platform { wanted: String, carried: String },
    #[error("{0}; bridge leaves it alone")]
    Attachment(String),
    #[error("its pods run in a sandbox without port-forward (runtime class {0}): use a workload without it")]
    Sandbox(String),
    #[error("it is connected as {0}: connect it without --mode, or after the others have disconnected")]
    OtherMode(Mode),
    #[error(
        "its pods belong to {0}, and bridge adds a sidecar only to Deployments, StatefulSets, DaemonSets, and Argo Rollouts \
         that you may read (deploy/rbac-sidecar.yaml): connect another Service"
    )]
    NotRolled(String),
    #[error("{0} is paused and would not roll out: `kubectl rollout resume` it")]
    Paused(String),
    #[error(
        "{0} rolls out in steps (canary steps, or blue-green), so adding an agent to its pods would be a release"
    )]
    InSteps(String),
    #[error(
        "{0} replaces all its pods at once (strategy Recreate), so adding a sidecar would interrupt it: set the \
         strategy to RollingUpdate"
    )]
    Recreate(String),
    #[error(
        "{0} replaces its pods only when someone deletes them (OnDelete), so they would not get a sidecar: set the \
         updateStrategy to RollingUpdate"
    )]
    OnDelete(String),
    #[error(
        "{workload} leaves some of its pods as they are when it rolls out (partition {partition}), so they would not \
         get a sidecar: set the partition to 0"
    )]
    Partition { workload: String, partition: u64 },
    #[error(
        "you may not {} {resource} in namespace {namespace}, which a sidecar in {workload} needs: an admin can allow it \
         (deploy/rbac-sidecar.yaml)",
        .verbs.join(" and ")
    )]
    NoSidecarRight { workload: String, verbs: Vec<&'static str>, resource: &'static str, namespace: String },
    #[error("cannot read the annotation bridge.dev/sidecar of {workload}: {reason}; bridge leaves it alone")]
    UnreadableSidecar { workload: String, reason: String },
    #[error(
        "{workload} already has the sidecar of Service {service}: connect that one, or run `bridge clean {service}`"
    )]
    OtherSidecar { workload: String, service: String },
    #[error(
        "the container port {target} that its port {port} leads to has no name: name it in the pod template, so \
         that the name can lead to the sidecar"
    )]
    UnnamedPort { port: u16, target: u16 },
    #[error(
        "NetworkPolicies allow its pods' ports by number, and a sidecar listens on another: {}; make them name the \
         port",
        .0.join(", ")
    )]
    NumberedPolicies(Vec<String>),
    #[error("bridge scales Deployments and StatefulSets to zero, and no {0}")]
    NotScaled(String),
    #[error(
        "KEDA scales it (ScaledObject {0}), and you may not pause that: ask for the Role in deploy/rbac-sidecar.yaml"
    )]
    ScaledBy(String),
    #[error("it serves several Services ({0}), and only one of them can be led to your laptop")]
    ServesSeveral(String),
    #[error("PodDisruptionBudget {0} demands pods of it")]
    Budget(String),
    #[error("cannot read its annotation bridge.dev/replaced: {0}; bridge leaves it alone")]
    UnreadableReplaced(String),
}

impl Obstacle {
    /// A few words, for a table.
    #[must_use]
    pub fn short(&self) -> &'static str {
        match self {
            Self::ExternalName(_) => "external name",
            Self::NoSelector => "no selector",
            Self::Headless => "headless",
            Self::NamedPods(_) => "pods addressed by name",
            Self::ClientIpAffinity => "ClientIP affinity",
            Self::CookieAffinity(_) => "cookie affinity",
            Self::LocalTraffic { .. } => "traffic policy Local",
            Self::NotTcp(_) => "port not TCP",
            Self::NoPorts => "no ports",
            Self::NoSuchTargetPort { .. } => "unknown targetPort",
            Self::PodsBehindLoadBalancer(_) => "load balancer to pods",
            Self::WrittenSelector(..) => "selector of a controller",
            Self::Mesh { .. } => "service mesh",
            Self::NetworkPolicies(_) => "NetworkPolicy",
            Self::NoPods { .. } => "no pods",
            Self::NoneReady { .. } => "no pod ready",
            Self::SeveralWorkloads(_) => "several workloads",
            Self::HostNetwork => "hostNetwork",
            Self::Platform { .. } => "other platform",
            Self::Attachment(_) => "unreadable attachment",
            Self::Sandbox(_) => "sandbox runtime",
            Self::OtherMode(_) => "other mode in use",
            Self::NotRolled(_) => "unknown workload",
            Self::Paused(_) => "paused",
            Self::InSteps(_) => "rolls out in steps",
            Self::Recreate(_) => "strategy Recreate",
            Self::OnDelete(_) => "strategy OnDelete",
            Self::Partition { .. } => "partition",
            Self::NoSidecarRight { .. } => "no right to add a sidecar",
            Self::UnreadableSidecar { .. } => "unreadable sidecar",
            Self::OtherSidecar { .. } => "sidecar of another Service",
            Self::UnnamedPort { .. } => "unnamed port",
            Self::NumberedPolicies(_) => "NetworkPolicy by port number",
            Self::NotScaled(_) => "cannot be scaled",
            Self::ScaledBy(_) => "scaled by KEDA",
            Self::ServesSeveral(_) => "several Services",
            Self::Budget(_) => "PodDisruptionBudget",
            Self::UnreadableReplaced(_) => "unreadable replacement",
        }
    }
}

/// A fact that is no reason against, but worth a warning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// Nobody but a laptop brings the pods back.
    #[error(
        "if this laptop is lost, Service {service} has no pods until someone runs `bridge clean {service} --others`; where an \
         admin has applied deploy/rbac-restore.yaml, the agents restore them themselves"
    )]
    NotRestored { service: String },
    #[error(
        "{tool} manages Service {service}: if it resets the selector, all traffic goes to the origin, and \
         `bridge status` says so"
    )]
    GitOps { tool: &'static str, service: String },
    #[error(
        "{owner} controls Service {service}: if it resets the selector, all traffic goes to the origin, and \
         `bridge status` says so"
    )]
    Controlled { owner: String, service: String },
    #[error("the sidecars are as many as the pods: --replicas has no effect")]
    NoReplicas,
    #[error(
        "{tool} manages {workload}: if it resets the pod template, the pods answer all requests themselves, and \
         `bridge status` says so"
    )]
    GitOpsWorkload { tool: &'static str, workload: String },
    #[error("callers that address the pods of StatefulSet {0} by name reach the origin, not your laptop")]
    NamedPods(String),
    #[error(
        "cannot read the NetworkPolicies of the namespace: if one selects the origin's labels, the stand-in \
         will not work"
    )]
    UnknownPolicies,
    #[error(
        "cannot read the Ingresses of the namespace: if one keeps clients at one pod by a cookie, it will no \
         longer do so"
    )]
    UnknownIngresses,
    #[error(
        "{0:?}, the annotation bridge.dev/restore-after of Secret bridge-restore, is not a time from 1s to 168h: the agents \
         take 10m"
    )]
    NotATime(String),
    #[error("keeping agents of an old template of the origin for now: {why}")]
    OldTemplate { why: String },
    #[error("cannot clean up after an earlier connect (`bridge clean` tries again): {why}")]
    NotTidied { why: String },
}

/// A service mesh that bridge knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mesh {
    Istio,
    Linkerd,
    Kuma,
    Consul,
    AppMesh,
}

impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Istio => "Istio",
            Self::Linkerd => "Linkerd",
            Self::Kuma => "Kuma",
            Self::Consul => "Consul",
            Self::AppMesh => "App Mesh",
        })
    }
}

fn selector_text(selector: &Labels) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
