//! The namespaces of a cluster.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;

use crate::client::Cluster;
use crate::error::{Call, ClusterError};

/// The names of the namespaces, in order. Who may not list them has the cluster's own at least.
///
/// # Errors
///
/// Of the call, but for missing rights.
pub async fn namespaces(cluster: &Cluster) -> Result<Vec<String>, ClusterError> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let listed =
        cluster.call(Call::everywhere("list", "namespaces"), api.list_metadata(&ListParams::default())).await;
    let mut names: Vec<String> = match listed {
        Ok(listed) => listed.items.into_iter().filter_map(|namespace| namespace.metadata.name).collect(),
        Err(error) if error.is_forbidden() => vec![cluster.namespace.clone()],
        Err(error) => return Err(error),
    };
    names.sort_unstable();
    Ok(names)
}
