//! Takes sidecars out of workloads. The pods roll out once more, and what the sidecars need goes with the last pod that
//! has one. Nothing here waits for that.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;

use super::{change, stuck};
use crate::access::{self, Need, Right};
use crate::app::{App, AppKind};
use crate::client::{Cluster, unless_forbidden};
use crate::error::{Call, ClusterError};
use crate::mode::Mode;
use crate::objects::services;
use crate::ours::{self, Of};
use crate::record::Record;
use crate::state::Attachment;
use crate::takeover::retire::{Sidecars, retire_with};
use crate::write::write;

/// Takes the sidecar of an attachment out of all workloads. Idempotent.
///
/// # Errors
///
/// The errors of the calls.
pub(in crate::takeover) async fn remove(cluster: &Cluster, of: &Of) -> Result<(), ClusterError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", "pods", &cluster.namespace);
    let pods = cluster.call(call, pods.list(&ListParams::default())).await?;
    let with_it = pods.items.into_iter().filter(|pod| ours::has_sidecar(pod, &of.id));
    let mut recorded = recorded(cluster).await?;
    recorded.retain(|workload| workload.record.is_of(&of.uid, &of.id));
    let sidecars = Sidecars {
        pods: with_it.map(|pod| pod.metadata).collect(),
        apps: recorded.iter().map(|workload| workload.app.clone()).collect(),
    };
    may_patch(cluster, &sidecars.apps).await?;
    // First, as the record in the workload is the way to find these objects.
    retire_with(cluster, of, &sidecars).await?;
    for app in &sidecars.apps {
        match write(cluster, app, |now| Ok(change::without(now, of))).await {
            Err(error) if error.is_not_found() => {}
            done => drop(done?),
        }
    }
    for app in &sidecars.apps {
        stuck::free(cluster, app, &of.id).await?;
    }
    Ok(())
}

/// Before anything goes that the sidecars need: while they are in the templates, new pods need it.
async fn may_patch(cluster: &Cluster, apps: &[App]) -> Result<(), ClusterError> {
    let kinds: BTreeSet<AppKind> = apps.iter().map(|app| app.kind).collect();
    let right = |kind: AppKind| Right {
        verb: "patch",
        group: kind.group(),
        resource: kind.resource(),
        need: Need::Connect,
    };
    let needed: Vec<Right> = kinds.into_iter().map(right).collect();
    match access::missing(cluster, &needed).await?.first() {
        None => Ok(()),
        Some(right) => {
            let call = Call::all(right.verb, right.resource, &cluster.namespace);
            Err(ClusterError::Forbidden { call, user: None })
        }
    }
}

/// Takes sidecars out that no attachment names, of one Service or of all: the remains of an interrupted disconnect, or
/// of a Service that was deleted.
///
/// # Errors
///
/// The errors of the calls.
pub(in crate::takeover) async fn remove_abandoned(
    cluster: &Cluster,
    only: Option<&str>,
) -> Result<Vec<Of>, ClusterError> {
    let mut all = recorded(cluster).await?;
    all.retain(|workload| only.is_none_or(|service| service == workload.record.service));
    if all.is_empty() {
        return Ok(Vec::new());
    }
    // In this order: a connect writes its attachment before it adds a sidecar.
    let services = services(cluster).await?;
    let mut abandoned: Vec<Of> = all
        .into_iter()
        .map(|workload| workload.record)
        .filter(|record| bridge_deploy::is_stand_in_id(&record.id) && !is_in_use(record, &services))
        .map(|record| Of { service: record.service, uid: record.service_uid, id: record.id })
        .collect();
    abandoned.sort_unstable();
    abandoned.dedup();
    for of in &abandoned {
        remove(cluster, of).await?;
    }
    Ok(abandoned)
}

/// Whether an attachment names it. If the attachment cannot be read, it may.
fn is_in_use(record: &Record, services: &[Service]) -> bool {
    let its = |service: &&Service| service.metadata.uid.as_ref() == Some(&record.service_uid);
    services.iter().find(its).is_some_and(|service| match Attachment::of(service) {
        Ok(there) => there.is_some_and(|there| there.mode == Mode::Sidecar && there.stand_in == record.id),
        Err(_) => true,
    })
}

/// A workload with a sidecar.
struct Recorded {
    app: App,
    record: Record,
}

async fn recorded(cluster: &Cluster) -> Result<Vec<Recorded>, ClusterError> {
    let mut found = Vec::new();
    for kind in AppKind::ALL {
        let (call, api) = (
            Call::all("list", kind.resource(), &cluster.namespace),
            kind.api(&cluster.client, &cluster.namespace),
        );
        let all = cluster.call(call, api.list_metadata(&ListParams::default())).await;
        let all = match all {
            Err(error) if error.is_not_found() => continue,
            // Whoever may not list a kind has added no sidecar to it.
            all => unless_forbidden(all)?,
        };
        let Some(all) = all else { continue };
        let record = |metadata: ObjectMeta| {
            let record = Record::of(&metadata).ok().flatten()?;
            Some(Recorded { app: App { kind, name: metadata.name?, uid: metadata.uid? }, record })
        };
        found.extend(all.items.into_iter().filter_map(|object| record(object.metadata)));
    }
    Ok(found)
}
