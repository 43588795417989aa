//! Resolves what the user names to a Service.

use std::collections::BTreeSet;

use bridge_deploy::SERVICE_LABEL;
use bridge_proto::target::{Kind, Target};
use k8s_openapi::{
    api::core::v1::{Namespace, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Resource,
    api::{DynamicObject, ListParams},
};

use crate::{
    client::Cluster,
    error::{Call, ClusterError},
    kind,
    nearest::nearest,
    objects::services,
    workload::{Labels, selects},
};

/// Finds the Service that the target names.
///
/// # Errors
///
/// If it does not exist, with similar names, or the namespace in which it exists; if a workload is not behind exactly
/// one Service, with those that it is behind.
pub async fn resolve(cluster: &Cluster, target: &Target) -> Result<String, ClusterError> {
    let namespace = &cluster.namespace;
    let api: Api<DynamicObject> =
        Api::namespaced_with(cluster.client.clone(), namespace, &kind::api(target.kind));
    let call = Call::new("get", target.kind.resource(), namespace, &target.name);
    let object = match cluster.call(call, api.get(&target.name)).await {
        Ok(object) => object,
        Err(error) if error.is_not_found() => return Err(not_there(cluster, target).await),
        Err(error) => return Err(error),
    };
    if target.kind == Kind::Service {
        return Ok(target.name.clone());
    }
    let labels = pod_labels(target.kind, &object);
    let services = services(cluster).await?;
    one_service(target, namespace, &labels, &services)
}

/// The labels of the pods that belong to the object.
fn pod_labels(kind: Kind, object: &DynamicObject) -> Labels {
    if kind == Kind::Pod {
        return object.metadata.labels.clone().unwrap_or_default();
    }
    let metadata = kind::pod_template(kind, &object.data).and_then(|template| template.get("metadata"));
    let template: Option<ObjectMeta> =
        metadata.and_then(|metadata| serde_json::from_value(metadata.clone()).ok());
    template.and_then(|metadata| metadata.labels).unwrap_or_default()
}

fn one_service(
    target: &Target,
    namespace: &str,
    labels: &Labels,
    services: &[Service],
) -> Result<String, ClusterError> {
    let mut names: Vec<String> = selecting(labels, services).into_iter().collect();
    match names.len() {
        0 => Err(ClusterError::NoServiceSelects {
            workload: target.sentence(),
            namespace: namespace.to_owned(),
        }),
        1 => Ok(names.remove(0)),
        _ => Err(ClusterError::SeveralServices { workload: target.sentence(), services: names }),
    }
}

/// The Services that select pods with these labels. While a stand-in has replaced a workload, the Service in front of
/// the origin selects them, and names the Service that it belongs to.
fn selecting(labels: &Labels, services: &[Service]) -> BTreeSet<String> {
    let selected_by = |service: &&Service| {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| selects(selector, labels))
    };
    services
        .iter()
        .filter(selected_by)
        .filter_map(|service| {
            let of = service.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_LABEL));
            of.or(service.metadata.name.as_ref()).cloned()
        })
        .collect()
}

/// An error with what the user may have meant, as far as the user's rights show it.
pub(crate) async fn not_there(cluster: &Cluster, target: &Target) -> ClusterError {
    let Cluster { client, namespace, .. } = cluster;
    let resource = kind::api(target.kind);
    let here: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let everywhere: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let by_name = ListParams::default().fields(&format!("metadata.name={}", target.name));
    let all = ListParams::default();
    let (here, everywhere, namespaces) = tokio::join!(
        cluster.call(Call::all("list", target.kind.resource(), namespace), here.list(&all)),
        cluster.call(Call::everywhere("list", target.kind.resource()), everywhere.list(&by_name)),
        namespace_names(cluster),
    );
    if let Some(names) = namespaces
        && !names.iter().any(|name| name == namespace)
    {
        return ClusterError::NoSuchNamespace {
            name: namespace.clone(),
            nearest: nearest(namespace, names.iter().map(String::as_str)),
        };
    }
    let here = match here {
        Ok(list) => list.items,
        // The cluster may not know the kind.
        Err(error) if error.is_forbidden() || error.is_not_found() => Vec::new(),
        Err(error) => return error,
    };
    let names = here.iter().filter(|object| !is_ours(&object.metadata));
    let names = names.filter_map(|object| object.metadata.name.as_deref());
    let elsewhere = everywhere.map(|list| list.items).unwrap_or_default();
    ClusterError::NoSuchTarget {
        kind: target.kind,
        name: target.name.clone(),
        namespace: namespace.clone(),
        nearest: nearest(&target.name, names),
        elsewhere: elsewhere.into_iter().filter_map(|object| object.metadata.namespace).collect(),
    }
}

/// All namespaces, if the user may list them.
async fn namespace_names(cluster: &Cluster) -> Option<Vec<String>> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let call = Call::everywhere("list", "namespaces");
    let list = cluster.call(call, api.list_metadata(&ListParams::default())).await.ok()?;
    Some(list.items.into_iter().filter_map(|namespace| namespace.metadata.name).collect())
}

/// Whether bridge created it, so that nobody would connect to it.
pub(crate) fn is_ours(metadata: &ObjectMeta) -> bool {
    metadata.labels.as_ref().is_some_and(|labels| {
        [bridge_deploy::STAND_IN_LABEL, bridge_deploy::ASIDE_LABEL]
            .iter()
            .any(|ours| labels.contains_key(*ours))
    })
}

/// The name of an object from the API server, where all objects have one.
pub(crate) fn name_of(object: &impl Resource) -> String {
    object.meta().name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(yaml: &str) -> Vec<Service> {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_workload_means_the_one_service_that_selects_its_pods() {
        let services = services(
            "
            - {metadata: {name: orders}, spec: {selector: {app: orders}}}
            - {metadata: {name: other}, spec: {selector: {app: other}}}
            - {metadata: {name: external}, spec: {type: ExternalName}}
            - {metadata: {name: empty}, spec: {selector: {}}}
            - {metadata: {name: web-1}, spec: {selector: {app: web}}}
            - {metadata: {name: web-2}, spec: {selector: {app: web, tier: front}}}
            ",
        );
        let target: Target = "deploy/x".parse().unwrap();
        let of = |pod: &[(&str, &str)]| one_service(&target, "shop", &labels(pod), &services);
        assert_eq!(of(&[("app", "orders"), ("more", "1")]).unwrap(), "orders");
        assert_eq!(
            of(&[("app", "web"), ("tier", "front")]).unwrap_err().to_string(),
            "several Services select the pods of Deployment x: web-1, web-2"
        );
        assert_eq!(
            of(&[("app", "none")]).unwrap_err().to_string(),
            "no Service in namespace shop selects the pods of Deployment x"
        );
    }

    #[test]
    fn a_workload_behind_a_stand_in_still_means_its_service() {
        let services = services(
            "
            - {metadata: {name: orders}, spec: {selector: {app: orders-bridge-7f3a}}}
            - metadata: {name: orders-bridge-7f3a-origin, labels: {bridge.dev/service: orders}}
              spec: {selector: {app: orders}}
            ",
        );
        let target: Target = "deploy/orders".parse().unwrap();
        assert_eq!(one_service(&target, "shop", &labels(&[("app", "orders")]), &services).unwrap(), "orders");
    }
}
