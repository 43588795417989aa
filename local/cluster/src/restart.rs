//! Restarts workloads by a roll-out, as `kubectl rollout restart` does: the origin, so that callers that keep connections to
//! its pods have to make new ones, or such callers.

use bridge_proto::target::{Kind, Target};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::kind;
use crate::objects;
use crate::ownership::MANAGER;
use crate::snapshot::{own_selector, pods_and_workloads};
use crate::target::not_there;
use crate::workload::{Labels, Workload};

/// kubectl's annotation of the pod template.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Why a workload is not restarted.
#[derive(Debug, thiserror::Error)]
pub enum NotRestarted {
    #[error("only Deployments, StatefulSets and DaemonSets can be rolled out")]
    Kind,
    #[error("it is paused: resume it with `kubectl rollout resume`")]
    Paused,
    #[error("its pods are replaced only when someone deletes them (OnDelete)")]
    OnDelete,
    #[error(
        "you may not patch {resource} in namespace {namespace}: an admin can allow it (deploy/rbac-restart.yaml), or \
         run `kubectl -n {namespace} rollout restart {resource}/{name}`"
    )]
    NoRight { resource: &'static str, namespace: String, name: String },
    #[error(transparent)]
    Cluster(ClusterError),
}

/// A workload, and whether its roll-out has begun.
#[derive(Debug)]
pub struct Restart {
    /// "Deployment orders"
    pub workload: String,
    pub begun: Result<(), NotRestarted>,
}

/// Begins to roll out all workloads whose pods this selector matches. Nothing waits for the end.
///
/// # Errors
///
/// The errors of the calls that find the workloads.
pub async fn restart(cluster: &Cluster, selector: &Labels) -> Result<Vec<Restart>, ClusterError> {
    let (_, workloads) = pods_and_workloads(cluster, selector).await?;
    let mut restarts = Vec::new();
    for workload in workloads {
        let begun = roll_out(cluster, &workload).await;
        restarts.push(Restart { workload: workload.title(), begun });
    }
    Ok(restarts)
}

/// The same with a workload, or all that is behind a Service.
///
/// # Errors
///
/// [`ClusterError::NoSuchTarget`] without it, and those of the calls.
pub async fn restart_target(cluster: &Cluster, target: &Target) -> Result<Vec<Restart>, ClusterError> {
    let namespace = &cluster.namespace;
    let api: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), namespace, &kind::api(target.kind));
    let call = Call::new("get", target.kind.resource(), namespace, &target.name);
    let there = match cluster.call(call, api.get(&target.name)).await {
        Err(error) if error.is_not_found() => return Err(Box::pin(not_there(cluster, target)).await),
        there => there?,
    };
    if target.kind == Kind::Service {
        let service = objects::read(cluster, &target.name).await?;
        return restart(cluster, &own_selector(&service)?).await;
    }
    let workload = Workload::of(target.kind, &there);
    let begun = roll_out(cluster, &workload).await;
    Ok(vec![Restart { workload: workload.title(), begun }])
}

async fn roll_out(cluster: &Cluster, workload: &Workload) -> Result<(), NotRestarted> {
    let kind = workload.app_kind().ok_or(NotRestarted::Kind)?;
    let (resource, name, namespace) = (kind.resource(), workload.name.as_str(), &cluster.namespace);
    let api = kind.api(&cluster.client, &cluster.namespace);
    let there = cluster.call(Call::new("get", resource, namespace, name), api.get(name)).await;
    let change = change(&there.map_err(NotRestarted::Cluster)?.data, Timestamp::now())?;
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let call = Call::new("patch", resource, namespace, name);
    match cluster.call(call, api.patch(name, &params, &Patch::Merge(change))).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_forbidden() => {
            let (namespace, name) = (namespace.clone(), name.to_owned());
            Err(NotRestarted::NoRight { resource, namespace, name })
        }
        Err(error) => Err(NotRestarted::Cluster(error)),
    }
}

/// The merge patch that rolls a workload out.
fn change(workload: &Value, now: Timestamp) -> Result<Value, NotRestarted> {
    let spec = &workload["spec"];
    if spec["paused"] == true {
        return Err(NotRestarted::Paused);
    }
    if spec["updateStrategy"]["type"] == "OnDelete" {
        return Err(NotRestarted::OnDelete);
    }
    let annotations = json!({RESTARTED_AT: format!("{now:.0}")});
    Ok(json!({"spec": {"template": {"metadata": {"annotations": annotations}}}}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretended::ApiServer;

    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
    const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/shop/replicasets";
    const PODS: &str = "/api/v1/namespaces/shop/pods";

    fn owned(name: &str, kind: &str, owner: &str) -> Value {
        let owners =
            json!([{"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": owner, "controller": true}]);
        json!({"metadata": {"name": name, "labels": {"app": "orders"}, "ownerReferences": owners}, "spec": {},
            "status": {"phase": "Running"}})
    }

    /// A Deployment with this spec, and a pod of it.
    fn deployment(spec: Value) -> ApiServer {
        ApiServer::with([
            (DEPLOYMENTS, json!({"metadata": {"name": "orders"}, "spec": spec})),
            (REPLICA_SETS, owned("orders-1", "Deployment", "orders")),
            (PODS, owned("orders-1-x", "ReplicaSet", "orders-1")),
        ])
    }

    async fn restarted(server: &ApiServer) -> Restart {
        let selector = Labels::from([("app".into(), "orders".into())]);
        restart(&server.cluster(), &selector).await.unwrap().pop().expect("a workload")
    }

    #[tokio::test]
    async fn the_workload_above_the_pods_is_rolled_out() {
        let server = deployment(json!({"template": {"metadata": {"annotations": {"a": "b"}}}}));
        let restart = restarted(&server).await;
        assert!(restart.begun.is_ok() && restart.workload == "Deployment orders", "{restart:?}");
        assert_eq!(server.changes(), ["PATCH deployments/orders"]);
        let object = server.get("deployments/orders").unwrap();
        let annotations = &object["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(annotations["a"], "b");
        assert!(annotations[RESTARTED_AT].as_str().is_some_and(|at| at.ends_with('Z')), "{annotations}");
    }

    #[tokio::test]
    async fn callers_are_named_by_their_workload_or_their_service() {
        let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "orders"}}});
        for (caller, what) in [("deploy/orders", "Deployment orders"), ("web", "Deployment orders")] {
            let server = deployment(json!({}));
            server.put("/api/v1/namespaces/shop/services/web", service.clone());
            let restarts = restart_target(&server.cluster(), &caller.parse().unwrap()).await.unwrap();
            let begun: Vec<_> = restarts.iter().map(|r| (r.workload.as_str(), r.begun.is_ok())).collect();
            assert_eq!(begun, [(what, true)], "{caller}");
            assert_eq!(server.changes(), ["PATCH deployments/orders"], "{caller}");
        }
        let server = deployment(json!({}));
        for missing in ["deploy/wbe", "wbe"] {
            let error = restart_target(&server.cluster(), &missing.parse().unwrap()).await.unwrap_err();
            assert!(error.to_string().contains("not found in namespace shop"), "{error}");
        }
        assert_eq!(server.changes(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_would_not_roll_is_named_and_left_alone() {
        for (spec, words) in [
            (json!({"paused": true}), "it is paused"),
            (json!({"updateStrategy": {"type": "OnDelete"}}), "only when someone deletes them"),
        ] {
            let server = deployment(spec);
            let why = restarted(&server).await.begun.unwrap_err().to_string();
            assert!(why.contains(words), "{why}");
            assert_eq!(server.changes(), Vec::<String>::new());
        }
        let pod = json!({"metadata": {"name": "orders", "labels": {"app": "orders"}}, "spec": {}});
        let server = ApiServer::with([(PODS, pod)]);
        let why = restarted(&server).await.begun.unwrap_err();
        assert!(matches!(why, NotRestarted::Kind), "{why}");
    }

    #[test]
    fn without_the_right_it_says_who_can_do_what() {
        let why = NotRestarted::NoRight {
            resource: "statefulsets",
            namespace: "shop".into(),
            name: "orders".into(),
        };
        assert_eq!(
            why.to_string(),
            "you may not patch statefulsets in namespace shop: an admin can allow it (deploy/rbac-restart.yaml), or \
             run `kubectl -n shop rollout restart statefulsets/orders`"
        );
    }
}
