//! The paths at which the containers of a stand-in's agents mount volumes, according to the API server: the agent's own
//! report is not trusted.

use std::collections::BTreeSet;

use bridge_deploy::{mount_paths, names};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};

use crate::{
    client::Cluster,
    error::{Call, ClusterError},
};

/// The name of our container in a stand-in's pods.
const CONTAINER: &str = "agent";

/// The absolute paths at which a Service's stand-in with this id mounts volumes.
///
/// # Errors
///
/// The errors of the call.
pub async fn of_stand_in(
    cluster: &Cluster,
    service: &str,
    id: &str,
) -> Result<BTreeSet<String>, ClusterError> {
    let namespace = &cluster.namespace;
    let stand_in = names(service, id).stand_in;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
    let call = Call::new("get", "deployments", namespace, &stand_in);
    Ok(of(&cluster.call(call, deployments.get(&stand_in)).await?))
}

fn of(deployment: &Deployment) -> BTreeSet<String> {
    let template = deployment.spec.as_ref().map(|spec| json!(spec.template)).unwrap_or_default();
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    let agent = containers.into_iter().flatten().find(|container| container["name"] == CONTAINER);
    let mounts = agent.and_then(|agent| agent["volumeMounts"].as_array()).map_or(&[][..], Vec::as_slice);
    mount_paths(&template, mounts).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(spec: Value) -> Vec<String> {
        let template = json!({"spec": spec});
        let deployment = json!({"spec": {"selector": {}, "template": template}});
        of(&serde_json::from_value(deployment).unwrap()).into_iter().collect()
    }

    #[test]
    fn only_the_agent_s_mounts_and_its_token_count() {
        let mount = |name: &str, path: &str| json!({"name": name, "mountPath": path});
        let agent = json!({"name": "agent", "volumeMounts": [mount("menu", "/etc/shop/"), mount("key", "/bridge/key")]});
        let other = json!({"name": "sidecar", "volumeMounts": [mount("x", "/etc/ld.so.preload")]});
        const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
        assert_eq!(mounted(json!({"containers": [&other, &agent]})), ["/bridge/key", "/etc/shop", TOKEN]);
        let without = json!({"containers": [&agent], "automountServiceAccountToken": false});
        assert_eq!(mounted(without), ["/bridge/key", "/etc/shop"]);
        assert_eq!(mounted(json!({"containers": [&other]})), [TOKEN]);
    }
}
