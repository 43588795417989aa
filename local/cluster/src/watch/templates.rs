//! Watches whether the workloads' pod templates still have the sidecar.

use std::collections::BTreeSet;

use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;

use super::changes::changes;
use crate::client::Cluster;
use crate::error::ClusterError;
use crate::record::Record;
use crate::standing::Standing;
use crate::target::name_of;

/// A workload, by its uid, whose template has no sidecar with this id any more, if there is one; at each change.
pub(super) fn templates(
    cluster: &Cluster,
    id: &str,
    uids: BTreeSet<String>,
) -> impl Stream<Item = Result<Option<String>, ClusterError>> + Send + use<> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    // Other people's Deployments are not kept.
    let is_theirs = |uid: Option<&String>, uids: &BTreeSet<String>| uid.is_some_and(|uid| uids.contains(uid));
    let (id, known) = (id.to_owned(), uids.clone());
    let watched = watcher(deployments, watcher::Config::default()).modify(move |deployment| {
        if !is_theirs(deployment.metadata.uid.as_ref(), &known) {
            *deployment = Deployment { metadata: deployment.metadata.clone(), ..Deployment::default() };
        }
        deployment.metadata.managed_fields = None;
    });
    changes(cluster, "deployments", watched).map(move |all| {
        let all = all?;
        let theirs = all.iter().filter(|deployment| is_theirs(deployment.metadata.uid.as_ref(), &uids));
        Ok(theirs.into_iter().find(|deployment| !has_sidecar(deployment, &id)).map(name_of))
    })
}

fn has_sidecar(deployment: &Deployment, id: &str) -> bool {
    let template = deployment.spec.as_ref().map(|spec| json!(spec.template)).unwrap_or_default();
    let record = Record::of(&deployment.metadata).ok().flatten().filter(|record| record.id == id);
    record.is_some_and(|record| record.undo.stands_in(&template))
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
                    (Some(Standing::InPlace), Some(name)) => {
                        Some(Ok(Standing::NoSidecar { workload: format!("Deployment {name}") }))
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
        templates_tx.try_send(Ok(Some("web".to_owned()))).unwrap();
        let lost = Standing::NoSidecar { workload: "Deployment web".to_owned() };
        assert_eq!(standings.next().await, Some(Ok(lost)));
        services_tx.try_send(Ok(Standing::Removed)).unwrap();
        assert_eq!(standings.next().await, Some(Ok(Standing::Removed)));
        templates_tx.try_send(Ok(None)).unwrap();
        assert_eq!(standings.next().await, Some(Ok(Standing::Removed)));
    }
}
