//! The logs of a target's agents.

use bridge_deploy::{ASIDE_LABEL, SERVICE_LABEL, SIDECAR_CONTAINER, is_stand_in_id, names};
use futures::{AsyncBufReadExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, LogParams},
};

use crate::{
    aside,
    client::Cluster,
    error::{Call, ClusterError},
    mode::Mode,
    objects,
    ours::{has_sidecar, is_of_deployment, labelled},
    state::Attachment,
    target::name_of,
};

/// The part of a log to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// Continue with new lines, until the pod ends.
    pub follow: bool,
    /// Only this number of the last lines.
    pub tail: Option<usize>,
}

/// An agent's pod, and its container there; `None`: the only one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Agent {
    pub pod: String,
    container: Option<&'static str>,
}

/// The agents of a Service, by name, including draining ones of former stand-ins.
///
/// # Errors
///
/// The errors of the calls.
pub async fn agents(cluster: &Cluster, service: &str) -> Result<Vec<Agent>, ClusterError> {
    let (stand_ins, sidecars) = tokio::try_join!(stand_ins(cluster, service), sidecars(cluster, service))?;
    let mut agents = [stand_ins, sidecars].concat();
    agents.sort();
    Ok(agents)
}

/// The sidecars of the present attachment.
async fn sidecars(cluster: &Cluster, service: &str) -> Result<Vec<Agent>, ClusterError> {
    let attachment = match objects::read(cluster, service).await {
        Ok(service) => Attachment::of(&service).ok().flatten(),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let Some(there) = attachment.filter(|there| there.mode == Mode::Sidecar) else { return Ok(Vec::new()) };
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", "pods", &cluster.namespace);
    let selected = ListParams::default().labels(&objects::equal(&there.original));
    let found = cluster.call(call, pods.list(&selected)).await?;
    let with_it = found.iter().filter(|pod| has_sidecar(pod, &there.stand_in));
    Ok(with_it.map(|pod| Agent { pod: name_of(pod), container: Some(SIDECAR_CONTAINER) }).collect())
}

async fn stand_ins(cluster: &Cluster, service: &str) -> Result<Vec<Agent>, ClusterError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", "pods", &cluster.namespace);
    let ours = ListParams::default().labels(&format!("{SERVICE_LABEL}={service}"));
    // A foreign pod with these labels may log anything.
    let is_agent = |pod: &&Pod| {
        let stand_in = labelled(&pod.metadata).filter(|(_, id)| is_stand_in_id(id));
        stand_in.is_some_and(|(_, id)| is_of_deployment(&names(service, id).stand_in, &pod.metadata))
    };
    let found = cluster.call(call, pods.list(&ours)).await?;
    Ok(found.iter().filter(is_agent).map(|pod| Agent { pod: name_of(pod), container: None }).collect())
}

/// The agents aside of a target ("deploy/worker"), by name.
///
/// # Errors
///
/// The errors of the calls.
pub async fn aside(cluster: &Cluster, target: &str) -> Result<Vec<Agent>, ClusterError> {
    let found = aside::clean::all(cluster).await?;
    let there: Vec<String> = found
        .into_iter()
        .filter(|found| found.record.target == target)
        .map(|found| found.deployment)
        .collect();
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", "pods", &cluster.namespace);
    let found = cluster.call(call, pods.list(&ListParams::default().labels(ASIDE_LABEL))).await?;
    let is_agent = |pod: &&Pod| there.iter().any(|name| is_of_deployment(name, &pod.metadata));
    let mut agents: Vec<Agent> =
        found.iter().filter(is_agent).map(|pod| Agent { pod: name_of(pod), container: None }).collect();
    agents.sort();
    Ok(agents)
}

/// The lines of one agent's log, as they come.
///
/// # Errors
///
/// The errors of the call; an item, if the connection is lost.
pub async fn lines(
    cluster: &Cluster,
    Agent { pod, container }: &Agent,
    part: Part,
) -> Result<impl Stream<Item = Result<String, ClusterError>> + use<>, ClusterError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = LogParams {
        follow: part.follow,
        container: container.map(str::to_owned),
        tail_lines: part.tail.map(|lines| i64::try_from(lines).unwrap_or(i64::MAX)),
        ..LogParams::default()
    };
    let call = Call::new("get", "pods/log", &cluster.namespace, pod);
    let reader = cluster.call(call.clone(), pods.log_stream(pod, &params)).await?;
    Ok(reader.lines().map(move |line| {
        line.map_err(|error| ClusterError::Api { call: call.clone(), code: 0, reason: error.to_string() })
    }))
}
