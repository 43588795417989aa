//! Decides which pods are agents: those that belong to a Deployment of ours, or to a workload with a sidecar, by uid,
//! according to the API server. Anyone who may create pods can give one an agent's labels; bridge leaves such a pod
//! alone, and logs it once.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, ResourceExt};

use crate::app::{App, AppKind};
use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::objects::read;
use crate::ours::{self, replica_set};
use crate::state::Attachment;
use crate::workload::Labels;

/// The number of foreign pods, and of ReplicaSets, to remember: all are forgotten when there are more.
const MOST_KNOWN: usize = 1000;

/// The pods that may be agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentsOf {
    /// Those of a stand-in; the uid of its Deployment.
    StandIn { deployment: String },
    /// Those of the origin: its workloads, and the labels by which the Service selects their pods.
    Workloads { apps: BTreeSet<App>, labels: Labels },
    /// The agent aside of a Deployment: its name and uid.
    Aside { name: String, deployment: String },
}

impl AgentsOf {
    /// The name of the Deployment of agents in pods of their own.
    #[must_use]
    pub fn deployment_name(&self, service: &str, stand_in: &str) -> String {
        match self {
            Self::Aside { name, .. } => name.clone(),
            Self::StandIn { .. } | Self::Workloads { .. } => bridge_deploy::names(service, stand_in).stand_in,
        }
    }

    /// Whether this workload, by uid, controls them as their origin.
    fn are_controlled_by(&self, (kind, uid): (AppKind, &str)) -> bool {
        let Self::Workloads { apps, .. } = self else { return false };
        apps.iter().any(|app| app.kind == kind && app.uid == uid)
    }
}

/// Finds the agents among the pods that have their labels.
pub(crate) struct Agents {
    cluster: Cluster,
    service: String,
    stand_in: String,
    of: AgentsOf,
    /// For each ReplicaSet, by uid, whether it is one of theirs.
    replica_sets: BTreeMap<String, bool>,
    /// The uids of the foreign pods already logged.
    logged: BTreeSet<String>,
}

impl Agents {
    /// A stand-in's Deployment that the annotation names later, if it was recreated, counts as well.
    pub(crate) fn new(cluster: &Cluster, service: &str, stand_in: &str, of: &AgentsOf) -> Self {
        Self {
            cluster: cluster.clone(),
            service: service.to_owned(),
            stand_in: stand_in.to_owned(),
            of: of.clone(),
            replica_sets: BTreeMap::new(),
            logged: BTreeSet::new(),
        }
    }

    /// Returns the agents among these pods.
    pub(crate) async fn among(&mut self, pods: &[Pod]) -> Result<Vec<Pod>, ClusterError> {
        let mut agents = Vec::with_capacity(pods.len());
        for pod in pods {
            if !self.looks_like_one(pod) {
                continue;
            }
            if self.is_agent(&pod.metadata).await? {
                agents.push(pod.clone());
            } else {
                self.tell(pod);
            }
        }
        Ok(agents)
    }

    /// Whether a pod with the labels has an agent's container.
    fn looks_like_one(&self, pod: &Pod) -> bool {
        match &self.of {
            AgentsOf::StandIn { .. } | AgentsOf::Aside { .. } => true,
            AgentsOf::Workloads { .. } => ours::has_sidecar(pod, &self.stand_in),
        }
    }

    async fn is_agent(&mut self, pod: &ObjectMeta) -> Result<bool, ClusterError> {
        let Some(owner) = replica_set(pod) else {
            let app = ours::app(pod).filter(|(kind, _)| *kind != AppKind::Deployment);
            return Ok(app.is_some_and(|app| self.of.are_controlled_by(app)));
        };
        if let Some(known) = self.replica_sets.get(&owner.uid) {
            return Ok(*known);
        }
        let ours = match self.read_replica_set(&owner.name).await? {
            Some(found) if found.uid.as_ref() == Some(&owner.uid) => {
                match (ours::app(&found), &self.of) {
                    (None, _) => false,
                    (Some(app), AgentsOf::Workloads { .. }) => self.of.are_controlled_by(app),
                    (Some((kind, _)), _) if kind != AppKind::Deployment => false,
                    (Some((_, uid)), AgentsOf::Aside { deployment, .. }) => uid == deployment,
                    (Some((_, uid)), AgentsOf::StandIn { deployment }) if uid == deployment => true,
                    // Not noted: it may be recreated, and named, at any time.
                    (Some((_, uid)), AgentsOf::StandIn { .. }) if !self.is_named_now(uid).await? => {
                        return Ok(false);
                    }
                    (Some(_), AgentsOf::StandIn { .. }) => true,
                }
            }
            _ => false,
        };
        if self.replica_sets.len() >= MOST_KNOWN {
            self.replica_sets.clear();
        }
        self.replica_sets.insert(owner.uid.clone(), ours);
        Ok(ours)
    }

    async fn read_replica_set(&self, name: &str) -> Result<Option<ObjectMeta>, ClusterError> {
        let Cluster { client, namespace, .. } = &self.cluster;
        let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
        let call = Call::new("get", "replicasets", namespace, name);
        match self.cluster.call(call, api.get_metadata(name)).await {
            Ok(found) => Ok(Some(found.metadata)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the Service's annotation now names this Deployment.
    async fn is_named_now(&self, deployment: &str) -> Result<bool, ClusterError> {
        let service = match read(&self.cluster, &self.service).await {
            Ok(service) => service,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error),
        };
        let named = Attachment::of(&service).ok().flatten().filter(|there| there.stand_in == self.stand_in);
        Ok(named.is_some_and(|there| there.deployment.as_deref() == Some(deployment)))
    }

    fn tell(&mut self, pod: &Pod) {
        if self.logged.len() >= MOST_KNOWN {
            self.logged.clear();
        }
        if self.logged.insert(pod.uid().unwrap_or_default()) {
            let (service, pod) = (&self.service, pod.name_any());
            tracing::warn!(%service, %pod, "a pod has an agent's labels but is not an agent; leaving it alone");
        }
    }
}

#[cfg(test)]
#[path = "agents_tests.rs"]
mod tests;
