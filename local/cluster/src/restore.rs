//! What agents do about their own laptops' absence, by an account of their own ([`crate::account`]): the same as
//! [`crate::clean`], for the sessions that were seen some time before and that no agent has.
//!
//! The program that calls this is `agent/restorer`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use crate::aside::{self, Record};
use crate::clean::{self, Done, Whose};
use crate::client::Cluster;
use crate::delete::absent_is_fine;
use crate::error::{Call, ClusterError};
use crate::events;
use crate::objects::read;
use crate::ours;
use crate::replace::Restored;
use crate::snapshot::{is_ready, is_serving};
use crate::state::Attachment;

/// What an agent is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The stand-in or the sidecars of a Service.
    Service { name: String, id: String },
    /// An agent aside: its Deployment.
    Aside { deployment: String },
}

/// The sessions that the cluster has on record for these agents; none if nothing names them any more.
///
/// # Errors
///
/// If the record cannot be read, and those of the calls.
pub async fn sessions(cluster: &Cluster, part: &Part) -> Result<BTreeSet<String>, ClusterError> {
    match part {
        Part::Service { name, id } => {
            let attachment = match read(cluster, name).await {
                Err(error) if error.is_not_found() => None,
                service => Attachment::of(&service?)?,
            };
            let ours = attachment.filter(|there| there.stand_in == *id);
            Ok(ours.into_iter().flat_map(|there| there.sessions).map(|claim| claim.id).collect())
        }
        Part::Aside { deployment } => {
            let record = record(cluster, deployment).await?;
            Ok(record.into_iter().map(|record| record.session.id).collect())
        }
    }
}

async fn record(cluster: &Cluster, deployment: &str) -> Result<Option<Record>, ClusterError> {
    let all = aside::clean::all(cluster).await?;
    Ok(all.into_iter().find(|found| found.deployment == deployment).map(|found| found.record))
}

/// An agent that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Agent {
    pub address: IpAddr,
    pub ready: bool,
}

/// All these agents that run, the caller's own included.
///
/// # Errors
///
/// The errors of the call.
pub async fn agents(cluster: &Cluster, part: &Part) -> Result<Vec<Agent>, ClusterError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", "pods", &cluster.namespace);
    let pods = cluster.call(call, api.list(&ListParams::default())).await?;
    let is_one = |pod: &Pod| match part {
        Part::Service { name, id } => {
            let stand_in = bridge_deploy::names(name, id).stand_in;
            ours::is_of_deployment(&stand_in, &pod.metadata) || ours::has_sidecar(pod, id)
        }
        Part::Aside { deployment } => ours::is_of_deployment(deployment, &pod.metadata),
    };
    let agent = |pod: &Pod| {
        let address = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
        Some(Agent { address, ready: is_ready(pod) })
    };
    Ok(pods.iter().filter(|pod| is_serving(pod) && is_one(pod)).filter_map(agent).collect())
}

/// Restores everything if no other session than these has come. Returns what was done, a sentence each.
///
/// # Errors
///
/// The errors of the calls. Finished steps stay done: calling it again, or [`clean`], does the rest.
pub async fn restore(
    cluster: &Cluster,
    part: &Part,
    gone: BTreeSet<String>,
) -> Result<Vec<String>, ClusterError> {
    let whose = Whose::Sessions(gone);
    match part {
        Part::Service { name, id } => {
            let cleaned = clean::clean(cluster, Some(name), &whose).await?;
            if let Some(error) = cleaned.unreadable.into_iter().next() {
                return Err(error);
            }
            if sessions(cluster, part).await?.is_empty() {
                remove_key(cluster, &bridge_deploy::names(name, id).secret).await?;
            }
            let restored = cleaned.restored.iter().map(Restored::sentence);
            let done: Vec<String> = restored.chain(cleaned.done.iter().map(Done::sentence)).collect();
            if !done.is_empty() {
                events::record(cluster, name, "BridgeRestored", &text(&done)).await;
            }
            Ok(done)
        }
        Part::Aside { deployment } => {
            let Some(record) = record(cluster, deployment).await? else { return Ok(Vec::new()) };
            let cleaned = aside::clean::clean(cluster, Some(&record.target), &whose).await?;
            let restored = cleaned.restored.iter().map(Restored::sentence);
            Ok(restored.chain(cleaned.removed.iter().map(aside::clean::Found::sentence)).collect())
        }
    }
}

fn text(done: &[String]) -> String {
    format!("no laptop was there: {}", done.join("; "))
}

/// Deletes the key, last, as new pods need it while sidecars are in the templates. The account may not read Secrets, so the
/// key is known by its name alone: it has the id of these agents in it.
async fn remove_key(cluster: &Cluster, name: &str) -> Result<(), ClusterError> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::new("delete", "secrets", &cluster.namespace, name);
    absent_is_fine(cluster.call(call, api.delete(name, &DeleteParams::default())).await)
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
