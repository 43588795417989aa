//! Signs of a service mesh: its proxies route by identity and endpoint, and bypass a Service's selector.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::obstacle::Mesh;
use crate::snapshot::Snapshot;

/// Labels or annotations of the namespace or of pods that ask for the mesh, by key and values; no value: any.
const SIGNS: [(Mesh, &str, &[&str]); 8] = [
    (Mesh::Istio, "istio-injection", &["enabled"]),
    (Mesh::Istio, "istio.io/rev", &[]),
    (Mesh::Istio, "istio.io/dataplane-mode", &["ambient"]),
    (Mesh::Istio, "sidecar.istio.io/inject", &["true"]),
    (Mesh::Linkerd, "linkerd.io/inject", &["enabled", "ingress"]),
    (Mesh::Kuma, "kuma.io/sidecar-injection", &["enabled", "true"]),
    (Mesh::Consul, "consul.hashicorp.com/connect-inject", &["true"]),
    (Mesh::AppMesh, "appmesh.k8s.aws/sidecarInjectorWebhook", &["enabled"]),
];

/// The containers of an injected pod.
const CONTAINERS: [(Mesh, &str); 4] = [
    (Mesh::Istio, "istio-proxy"),
    (Mesh::Linkerd, "linkerd-proxy"),
    (Mesh::Kuma, "kuma-sidecar"),
    (Mesh::Consul, "consul-dataplane"),
];

/// The mesh that the namespace or the pods are part of, and the sign of it. A namespace that asks for it is enough,
/// even if these pods have declined: the stand-in's would be injected.
pub(super) fn find(snapshot: &Snapshot) -> Option<(Mesh, String)> {
    let of_namespace = || {
        let namespace = snapshot.namespace.as_ref()?;
        let (mesh, sign) = sign(namespace.labels()).or_else(|| sign(namespace.annotations()))?;
        Some((mesh, format!("namespace with {sign}")))
    };
    of_namespace().or_else(|| snapshot.pods.iter().find_map(of_pod))
}

fn of_pod(pod: &Pod) -> Option<(Mesh, String)> {
    let by_container = || {
        let spec = pod.spec.as_ref()?;
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let names: Vec<&str> = all.map(|container| container.name.as_str()).collect();
        let (mesh, name) = CONTAINERS.iter().find(|(_, name)| names.contains(name))?;
        Some((*mesh, format!("pods with container {name}")))
    };
    let by_sign = || {
        let (mesh, sign) = sign(pod.labels()).or_else(|| sign(pod.annotations()))?;
        Some((mesh, format!("pods with {sign}")))
    };
    by_container().or_else(by_sign)
}

fn sign(marks: &BTreeMap<String, String>) -> Option<(Mesh, String)> {
    SIGNS.iter().find_map(|(mesh, key, values)| {
        let value = marks.get(*key)?;
        (values.is_empty() || values.contains(&value.as_str())).then(|| (*mesh, format!("{key}: {value}")))
    })
}
