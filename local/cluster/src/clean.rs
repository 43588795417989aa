//! Mending what is half done, from any laptop: sessions that are gone, stand-ins without an attachment, objects that an
//! interrupted connect or disconnect left.

use std::collections::{BTreeMap, BTreeSet};

use bridge_deploy::{MANAGED_BY_LABEL, SERVICE_LABEL, STAND_IN_LABEL};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::attach::patch;
use crate::client::Cluster;
use crate::detach::{self, Released};
use crate::error::{Call, ClusterError};
use crate::rescue;
use crate::state::{Attachment, Claim, selector};

/// Which sessions are gone.
#[derive(Debug, Clone, Default)]
pub struct Whose {
    /// This laptop: its sessions count as gone unless they are in `alive`.
    pub installation: String,
    /// The sessions that this laptop's daemon holds.
    pub alive: BTreeSet<String>,
    /// Those of other laptops count as gone, too.
    pub others: bool,
}

/// What cleaning did, and what it left because it is somebody's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Sentences.
    pub done: Vec<String>,
    /// A Service, and a session of another laptop.
    pub kept: Vec<(String, Claim)>,
}

impl Whose {
    fn is_gone(&self, claim: &Claim) -> bool {
        if claim.installation == self.installation { !self.alive.contains(&claim.id) } else { self.others }
    }
}

/// Cleans one Service, or all of the namespace.
///
/// # Errors
///
/// Those of the calls; what was done until then stays done.
pub async fn clean(cluster: &Cluster, only: Option<&str>, whose: &Whose) -> Result<Cleaned, ClusterError> {
    let mut cleaned = Cleaned::default();
    let all = services(cluster).await?;
    let wanted = |service: &&Service| only.is_none_or(|name| service.name_any() == name);
    for service in all.iter().filter(wanted) {
        if rescue::is_abandoned(cluster, service).await? {
            let name = service.name_any();
            cleaned.done.push(format!("{name}: no agent was ready, and none of its sessions gave it back"));
            let all_gone = Whose { others: true, ..whose.clone() };
            release_gone(cluster, service, &all_gone, &mut cleaned).await?;
        } else {
            release_gone(cluster, service, whose, &mut cleaned).await?;
        }
    }
    for (service, stand_in) in retire_unused(cluster, only).await? {
        cleaned.done.push(format!("{service}: the stand-in {stand_in}, which nobody uses, goes"));
    }
    Ok(cleaned)
}

/// Lets the stand-ins go that no attachment names, of one Service or of all: what an interrupted disconnect left.
///
/// # Errors
///
/// Those of the calls; what was done until then stays done.
pub async fn retire_unused(
    cluster: &Cluster,
    only: Option<&str>,
) -> Result<Vec<ServiceAndStandIn>, ClusterError> {
    // In this order: a connect writes its attachment before it makes its stand-in.
    let mut unused = stand_ins(cluster).await?;
    unused.retain(|(service, _)| only.is_none_or(|name| service == name));
    if unused.is_empty() {
        return Ok(Vec::new());
    }
    let all = services(cluster).await?;
    let in_use = in_use(&all)?;
    unused.retain(|found| !in_use.contains(found));
    for (service, stand_in) in &unused {
        if let Some(led_there) = all.iter().find(|s| s.name_any() == *service) {
            lead_back(cluster, led_there, stand_in, &all).await?;
        }
        detach::retire(cluster, service, stand_in).await?;
    }
    Ok(unused.into_iter().collect())
}

/// Puts back the selector of a Service that leads to a stand-in although its annotation is gone: the Service in front of
/// the origin has the original one.
async fn lead_back(
    cluster: &Cluster,
    service: &Service,
    stand_in: &str,
    all: &[Service],
) -> Result<(), ClusterError> {
    let names = bridge_deploy::names(&service.name_any(), stand_in);
    let now = selector(service);
    let leads_there = !now.is_empty() && now.values().all(|value| *value == names.stand_in);
    let origin = all.iter().find(|other| other.name_any() == names.origin).map(selector);
    if let (true, Some(original)) = (leads_there, origin) {
        let mut change: BTreeMap<_, Option<&String>> = now.keys().map(|key| (key, None)).collect();
        change.extend(original.iter().map(|(key, value)| (key, Some(value))));
        patch(cluster, service, json!({"spec": {"selector": change}})).await?;
    }
    Ok(())
}

async fn release_gone(
    cluster: &Cluster,
    service: &Service,
    whose: &Whose,
    cleaned: &mut Cleaned,
) -> Result<(), ClusterError> {
    let Some(attachment) = Attachment::of(service)? else { return Ok(()) };
    let name = service.name_any();
    let (gone, kept): (Vec<_>, Vec<_>) =
        attachment.sessions.into_iter().partition(|claim| whose.is_gone(claim));
    let nobody = gone.is_empty() && kept.is_empty();
    if !gone.is_empty() || nobody {
        let released = detach::release(cluster, &name, |claim| whose.is_gone(claim)).await?;
        cleaned
            .done
            .extend(gone.iter().map(|claim| format!("{name}: the session of {} was gone", claim.user)));
        if matches!(released, Released::Restored { .. }) {
            cleaned.done.push(format!("{name}: has its own selector again"));
        }
    }
    cleaned.kept.extend(kept.into_iter().map(|claim| (name.clone(), claim)));
    Ok(())
}

async fn services(cluster: &Cluster) -> Result<Vec<Service>, ClusterError> {
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", "services", &cluster.namespace);
    Ok(cluster.call(call, api.list(&ListParams::default())).await?.items)
}

/// The name of a Service, and the id of a stand-in for it.
pub type ServiceAndStandIn = (String, String);

/// The stand-ins that an attachment names.
fn in_use(services: &[Service]) -> Result<BTreeSet<ServiceAndStandIn>, ClusterError> {
    let mut in_use = BTreeSet::new();
    for service in services {
        if let Some(attachment) = Attachment::of(service)? {
            in_use.insert((service.name_any(), attachment.stand_in));
        }
    }
    Ok(in_use)
}

/// All stand-ins of which there is any object.
async fn stand_ins(cluster: &Cluster) -> Result<BTreeSet<ServiceAndStandIn>, ClusterError> {
    let params = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}=bridge,{STAND_IN_LABEL}"));
    let (client, namespace) = (&cluster.client, &cluster.namespace);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let programs: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let (deployments, services, programs) = tokio::try_join!(
        cluster.call(Call::all("list", "deployments", namespace), deployments.list_metadata(&params)),
        cluster.call(Call::all("list", "services", namespace), services.list_metadata(&params)),
        cluster.call(Call::all("list", "configmaps", namespace), programs.list_metadata(&params)),
    )?;
    let found = deployments.iter().filter_map(of).chain(services.iter().filter_map(of));
    Ok(found.chain(programs.iter().filter_map(of)).collect())
}

/// Which stand-in an object belongs to. One that was handed over to draining pods goes by itself.
fn of<K>(object: &PartialObjectMeta<K>) -> Option<ServiceAndStandIn> {
    let labels: &BTreeMap<String, String> = object.metadata.labels.as_ref()?;
    let draining = object.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "Pod");
    if draining || object.metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some((labels.get(SERVICE_LABEL)?.clone(), labels.get(STAND_IN_LABEL)?.clone()))
}
