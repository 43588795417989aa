//! Giving a Service back: the reverse of `attach`, selector first, and only what is still exactly ours.
//!
//! Connections that still run through the stand-in are not cut: its pods get ten minutes, during which they go on
//! accepting for the origin, and what they need (the Service in front of the origin, the key, the program) is handed to
//! them, so that Kubernetes removes it after the last of them. Nothing here waits for that.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::attach::{labelled, patch, read};
use crate::client::Cluster;
use crate::error::{Call, ClusterError};
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
                retire(cluster, service, &attachment.stand_in).await?;
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

fn managed_fields(service: &Service) -> Value {
    serde_json::to_value(&service.metadata.managed_fields).unwrap_or(Value::Null)
}

/// Lets a stand-in drain and go: hands its objects to its pods, then deletes the Deployment. Idempotent.
///
/// # Errors
///
/// Those of the calls.
pub async fn retire(cluster: &Cluster, service: &str, stand_in: &str) -> Result<(), ClusterError> {
    let labelled = ListParams::default().labels(&labelled(service, stand_in));
    let (pods, deployments, services, programs) = tokio::try_join!(
        list::<Pod>(cluster, "pods", &labelled),
        list::<Deployment>(cluster, "deployments", &labelled),
        list::<Service>(cluster, "services", &labelled),
        list::<ConfigMap>(cluster, "configmaps", &labelled),
    )?;
    // Secrets may be read by name only.
    let secrets = names(&services).filter_map(|name| Some(format!("{}-key", name.strip_suffix("-origin")?)));
    let secrets = names(&deployments).map(|name| format!("{name}-key")).chain(secrets);
    let mut secrets: std::collections::BTreeSet<String> = secrets.collect();
    // It may be all that a connect which was cut off has made.
    secrets.insert(bridge_deploy::names(service, stand_in).secret);
    let owners: Vec<Value> = pods
        .iter()
        .map(|pod| json!({"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}))
        .collect();
    for service in names(&services) {
        hand_over::<Service>(cluster, "services", service, &owners).await?;
    }
    for program in names(&programs) {
        hand_over::<ConfigMap>(cluster, "configmaps", program, &owners).await?;
    }
    for secret in &secrets {
        hand_over::<Secret>(cluster, "secrets", secret, &owners).await?;
    }
    for deployment in names(&deployments) {
        delete::<Deployment>(cluster, "deployments", deployment).await?;
    }
    Ok(())
}

/// A name and uid; what is needed of an object to hand it over.
struct Named {
    name: String,
    uid: String,
}

fn names(objects: &[Named]) -> impl Iterator<Item = &str> {
    objects.iter().map(|object| object.name.as_str())
}

async fn list<K>(
    cluster: &Cluster,
    resource: &'static str,
    params: &ListParams,
) -> Result<Vec<Named>, ClusterError>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", resource, &cluster.namespace);
    let objects = cluster.call(call, api.list_metadata(params)).await?;
    Ok(objects
        .iter()
        .map(|object| Named { name: object.name_any(), uid: object.uid().unwrap_or_default() })
        .collect())
}

/// Makes the pods the owners of an object, so that it goes after the last of them; without pods it goes at once.
async fn hand_over<K>(
    cluster: &Cluster,
    resource: &'static str,
    name: &str,
    owners: &[Value],
) -> Result<(), ClusterError>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    if owners.is_empty() {
        return delete::<K>(cluster, resource, name).await;
    }
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::new("patch", resource, &cluster.namespace, name);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let change = Patch::Merge(json!({"metadata": {"ownerReferences": owners}}));
    absent_is_fine(cluster.call(call, api.patch_metadata(name, &params, &change)).await)
}

async fn delete<K>(cluster: &Cluster, resource: &'static str, name: &str) -> Result<(), ClusterError>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::new("delete", resource, &cluster.namespace, name);
    let params =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    absent_is_fine(cluster.call(call, api.delete(name, &params)).await)
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
