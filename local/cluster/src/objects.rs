//! Objects of the cluster, one call each: the Service that is attached, and the objects of a stand-in.

use std::net::IpAddr;

use bridge_deploy::{ORIGIN_TEMPLATE_ANNOTATION, SERVICE_LABEL, STAND_IN_LABEL};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::ours::Of;
use crate::ownership::MANAGER;
use crate::workload::Labels;

pub(crate) fn managed_fields(service: &Service) -> Value {
    serde_json::to_value(&service.metadata.managed_fields).unwrap_or(Value::Null)
}

/// Reads the Service.
///
/// # Errors
///
/// The errors of the call.
pub async fn read(cluster: &Cluster, service: &str) -> Result<Service, ClusterError> {
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    cluster.call(Call::new("get", "services", &cluster.namespace, service), api.get(service)).await
}

/// All Services of the namespace.
///
/// # Errors
///
/// The errors of the call.
pub(crate) async fn services(cluster: &Cluster) -> Result<Vec<Service>, ClusterError> {
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::all("list", "services", &cluster.namespace);
    Ok(cluster.call(call, api.list(&ListParams::default())).await?.items)
}

/// Changes a Service if it is still the version that was read; else [`ClusterError::Conflict`].
pub(crate) async fn patch(
    cluster: &Cluster,
    read: &Service,
    mut change: Value,
) -> Result<Service, ClusterError> {
    let name = read.metadata.name.as_deref().unwrap_or_default();
    change["metadata"]["resourceVersion"] = json!(read.metadata.resource_version);
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let call = Call::new("patch", "services", &cluster.namespace, name);
    cluster.call(call, api.patch(name, &params, &Patch::Merge(change))).await
}

/// An object of a stand-in.
pub(crate) trait Made:
    kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
    + Clone
    + std::fmt::Debug
    + DeserializeOwned
{
}

impl Made for Secret {}
impl Made for ConfigMap {}
impl Made for Service {}
impl Made for Deployment {}

/// The first call for an object that may exist: the likely one saves a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    Create,
    Read,
}

/// Creates an object unless it exists. An existing one of that name is used if it is ours, from a connect that was cut
/// off or runs at the same time, and if `wrong` has no objection: another daemon may have been quicker.
pub(crate) async fn ensure<K: Made>(
    cluster: &Cluster,
    of: &Of,
    first: First,
    resource: &'static str,
    object: &Value,
    wrong: impl Fn(&K, &K) -> Option<&'static str>,
) -> Result<K, ClusterError> {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let call = |verb| Call::new(verb, resource, &cluster.namespace, name);
    let read = async || {
        let wanted: K = parse(object.clone(), &call("get"))?;
        read_made(cluster, of, resource, name, |there| wrong(&wanted, there)).await
    };
    if first == First::Read
        && let Some(there) = read().await?
    {
        return Ok(there);
    }
    match create(cluster, call("create"), object).await {
        Err(ClusterError::Exists { .. }) => {
            read().await?.ok_or_else(|| ClusterError::NotFound { call: call("get") })
        }
        created => created,
    }
}

/// Creates an object. It is sent as JSON: fields that our Kubernetes types do not know are not lost.
pub(crate) async fn create<K: Made>(
    cluster: &Cluster,
    call: Call,
    object: &Value,
) -> Result<K, ClusterError> {
    let resource = kube::core::ApiResource::erase::<K>(&());
    let api: Api<kube::core::DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let dynamic = parse(object.clone(), &call)?;
    let created = cluster.call(call.clone(), api.create(&params, &dynamic)).await?;
    parse(serde_json::to_value(created).unwrap_or(Value::Null), &call)
}

/// An object of another connect, if it exists. It is ours, and `wrong` has no objection to it.
pub(crate) async fn read_made<K: Made>(
    cluster: &Cluster,
    of: &Of,
    resource: &'static str,
    name: &str,
    wrong: impl Fn(&K) -> Option<&'static str>,
) -> Result<Option<K>, ClusterError> {
    let namespace = &cluster.namespace;
    let api: Api<K> = Api::namespaced(cluster.client.clone(), namespace);
    let there = match cluster.call(Call::new("get", resource, namespace, name), api.get(name)).await {
        Ok(there) => there,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let reason = if of.owns(there.meta()) { wrong(&there) } else { Some("this Service does not own it") };
    match reason {
        None => Ok(Some(there)),
        Some(reason) => {
            let (name, namespace) = (name.to_owned(), namespace.clone());
            Err(ClusterError::NotOurs { resource, name, namespace, reason })
        }
    }
}

fn parse<T: DeserializeOwned>(object: Value, call: &Call) -> Result<T, ClusterError> {
    serde_json::from_value(object)
        .map_err(|error| ClusterError::Refused { call: call.clone(), reason: error.to_string() })
}

pub(crate) fn address(origin: &Service, name: &str) -> Result<IpAddr, ClusterError> {
    let address = origin.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    address.and_then(|text| text.parse().ok()).ok_or_else(|| ClusterError::Refused {
        call: Call {
            verb: "create",
            resource: "services",
            namespace: origin.metadata.namespace.clone(),
            name: Some(name.to_owned()),
        },
        reason: format!("its address is {:?}", address.unwrap_or_default()),
    })
}

/// The address at which the agents of a stand-in reach the origin.
///
/// # Errors
///
/// The errors of the call.
pub async fn origin(cluster: &Cluster, service: &str, stand_in: &str) -> Result<IpAddr, ClusterError> {
    let name = bridge_deploy::names(service, stand_in).origin;
    address(&read(cluster, &name).await?, &name)
}

/// The label selector of objects with all of these labels.
pub(crate) fn equal(labels: &Labels) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// The label selector of all objects of a stand-in. Both labels, because the id is short, and another Service's
/// stand-in may have the same.
pub(crate) fn labelled(service: &str, stand_in: &str) -> String {
    format!("{SERVICE_LABEL}={service},{STAND_IN_LABEL}={stand_in}")
}

/// Whether the Deployment with this metadata follows another template.
#[must_use]
pub fn is_stale(deployment: &ObjectMeta, pod_template: &Value) -> bool {
    bridge_deploy::is_stale(made_of(deployment), pod_template)
}

fn made_of(deployment: &ObjectMeta) -> Option<&str> {
    deployment.annotations.as_ref()?.get(ORIGIN_TEMPLATE_ANNOTATION).map(String::as_str)
}
