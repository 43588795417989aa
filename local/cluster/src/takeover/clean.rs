//! Cleans up, from any laptop: sessions that are gone, stand-ins without an attachment, objects left by an interrupted
//! connect or disconnect.

use std::collections::BTreeSet;
use std::sync::Arc;

use bridge_deploy::{MANAGED_BY_LABEL, SERVICE_LABEL, STAND_IN_LABEL};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, ObjectList, PartialObjectMeta};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::release::{Released, release};
use super::rescue;
use super::retire::retire;
use super::selector::disown;
use super::sidecar;
use crate::change::{Decision, change_read};
use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::mode::Mode;
use crate::objects::services;
use crate::ours::{self, Of};
use crate::rehearsal;
pub use crate::rehearsal::Change;
use crate::replace::{self, Restored};
use crate::spec::selector;
use crate::state::{Attachment, Claim};
use crate::workload::Labels;

/// Decides which sessions are gone.
#[derive(Clone)]
pub enum Whose {
    /// Those of a laptop, without the ones that are alive.
    Laptop {
        installation: String,
        /// Whether this laptop's daemon holds the session with an id. Called after the claim was read, because a claim
        /// is written before its session exists.
        alive: Arc<dyn Fn(&str) -> bool + Send + Sync>,
        /// Sessions of other laptops count as gone, too.
        others: bool,
    },
    /// Those with these ids.
    Sessions(BTreeSet<String>),
}

/// The results of cleaning, and what was left because others use it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Workloads that such sessions had replaced.
    pub restored: Vec<Restored>,
    pub done: Vec<Done>,
    /// A Service, and a session of another laptop.
    pub kept: Vec<(String, Claim)>,
    /// Attachments that could not be read, and were left alone.
    pub unreadable: Vec<ClusterError>,
}

/// One result at a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub service: String,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// No agent was ready, and no session restored it: all sessions count as gone.
    FoundDown,
    RemovedSession {
        user: String,
    },
    RestoredSelector,
    /// A stand-in, or sidecars, that nobody used.
    RemovedUnused {
        mode: Mode,
        id: String,
    },
}

impl Done {
    /// "orders: restored its selector"
    #[must_use]
    pub fn sentence(&self) -> String {
        let what = match &self.what {
            What::FoundDown => "no agent was ready, and no session restored it".to_owned(),
            What::RemovedSession { user } => format!("removed the session of {user}"),
            What::RestoredSelector => "restored its selector".to_owned(),
            What::RemovedUnused { mode, id } => format!("removed the unused {mode} {id}"),
        };
        format!("{}: {what}", self.service)
    }

    /// The same of a dry run: "orders: would restore its selector".
    #[must_use]
    pub fn intention(&self) -> String {
        let what = match &self.what {
            What::FoundDown => return self.sentence(),
            What::RemovedSession { user } => format!("would remove the session of {user}"),
            What::RestoredSelector => "would restore its selector".to_owned(),
            What::RemovedUnused { mode, id } => format!("would remove the unused {mode} {id}"),
        };
        format!("{}: {what}", self.service)
    }
}

impl Whose {
    pub(crate) fn is_gone(&self, claim: &Claim) -> bool {
        match self {
            Self::Laptop { installation, alive, .. } if claim.installation == *installation => {
                !alive(&claim.id)
            }
            Self::Laptop { others, .. } => *others,
            Self::Sessions(gone) => gone.contains(&claim.id),
        }
    }

    /// The same, and those of all other laptops.
    fn and_others(mut self) -> Self {
        if let Self::Laptop { others, .. } = &mut self {
            *others = true;
        }
        self
    }
}

/// Cleans one Service, or all of the namespace.
///
/// # Errors
///
/// The errors of the calls; what was done until then stays done.
pub async fn clean(cluster: &Cluster, only: Option<&str>, whose: &Whose) -> Result<Cleaned, ClusterError> {
    let mut cleaned = Cleaned::default();
    let all = services(cluster).await?;
    let wanted = |service: &&Service| only.is_none_or(|name| service.name_any() == name);
    for service in all.iter().filter(wanted) {
        match clean_one(cluster, service, whose, &mut cleaned).await {
            // One that someone has broken is no reason to leave the others.
            Err(error) if is_unreadable(&error) => cleaned.unreadable.push(error),
            done => done?,
        }
    }
    for Retired { service, id, mode } in retire_unused(cluster, only).await? {
        cleaned.done.push(Done { service, what: What::RemovedUnused { mode, id } });
    }
    Ok(cleaned)
}

/// The same steps as [`clean`], without changing anything: what it would do, and which objects it would change.
///
/// # Errors
///
/// The errors of the calls that read.
pub async fn rehearse(
    cluster: &Cluster,
    only: Option<&str>,
    whose: &Whose,
) -> Result<(Cleaned, Vec<Change>), ClusterError> {
    let (cluster, rehearsal) = rehearsal::of(cluster);
    let cleaned = clean(&cluster, only, whose).await?;
    Ok((cleaned, rehearsal.changes()))
}

fn is_unreadable(error: &ClusterError) -> bool {
    use ClusterError::{Annotation, NewerAttachment, UnknownMode};
    matches!(error, Annotation { .. } | NewerAttachment { .. } | UnknownMode { .. })
}

/// A stand-in, or sidecars, that nobody used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    pub service: String,
    pub id: String,
    pub mode: Mode,
}

/// Retires the stand-ins and sidecars of one Service or of all that no attachment names: the remains of an interrupted
/// disconnect.
///
/// # Errors
///
/// The errors of the calls; what was done until then stays done.
pub async fn retire_unused(cluster: &Cluster, only: Option<&str>) -> Result<Vec<Retired>, ClusterError> {
    let sidecars = sidecar::remove_abandoned(cluster, only).await;
    // Whoever may not take a sidecar out may retire the stand-ins.
    let stand_ins = retire_unused_of(cluster, only, objects(cluster, only).await?).await?;
    let sidecars = sidecars?.into_iter().map(|of| Retired::of(of, Mode::Sidecar));
    Ok(sidecars.chain(stand_ins).collect())
}

impl Retired {
    fn of(of: Of, mode: Mode) -> Self {
        Self { service: of.service, id: of.id, mode }
    }
}

/// As [`retire_unused`] of one Service, except for the stand-in with this id.
///
/// # Errors
///
/// As [`retire_unused`].
pub async fn retire_others(cluster: &Cluster, service: &str, stand_in: &str) -> Result<(), ClusterError> {
    let mut found = objects(cluster, Some(service)).await?;
    found.retain(|object| ours::labelled(object).is_some_and(|(_, id)| id != stand_in));
    retire_unused_of(cluster, Some(service), found).await.map(drop)
}

/// To be called with objects that were read before the Services: a connect writes its attachment before it creates its
/// stand-in.
async fn retire_unused_of(
    cluster: &Cluster,
    only: Option<&str>,
    found: Vec<ObjectMeta>,
) -> Result<Vec<Retired>, ClusterError> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let all = services(cluster).await?;
    let wanted = |service: &&Service| only.is_none_or(|name| service.name_any() == name);
    let mut retired = Vec::new();
    for service in all.iter().filter(wanted) {
        for of in unused(service, &found) {
            lead_back(cluster, service, &of, &all).await?;
            retire(cluster, &of).await?;
            retired.push(Retired::of(of, Mode::StandIn));
        }
    }
    Ok(retired)
}

/// The stand-ins of a Service that have objects and that its attachment does not name. If the attachment cannot be
/// read, any of them may be in use.
fn unused(service: &Service, found: &[ObjectMeta]) -> BTreeSet<Of> {
    let Ok(attachment) = Attachment::of(service) else { return BTreeSet::new() };
    let in_use = attachment.map(|there| there.stand_in);
    let name = service.name_any();
    let of = |object: &ObjectMeta| {
        let (labelled, id) = ours::labelled(object)?;
        let of = Of::new(service, id).filter(|of| labelled == name && of.owns(object))?;
        let names = of.names();
        let called = object.name.as_deref()?;
        let is_made = called == names.stand_in || called == names.origin || names.is_program(called);
        is_made.then_some(of)
    };
    found.iter().filter_map(of).filter(|of| in_use.as_ref() != Some(&of.id)).collect()
}

/// Restores the selector of a Service that leads to a stand-in although its annotation is gone: the Service in front of
/// the origin has the original one.
async fn lead_back(
    cluster: &Cluster,
    service: &Service,
    of: &Of,
    all: &[Service],
) -> Result<(), ClusterError> {
    let names = of.names();
    let is_origin = |other: &&Service| other.name_any() == names.origin && of.owns(&other.metadata);
    let Some(original) = all.iter().find(is_origin).map(selector) else { return Ok(()) };
    let decide = |now: &Service| Ok(away_from(now, &names.stand_in, &original));
    change_read(cluster, service.clone(), decide).await.map(drop)
}

fn away_from(now: &Service, stand_in: &str, original: &Labels) -> Decision<()> {
    let now = selector(now);
    let leads_there = !now.is_empty() && now.values().all(|value| value == stand_in);
    // The selector that we set has the same keys.
    if leads_there && original.keys().eq(now.keys()) {
        return Decision::Write(json!({"spec": {"selector": original}}), ());
    }
    Decision::Leave(())
}

async fn clean_one(
    cluster: &Cluster,
    service: &Service,
    whose: &Whose,
    cleaned: &mut Cleaned,
) -> Result<(), ClusterError> {
    if !rescue::is_abandoned(cluster, service).await? {
        return release_gone(cluster, service, whose, cleaned).await;
    }
    cleaned.done.push(Done { service: service.name_any(), what: What::FoundDown });
    release_gone(cluster, service, &whose.clone().and_others(), cleaned).await
}

async fn release_gone(
    cluster: &Cluster,
    service: &Service,
    whose: &Whose,
    cleaned: &mut Cleaned,
) -> Result<(), ClusterError> {
    let Some(attachment) = Attachment::of(service)? else { return Ok(()) };
    let name = service.name_any();
    let in_place = attachment.is_in_place(service);
    let (gone, kept): (Vec<_>, Vec<_>) =
        attachment.sessions.into_iter().partition(|claim| whose.is_gone(claim));
    for target in gone.iter().filter_map(|claim| claim.replaces.as_deref()) {
        let replace::Cleaned { restored, unreadable } = replace::clean(cluster, Some(target), whose).await?;
        cleaned.restored.extend(restored);
        cleaned.unreadable.extend(unreadable);
    }
    let nobody = gone.is_empty() && kept.is_empty();
    if !gone.is_empty() || nobody {
        let released = release(cluster, &name, |claim| whose.is_gone(claim)).await?;
        let done = |what| Done { service: name.clone(), what };
        cleaned.done.extend(gone.into_iter().map(|claim| done(What::RemovedSession { user: claim.user })));
        if matches!(released, Released::Restored { .. }) {
            cleaned.done.push(done(What::RestoredSelector));
        }
    }
    if in_place && !kept.is_empty() {
        // A connect that was interrupted after the switch has left the selector in its own name.
        disown(cluster, service.clone()).await?;
    }
    cleaned.kept.extend(kept.into_iter().map(|claim| (name.clone(), claim)));
    Ok(())
}

/// Objects that may be a stand-in's, of one Service or of all, by their labels. Those handed over to draining pods go with
/// these pods.
async fn objects(cluster: &Cluster, only: Option<&str>) -> Result<Vec<ObjectMeta>, ClusterError> {
    let of_service = only.map(|service| format!(",{SERVICE_LABEL}={service}")).unwrap_or_default();
    let labels = format!("{MANAGED_BY_LABEL}=bridge,{STAND_IN_LABEL}{of_service}");
    let params = ListParams::default().labels(&labels);
    let (client, namespace) = (&cluster.client, &cluster.namespace);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let programs: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let (deployments, services, programs) = tokio::try_join!(
        cluster.call(Call::all("list", "deployments", namespace), deployments.list_metadata(&params)),
        cluster.call(Call::all("list", "services", namespace), services.list_metadata(&params)),
        cluster.call(Call::all("list", "configmaps", namespace), programs.list_metadata(&params)),
    )?;
    let found = metadata(deployments).chain(metadata(services)).chain(metadata(programs));
    Ok(found.filter(|object| object.deletion_timestamp.is_none()).collect())
}

fn metadata<K: Clone>(list: ObjectList<PartialObjectMeta<K>>) -> impl Iterator<Item = ObjectMeta> {
    list.items.into_iter().map(|object| object.metadata)
}

#[cfg(test)]
#[path = "clean_tests.rs"]
mod tests;
