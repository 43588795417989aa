//! The paths at which the agents' containers mount volumes, according to the API server: the agent's own
//! report is not trusted.

use std::collections::BTreeSet;

use bridge_deploy::{SIDECAR_CONTAINER, mount_paths};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::{
    app::AppKind,
    client::Cluster,
    error::{Call, ClusterError},
    record::Record,
};

/// The name of our container in pods of its own.
const CONTAINER: &str = "agent";

/// The absolute paths at which the agents of this Deployment mount volumes.
///
/// # Errors
///
/// The errors of the call.
pub async fn of_deployment(cluster: &Cluster, name: &str) -> Result<BTreeSet<String>, ClusterError> {
    let namespace = &cluster.namespace;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
    let call = Call::new("get", "deployments", namespace, name);
    let deployment = cluster.call(call, deployments.get(name)).await?;
    let template = deployment.spec.map(|spec| json!(spec.template)).unwrap_or_default();
    Ok(of(&template, CONTAINER))
}

/// The absolute paths at which the sidecars with this id mount volumes.
///
/// # Errors
///
/// The errors of the call.
pub async fn of_sidecars(cluster: &Cluster, id: &str) -> Result<BTreeSet<String>, ClusterError> {
    let mut mounted = BTreeSet::new();
    for kind in AppKind::ALL {
        let call = Call::all("list", kind.resource(), &cluster.namespace);
        let api = kind.api(&cluster.client, &cluster.namespace);
        let all = match cluster.call(call, api.list(&ListParams::default())).await {
            Err(error) if error.is_not_found() || error.is_forbidden() => continue,
            all => all?,
        };
        let has_it = |app: &&DynamicObject| {
            Record::of(&app.metadata).is_ok_and(|record| record.is_some_and(|record| record.id == id))
        };
        let templates = all.iter().filter(has_it).filter_map(|app| app.data.pointer("/spec/template"));
        mounted.extend(templates.flat_map(|template| of(template, SIDECAR_CONTAINER)));
    }
    Ok(mounted)
}

fn of(template: &Value, container: &str) -> BTreeSet<String> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    let agent = containers.into_iter().flatten().find(|it| it["name"] == container);
    let mounts = agent.and_then(|agent| agent["volumeMounts"].as_array()).map_or(&[][..], Vec::as_slice);
    mount_paths(template, mounts).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(spec: Value) -> Vec<String> {
        of(&json!({"spec": spec}), "agent").into_iter().collect()
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
