//! Deletes objects of ours, each by its uid.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};

use crate::client::Cluster;
use crate::error::{Call, ClusterError};

/// A namespaced object of a kind that our Kubernetes types know.
pub(crate) trait Object:
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

/// Deletes exactly the object that was read; a newer one of its name stays.
pub(crate) async fn delete<K: Object>(
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

pub(crate) fn absent_is_fine<T>(result: Result<T, ClusterError>) -> Result<(), ClusterError> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
