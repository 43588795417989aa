//! Cleans up after sessions whose daemon died. The sessions of this daemon count as alive, whatever the cluster looks
//! like.

use std::sync::Arc;

use bridge_cluster::clean::{self, Cleaned, Whose};
use bridge_cluster::client::Cluster;
use bridge_proto::v1;

use super::failure::Failure;
use super::meant;
use super::sharing::{Sharing, access};

pub(super) async fn clean(sharing: &Sharing, request: v1::CleanRequest) -> Result<v1::CleanReply, Failure> {
    let v1::CleanRequest { cluster, target, others } = request;
    let cluster = Cluster::of(&access(cluster.unwrap_or_default())).await?;
    let only = match target.as_str() {
        "" => None,
        named => Some(meant::service(&cluster, named).await?),
    };
    of(sharing, &cluster, only.as_deref(), others).await
}

/// One Service of a namespace, or all of them.
pub(super) async fn of(
    sharing: &Sharing,
    cluster: &Cluster,
    only: Option<&str>,
    others: bool,
) -> Result<v1::CleanReply, Failure> {
    let registry = sharing.registry.clone();
    let alive = Arc::new(move |id: &str| registry.alive().contains(id));
    let whose = Whose { installation: sharing.installation.to_string(), alive, others };
    let cleaned = clean::clean(cluster, only, &whose).await?;
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
        done: cleaned.done,
        kept: kept.collect(),
        unreadable: unreadable.collect(),
        failed: None,
    }
}
