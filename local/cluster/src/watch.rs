//! Watches a stand-in until it is ready, its agents' pods, and the Service.

mod changes;
mod origin;
mod templates;

use std::collections::BTreeMap;

use bridge_deploy::{ASIDE_LABEL, SIDECAR_CONTAINER};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, Service};
use kube::api::{DynamicObject, ListParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};

use crate::agents::Agents;
pub use crate::agents::AgentsOf;
use crate::app::App;
use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::objects::{equal, labelled};
use crate::ours;
use crate::standing::{Standing, standing as standing_of};

use self::changes::{changes, changes_of, is_ready};
pub use self::origin::{Origin, origin};
use self::templates::{templates, with_templates};

/// The progress of a stand-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// At least half of its agents are ready. The others are starting, and get no traffic before they are ready.
    Ready,
    /// Kubernetes refuses to create its pods, with the reason.
    Refused(String),
    /// The reason to wait.
    Waiting(String),
}

/// One agent's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPod {
    pub name: String,
    pub uid: String,
    /// Its container runs: a tunnel can be opened, even before it gets traffic.
    pub running: bool,
    pub ready: bool,
    /// It is terminating.
    pub leaving: bool,
    /// The reason why a pod is not ready, in Kubernetes' words.
    pub waits_for: Option<String>,
}

/// A stand-in's Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// The wanted number of agents.
    pub wanted: usize,
    /// Some follow an earlier template than the Deployment's.
    pub outdated: bool,
    /// No agent is outdated, and all serve.
    pub complete: bool,
    /// Why Kubernetes refuses to create its pods.
    pub refused: Option<String>,
}

/// The progress of agents in pods of their own, at each change.
pub fn stand_in(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    agents: &AgentsOf,
) -> impl Stream<Item = Result<Progress, ClusterError>> + Send + use<> {
    let name = agents.deployment_name(service, stand_in);
    let deployments = deployments(cluster, &name).map(|all| all.map(Seen::Deployments));
    let pods = agents_changes(cluster, service, stand_in, agents).map(|all| all.map(Seen::Pods));
    let mut known = (Vec::new(), Vec::new());
    futures::stream::select(deployments.boxed(), pods.boxed()).map(move |seen| {
        match seen? {
            Seen::Deployments(all) => known.0 = all,
            Seen::Pods(all) => known.1 = all,
        }
        Ok(progress(known.0.first(), &known.1))
    })
}

/// The Deployment with this name, if it exists, at each change.
fn deployments(
    cluster: &Cluster,
    name: &str,
) -> impl Stream<Item = Result<Vec<Deployment>, ClusterError>> + Send + use<> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let by_name = watcher::Config::default().fields(&format!("metadata.name={name}"));
    changes(cluster, "deployments", watcher(deployments, by_name))
}

/// A workload, if it exists, at each change.
pub(crate) fn app(
    cluster: &Cluster,
    app: &App,
) -> impl Stream<Item = Result<Option<DynamicObject>, ClusterError>> + Send + use<> {
    let by_name = watcher::Config::default().fields(&format!("metadata.name={}", app.name));
    let (kind, uid) = (app.kind.api_resource(), app.uid.clone());
    let events = watcher(app.kind.api(&cluster.client, &cluster.namespace), by_name);
    changes_of(cluster, app.kind.resource(), kind, events)
        .map(move |all| Ok(all?.into_iter().find(|now| now.metadata.uid.as_ref() == Some(&uid))))
}

enum Seen {
    Deployments(Vec<Deployment>),
    Pods(Vec<Pod>),
}

fn progress(deployment: Option<&Deployment>, pods: &[Pod]) -> Progress {
    let Some(deployment) = deployment else {
        return Progress::Waiting("waiting for the Deployment".to_owned());
    };
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = pods.iter().filter(|pod| is_ready(pod) && !is_leaving(pod)).count();
    if ready > 0 && i32::try_from(2 * ready).unwrap_or(i32::MAX) >= wanted {
        return Progress::Ready;
    }
    if let Some(reason) = refusal(deployment) {
        return Progress::Refused(reason);
    }
    let reasons: BTreeMap<_, _> = pods
        .iter()
        .filter(|pod| !is_ready(pod))
        .filter_map(|pod| Some((waiting_for(pod)?, pod.name_any())))
        .collect();
    match reasons.into_iter().next() {
        Some((reason, pod)) => {
            Progress::Waiting(format!("{ready} of {wanted} agents ready; {pod}: {reason}"))
        }
        None => Progress::Waiting(format!("{ready} of {wanted} agents ready")),
    }
}

/// Why Kubernetes refuses to create the pods of a Deployment.
fn refusal(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    Some(failure.message.clone().unwrap_or_default())
}

/// The reason why a pod is not ready, in Kubernetes' words.
fn waiting_for(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.clone()?;
        Some(waiting.message.as_ref().map_or(reason.clone(), |message| format!("{reason}: {message}")))
    });
    waiting.or_else(|| {
        let unscheduled =
            status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
        unscheduled.message.clone()
    })
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// The agents' pods: all of them, at each change.
pub fn agents(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    agents: &AgentsOf,
) -> impl Stream<Item = Result<Vec<AgentPod>, ClusterError>> + Send + use<> {
    agents_changes(cluster, service, stand_in, agents).map(|pods| Ok(pods?.iter().map(agent_pod).collect()))
}

/// The pods that have an agent's labels and are agents. After an error the next poll tries again.
fn agents_changes(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    of: &AgentsOf,
) -> impl Stream<Item = Result<Vec<Pod>, ClusterError>> + Send + use<> {
    let agents = Agents::new(cluster, service, stand_in, of);
    let changes = Box::pin(pod_changes(cluster, &selected(service, stand_in, of)));
    futures::stream::unfold((changes, agents, None), |(mut changes, mut agents, again)| async move {
        let pods = match again {
            Some(pods) => pods,
            None => match changes.next().await? {
                Ok(pods) => pods,
                Err(error) => return Some((Err(error), (changes, agents, None))),
            },
        };
        let among = agents.among(&pods).await;
        let again = among.is_err().then_some(pods);
        Some((among, (changes, agents, again)))
    })
}

fn agent_pod(pod: &Pod) -> AgentPod {
    AgentPod {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        running: is_running(pod),
        ready: is_ready(pod),
        leaving: is_leaving(pod),
        waits_for: if is_ready(pod) { None } else { waiting_for(pod) },
    }
}

/// The Deployment of a stand-in, at each change; `None`: it does not exist.
pub fn rollout(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
) -> impl Stream<Item = Result<Option<Rollout>, ClusterError>> + Send + use<> {
    let name = bridge_deploy::names(service, stand_in).stand_in;
    deployments(cluster, &name).map(|all| Ok(all?.first().map(rollout_of)))
}

fn rollout_of(deployment: &Deployment) -> Rollout {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let seen = status.observed_generation >= deployment.metadata.generation;
    let count = |replicas: Option<i32>| replicas.unwrap_or_default();
    let outdated = !seen || status.updated_replicas != status.replicas;
    let enough = |replicas| count(replicas) >= wanted;
    Rollout {
        wanted: usize::try_from(wanted).unwrap_or_default(),
        outdated,
        complete: !outdated && enough(status.updated_replicas) && enough(status.available_replicas),
        refused: refusal(deployment),
    }
}

/// Whether the agent's container runs, which is the pod's only one unless it is a sidecar.
fn is_running(pod: &Pod) -> bool {
    let statuses = || pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let sidecar = statuses().find(|container| container.name == SIDECAR_CONTAINER);
    let runs = |container: &ContainerStatus| container.state.as_ref().is_some_and(|s| s.running.is_some());
    sidecar.map_or_else(|| statuses().any(runs), runs)
}

/// The pods with these labels, at each change.
pub(crate) fn pod_changes(
    cluster: &Cluster,
    labels: &str,
) -> impl Stream<Item = Result<Vec<Pod>, ClusterError>> + Send + use<> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    changes(cluster, "pods", watcher(pods, watcher::Config::default().labels(labels)))
}

/// Waits until no pod of a stand-in, or with a sidecar, is left.
///
/// # Errors
///
/// The errors of the watch.
pub async fn gone(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    agents: &AgentsOf,
) -> Result<(), ClusterError> {
    let name = agents.deployment_name(service, stand_in);
    let is_agent = |pod: &Pod| match agents {
        AgentsOf::StandIn { .. } | AgentsOf::Aside { .. } => ours::is_of_deployment(&name, &pod.metadata),
        AgentsOf::Workloads { .. } => ours::has_sidecar(pod, stand_in),
    };
    let mut pods = std::pin::pin!(pod_changes(cluster, &selected(service, stand_in, agents)));
    while let Some(pods) = pods.next().await {
        if !pods?.iter().any(is_agent) {
            break;
        }
    }
    Ok(())
}

/// The labels of the pods that may be agents.
fn selected(service: &str, stand_in: &str, agents: &AgentsOf) -> String {
    match agents {
        AgentsOf::StandIn { .. } => labelled(service, stand_in),
        AgentsOf::Workloads { labels, .. } => equal(labels),
        AgentsOf::Aside { .. } => format!("{ASIDE_LABEL}={stand_in}"),
    }
}

/// The relation of a Service to its agents, at each change.
pub fn standing(
    cluster: &Cluster,
    name: &str,
    stand_in: &str,
    agents: &AgentsOf,
) -> BoxStream<'static, Result<Standing, ClusterError>> {
    match agents {
        AgentsOf::StandIn { .. } => service(cluster, name, stand_in).boxed(),
        AgentsOf::Workloads { apps, .. } => {
            with_templates(service(cluster, name, stand_in), templates(cluster, stand_in, apps)).boxed()
        }
        AgentsOf::Aside { name, deployment } => aside(cluster, name, deployment).boxed(),
    }
}

/// Whether the Deployment of an agent aside exists, at each change.
fn aside(
    cluster: &Cluster,
    name: &str,
    uid: &str,
) -> impl Stream<Item = Result<Standing, ClusterError>> + Send + use<> {
    let uid = uid.to_owned();
    deployments(cluster, name).map(move |all| {
        let is_there = all?.iter().any(|there| there.metadata.uid.as_ref() == Some(&uid));
        Ok(if is_there { Standing::InPlace } else { Standing::Removed })
    })
}

/// The relation of a Service to a stand-in, at each change.
pub(crate) fn service(
    cluster: &Cluster,
    name: &str,
    stand_in: &str,
) -> impl Stream<Item = Result<Standing, ClusterError>> + Send + use<> {
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let by_name = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let stand_in = stand_in.to_owned();
    changes(cluster, "services", watcher(services, by_name))
        .map(move |all| Ok(standing_of(all?.first(), &stand_in)))
}

/// The newest warning about a stand-in or its pods, as `reason: message`; empty if there is none.
pub(crate) async fn last_warning(cluster: &Cluster, deployment: &str) -> Result<String, ClusterError> {
    let namespace = &cluster.namespace;
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), namespace);
    let params = ListParams::default().fields("type=Warning").limit(500);
    let call = Call::all("list", "events", namespace);
    let events = cluster.call(call, events.list(&params)).await?;
    let newest = events
        .items
        .into_iter()
        .filter(|event| {
            event.involved_object.name.as_deref().is_some_and(|name| name.starts_with(deployment))
        })
        .max_by_key(|event| event.last_timestamp.as_ref().map(|at| at.0));
    Ok(newest.map_or_else(String::new, |event| {
        format!("{}: {}", event.reason.unwrap_or_default(), event.message.unwrap_or_default())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_is_outdated_until_none_of_its_agents_is_of_an_earlier_template() {
        let deployment = |status: &str| -> Rollout {
            let yaml = format!(
                "{{metadata: {{generation: 2}}, spec: {{replicas: 2, selector: {{}}, template: {{}}}}, status: {{{status}}}}}"
            );
            rollout_of(&serde_saphyr::from_str(&yaml).unwrap())
        };
        for (status, outdated, complete) in [
            ("observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 2", true, false),
            ("observedGeneration: 2, replicas: 3, updatedReplicas: 1, availableReplicas: 2", true, false),
            ("observedGeneration: 2, replicas: 3, updatedReplicas: 2, availableReplicas: 3", true, false),
            ("observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2", false, true),
            ("observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 1", false, false),
        ] {
            let rollout = deployment(status);
            assert_eq!((rollout.outdated, rollout.complete), (outdated, complete), "{status}");
            assert_eq!((rollout.wanted, rollout.refused), (2, None));
        }
        let failure = "conditions: [{type: ReplicaFailure, status: 'True', message: exceeded quota}]";
        assert_eq!(deployment(failure).refused.as_deref(), Some("exceeded quota"));
    }
}
