//! Retires a stand-in. Connections that still run through it are not cut: its pods get ten minutes, during which they
//! keep accepting for the origin, and the objects that they need (the Service in front of the origin, the key, the
//! program) are handed over to them, so that Kubernetes removes these after the last pod. Nothing here waits for that.
//! Objects are handed over or deleted only if known by uid and owned by the Service: anyone can write labels and names.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::app::App;
use crate::change::until_settled;
use crate::client::{Cluster, unless_forbidden};
use crate::delete::{Object, absent_is_fine, delete};
use crate::error::{Call, ClusterError};
use crate::objects::labelled;
use crate::ours::{self, Of};
use crate::ownership::MANAGER;

/// Lets a stand-in drain: hands its objects over to its pods, then deletes the Deployment. Idempotent.
///
/// # Errors
///
/// The errors of the calls.
pub(super) async fn retire(cluster: &Cluster, of: &Of) -> Result<(), ClusterError> {
    retire_with(cluster, of, &Sidecars::default()).await
}

/// The sidecars among the agents that go.
#[derive(Debug, Default)]
pub(super) struct Sidecars {
    /// The pods that have one.
    pub(super) pods: Vec<ObjectMeta>,
    /// Their workloads.
    pub(super) apps: Vec<App>,
}

/// As [`retire`], for agents of which some are sidecars.
pub(super) async fn retire_with(cluster: &Cluster, of: &Of, sidecars: &Sidecars) -> Result<(), ClusterError> {
    let names = of.names();
    let owns = |object: &ObjectMeta| of.owns(object) || of.owns_by(object, &sidecars.apps);
    let labelled = ListParams::default().labels(&labelled(&of.service, &of.id));
    // Secrets may be read by name only, and by agents' own account not at all ([`crate::restore`]).
    let secret = async { unless_forbidden(get::<Secret>(cluster, "secrets", &names.secret).await) };
    let (pods, deployments, services, programs, secret) = tokio::try_join!(
        list::<Pod>(cluster, "pods", &labelled),
        list::<Deployment>(cluster, "deployments", &labelled),
        list::<Service>(cluster, "services", &labelled),
        list::<ConfigMap>(cluster, "configmaps", &labelled),
        secret,
    )?;
    let pods = pods.iter().filter(|pod| ours::is_of_deployment(&names.stand_in, pod)).chain(&sidecars.pods);
    let owners: Vec<Value> = pods
        .map(|pod| json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}))
        .collect();
    let is = |name: &str, object: &ObjectMeta| object.name.as_deref() == Some(name);
    for service in services.into_iter().filter(|object| is(&names.origin, object)) {
        hand_over::<Service>(cluster, "services", service, &owns, &owners).await?;
    }
    let is_program = |object: &ObjectMeta| object.name.as_deref().is_some_and(|name| names.is_program(name));
    for program in programs.into_iter().filter(is_program) {
        hand_over::<ConfigMap>(cluster, "configmaps", program, &owns, &owners).await?;
    }
    if let Some(secret) = secret.flatten() {
        hand_over::<Secret>(cluster, "secrets", secret, &owns, &owners).await?;
    }
    for deployment in deployments.iter().filter(|object| is(&names.stand_in, object) && of.owns(object)) {
        delete::<Deployment>(cluster, "deployments", deployment).await?;
    }
    Ok(())
}

async fn list<K: Object>(
    cluster: &Cluster,
    resource: &'static str,
    params: &ListParams,
) -> Result<Vec<ObjectMeta>, ClusterError> {
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", resource, &cluster.namespace);
    let objects = cluster.call(call, api.list_metadata(params)).await?;
    Ok(objects.into_iter().map(|object| object.metadata).collect())
}

async fn get<K: Object>(
    cluster: &Cluster,
    resource: &'static str,
    name: &str,
) -> Result<Option<ObjectMeta>, ClusterError> {
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::new("get", resource, &cluster.namespace, name);
    match cluster.call(call, api.get_metadata(name)).await {
        Ok(object) => Ok(Some(object.metadata)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the pods the owners of an object of the stand-in, so that it goes after the last of them; without pods it goes
/// at once.
async fn hand_over<K: Object>(
    cluster: &Cluster,
    resource: &'static str,
    object: ObjectMeta,
    owns: &(impl Fn(&ObjectMeta) -> bool + Sync),
    pods: &[Value],
) -> Result<(), ClusterError> {
    let name = object.name.clone().unwrap_or_default();
    let mut known = Some(object);
    until_settled(|| {
        let known = known.take();
        let name = &name;
        async move {
            let object = match known {
                Some(object) => Some(object),
                None => get::<K>(cluster, resource, name).await?,
            };
            match object.filter(|object| owns(object)) {
                None => Ok(()),
                Some(object) if pods.is_empty() => delete::<K>(cluster, resource, &object).await,
                Some(object) => own::<K>(cluster, resource, &object, pods).await,
            }
        }
    })
    .await
}

/// Makes the pods the owners of exactly the object that was read.
async fn own<K: Object>(
    cluster: &Cluster,
    resource: &'static str,
    object: &ObjectMeta,
    pods: &[Value],
) -> Result<(), ClusterError> {
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let name = object.name.as_deref().unwrap_or_default();
    let call = Call::new("patch", resource, &cluster.namespace, name);
    let (uid, version) = (&object.uid, &object.resource_version);
    let metadata = json!({"uid": uid, "resourceVersion": version, "ownerReferences": pods});
    let change = Patch::Merge(json!({"metadata": metadata}));
    absent_is_fine(cluster.call(call, api.patch_metadata(name, &params, &change)).await)
}
