//! Watches the origin: whether it could serve its requests itself, and whether it was rolled out.

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};

use super::changes::{changes, is_ready};
use crate::client::Cluster;
use crate::error::ClusterError;
use crate::snapshot::is_serving;
use crate::workload::Labels;

/// The state of the origin's pods that stand-ins need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// One of them takes traffic.
    pub ready: bool,
    /// The revision of the newest pod.
    pub revision: Option<String>,
    /// A pod of that revision takes traffic: it works.
    pub revision_ready: bool,
}

/// The origin's pods, which have these labels, at each change.
pub fn origin(
    cluster: &Cluster,
    original: &Labels,
) -> impl Stream<Item = Result<Origin, ClusterError>> + Send + use<> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let equal: Vec<String> = original.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let watched = watcher(pods, watcher::Config::default().labels(&equal.join(",")));
    // There may be many pods, and only these fields are read.
    let watched = watched.modify(|pod| {
        pod.spec = None;
        pod.metadata.managed_fields = None;
        pod.metadata.annotations = None;
    });
    changes(cluster, "pods", watched).map(|pods| Ok(origin_of(&pods?)))
}

fn origin_of(pods: &[Pod]) -> Origin {
    let serving = || pods.iter().filter(|pod| is_serving(pod));
    let newest = serving().max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|at| at.0));
    let revision = newest.and_then(revision);
    let is_of_it = |pod: &&Pod| revision.is_some() && self::revision(pod) == revision;
    Origin {
        ready: serving().any(is_ready),
        revision_ready: serving().filter(is_of_it).any(is_ready),
        revision,
    }
}

/// The revision of its workload's template, as the pod's labels name it.
fn revision(pod: &Pod) -> Option<String> {
    const LABELS: [&str; 3] = ["pod-template-hash", "rollouts-pod-template-hash", "controller-revision-hash"];
    let owner =
        pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let hash = LABELS.iter().find_map(|label| pod.labels().get(*label)).map_or("", String::as_str);
    Some(format!("{} {} {hash}", owner.kind, owner.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(yaml: &str) -> Pod {
        serde_saphyr::from_str(yaml).unwrap()
    }

    /// A pod of orders: created at this second, of this revision, ready or not.
    fn of_origin(second: u32, hash: &str, ready: bool) -> Pod {
        let owner = "{apiVersion: apps/v1, kind: ReplicaSet, name: orders-x, uid: u, controller: true}";
        let status = if ready { "conditions: [{type: Ready, status: 'True'}]" } else { "" };
        pod(&format!(
            "{{metadata: {{name: p, creationTimestamp: '2026-01-01T00:00:{second:02}Z', labels: {{pod-template-hash: {hash}}}, \
             ownerReferences: [{owner}]}}, status: {{{status}}}}}"
        ))
    }

    #[test]
    fn the_origin_is_followed_when_a_pod_of_its_newest_revision_works() {
        let revision = |hash: &str| Some(format!("ReplicaSet orders-x {hash}"));
        for (what, pods, expected) in [
            ("no pod", vec![], Origin::default()),
            (
                "a roll-out begins",
                vec![of_origin(1, "a", true), of_origin(2, "b", false)],
                Origin { ready: true, revision: revision("b"), revision_ready: false },
            ),
            (
                "its first pod is ready",
                vec![of_origin(2, "b", true), of_origin(1, "a", true), of_origin(3, "b", false)],
                Origin { ready: true, revision: revision("b"), revision_ready: true },
            ),
            (
                "rolled back",
                vec![of_origin(2, "b", false), of_origin(3, "a", true)],
                Origin { ready: true, revision: revision("a"), revision_ready: true },
            ),
            (
                "none is ready",
                vec![of_origin(1, "a", false)],
                Origin { ready: false, revision: revision("a"), revision_ready: false },
            ),
        ] {
            assert_eq!(origin_of(&pods), expected, "{what}");
        }
        let leaving = pod("{metadata: {name: p, deletionTimestamp: '2026-01-01T00:00:00Z'}, \
                           status: {conditions: [{type: Ready, status: 'True'}]}}");
        assert!(!origin_of(&[leaving]).ready, "a pod that goes is no origin to go back to");
    }
}
