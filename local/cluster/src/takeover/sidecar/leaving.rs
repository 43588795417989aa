//! After a roll-out: the last pods without the sidecar are ending, and a node that has not learned of it yet still leads
//! connections to them, past the agents. Likewise after a change of targetPorts: a node may lead connections to both ports.

use std::collections::BTreeSet;
use std::time::Duration;

use bridge_deploy::SIDECAR_CONTAINER;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

use crate::client::Cluster;
use crate::error::ClusterError;
use crate::objects::equal;
use crate::ours;
use crate::snapshot::has_ended;
use crate::watch;
use crate::workload::Labels;

/// The time in which nodes learn that a pod ends: kube-proxy's `minSyncPeriod` is 1 s by default. Nobody reports that they
/// have, and a connection that arrives at an agent does not show it: agents get connections all the time. It is the same
/// for what they learn of a Service.
const LEARNED_WITHIN: Duration = Duration::from_secs(2);

/// Waits until no pod with these labels that lacks the sidecar is ending, or the last of them has been for
/// [`LEARNED_WITHIN`].
///
/// # Errors
///
/// The errors of the watch.
pub(super) async fn left(
    cluster: &Cluster,
    labels: &Labels,
    id: &str,
    progress: impl Fn(&str),
) -> Result<(), ClusterError> {
    let mut changes = std::pin::pin!(watch::pod_changes(cluster, &equal(labels)));
    let mut known = BTreeSet::new();
    let mut due = None;
    loop {
        let next = async {
            match due {
                Some(due) => tokio::time::timeout_at(due, changes.next()).await.unwrap_or_default(),
                None => changes.next().await,
            }
        };
        let Some(pods) = next.await else { return Ok(()) };
        let ending: BTreeSet<String> = pods?.iter().filter_map(|pod| ending(pod, id)).collect();
        if ending.is_empty() {
            return Ok(());
        }
        if !ending.is_subset(&known) {
            progress(&format!("waiting for pods without an agent to end ({} left)", ending.len()));
            known.extend(ending);
            due = Some(Instant::now() + LEARNED_WITHIN);
        }
    }
}

/// Waits until nodes know of targetPorts that were changed. Endpoints with different ports are in different EndpointSlices,
/// and while a pod without the sidecar is ending, its port stays: then the pods with the sidecar join one slice before they
/// leave the other. A connection that arrives at an agent does not show that the other is no longer used.
pub(crate) async fn other_ports_are_known() {
    tokio::time::sleep(LEARNED_WITHIN).await;
}

/// The uid of a pod without the sidecar, or with one that is led past, that is ending and still runs.
fn ending(pod: &Pod, id: &str) -> Option<String> {
    let ends = pod.metadata.deletion_timestamp.is_some() && !has_ended(pod);
    let by_agent = ours::has_sidecar(pod, id) && !is_led_past(pod);
    (ends && !by_agent).then(|| pod.metadata.uid.clone().unwrap_or_default())
}

/// Whether a port of the agent has its name from another container, too, which Kubernetes finds first: `kubectl apply`
/// gives the container of a manifest its ports back, and leaves a container alone that the manifest does not name.
fn is_led_past(pod: &Pod) -> bool {
    let ports = pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|container| {
        let names = container.ports.iter().flatten().filter_map(|port| port.name.as_deref());
        names.map(|name| (container.name == SIDECAR_CONTAINER, name))
    });
    let mut found = BTreeSet::new();
    // Names that another container had before the agent.
    ports.into_iter().any(|(is_agent, name)| !found.insert(name) && is_agent)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pretended::ApiServer;

    const PODS: &str = "/api/v1/namespaces/shop/pods";

    fn pod(name: &str, ends: bool, phase: &str, containers: Value) -> Value {
        let ends = ends.then_some("2026-01-01T00:00:00Z");
        json!({
            "metadata": {"name": name, "labels": {"app": "orders"}, "deletionTimestamp": ends},
            "spec": {"containers": containers},
            "status": {"phase": phase},
        })
    }

    fn without(name: &str, ends: bool) -> (&'static str, Value) {
        (PODS, pod(name, ends, "Running", json!([{"name": "main"}])))
    }

    async fn waits(server: &ApiServer) -> Duration {
        let (begun, labels) = (Instant::now(), Labels::from([("app".into(), "orders".into())]));
        left(&server.cluster(), &labels, "7f3a", |_| ()).await.unwrap();
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_pods_without_the_sidecar_have_a_moment_to_leave() {
        let server = ApiServer::with([without("orders-a", true), without("orders-b", false)]);
        assert_eq!(waits(&server).await, LEARNED_WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn each_that_begins_to_end_has_its_own() {
        let server = ApiServer::with([without("orders-a", true), without("orders-b", false)]);
        let second = Duration::from_secs(1);
        let ends = async {
            tokio::time::sleep(second).await;
            server.change("pods/orders-b", |pod| *pod = without("orders-b", true).1);
        };
        let (waited, ()) = tokio::join!(waits(&server), ends);
        assert_eq!(waited, second + LEARNED_WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn once_they_are_gone_nothing_is_waited_for() {
        let server = ApiServer::with([without("orders-a", true)]);
        let second = Duration::from_secs(1);
        let goes = async {
            tokio::time::sleep(second).await;
            server.remove(&format!("{PODS}/orders-a"));
        };
        let (waited, ()) = tokio::join!(waits(&server), goes);
        assert_eq!(waited, second);
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_not_waited_for() {
        let sidecar = json!([{"name": "bridge-agent", "volumeMounts": [{"name": "bridge-7f3a-key"}]}]);
        let server = ApiServer::with([
            without("orders-a", false),
            (PODS, pod("orders-b", true, "Succeeded", json!([{"name": "main"}]))),
            (PODS, pod("orders-c", true, "Running", sidecar)),
        ]);
        assert_eq!(waits(&server).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sidecar_that_kubectl_apply_has_led_past_is_none() {
        let agent = json!({
            "name": "bridge-agent", "volumeMounts": [{"name": "bridge-7f3a-key"}],
            "ports": [{"name": "http", "containerPort": 7400}],
        });
        let main = |port: &str| json!({"name": "main", "ports": [{"name": port, "containerPort": 8080}]});
        for (port, waited) in [("app-http", Duration::ZERO), ("http", LEARNED_WITHIN)] {
            let containers = json!([main(port), agent]);
            let server = ApiServer::with([(PODS, pod("orders-a", true, "Running", containers))]);
            assert_eq!(waits(&server).await, waited, "the container's port is named {port}");
        }
    }
}
