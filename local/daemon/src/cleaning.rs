//! Cleans up after sessions whose daemon died. The sessions of this daemon count as alive, whatever the cluster looks
//! like.

use std::sync::Arc;

use bridge_cluster::clean::{self, Change, Cleaned, Done, Whose};
use bridge_cluster::client::Cluster;
use bridge_proto::v1;

use super::failure::Failure;
use super::meant;
use super::sharing::{Sharing, access};

pub(super) async fn clean(sharing: &Sharing, request: v1::CleanRequest) -> Result<v1::CleanReply, Failure> {
    let v1::CleanRequest { cluster, target, others, dry_run } = request;
    let cluster = Cluster::of(&access(cluster.unwrap_or_default())).await?;
    let only = match target.as_str() {
        "" => None,
        named => Some(meant::service(&cluster, named).await?),
    };
    let whose = whose(sharing, others);
    if !dry_run {
        return of(&whose, &cluster, only.as_deref()).await;
    }
    let (cleaned, changes) = clean::rehearse(&cluster, only.as_deref(), &whose).await?;
    let done = cleaned.done.iter().map(Done::intention).collect();
    let change = |Change { verb, resource, name }| v1::ObjectChange { verb: verb.to_owned(), resource, name };
    let changes = changes.into_iter().map(change).collect();
    Ok(v1::CleanReply { done, changes, ..to_message(cleaned, cluster.namespace) })
}

/// The sessions that count as gone: none that this daemon holds.
pub(super) fn whose(sharing: &Sharing, others: bool) -> Whose {
    let registry = sharing.registry.clone();
    let alive = Arc::new(move |id: &str| registry.alive().contains(id));
    Whose { installation: sharing.installation.to_string(), alive, others }
}

/// One Service of a namespace, or all of them.
pub(super) async fn of(
    whose: &Whose,
    cluster: &Cluster,
    only: Option<&str>,
) -> Result<v1::CleanReply, Failure> {
    let cleaned = clean::clean(cluster, only, whose).await?;
    Ok(to_message(cleaned, cluster.namespace.clone()))
}

fn to_message(cleaned: Cleaned, namespace: String) -> v1::CleanReply {
    let kept = cleaned.kept.into_iter().map(|(target, claim)| v1::KeptSession {
        target,
        user: claim.user,
        installation: claim.installation,
    });
    let unreadable = cleaned.unreadable.into_iter().map(|error| Failure::Cluster(error).to_message());
    v1::CleanReply {
        namespace,
        done: cleaned.done.iter().map(Done::sentence).collect(),
        changes: Vec::new(),
        kept: kept.collect(),
        unreadable: unreadable.collect(),
        failed: None,
    }
}
