use serde_json::{Value, json};

use super::*;
use crate::pretended::ApiServer;
use crate::state::ATTACHMENT;

const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/shop/replicasets";
const SERVICES: &str = "/api/v1/namespaces/shop/services";

fn of(deployment: &str) -> AgentsOf {
    AgentsOf::StandIn { deployment: deployment.to_owned() }
}

fn controlled_by(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
}

fn replica_set(name: &str, uid: &str, deployment: &str) -> (&'static str, Value) {
    let owners = controlled_by("Deployment", "orders-bridge-7f3a", deployment);
    (REPLICA_SETS, json!({"metadata": {"name": name, "uid": uid, "ownerReferences": owners}}))
}

fn orders(deployment: &str) -> (&'static str, Value) {
    let attachment = json!({
        "version": 1, "standIn": "7f3a", "deployment": deployment, "original": {}, "attached": {}, "control": 1,
        "ports": {}, "sessions": [],
    });
    let annotations = json!({ATTACHMENT: attachment.to_string()});
    (SERVICES, json!({"metadata": {"name": "orders", "uid": "s", "annotations": annotations}}))
}

fn pod(name: &str, owners: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": name, "uid": name, "ownerReferences": owners}}))
        .unwrap()
}

async fn among(agents: &mut Agents, pods: &[Pod]) -> Vec<String> {
    agents.among(pods).await.unwrap().iter().map(ResourceExt::name_any).collect()
}

#[tokio::test]
async fn only_pods_of_the_recorded_deployment_are_agents_whatever_their_labels() {
    // Given a stand-in that was rolled once, and other people's ReplicaSets.
    let server = ApiServer::with([
        orders("d1"),
        replica_set("orders-bridge-7f3a-a", "ra", "d1"),
        replica_set("orders-bridge-7f3a-b", "rb", "d1"),
        replica_set("other", "ro", "d9"),
        (REPLICA_SETS, json!({"metadata": {"name": "lone", "uid": "rl"}})),
    ]);
    let mut agents = Agents::new(&server.cluster(), "orders", "7f3a", &of("d1"));
    // When pods have an agent's labels,
    let pods = [
        pod("old", controlled_by("ReplicaSet", "orders-bridge-7f3a-a", "ra")),
        pod("new", controlled_by("ReplicaSet", "orders-bridge-7f3a-b", "rb")),
        pod("fake", json!([])),
        pod("of-another-deployment", controlled_by("ReplicaSet", "other", "ro")),
        pod("of-no-deployment", controlled_by("ReplicaSet", "lone", "rl")),
        pod("of-what-is-not-there", controlled_by("ReplicaSet", "nothing", "rn")),
        pod("of-one-with-another-uid", controlled_by("ReplicaSet", "orders-bridge-7f3a-a", "forged")),
        pod(
            "of-a-job",
            json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "orders-bridge-7f3a-a", "uid": "ra",
            "controller": true}]),
        ),
        pod(
            "not-controlled",
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "orders-bridge-7f3a-a",
            "uid": "ra"}]),
        ),
    ];
    // then those of the Deployment's own ReplicaSets are agents, and no others,
    assert_eq!(among(&mut agents, &pods).await, ["old", "new"]);
    assert_eq!(agents.logged.len(), pods.len() - 2, "each of the others is logged once");
    // also when their ReplicaSet goes before them.
    let mut later = Agents { cluster: ApiServer::default().cluster(), ..agents };
    assert_eq!(among(&mut later, &pods[..3]).await, ["old", "new"]);
}

#[tokio::test]
async fn a_recreated_deployment_counts_once_the_annotation_names_it() {
    let made_again = || replica_set("orders-bridge-7f3a-c", "rc", "d2");
    let pods = [pod("again", controlled_by("ReplicaSet", "orders-bridge-7f3a-c", "rc"))];
    let before = ApiServer::with([orders("d1"), made_again()]);
    let mut agents = Agents::new(&before.cluster(), "orders", "7f3a", &of("d1"));
    assert!(among(&mut agents, &pods).await.is_empty(), "nobody has named it yet");
    let after = ApiServer::with([orders("d2"), made_again()]);
    let mut agents = Agents { cluster: after.cluster(), ..agents };
    assert_eq!(among(&mut agents, &pods).await, ["again"]);
}

#[tokio::test]
async fn pods_of_a_workload_with_sidecars_are_agents_if_it_controls_them() {
    let apps = [App { kind: AppKind::StatefulSet, name: "db".into(), uid: "d".into() }].into();
    let of = AgentsOf::Workloads { apps, labels: Labels::new() };
    let server = ApiServer::with([]);
    let mut agents = Agents::new(&server.cluster(), "db", "7f3a", &of);
    let with_sidecar = |name: &str, owners: Value| {
        let mut pod = json!(pod(name, owners));
        let mounts = json!([{"name": bridge_deploy::key_volume("7f3a"), "mountPath": "/bridge/key"}]);
        let sidecar = json!({"name": bridge_deploy::SIDECAR_CONTAINER, "volumeMounts": mounts});
        pod["spec"] = json!({"containers": [sidecar]});
        serde_json::from_value::<Pod>(pod).unwrap()
    };
    let pods = [
        with_sidecar("db-0", controlled_by("StatefulSet", "db", "d")),
        with_sidecar("of-another", controlled_by("StatefulSet", "db", "x")),
        with_sidecar("of-another-kind", controlled_by("DaemonSet", "db", "d")),
        with_sidecar("fake", json!([])),
        pod("without", controlled_by("StatefulSet", "db", "d")),
    ];
    assert_eq!(among(&mut agents, &pods).await, ["db-0"]);
}
