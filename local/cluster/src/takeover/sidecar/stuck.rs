//! After a roll-out that failed: a StatefulSet that replaces its pods in order waits for the pod that never became ready,
//! even once its template is the earlier one again. So that pod is deleted.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Preconditions};

use super::progress::{Look, is_observed, look};
use crate::app::{App, AppKind};
use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::ours;
use crate::snapshot::is_ready;
use crate::target::name_of;
use crate::watch;

/// The time within which a controller sees a change: usually a fraction of a second.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Deletes the pods of a StatefulSet that have the sidecar with this id and are not ready. To be called once its template
/// has the sidecar no more.
///
/// # Errors
///
/// [`ClusterError::StuckPods`] without the right to delete pods, and those of the calls.
pub(super) async fn free(cluster: &Cluster, app: &App, id: &str) -> Result<(), ClusterError> {
    if app.kind != AppKind::StatefulSet || !has_room(cluster, app).await? {
        return Ok(());
    }
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", "pods", &cluster.namespace);
    let all = cluster.call(call, pods.list(&ListParams::default())).await?;
    let mut left = Vec::new();
    for pod in all.iter().filter(|pod| is_stuck(pod, app, id)) {
        let name = name_of(pod);
        let preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        let call = Call::new("delete", "pods", &cluster.namespace, &name);
        match cluster.call(call, pods.delete(&name, &params)).await {
            Err(ClusterError::Forbidden { .. }) => left.push(name),
            Err(ClusterError::NotFound { .. } | ClusterError::Conflict { .. }) => {}
            done => {
                done?;
                tracing::info!(workload = %app, pod = %name, "deleted the pod of a roll-out that failed");
            }
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    let (workload, namespace) = (app.to_string(), cluster.namespace.clone());
    Err(ClusterError::StuckPods { workload, pods: left, namespace })
}

/// Whether some pods are not available, once the controller knows the template: before, it would make a deleted pod from
/// the one with the sidecar again.
async fn has_room(cluster: &Cluster, app: &App) -> Result<bool, ClusterError> {
    let mut states = std::pin::pin!(watch::app(cluster, app));
    let seen = async {
        while let Some(state) = states.next().await {
            let Some(state) = state? else { return Ok(false) };
            match look(app.kind, &state) {
                Look::Waiting { available, all, .. } if available < all => {}
                _ => return Ok(false),
            }
            if is_observed(&state) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    tokio::time::timeout(SEEN_WITHIN, seen).await.unwrap_or(Ok(true))
}

fn is_stuck(pod: &Pod, app: &App, id: &str) -> bool {
    let is_its = ours::app(&pod.metadata) == Some((app.kind, app.uid.as_str()));
    is_its && ours::has_sidecar(pod, id) && !is_ready(pod) && pod.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pretended::ApiServer;

    const PODS: &str = "/api/v1/namespaces/shop/pods";
    const STATEFUL_SETS: &str = "/apis/apps/v1/namespaces/shop/statefulsets";

    fn db() -> App {
        App { kind: AppKind::StatefulSet, name: "db".into(), uid: "d".into() }
    }

    fn pod(name: &str, owner: &str, id: &str, ready: bool) -> Value {
        let owners = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": owner, "controller": true}]);
        let mounts = json!([{"name": bridge_deploy::key_volume(id), "mountPath": "/bridge/key"}]);
        let ready = if ready { "True" } else { "False" };
        json!({
            "metadata": {"name": name, "uid": name, "ownerReferences": owners},
            "spec": {"containers": [{"name": "db"}, {"name": bridge_deploy::SIDECAR_CONTAINER, "volumeMounts": mounts}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn world(available: u64) -> ApiServer {
        let set = json!({
            "metadata": {"name": "db", "uid": "d", "generation": 3}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 3, "availableReplicas": available},
        });
        let pods = [
            pod("db-1", "d", "7f3a", false),
            pod("db-0", "d", "7f3a", true),
            pod("db-2", "d", "9c21", false),
            pod("other-1", "o", "7f3a", false),
        ];
        ApiServer::with(pods.map(|pod| (PODS, pod)).into_iter().chain([(STATEFUL_SETS, set)]))
    }

    #[tokio::test]
    async fn only_the_pod_of_the_failed_roll_out_is_deleted_and_by_its_uid() {
        let server = world(1);
        free(&server.cluster(), &db(), "7f3a").await.unwrap();
        assert_eq!(server.changes(), ["DELETE pods/db-1"]);
    }

    #[tokio::test]
    async fn a_workload_that_goes_back_by_itself_is_left_alone() {
        let server = world(2);
        free(&server.cluster(), &db(), "7f3a").await.unwrap();
        let deployment = App { kind: AppKind::Deployment, ..db() };
        free(&server.cluster(), &deployment, "7f3a").await.unwrap();
        assert_eq!(server.changes(), [""; 0]);
    }
}
