//! The work of Kubernetes' controllers, done at once: a Deployment has ready pods, as many as it says, and objects without
//! an owner go.

use serde_json::{Value, json};

use super::Inner;

const PODS: &str = "/api/v1/namespaces/shop/pods";
const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/shop/replicasets";
const HASH: &str = "5d8";

impl Inner {
    /// Creates the pods of a Deployment.
    pub(super) fn roll_out(&mut self, deployment: &Value) {
        let name = format!("{}-{HASH}", deployment["metadata"]["name"].as_str().unwrap());
        let template = &deployment["spec"]["template"];
        let mut labels = template["metadata"]["labels"].clone();
        labels["pod-template-hash"] = json!(HASH);
        let owned = |name: &str, kind: &str, owner: &Value| {
            let owner = json!({
                "apiVersion": "apps/v1", "kind": kind, "controller": true,
                "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
            });
            json!({"metadata": {"name": name, "namespace": "shop", "labels": labels, "ownerReferences": [owner]}})
        };
        let mut replica_set = owned(&name, "Deployment", deployment);
        replica_set["spec"] = json!({"selector": deployment["spec"]["selector"], "template": template});
        let replica_set = self.put(format!("{REPLICA_SETS}/{name}"), replica_set);
        for number in 0..deployment["spec"]["replicas"].as_u64().unwrap_or(1) {
            let name = format!("{name}-{number}");
            let mut pod = owned(&name, "ReplicaSet", &replica_set);
            pod["spec"] = template["spec"].clone();
            pod["status"] = json!({
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{
                    "name": "main", "image": "x", "imageID": "x", "ready": true, "restartCount": 0,
                    "state": {"running": {}},
                }],
            });
            self.put(format!("{PODS}/{name}"), pod);
        }
    }

    /// Replaces the pods of a Deployment by as many as it says now.
    pub(super) fn scale(&mut self, path: &str, deployment: &Value) {
        let labels = deployment["spec"]["selector"]["matchLabels"].as_object().cloned().unwrap_or_default();
        let is_its = |pod: &Value| labels.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value);
        let pods = self.objects.iter().filter(|(at, pod)| at.starts_with(PODS) && is_its(pod));
        for pod in pods.map(|(at, _)| at.clone()).collect::<Vec<_>>() {
            self.remove(&pod);
        }
        self.roll_out(deployment);
        let mut deployment = deployment.clone();
        deployment["status"]["readyReplicas"] = deployment["spec"]["replicas"].clone();
        self.put(path.to_owned(), deployment);
    }

    /// Removes objects whose owners are all gone.
    pub(super) fn collect_garbage(&mut self) {
        let uids: Vec<Value> =
            self.objects.values().map(|object| object["metadata"]["uid"].clone()).collect();
        let is_orphan = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| {
                !owners.is_empty() && owners.iter().all(|owner| !uids.contains(&owner["uid"]))
            })
        };
        let orphans: Vec<String> = self
            .objects
            .iter()
            .filter(|(_, object)| is_orphan(object))
            .map(|(path, _)| path.clone())
            .collect();
        if orphans.is_empty() {
            return;
        }
        for path in orphans {
            self.remove(&path);
        }
        self.collect_garbage();
    }
}
