//! Objects that lead requests from outside to the Services of a namespace: Ingresses, and other kinds that a cluster
//! may have. Read as far as the user may; the rest stays unknown.

use futures::future::join_all;
use k8s_openapi::api::networking::v1::Ingress;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, ListParams},
    core::GroupVersionKind,
};

use crate::{
    client::{Cluster, list, unless_forbidden},
    error::{Call, ClusterError},
};

/// Kinds beside Ingress: group, version, kind, and the kind as a resource.
const OTHERS: [(&str, &str, &str, &str); 5] = [
    ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
    ("gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes"),
    ("projectcontour.io", "v1", "HTTPProxy", "httpproxies"),
    ("traefik.io", "v1alpha1", "IngressRoute", "ingressroutes"),
    ("cloud.google.com", "v1", "BackendConfig", "backendconfigs"),
];

/// All such objects of a namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fronts {
    /// `None`: the user may not list them.
    pub ingresses: Option<Vec<Ingress>>,
    /// The readable objects of the other kinds.
    pub others: Vec<Other>,
}

/// An object of a kind that not every cluster has.
#[derive(Debug, Clone, PartialEq)]
pub struct Other {
    pub kind: String,
    pub object: DynamicObject,
}

/// Reads them, all kinds at once.
///
/// # Errors
///
/// If the API server fails; not if the user may not read.
pub async fn read(cluster: &Cluster) -> Result<Fronts, ClusterError> {
    let others = join_all(OTHERS.iter().map(|kind| others(cluster, *kind)));
    let (ingresses, others) = tokio::join!(list::<Ingress>(cluster, "ingresses"), others);
    let others: Vec<Vec<Other>> = others.into_iter().collect::<Result<_, _>>()?;
    Ok(Fronts { ingresses: unless_forbidden(ingresses)?, others: others.into_iter().flatten().collect() })
}

async fn others(
    cluster: &Cluster,
    (group, version, kind, resource): (&str, &str, &str, &'static str),
) -> Result<Vec<Other>, ClusterError> {
    let api = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), resource);
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &api);
    let call = Call::all("list", resource, &cluster.namespace);
    match cluster.call(call, api.list(&ListParams::default())).await {
        Ok(all) => Ok(all.items.into_iter().map(|object| Other { kind: kind.to_owned(), object }).collect()),
        // The cluster does not have the kind, or the user may not read it.
        Err(error) if error.is_not_found() || error.is_forbidden() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
