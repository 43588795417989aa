//! Giving a Service back: the reverse of `attach`, selector first, and only what is still exactly ours.
//!
//! Connections that still run through the stand-in are not cut: its pods get ten minutes, during which they go on
//! accepting for the origin, and what they need (the Service in front of the origin, the key, the program) is handed to
//! them, so that Kubernetes removes it after the last of them. Nothing here waits for that. What is handed over or deleted
//! is known by its uid and owned by the Service: labels and names alone are anybody's.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use serde_json::{Value, json};

use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::objects::{labelled, managed_fields, patch, read};
use crate::ours::{self, Of};
use crate::ownership::{self, MANAGER};
use crate::state::{ATTACHMENT, Attachment, Claim, selector};

/// What became of a Service after claims were released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// Nobody was attached, or the Service is gone.
    NotAttached,
    /// Others still use the stand-in.
    Shared(Vec<Claim>),
    /// The last one went: the Service is as it was, and this stand-in drains.
    Restored { stand_in: String },
}

/// Releases the claims for which `goes` says so; with the last one, gives the Service back.
///
/// # Errors
///
/// Those of the calls. What was done stays done: calling it again, or [`crate::clean::clean`], does the rest.
pub async fn release(
    cluster: &Cluster,
    service: &str,
    goes: impl Fn(&Claim) -> bool,
) -> Result<Released, ClusterError> {
    loop {
        let now = match read(cluster, service).await {
            Ok(now) => now,
            Err(error) if error.is_not_found() => return Ok(Released::NotAttached),
            Err(error) => return Err(error),
        };
        let Some(mut attachment) = Attachment::of(&now)? else { return Ok(Released::NotAttached) };
        attachment.sessions.retain(|claim| !goes(claim));
        let last = attachment.sessions.is_empty();
        let in_place = attachment.is_in_place(&now);
        let change = match (last, in_place) {
            (false, _) => json!({"metadata": {"annotations": annotation(&attachment)}}),
            // The annotation stays until all is put back: it says what is left to do if this is cut off here.
            (true, true) => json!({
                "metadata": {"annotations": annotation(&attachment)},
                "spec": {"selector": attachment.original},
            }),
            (true, false) => json!({
                "metadata": {
                    "annotations": {ATTACHMENT: null},
                    "managedFields": owners_given_back(&now, &attachment),
                },
            }),
        };
        match patch(cluster, &now, change).await {
            Ok(_) if !last => return Ok(Released::Shared(attachment.sessions)),
            Ok(_) if in_place => {}
            Ok(_) => {
                if let Some(of) = Of::new(&now, &attachment.stand_in) {
                    retire(cluster, &of).await?;
                }
                return Ok(Released::Restored { stand_in: attachment.stand_in });
            }
            Err(ClusterError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

fn annotation(attachment: &Attachment) -> Value {
    json!({ATTACHMENT: attachment.to_annotation()})
}

/// Gives the selector back, and who owned it, and nothing else: for a Service that has got ports which the stand-in does
/// not know, or, until there is one, of which no agent is ready; then the attachment says `why`. Says whether it led to
/// the stand-in.
///
/// # Errors
///
/// Those of the calls.
pub async fn lead_back(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    why: Option<&str>,
) -> Result<bool, ClusterError> {
    loop {
        let now = read(cluster, service).await?;
        let in_place = Attachment::of(&now)?.filter(|a| a.stand_in == stand_in && a.is_in_place(&now));
        let Some(mut attachment) = in_place else { return Ok(false) };
        attachment.led_back = why.map(str::to_owned);
        let change = json!({
            "metadata": {"annotations": annotation(&attachment)},
            "spec": {"selector": attachment.original},
        });
        match patch(cluster, &now, change).await {
            Ok(led_back) => {
                give_back_ownership(cluster, led_back, &attachment).await?;
                return Ok(true);
            }
            Err(ClusterError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Puts back who owned the selector, as far as it is the original again.
async fn give_back_ownership(
    cluster: &Cluster,
    mut now: Service,
    attachment: &Attachment,
) -> Result<(), ClusterError> {
    loop {
        let wanted = owners_given_back(&now, attachment);
        if managed_fields(&now) == wanted {
            return Ok(());
        }
        match patch(cluster, &now, json!({"metadata": {"managedFields": wanted}})).await {
            Ok(_) => return Ok(()),
            Err(ClusterError::Conflict { .. }) => {
                now = read(cluster, now.metadata.name.as_deref().unwrap_or_default()).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The Service's `managedFields` without us, and with the owners that the selector had, if it is the original again.
fn owners_given_back(now: &Service, attachment: &Attachment) -> Value {
    let owners =
        if selector(now) == attachment.original { attachment.selector_owners.as_slice() } else { &[] };
    ownership::given_back(&managed_fields(now), owners)
}

/// Lets a stand-in drain and go: hands its objects to its pods, then deletes the Deployment. Idempotent.
///
/// # Errors
///
/// Those of the calls.
pub(crate) async fn retire(cluster: &Cluster, of: &Of) -> Result<(), ClusterError> {
    let names = of.names();
    let labelled = ListParams::default().labels(&labelled(&of.service, &of.id));
    // Secrets may be read by name only.
    let (pods, deployments, services, programs, secret) = tokio::try_join!(
        list::<Pod>(cluster, "pods", &labelled),
        list::<Deployment>(cluster, "deployments", &labelled),
        list::<Service>(cluster, "services", &labelled),
        list::<ConfigMap>(cluster, "configmaps", &labelled),
        get::<Secret>(cluster, "secrets", &names.secret),
    )?;
    let pods = pods.iter().filter(|pod| ours::is_of_deployment(&names.stand_in, pod));
    let owners: Vec<Value> = pods
        .map(|pod| json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}))
        .collect();
    let is = |name: &str, object: &ObjectMeta| object.name.as_deref() == Some(name);
    for service in services.into_iter().filter(|object| is(&names.origin, object)) {
        hand_over::<Service>(cluster, "services", service, of, &owners).await?;
    }
    let is_program = |object: &ObjectMeta| object.name.as_deref().is_some_and(|name| names.is_program(name));
    for program in programs.into_iter().filter(is_program) {
        hand_over::<ConfigMap>(cluster, "configmaps", program, of, &owners).await?;
    }
    if let Some(secret) = secret {
        hand_over::<Secret>(cluster, "secrets", secret, of, &owners).await?;
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

/// Makes the pods the owners of an object that is the stand-in's, so that it goes after the last of them; without pods it
/// goes at once.
async fn hand_over<K: Object>(
    cluster: &Cluster,
    resource: &'static str,
    mut object: ObjectMeta,
    of: &Of,
    pods: &[Value],
) -> Result<(), ClusterError> {
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    while of.owns(&object) {
        if pods.is_empty() {
            return delete::<K>(cluster, resource, &object).await;
        }
        let name = object.name.as_deref().unwrap_or_default();
        let call = Call::new("patch", resource, &cluster.namespace, name);
        // Only the very object that was looked at.
        let (uid, version) = (&object.uid, &object.resource_version);
        let metadata = json!({"uid": uid, "resourceVersion": version, "ownerReferences": pods});
        let change = Patch::Merge(json!({"metadata": metadata}));
        match cluster.call(call, api.patch_metadata(name, &params, &change)).await {
            Err(ClusterError::Conflict { .. }) => match get::<K>(cluster, resource, name).await? {
                Some(now) => object = now,
                None => return Ok(()),
            },
            done => return absent_is_fine(done),
        }
    }
    Ok(())
}

/// Deletes the very object that was looked at; one of its name that was made since stays.
async fn delete<K: Object>(
    cluster: &Cluster,
    resource: &'static str,
    object: &ObjectMeta,
) -> Result<(), ClusterError> {
    let (Some(name), Some(uid)) = (&object.name, &object.uid) else { return Ok(()) };
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::new("delete", resource, &cluster.namespace, name);
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
        ..DeleteParams::default()
    };
    match cluster.call(call, api.delete(name, &params)).await {
        Err(ClusterError::Conflict { .. }) => Ok(()),
        done => absent_is_fine(done),
    }
}

/// What can be in a namespace and is known to our Kubernetes types.
trait Object:
    kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + serde::de::DeserializeOwned
{
}

impl<K> Object for K where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
{
}

fn absent_is_fine<T>(result: Result<T, ClusterError>) -> Result<(), ClusterError> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "detach_tests.rs"]
mod tests;
