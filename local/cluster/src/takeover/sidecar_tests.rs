//! Sidecars from connect to disconnect, each cut off before each of its requests, as by SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use bridge_deploy::AgentSource;
use futures::future::{Either, pending, ready};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::clean::{self, Whose, clean};
use super::race_tests::Patient;
use super::release::release;
use super::*;
use crate::app::{App, AppKind};
use crate::client::Cluster;
use crate::pretended::ApiServer;
use crate::record::SIDECAR;
use crate::snapshot;
use crate::state::{ATTACHMENT, Claim, ClaimedRoute};

/// More requests than any act has.
const MOST_REQUESTS: usize = 100;

/// `orders`, which keeps clients at one of its pods and leads to a number; its Deployment has rolled out.
fn world() -> ApiServer {
    world_of(AppKind::Deployment)
}

/// The same with another workload.
fn world_of(kind: AppKind) -> ApiServer {
    let labels = json!({"app": "orders"});
    let container = json!({
        "name": "main", "image": "orders:1", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"port": "http"}},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "orders-uid"},
        "spec": {
            "clusterIP": "10.0.0.1", "selector": labels, "sessionAffinity": "ClientIP",
            "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    });
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let workload = json!({
        "apiVersion": kind.api_resource().api_version, "kind": kind.to_string(),
        "metadata": {"name": "orders", "namespace": "shop", "uid": "d"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        "status": {
            "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
            "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1,
            "phase": "Healthy", "stableRS": "1", "currentPodHash": "1",
        },
    });
    let owner = |version: &str, kind: &str, name: &str, uid: &str| json!([{"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let of_workload = || owner(&kind.api_resource().api_version, &kind.to_string(), "orders", "d");
    let replica_set = json!({
        "metadata": {"name": "orders-1", "uid": "r", "ownerReferences": of_workload()},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    });
    let controller = match kind {
        AppKind::Deployment | AppKind::Rollout => owner("apps/v1", "ReplicaSet", "orders-1", "r"),
        AppKind::StatefulSet | AppKind::DaemonSet => of_workload(),
    };
    let pod = json!({
        "metadata": {"name": "orders-1-a", "labels": labels, "ownerReferences": controller},
        "spec": {"containers": [container]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    ApiServer::with([
        ("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})),
        ("/api/v1/namespaces/shop/services", service),
        (path_of(kind), workload),
        ("/apis/apps/v1/namespaces/shop/replicasets", replica_set),
        ("/api/v1/namespaces/shop/pods", pod),
    ])
}

fn path_of(kind: AppKind) -> &'static str {
    match kind {
        AppKind::Deployment => "/apis/apps/v1/namespaces/shop/deployments",
        AppKind::StatefulSet => "/apis/apps/v1/namespaces/shop/statefulsets",
        AppKind::DaemonSet => "/apis/apps/v1/namespaces/shop/daemonsets",
        AppKind::Rollout => "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts",
    }
}

async fn connect(cluster: Cluster, user: &'static str) -> Result<Prepared, ClusterError> {
    let snapshot = snapshot::read(&cluster, "orders").await?;
    let any_of = vec![format!("x: {user}")];
    let claim = Claim {
        id: user.to_owned(),
        user: user.to_owned(),
        installation: user.to_owned(),
        routes: vec![ClaimedRoute { port: 80, any_of, ..ClaimedRoute::default() }],
        ..Claim::default()
    };
    let (service, agent) = ("orders".to_owned(), AgentSource::Image("agent".to_owned()));
    let wanted = Wanted { cluster, service, snapshot, claim, agent, replicas: None };
    let takeover = Takeover::new(Mode::Sidecar, wanted);
    let prepared = takeover.prepare(&Patient).await?;
    takeover.until_ready(&prepared, &Patient).await?;
    let switched = takeover.switch(&prepared).await?;
    takeover.confirm(switched).await?;
    Ok(prepared)
}

async fn disconnect(cluster: &Cluster, user: &str) {
    release(cluster, "orders", |claim| claim.user == user).await.unwrap();
}

/// What others see of the Service and the Deployment.
fn seen(server: &ApiServer) -> [Value; 2] {
    seen_of(server, AppKind::Deployment)
}

fn seen_of(server: &ApiServer, kind: AppKind) -> [Value; 2] {
    ["services", kind.resource()].map(|resource| {
        let mut object = server.get(&format!("{resource}/orders")).unwrap();
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
        if metadata.get("annotations").is_some_and(|all| *all == json!({})) {
            metadata.remove("annotations");
        }
        object
    })
}

fn ours(server: &ApiServer) -> Vec<String> {
    ["secrets", "configmaps"].iter().flat_map(|kind| server.names(kind)).collect()
}

/// A client that answers nothing from the request with this number on.
fn killed(server: &ApiServer, at: usize) -> Cluster {
    server.cluster_before(
        move |number| {
            if number < at { Either::Left(ready(())) } else { Either::Right(pending()) }
        },
    )
}

fn everyone() -> Whose {
    Whose::Laptop { installation: "another".into(), alive: Arc::new(|_| false), others: true }
}

#[tokio::test(start_paused = true)]
async fn the_last_developer_out_takes_the_sidecar_along() {
    let server = world();
    let (before, cluster, begun) = (seen(&server), server.cluster(), Instant::now());
    let alice = connect(cluster.clone(), "alice").await.unwrap();
    let attached = seen(&server);
    assert_eq!(attached[0]["spec"]["ports"][0]["targetPort"], "http");
    assert_eq!(begun.elapsed().as_secs(), 2, "nodes learn of another targetPort");
    let containers = &attached[1]["spec"]["template"]["spec"]["containers"];
    assert_eq!(
        (&containers[0]["ports"][0]["name"], &containers[1]["name"]),
        (&json!("app-http"), &json!("bridge-agent"))
    );
    assert!(attached[0]["metadata"]["annotations"][ATTACHMENT].as_str().unwrap().contains("sidecar"));
    assert!(attached[1]["metadata"]["annotations"][SIDECAR].is_string());

    // Bob joins without another change of the pods.
    let bob = connect(cluster.clone(), "bob").await.unwrap();
    assert_eq!((bob.stand_in, bob.control_port), (alice.stand_in, alice.control_port));
    assert!(bob.key == alice.key && bob.agents == alice.agents);
    assert_eq!((seen(&server)[1].clone(), begun.elapsed().as_secs()), (attached[1].clone(), 2));

    disconnect(&cluster, "alice").await;
    assert_eq!(seen(&server)[1], attached[1], "Bob still uses it");
    disconnect(&cluster, "bob").await;
    assert_eq!(seen(&server), before);
    assert_eq!(ours(&server), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_workload_gets_the_sidecar_and_loses_it() {
    for kind in [AppKind::StatefulSet, AppKind::DaemonSet, AppKind::Rollout] {
        let server = world_of(kind);
        let before = seen_of(&server, kind);
        let alice = connect(server.cluster(), "alice").await.unwrap();
        let app = App { kind, name: "orders".into(), uid: "d".into() };
        assert!(matches!(alice.agents, AgentsOf::Workloads { apps, .. } if apps == [app].into()));
        let attached = seen_of(&server, kind);
        assert_eq!(attached[1]["spec"]["template"]["spec"]["containers"][1]["name"], "bridge-agent");
        disconnect(&server.cluster(), "alice").await;
        assert_eq!(seen_of(&server, kind), before, "{kind}");
        assert_eq!(ours(&server), Vec::<String>::new());

        connect(server.cluster(), "bob").await.unwrap();
        clean(&server.cluster(), None, &everyone()).await.unwrap();
        assert_eq!(seen_of(&server, kind), before, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_sidecars_need_stays_while_nobody_may_take_them_out() {
    let server = world_of(AppKind::StatefulSet);
    connect(server.cluster(), "alice").await.unwrap();
    let there = ours(&server);
    server.lacks("patch", "statefulsets");
    let refused = release(&server.cluster(), "orders", |_| true).await.unwrap_err();
    assert!(refused.is_forbidden() && refused.advice().unwrap().contains("rbac-sidecar.yaml"), "{refused}");
    assert_eq!(ours(&server), there);
    let owners = server.get(&format!("secrets/{}", there[0])).unwrap()["metadata"]["ownerReferences"].take();
    assert!(owners.to_string().contains("StatefulSet"), "{owners}");
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_is_killed_anywhere_is_cleaned_up_from_another_laptop() {
    let mut killed_at = 0;
    for at in 0..MOST_REQUESTS {
        let server = world();
        let before = seen(&server);
        let connecting = connect(killed(&server, at), "alice");
        if tokio::time::timeout(Duration::from_secs(1), connecting).await.is_ok() {
            break;
        }
        clean(&server.cluster(), None, &everyone()).await.unwrap();
        assert_eq!(seen(&server), before, "killed before request {at}");
        assert_eq!(ours(&server), Vec::<String>::new(), "killed before request {at}");
        killed_at = at;
    }
    assert!(killed_at > 10, "a connect has more than {killed_at} requests");
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_that_is_killed_anywhere_is_finished_by_the_next_connect_or_by_clean() {
    let mut killed_at = 0;
    for at in 0..MOST_REQUESTS {
        let server = world();
        let before = seen(&server);
        connect(server.cluster(), "alice").await.unwrap();
        let cluster = killed(&server, at);
        let disconnecting = disconnect(&cluster, "alice");
        if tokio::time::timeout(Duration::from_secs(1), disconnecting).await.is_ok() {
            break;
        }
        if at % 2 == 0 {
            connect(server.cluster(), "bob").await.unwrap();
            assert_eq!(seen(&server)[0]["spec"]["ports"][0]["targetPort"], "http");
            disconnect(&server.cluster(), "bob").await;
        }
        clean(&server.cluster(), None, &everyone()).await.unwrap();
        assert_eq!(seen(&server), before, "killed before request {at}");
        assert_eq!(ours(&server), Vec::<String>::new(), "killed before request {at}");
        killed_at = at;
    }
    assert!(killed_at > 3, "a disconnect has more than {killed_at} requests");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_deleted_leaves_no_sidecar() {
    let server = world();
    let before = seen(&server);
    connect(server.cluster(), "alice").await.unwrap();
    server.remove("/api/v1/namespaces/shop/services/orders");
    // The garbage collector takes away references to owners that are gone.
    server.change(&format!("secrets/{}", ours(&server)[0]), |secret| {
        let owners = secret["metadata"]["ownerReferences"].as_array_mut().unwrap();
        owners.retain(|owner| owner["kind"] != "Service");
    });
    let cleaned = clean(&server.cluster(), None, &everyone()).await.unwrap();
    let done: Vec<String> = cleaned.done.iter().map(clean::Done::sentence).collect();
    assert!(done.iter().any(|done| done.contains("removed the unused sidecar")), "{done:?}");
    let mut deployment = server.get("deployments/orders").unwrap();
    assert_eq!(deployment["spec"].take(), before[1]["spec"]);
    assert_eq!(ours(&server), Vec::<String>::new());
}
