//! Agents aside that exist, and those whose session is gone.

use bridge_deploy::{ASIDE_LABEL, MANAGED_BY_LABEL};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;

use super::Record;
use crate::client::Cluster;
use crate::delete::delete;
use crate::error::{Call, ClusterError};
use crate::rehearsal;
use crate::replace::{self, Restored};
use crate::state::Claim;
use crate::takeover::clean::{Change, Whose};

/// An agent aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// "worker-bridge-7f3a91c2"
    pub deployment: String,
    pub record: Record,
}

/// The results of cleaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Workloads that such sessions had replaced.
    pub restored: Vec<Restored>,
    pub removed: Vec<Found>,
    /// Sessions that live, or may live on another laptop, each with its target.
    pub kept: Vec<(String, Claim)>,
    /// Annotations that could not be read, and were left alone.
    pub unreadable: Vec<ClusterError>,
}

impl Found {
    /// "deploy/worker: removed the agent of alice (Deployment worker-bridge-7f3a91c2)"
    #[must_use]
    pub fn sentence(&self) -> String {
        self.with("removed")
    }

    /// The same of a dry run: "deploy/worker: would remove …"
    #[must_use]
    pub fn intention(&self) -> String {
        self.with("would remove")
    }

    fn with(&self, removed: &str) -> String {
        let Record { target, session, .. } = &self.record;
        format!("{target}: {removed} the agent of {} (Deployment {})", session.user, self.deployment)
    }
}

/// All agents aside of the namespace.
///
/// # Errors
///
/// The errors of the call.
pub async fn all(cluster: &Cluster) -> Result<Vec<Found>, ClusterError> {
    let found = deployments(cluster).await?;
    let found = found.iter().filter_map(|deployment| of(deployment).ok().flatten());
    Ok(found.collect())
}

/// Restores what sessions that are gone have replaced, and removes their agents. `only`: at this target, as in [`Record::target`].
///
/// # Errors
///
/// The errors of the calls; what was done until then stays done.
pub async fn clean(cluster: &Cluster, only: Option<&str>, whose: &Whose) -> Result<Cleaned, ClusterError> {
    let replace::Cleaned { restored, unreadable } = replace::clean(cluster, only, whose).await?;
    let mut cleaned = Cleaned { restored, unreadable, ..Cleaned::default() };
    for deployment in deployments(cluster).await? {
        let found = match of(&deployment) {
            Ok(found) => found,
            Err(error) => {
                cleaned.unreadable.push(error);
                continue;
            }
        };
        let Some(found) = found.filter(|found| only.is_none_or(|only| found.record.target == only)) else {
            continue;
        };
        if whose.is_gone(&found.record.session) {
            delete::<Deployment>(cluster, "deployments", &deployment).await?;
            cleaned.removed.push(found);
        } else {
            cleaned.kept.push((found.record.target, found.record.session));
        }
    }
    Ok(cleaned)
}

/// The same steps as [`clean`], without changing anything.
///
/// # Errors
///
/// The errors of the call that reads.
pub async fn rehearse(
    cluster: &Cluster,
    only: Option<&str>,
    whose: &Whose,
) -> Result<(Cleaned, Vec<Change>), ClusterError> {
    let (cluster, rehearsal) = rehearsal::of(cluster);
    let cleaned = clean(&cluster, only, whose).await?;
    Ok((cleaned, rehearsal.changes()))
}

async fn deployments(cluster: &Cluster) -> Result<Vec<ObjectMeta>, ClusterError> {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", "deployments", &cluster.namespace);
    let params = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}=bridge,{ASIDE_LABEL}"));
    let all = cluster.call(call, api.list_metadata(&params)).await?;
    let all = all.items.into_iter().map(|object| object.metadata);
    Ok(all.filter(|object| object.deletion_timestamp.is_none()).collect())
}

fn of(deployment: &ObjectMeta) -> Result<Option<Found>, ClusterError> {
    let name = || deployment.name.clone().unwrap_or_default();
    match Record::of(deployment) {
        Ok(record) => Ok(record.map(|record| Found { deployment: name(), record })),
        Err(reason) => Err(ClusterError::Session { deployment: name(), reason }),
    }
}
