//! Cleans up after sessions whose daemon died. The sessions of this daemon count as alive, whatever the cluster looks
//! like.

use bridge_cluster::aside::{self, clean::Found};
use bridge_cluster::clean::{self, Change, Cleaned, Done, Whose};
use bridge_cluster::client::Cluster;
use bridge_cluster::replace::Restored;
use bridge_proto::v1;

use super::failure::Failure;
use super::meant::{self, At};
use super::sharing::{Sharing, access};

pub(super) async fn clean(sharing: &Sharing, request: v1::CleanRequest) -> Result<v1::CleanReply, Failure> {
    let v1::CleanRequest { cluster, target, others, dry_run } = request;
    let cluster = Cluster::of(&access(cluster.unwrap_or_default())).await?;
    let only = match target.as_str() {
        "" => None,
        named => Some(meant::at(&cluster, named).await?),
    };
    let whose = sharing.whose(others);
    if !dry_run {
        return of(&whose, &cluster, only.as_ref()).await;
    }
    let ((services, of_services), (asides, of_asides)) = tokio::try_join!(
        async {
            match service_of(only.as_ref()) {
                Some(only) => clean::rehearse(&cluster, only, &whose).await,
                None => Ok((Cleaned::default(), Vec::new())),
            }
        },
        aside::clean::rehearse(&cluster, aside_of(only.as_ref()), &whose),
    )?;
    // Without changes, both find what a session at a Service has replaced.
    let of_asides_alone = asides.restored.iter().filter(|found| !services.restored.contains(found));
    let done = services.restored.iter().chain(of_asides_alone).map(Restored::intention);
    let done = done.chain(services.done.iter().map(Done::intention));
    let done = done.chain(asides.removed.iter().map(Found::intention)).collect();
    let change = |Change { verb, resource, name }| v1::ObjectChange { verb: verb.to_owned(), resource, name };
    let of_asides: Vec<_> = of_asides.into_iter().filter(|found| !of_services.contains(found)).collect();
    let changes = of_services.into_iter().chain(of_asides).map(change).collect();
    Ok(v1::CleanReply { done, changes, ..to_message(services, asides, cluster.namespace) })
}

/// The Service to clean, or all; `None`: the target has none.
fn service_of(only: Option<&At>) -> Option<Option<&str>> {
    match only {
        None => Some(None),
        Some(at) => at.service.as_deref().map(Some),
    }
}

/// The place whose agents aside to clean; `None`: all.
fn aside_of(only: Option<&At>) -> Option<&str> {
    only.map(|at| at.aside.as_str())
}

/// One target of a namespace, or all of them.
pub(super) async fn of(
    whose: &Whose,
    cluster: &Cluster,
    only: Option<&At>,
) -> Result<v1::CleanReply, Failure> {
    let services = match service_of(only) {
        Some(only) => clean::clean(cluster, only, whose).await?,
        None => Cleaned::default(),
    };
    let asides = aside::clean::clean(cluster, aside_of(only), whose).await?;
    Ok(to_message(services, asides, cluster.namespace.clone()))
}

fn to_message(services: Cleaned, asides: aside::clean::Cleaned, namespace: String) -> v1::CleanReply {
    let kept = services.kept.into_iter().chain(asides.kept).map(|(target, claim)| v1::KeptSession {
        target,
        user: claim.user,
        installation: claim.installation,
    });
    let unreadable = services
        .unreadable
        .into_iter()
        .chain(asides.unreadable)
        .map(|error| Failure::Cluster(error).to_message());
    v1::CleanReply {
        namespace,
        done: services
            .restored
            .iter()
            .chain(&asides.restored)
            .map(Restored::sentence)
            .chain(services.done.iter().map(Done::sentence))
            .chain(asides.removed.iter().map(Found::sentence))
            .collect(),
        changes: Vec::new(),
        kept: kept.collect(),
        unreadable: unreadable.collect(),
        failed: None,
    }
}
