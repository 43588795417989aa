//! Watches whether the workloads' pod templates still have the sidecar.

use std::collections::{BTreeMap, BTreeSet};

use futures::{Stream, StreamExt};
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;

use super::changes::changes_of;
use crate::app::{App, AppKind};
use crate::client::Cluster;
use crate::error::ClusterError;
use crate::record::Record;
use crate::standing::Standing;
use crate::target::name_of;

/// A workload ("Deployment orders") whose template has no sidecar with this id any more, if there is one; at each change.
pub(super) fn templates(
    cluster: &Cluster,
    id: &str,
    apps: &BTreeSet<App>,
) -> impl Stream<Item = Result<Option<String>, ClusterError>> + Send + use<> {
    let kinds: BTreeSet<AppKind> = apps.iter().map(|app| app.kind).collect();
    let of_each = kinds.into_iter().map(|kind| {
        let theirs = apps.iter().filter(|app| app.kind == kind).map(|app| app.uid.clone()).collect();
        of_kind(cluster, id, kind, theirs).map(move |lost| (kind, lost)).boxed()
    });
    let mut known = BTreeMap::new();
    futures::stream::select_all(of_each).map(move |(kind, lost)| {
        known.insert(kind, lost?);
        Ok(known.values().flatten().next().cloned())
    })
}

/// The same among the workloads of one kind that have these uids.
fn of_kind(
    cluster: &Cluster,
    id: &str,
    kind: AppKind,
    uids: BTreeSet<String>,
) -> impl Stream<Item = Result<Option<String>, ClusterError>> + Send + use<> {
    // Other people's workloads are not kept.
    let is_theirs = |uid: Option<&String>, uids: &BTreeSet<String>| uid.is_some_and(|uid| uids.contains(uid));
    let (id, known) = (id.to_owned(), uids.clone());
    let watched = watcher(kind.api(&cluster.client, &cluster.namespace), watcher::Config::default()).modify(
        move |workload| {
            if !is_theirs(workload.metadata.uid.as_ref(), &known) {
                workload.data = Value::Null;
            }
            workload.metadata.managed_fields = None;
        },
    );
    changes_of(cluster, kind.resource(), kind.api_resource(), watched).map(move |all| {
        let all = all?;
        let mut theirs = all.iter().filter(|workload| is_theirs(workload.metadata.uid.as_ref(), &uids));
        let lost = theirs.find(|workload| !has_sidecar(workload, &id));
        Ok(lost.map(|workload| format!("{kind} {}", name_of(workload))))
    })
}

fn has_sidecar(workload: &DynamicObject, id: &str) -> bool {
    let template = workload.data.pointer("/spec/template").unwrap_or(&Value::Null);
    let record = Record::of(&workload.metadata).ok().flatten().filter(|record| record.id == id);
    record.is_some_and(|record| record.undo.stands_in(template))
}

enum Seen {
    Service(Standing),
    Lost(Option<String>),
}

/// The relation of the Service to its agents, if its workloads' templates count as well.
pub(super) fn with_templates(
    services: impl Stream<Item = Result<Standing, ClusterError>> + Send + 'static,
    templates: impl Stream<Item = Result<Option<String>, ClusterError>> + Send + 'static,
) -> impl Stream<Item = Result<Standing, ClusterError>> + Send {
    let services = services.map(|standing| standing.map(Seen::Service));
    let templates = templates.map(|lost| lost.map(Seen::Lost));
    let mut known: (Option<Standing>, Option<String>) = (None, None);
    futures::stream::select(services.boxed(), templates.boxed()).filter_map(move |seen| {
        let now = match seen {
            Err(error) => Some(Err(error)),
            Ok(seen) => {
                match seen {
                    Seen::Service(standing) => known.0 = Some(standing),
                    Seen::Lost(lost) => known.1 = lost,
                }
                match &known {
                    (Some(Standing::InPlace), Some(workload)) => {
                        Some(Ok(Standing::NoSidecar { workload: workload.clone() }))
                    }
                    (standing, _) => standing.clone().map(Ok),
                }
            }
        };
        futures::future::ready(now)
    })
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn a_service_is_in_place_if_its_workloads_have_the_sidecar() {
        let (mut services_tx, services) = channel(1);
        let (mut templates_tx, templates) = channel(1);
        let mut standings = std::pin::pin!(with_templates(services, templates));
        services_tx.try_send(Ok(Standing::InPlace)).unwrap();
        assert_eq!(standings.next().await, Some(Ok(Standing::InPlace)));
        templates_tx.try_send(Ok(Some("Deployment web".to_owned()))).unwrap();
        let lost = Standing::NoSidecar { workload: "Deployment web".to_owned() };
        assert_eq!(standings.next().await, Some(Ok(lost)));
        services_tx.try_send(Ok(Standing::Removed)).unwrap();
        assert_eq!(standings.next().await, Some(Ok(Standing::Removed)));
        templates_tx.try_send(Ok(None)).unwrap();
        assert_eq!(standings.next().await, Some(Ok(Standing::Removed)));
    }
}
