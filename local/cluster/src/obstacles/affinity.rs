//! Ingresses and gateways that keep a client at one pod: they choose among the Service's pods themselves. Behind a
//! stand-in, which is one client to the Service in front of the origin, their choice would mean nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use kube::ResourceExt;
use serde_json::Value;

use crate::{fronts::Other, snapshot::Snapshot, target::name_of};

type Annotations = BTreeMap<String, String>;

/// Annotations of an Ingress or a Service that ask for affinity, with the values that do; no value: any.
const SIGNS: [(&str, &[&str]); 8] = [
    ("nginx.ingress.kubernetes.io/affinity", &["cookie"]),
    ("nginx.ingress.kubernetes.io/upstream-hash-by", &[]),
    ("ingress.kubernetes.io/affinity", &["cookie"]),
    ("haproxy-ingress.github.io/affinity", &["cookie"]),
    ("haproxy.org/cookie-persistence", &[]),
    ("traefik.ingress.kubernetes.io/affinity", &["true"]),
    ("traefik.ingress.kubernetes.io/service.sticky.cookie", &["true"]),
    ("traefik.ingress.kubernetes.io/service.sticky.cookie.name", &[]),
];

/// Annotations that make the same controllers use the Service's address: then they do not choose pods.
const BY_ADDRESS: [(&str, &str); 4] = [
    ("nginx.ingress.kubernetes.io/service-upstream", "nginx.ingress.kubernetes.io/"),
    ("ingress.kubernetes.io/service-upstream", "ingress.kubernetes.io/"),
    ("haproxy-ingress.github.io/service-upstream", "haproxy-ingress.github.io/"),
    ("traefik.ingress.kubernetes.io/service.nativelb", "traefik.ingress.kubernetes.io/"),
];

/// Annotations whose value lists attributes of AWS target groups.
const TARGET_GROUP_ATTRIBUTES: [&str; 2] = [
    "alb.ingress.kubernetes.io/target-group-attributes",
    "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes",
];
/// Annotations of NGINX's own controller, with names of Services as their value.
const NAMING_SERVICES: [&str; 2] = ["nginx.com/sticky-cookie-services", "nginx.org/sticky-cookie-services"];
/// Annotations of GKE, with names of BackendConfigs as their value.
const NAMING_CONFIGS: [&str; 2] = ["cloud.google.com/backend-config", "beta.cloud.google.com/backend-config"];

/// The sign of affinity, such as "Ingress web: nginx.ingress.kubernetes.io/affinity: cookie".
pub(super) fn find(snapshot: &Snapshot) -> Option<String> {
    let name = name_of(&snapshot.service);
    let of_service =
        || sign(snapshot.service.annotations(), &name).map(|sign| format!("Service {name}: {sign}"));
    let of_ingress = |ingress: &Ingress| {
        Some(format!("Ingress {}: {}", name_of(ingress), sign(ingress.annotations(), &name)?))
    };
    let of_other = |other: &Other| {
        let sign = match other.kind.as_str() {
            "HTTPRoute" | "GRPCRoute" => of_route(other, &name),
            "HTTPProxy" => of_proxy(other, &name),
            "IngressRoute" => of_ingress_route(other, &name),
            "BackendConfig" => of_backend_config(other, snapshot.service.annotations()),
            _ => None,
        };
        Some(format!("{} {}: {}", other.kind, name_of(&other.object), sign?))
    };
    of_service()
        .or_else(|| leading_to(snapshot, &name).find_map(of_ingress))
        .or_else(|| snapshot.fronts.others.iter().find_map(of_other))
}

/// The Ingresses that lead to a Service.
pub(super) fn leading_to<'a>(snapshot: &'a Snapshot, service: &'a str) -> impl Iterator<Item = &'a Ingress> {
    let is_it = move |backend: &IngressBackend| backend.service.as_ref().is_some_and(|to| to.name == service);
    let leads = move |ingress: &&Ingress| {
        let Some(spec) = &ingress.spec else { return false };
        let rules = spec.rules.iter().flatten().filter_map(|rule| rule.http.as_ref());
        spec.default_backend.as_ref().is_some_and(is_it)
            || rules.flat_map(|http| &http.paths).any(|path| is_it(&path.backend))
    };
    snapshot.fronts.ingresses.iter().flatten().filter(leads)
}

fn sign(annotations: &Annotations, service: &str) -> Option<String> {
    let text = |(name, value): (&str, &str)| format!("{name}: {value}");
    let value = |name: &&'static str| annotations.get(*name).map(|value| (*name, value.as_str()));
    let by_address = |name: &str| {
        let of_the_same = |(switch, prefix): &(&str, &str)| {
            name.starts_with(prefix) && annotations.get(*switch).is_some_and(|value| value == "true")
        };
        BY_ADDRESS.iter().any(of_the_same)
    };
    let plain = || {
        SIGNS.iter().find_map(|(name, values)| {
            let asks = |value: &str| match values {
                [] => !value.is_empty(),
                values => values.contains(&value),
            };
            value(name).filter(|(name, value)| asks(value) && !by_address(name))
        })
    };
    let attributes = || {
        let sticks =
            |value: &str| value.split(',').any(|attribute| attribute.trim() == "stickiness.enabled=true");
        TARGET_GROUP_ATTRIBUTES.iter().filter_map(value).find(|(_, value)| sticks(value))
    };
    let named = || {
        let names = |value: &str| {
            let mut words = value.split(|c: char| c == ';' || c.is_whitespace());
            words.any(|word| word.strip_prefix("serviceName=") == Some(service))
        };
        NAMING_SERVICES.iter().filter_map(value).find(|(_, value)| names(value))
    };
    plain().or_else(attributes).or_else(named).map(text)
}

fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Whether one of the references is to the Service.
fn refers<'a>(mut references: impl Iterator<Item = &'a Value>, of: &Other, service: &str) -> bool {
    references.any(|reference| {
        let is = |field: &str, expected: Option<&str>| {
            reference.get(field).and_then(Value::as_str).is_none_or(|value| Some(value) == expected)
        };
        reference.get("name").and_then(Value::as_str) == Some(service)
            && is("kind", Some("Service"))
            && is("namespace", of.object.metadata.namespace.as_deref())
    })
}

/// <https://gateway-api.sigs.k8s.io/geps/gep-1619/>
fn of_route(route: &Other, service: &str) -> Option<String> {
    let sticks = |rule: &&Value| rule.get("sessionPersistence").is_some_and(Value::is_object);
    let mut rules = items(&route.object.data, "/spec/rules").filter(sticks);
    rules
        .any(|rule| refers(items(rule, "/backendRefs"), route, service))
        .then(|| "sessionPersistence".to_owned())
}

/// <https://projectcontour.io/docs/main/config/request-routing/#session-affinity>
fn of_proxy(proxy: &Other, service: &str) -> Option<String> {
    let tcp = proxy.object.data.pointer("/spec/tcpproxy");
    items(&proxy.object.data, "/spec/routes").chain(tcp).find_map(|route| {
        let strategy = route.pointer("/loadBalancerPolicy/strategy").and_then(Value::as_str)?;
        let sticks = ["Cookie", "RequestHash"].contains(&strategy);
        (sticks && refers(items(route, "/services"), proxy, service))
            .then(|| format!("loadBalancerPolicy.strategy: {strategy}"))
    })
}

/// <https://doc.traefik.io/traefik/routing/providers/kubernetes-crd/>
fn of_ingress_route(route: &Other, service: &str) -> Option<String> {
    let services = items(&route.object.data, "/spec/routes").flat_map(|rule| items(rule, "/services"));
    let sticks = |to: &&Value| {
        to.pointer("/sticky/cookie").is_some_and(Value::is_object)
            && to.get("nativeLB").and_then(Value::as_bool) != Some(true)
    };
    refers(services.filter(sticks), route, service).then(|| "sticky.cookie".to_owned())
}

/// The BackendConfig, if the Service's annotations name it.
fn of_backend_config(config: &Other, annotations: &Annotations) -> Option<String> {
    let name = name_of(&config.object);
    let named = NAMING_CONFIGS.iter().filter_map(|annotation| annotations.get(*annotation)).any(|json| {
        let parsed: Value = serde_json::from_str(json).unwrap_or_default();
        let by_port = parsed.get("ports").and_then(Value::as_object);
        parsed
            .get("default")
            .into_iter()
            .chain(by_port.into_iter().flat_map(|ports| ports.values()))
            .any(|it| *it == name)
    });
    let type_ = config.object.data.pointer("/spec/sessionAffinity/affinityType").and_then(Value::as_str)?;
    (named && type_ != "NONE").then(|| format!("sessionAffinity.affinityType: {type_}"))
}

#[cfg(test)]
#[path = "affinity_tests.rs"]
mod tests;
