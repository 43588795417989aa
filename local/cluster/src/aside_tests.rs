//! An agent aside from its creation to its end, with a pretended API server.

use std::future::{pending, ready};
use std::sync::Arc;

use serde_json::{Value, json};

use super::clean::{all, clean, rehearse};
use super::*;
use crate::obstacle::Warning;
use crate::pretended::ApiServer;
use crate::takeover::clean::Whose;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";

/// A waiter who never gives up.
struct Patient;

impl Waiter for Patient {
    type Error = ClusterError;

    async fn step(&self, _: Step) -> Result<(), ClusterError> {
        Ok(())
    }

    fn hint(&self, _: Step) {}

    async fn warn(&self, _: Warning) -> Result<(), ClusterError> {
        Ok(())
    }

    fn given_up(&self) -> impl Future<Output = ClusterError> + Send {
        pending()
    }
}

/// A worker and a CronJob that no Service selects.
fn world() -> ApiServer {
    let template = json!({
        "metadata": {"labels": {"app": "worker"}},
        "spec": {"containers": [{"name": "main", "image": "worker:1"}]},
    });
    let worker = json!({
        "metadata": {"name": "worker", "namespace": "shop", "uid": "w"},
        "spec": {"selector": {"matchLabels": {"app": "worker"}}, "template": template},
    });
    let report = json!({
        "metadata": {"name": "report", "namespace": "shop", "uid": "r"},
        "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}},
    });
    let server = ApiServer::with([
        ("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})),
        (DEPLOYMENTS, worker),
        ("/apis/batch/v1/namespaces/shop/cronjobs", report),
    ]);
    server.with_controllers()
}

fn wanted(server: &ApiServer, target: &str, user: &str) -> Wanted {
    let claim = Claim {
        id: format!("session-of-{user}"),
        user: user.to_owned(),
        installation: format!("laptop-of-{user}"),
        since: 1,
        ..Claim::default()
    };
    let (cluster, agent) = (server.cluster(), AgentSource::Image("agent".to_owned()));
    Wanted { cluster, target: target.parse().unwrap(), claim, agent, replace: false }
}

async fn started(server: &ApiServer, target: &str, user: &str) -> Prepared {
    let wanted = wanted(server, target, user);
    let prepared = prepare(&wanted, &Patient).await.unwrap();
    until_ready(&wanted.cluster, &prepared, &Patient).await.unwrap();
    prepared
}

fn name(prepared: &Prepared) -> String {
    prepared.agents.deployment_name("", "")
}

/// The objects of bridge, by kind.
fn ours(server: &ApiServer) -> Vec<String> {
    let kinds = ["deployments", "replicasets", "pods", "secrets", "configmaps", "services"];
    let all = kinds.iter().flat_map(|kind| server.names(kind));
    all.filter(|name| name.contains("-bridge-")).collect()
}

#[tokio::test]
async fn an_agent_goes_with_its_deployment_and_changes_nothing_of_others() {
    let server = world();
    let before = server.get("deployments/worker");
    let prepared = started(&server, "deploy/worker", "alice").await;
    let deployment = server.get(&format!("deployments/{}", name(&prepared))).unwrap();
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "worker", "uid": "w"}]);
    assert_eq!(deployment["metadata"]["ownerReferences"], owner);
    let session = deployment["metadata"]["annotations"]["bridge.dev/session"].as_str().unwrap();
    let session: Value = serde_json::from_str(session).unwrap();
    assert_eq!((&session["target"], &session["user"]), (&json!("deploy/worker"), &json!("alice")));

    end(&server.cluster(), "session-of-alice", None, &prepared.agents).await.unwrap();
    assert_eq!(ours(&server), Vec::<String>::new());
    assert_eq!(server.get("deployments/worker"), before);
    let changes = server.changes();
    let is_ours = |change: &String| change.starts_with("POST ") || change.contains("-bridge-");
    assert!(changes.iter().all(is_ours), "{changes:?}");
}

#[tokio::test]
async fn a_cron_job_s_template_is_enough() {
    let server = world();
    let prepared = started(&server, "cronjob/report", "alice").await;
    let deployment = server.get(&format!("deployments/{}", name(&prepared))).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "agent");
    let owner = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "report", "uid": "r"}]);
    assert_eq!(deployment["metadata"]["ownerReferences"], owner);
}

#[tokio::test]
async fn an_agent_that_cannot_be_completed_is_removed() {
    let server = world();
    // Given that a name it needs is taken once its Deployment exists.
    let wanted = wanted(&server, "deploy/worker", "alice");
    let taken = server.clone();
    let cluster = server.cluster_before(move |_| {
        let deployments = taken.names("deployments");
        if let Some(name) = deployments.iter().find(|name| name.contains("-bridge-")) {
            let key = json!({"metadata": {"name": format!("{name}-key")}});
            taken.put(&format!("/api/v1/namespaces/shop/secrets/{name}-key"), key);
        }
        ready(())
    });
    let failed = prepare(&Wanted { cluster, ..wanted }, &Patient).await.unwrap_err();
    assert!(matches!(failed, ClusterError::Exists { .. }), "{failed}");
    assert_eq!(server.names("deployments"), ["worker"]);
}

#[tokio::test]
async fn a_target_that_is_missing_or_of_another_platform_gets_none() {
    let server = world();
    server.change("deployments/worker", |worker| {
        worker["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"});
    });
    for (target, expected) in [
        ("deploy/workers", "Deployment \"workers\" not found in namespace shop"),
        ("deploy/worker", "there cannot be an agent beside Deployment worker: "),
    ] {
        let failed = prepare(&wanted(&server, target, "alice"), &Patient).await.unwrap_err();
        assert!(failed.to_string().starts_with(expected), "{failed}");
    }
    assert_eq!(ours(&server), Vec::<String>::new());
}

#[tokio::test]
async fn cleaning_removes_the_agents_of_sessions_that_are_gone() {
    let server = world();
    let of_alice = started(&server, "deploy/worker", "alice").await;
    let of_bob = started(&server, "cronjob/report", "bob").await;
    let whose = |installation: &str, alive: bool, others: bool| Whose::Laptop {
        installation: installation.to_owned(),
        alive: Arc::new(move |_| alive),
        others,
    };
    let cluster = server.cluster();
    let alive = clean(&cluster, None, &whose("laptop-of-alice", true, false)).await.unwrap();
    assert_eq!((alive.removed.len(), alive.kept.len()), (0, 2));
    let elsewhere =
        clean(&cluster, Some("svc/worker"), &whose("laptop-of-alice", false, true)).await.unwrap();
    assert_eq!(elsewhere, super::clean::Cleaned::default(), "no agent is beside that");

    let dead = whose("laptop-of-alice", false, false);
    let (would, changes) = rehearse(&cluster, None, &dead).await.unwrap();
    assert_eq!((would.removed.len(), changes.len(), all(&cluster).await.unwrap().len()), (1, 1, 2));
    let cleaned = clean(&cluster, None, &dead).await.unwrap();
    let expected = format!("deploy/worker: removed the agent of alice (Deployment {})", name(&of_alice));
    assert_eq!(cleaned.removed.iter().map(|found| found.sentence()).collect::<Vec<_>>(), [expected]);
    let left: Vec<_> = all(&cluster).await.unwrap().into_iter().map(|found| found.deployment).collect();
    assert_eq!(left, [name(&of_bob)]);
    let _ = clean(&cluster, None, &whose("laptop-of-alice", false, true)).await.unwrap();
    assert_eq!(ours(&server), Vec::<String>::new());
}

/// Three replicas; one of its pods is left.
fn busy_world() -> ApiServer {
    let server = world();
    server.change("deployments/worker", |worker| worker["spec"]["replicas"] = json!(3));
    let pod =
        json!({"metadata": {"name": "worker-1", "labels": {"app": "worker"}}, "spec": {}, "status": {}});
    server.put("/api/v1/namespaces/shop/pods/worker-1", pod);
    server
}

fn worker(server: &ApiServer) -> (Value, Value) {
    let worker = server.get("deployments/worker").unwrap();
    let record = worker["metadata"]["annotations"]["bridge.dev/replaced"].clone();
    (worker["spec"]["replicas"].clone(), record)
}

fn replacing(server: &ApiServer, user: &str) -> Wanted {
    Wanted { replace: true, ..wanted(server, "deploy/worker", user) }
}

/// The worker is replaced; its last pod ends once it is scaled to zero.
async fn replaced(server: &ApiServer, wanted: &Wanted) -> Prepared {
    let prepared = prepare(wanted, &Patient).await.unwrap();
    let mut changes = server.watch();
    let ends = async {
        while worker(server).0 != 0 {
            changes.changed().await.unwrap();
        }
        server.remove("/api/v1/namespaces/shop/pods/worker-1");
    };
    let (done, ()) = tokio::join!(replace(wanted, &prepared, &Patient), ends);
    done.unwrap();
    prepared
}

#[tokio::test]
async fn a_replaced_worker_has_no_pods_until_its_session_ends() {
    let server = busy_world();
    let before = server.get("deployments/worker").unwrap();
    let of_alice = replacing(&server, "alice");
    let prepared = replaced(&server, &of_alice).await;
    assert_eq!(worker(&server).0, 0);

    // Nobody else can replace it, and their end restores nothing.
    let of_bob = replacing(&server, "bob");
    let other = prepare(&of_bob, &Patient).await.unwrap();
    let refused = replace(&of_bob, &other, &Patient).await.unwrap_err();
    assert_eq!(refused.to_string(), "alice already replaces Deployment worker");
    end(&of_bob.cluster, &of_bob.claim.id, other.replaces.as_ref(), &other.agents).await.unwrap();
    assert_eq!(worker(&server).0, 0);

    end(&of_alice.cluster, &of_alice.claim.id, prepared.replaces.as_ref(), &prepared.agents).await.unwrap();
    assert_eq!(server.get("deployments/worker").unwrap()["spec"], before["spec"]);
    assert_eq!(worker(&server), (json!(3), Value::Null));
    assert_eq!(ours(&server), Vec::<String>::new());
}

#[tokio::test]
async fn cleaning_restores_what_a_lost_session_has_replaced() {
    let server = busy_world();
    let _ = replaced(&server, &replacing(&server, "alice")).await;
    let cluster = server.cluster();
    let of_bob =
        |others| Whose::Laptop { installation: "laptop-of-bob".into(), alive: Arc::new(|_| false), others };
    let kept = clean(&cluster, None, &of_bob(false)).await.unwrap();
    assert_eq!((kept.restored.len(), worker(&server).0), (0, json!(0)));
    let (would, _) = rehearse(&cluster, None, &of_bob(true)).await.unwrap();
    assert_eq!((would.restored.len(), worker(&server).0), (1, json!(0)));
    let cleaned = clean(&cluster, Some("deploy/worker"), &of_bob(true)).await.unwrap();
    let said: Vec<_> = cleaned.restored.iter().map(|restored| restored.sentence()).collect();
    assert_eq!(said, ["deploy/worker: restored its replicas (3), which alice had replaced"]);
    assert_eq!(worker(&server), (json!(3), Value::Null));
    assert_eq!(ours(&server), Vec::<String>::new());
}

fn scaled_by_keda(server: &ApiServer) {
    let scaler = json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "worker", "namespace": "shop", "annotations": {"theirs": "1"}}});
    let owner =
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "worker", "uid": "k"});
    let autoscaler = json!({
        "metadata": {"name": "keda-hpa-worker", "ownerReferences": [owner]},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "worker"}},
    });
    server.put("/apis/keda.sh/v1alpha1/namespaces/shop/scaledobjects/worker", scaler);
    server.put("/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/keda-hpa-worker", autoscaler);
}

#[tokio::test]
async fn keda_is_paused_while_a_worker_is_replaced() {
    let server = busy_world();
    scaled_by_keda(&server);
    let annotations = || server.get("scaledobjects/worker").unwrap()["metadata"]["annotations"].clone();
    let of_alice = replacing(&server, "alice");
    let prepared = replaced(&server, &of_alice).await;
    assert_eq!(annotations(), json!({"theirs": "1", "autoscaling.keda.sh/paused": "true"}));
    end(&of_alice.cluster, &of_alice.claim.id, prepared.replaces.as_ref(), &prepared.agents).await.unwrap();
    assert_eq!(annotations(), json!({"theirs": "1"}));

    // From the record alone; and what someone else does to it meanwhile stays.
    let _ = replaced(&server, &replacing(&server, "alice")).await;
    server.change("scaledobjects/worker", |scaler| {
        scaler["metadata"]["annotations"]["autoscaling.keda.sh/paused"] = json!("false");
    });
    let gone = Whose::Laptop { installation: "another".into(), alive: Arc::new(|_| false), others: true };
    clean(&server.cluster(), None, &gone).await.unwrap();
    assert_eq!(annotations(), json!({"theirs": "1", "autoscaling.keda.sh/paused": "false"}));
    assert_eq!(worker(&server), (json!(3), Value::Null));
}

#[tokio::test]
async fn what_would_not_stay_without_pods_is_refused_before_anything_is_created() {
    let server = busy_world();
    scaled_by_keda(&server);
    server.lacks("patch", "scaledobjects");
    let cron = Wanted { replace: true, ..wanted(&server, "cronjob/report", "alice") };
    for (wanted, expected) in [
        (
            replacing(&server, "alice"),
            "Deployment worker cannot be replaced: KEDA scales it (ScaledObject worker)",
        ),
        (
            cron,
            "CronJob report cannot be replaced: bridge scales Deployments and StatefulSets to zero, and no CronJob",
        ),
    ] {
        let refused = prepare(&wanted, &Patient).await.unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
    }
    assert_eq!((ours(&server), worker(&server).0), (Vec::new(), json!(3)));
}
