use serde_json::{Value, json};

use super::*;
use crate::pretended::ApiServer;
use crate::state::ATTACHMENT;

const SERVICES: &str = "/api/v1/namespaces/shop/services";
const SECRETS: &str = "/api/v1/namespaces/shop/secrets";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";

fn of_orders() -> Part {
    Part::Service { name: "orders".into(), id: "7f3a".into() }
}

/// Orders behind a stand-in, which Alice and Bob use.
fn connected() -> ApiServer {
    let session = |user: &str| json!({"id": format!("of-{user}"), "user": user, "installation": user, "since": 1, "routes": []});
    let attachment = json!({
        "version": 1, "standIn": "7f3a", "original": {"app": "orders"}, "attached": {"app": "orders-bridge-7f3a"},
        "control": 1, "ports": {}, "sessions": [session("alice"), session("bob")],
    });
    let owner = json!([{"apiVersion": "v1", "kind": "Service", "name": "orders", "uid": "orders-uid"}]);
    let labels = json!({"app.kubernetes.io/managed-by": "bridge", "bridge.dev/service": "orders", "bridge.dev/stand-in": "7f3a"});
    let owned = |name: &str| json!({"metadata": {"name": name, "labels": labels, "ownerReferences": owner}});
    ApiServer::with([
        (
            SERVICES,
            json!({
                "metadata": {"name": "orders", "uid": "orders-uid", "managedFields": [], "annotations": {ATTACHMENT: attachment.to_string()}},
                "spec": {"selector": {"app": "orders-bridge-7f3a"}},
            }),
        ),
        (DEPLOYMENTS, owned("orders-bridge-7f3a")),
        (SECRETS, owned("orders-bridge-7f3a-key")),
        (PODS, pod("orders-bridge-7f3a-x", "10.0.0.7", "Running", "orders-bridge-7f3a-5d8")),
        (PODS, pod("orders-bridge-7f3a-y", "10.0.0.8", "Running", "orders-bridge-7f3a-5d8")),
        (PODS, pod("orders-bridge-7f3a-z", "10.0.0.9", "Failed", "orders-bridge-7f3a-5d8")),
        (PODS, pod("orders-1", "10.0.0.1", "Running", "orders-5d8")),
    ])
}

fn pod(name: &str, ip: &str, phase: &str, replica_set: &str) -> Value {
    let owner = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set, "uid": "r", "controller": true,
    }]);
    json!({
        "metadata": {"name": name, "labels": {"pod-template-hash": "5d8"}, "ownerReferences": owner},
        "status": {"phase": phase, "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn selector(server: &ApiServer) -> Value {
    server.get("services/orders").unwrap()["spec"]["selector"].clone()
}

#[tokio::test]
async fn all_agents_that_run_are_asked_and_no_others() {
    let server = connected();
    server.change("pods/orders-bridge-7f3a-y", |pod| pod["status"]["conditions"] = json!([]));
    let mut agents = agents(&server.cluster(), &of_orders()).await.unwrap();
    agents.sort();
    let agents: Vec<_> = agents.iter().map(|agent| (agent.address.to_string(), agent.ready)).collect();
    assert_eq!(agents, [("10.0.0.7".to_owned(), true), ("10.0.0.8".to_owned(), false)]);
}

#[tokio::test]
async fn a_service_is_restored_when_no_other_session_has_come() {
    let server = connected();
    let cluster = server.cluster();
    assert_eq!(sessions(&cluster, &of_orders()).await, Ok(ids(&["of-alice", "of-bob"])));

    // Bob's is one that came after the first look.
    let done = restore(&cluster, &of_orders(), ids(&["of-alice"])).await.unwrap();
    assert_eq!(done, ["orders: removed the session of alice"]);
    assert_eq!(selector(&server), json!({"app": "orders-bridge-7f3a"}));
    assert!(server.get("secrets/orders-bridge-7f3a-key").is_some(), "Bob needs it");

    let done = restore(&cluster, &of_orders(), ids(&["of-bob"])).await.unwrap();
    assert_eq!(done, ["orders: removed the session of bob", "orders: restored its selector"]);
    assert_eq!(selector(&server), json!({"app": "orders"}));
    assert_eq!(server.get("services/orders").unwrap()["metadata"]["annotations"], json!({}));
    for gone in ["deployments/orders-bridge-7f3a", "secrets/orders-bridge-7f3a-key"] {
        assert_eq!(server.get(gone), None);
    }
    let event = server.get("events/generated").unwrap();
    assert_eq!(event["reason"], "BridgeRestored");
    assert_eq!(restore(&cluster, &of_orders(), BTreeSet::new()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn agents_that_nothing_names_are_removed_and_others_stay() {
    let server = connected();
    let other = Part::Service { name: "orders".into(), id: "0000".into() };
    assert_eq!(sessions(&server.cluster(), &other).await, Ok(BTreeSet::new()));
    assert_eq!(restore(&server.cluster(), &other, BTreeSet::new()).await.unwrap(), Vec::<String>::new());
    assert_eq!(server.changes(), Vec::<String>::new());

    server.change("services/orders", |orders| orders["metadata"]["annotations"] = json!({}));
    let done = restore(&server.cluster(), &of_orders(), BTreeSet::new()).await.unwrap();
    assert_eq!(done, ["orders: removed the unused stand-in 7f3a"]);
    assert_eq!(server.get("deployments/orders-bridge-7f3a"), None);
}

#[tokio::test]
async fn a_service_that_is_gone_has_no_sessions() {
    let server = ApiServer::with([]);
    assert_eq!(sessions(&server.cluster(), &of_orders()).await, Ok(BTreeSet::new()));
    assert_eq!(restore(&server.cluster(), &of_orders(), BTreeSet::new()).await, Ok(Vec::new()));
}

#[tokio::test]
async fn an_unreadable_record_is_left_alone() {
    let server = connected();
    server.change("services/orders", |orders| orders["metadata"]["annotations"] = json!({ATTACHMENT: "{"}));
    assert!(sessions(&server.cluster(), &of_orders()).await.is_err());
    assert!(restore(&server.cluster(), &of_orders(), BTreeSet::new()).await.is_err());
    assert_eq!(server.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_aside_goes_and_what_it_has_replaced_comes_back() {
    let session =
        json!({"id": "of-alice", "user": "alice", "installation": "alice", "since": 1, "routes": []});
    let mut record = session.clone();
    record["version"] = json!(1);
    record["target"] = json!("deploy/worker");
    let mut replaced = session;
    replaced["version"] = json!(1);
    replaced["replicas"] = json!(3);
    let server = ApiServer::with([
        (
            DEPLOYMENTS,
            json!({
                "metadata": {"name": "worker", "annotations": {"bridge.dev/replaced": replaced.to_string()}},
                "spec": {"replicas": 0},
            }),
        ),
        (
            DEPLOYMENTS,
            json!({"metadata": {
                "name": "worker-bridge-7f3a",
                "labels": {"app.kubernetes.io/managed-by": "bridge", "bridge.dev/aside": "7f3a"},
                "annotations": {"bridge.dev/session": record.to_string()},
            }}),
        ),
    ]);
    let cluster = server.cluster();
    let part = Part::Aside { deployment: "worker-bridge-7f3a".into() };
    let gone = sessions(&cluster, &part).await.unwrap();
    assert_eq!(gone, ids(&["of-alice"]));
    let done = restore(&cluster, &part, gone).await.unwrap();
    assert_eq!(
        done,
        [
            "deploy/worker: restored its replicas (3), which alice had replaced",
            "deploy/worker: removed the agent of alice (Deployment worker-bridge-7f3a)",
        ]
    );
    assert_eq!(server.get("deployments/worker").unwrap()["spec"]["replicas"], 3);
    assert_eq!(server.get("deployments/worker-bridge-7f3a"), None);
    assert_eq!(sessions(&cluster, &part).await, Ok(BTreeSet::new()));
}
