use serde_json::json;

use super::*;
use crate::obstacles::{Obstacle, Warning, obstacles, warnings};
use crate::snapshot::tests::orders_with;

/// The Service orders with these Ingresses and other objects in front of it.
fn behind(ingresses: Value, others: &[(&str, Value)]) -> Snapshot {
    let mut snapshot = orders_with(&[]);
    snapshot.fronts.ingresses = serde_json::from_value(ingresses).unwrap();
    let other = |(kind, object): &(&str, Value)| Other {
        kind: (*kind).to_owned(),
        object: serde_json::from_value(object.clone()).unwrap(),
    };
    snapshot.fronts.others = others.iter().map(other).collect();
    snapshot
}

fn ingress(service: &str, annotations: Value) -> Value {
    let backend = json!({"service": {"name": service, "port": {"name": "http"}}});
    json!([{"metadata": {"name": "web", "annotations": annotations}, "spec": {"rules": [
        {"host": "shop.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    ]}}])
}

#[test]
fn an_ingress_that_sticks_by_cookie_is_an_obstacle() {
    let annotated = |name: &str, value: &str| find(&behind(ingress("orders", json!({name: value})), &[]));
    for (name, value, sticks) in [
        ("nginx.ingress.kubernetes.io/affinity", "cookie", true),
        ("nginx.ingress.kubernetes.io/affinity", "", false),
        ("nginx.ingress.kubernetes.io/upstream-hash-by", "$cookie_user", true),
        ("nginx.ingress.kubernetes.io/session-cookie-name", "route", false),
        ("haproxy-ingress.github.io/affinity", "cookie", true),
        ("haproxy.org/cookie-persistence", "route", true),
        ("traefik.ingress.kubernetes.io/service.sticky.cookie", "true", true),
        ("traefik.ingress.kubernetes.io/service.sticky.cookie", "false", false),
        ("nginx.com/sticky-cookie-services", "serviceName=orders srv_id expires=1h path=/", true),
        ("nginx.com/sticky-cookie-services", "serviceName=other srv_id;serviceName=orders srv_id", true),
        ("nginx.com/sticky-cookie-services", "serviceName=orders-v2 srv_id", false),
        ("alb.ingress.kubernetes.io/target-group-attributes", "slow_start.duration_seconds=30", false),
        (
            "alb.ingress.kubernetes.io/target-group-attributes",
            "stickiness.enabled=true,stickiness.lb_cookie.duration_seconds=60",
            true,
        ),
    ] {
        let expected = sticks.then(|| format!("Ingress web: {name}: {value}"));
        assert_eq!(annotated(name, value), expected, "{name}: {value}");
    }
}

#[test]
fn only_objects_that_lead_to_the_service_and_choose_its_pods_count() {
    let cookie = json!({"nginx.ingress.kubernetes.io/affinity": "cookie"});
    assert_eq!(find(&behind(ingress("other", cookie.clone()), &[])), None, "an Ingress of another Service");
    let mut by_address = cookie.clone();
    by_address["nginx.ingress.kubernetes.io/service-upstream"] = json!("true");
    assert_eq!(find(&behind(ingress("orders", by_address), &[])), None, "it uses the Service's address");
    let default = json!([{"metadata": {"name": "all", "annotations": cookie},
        "spec": {"defaultBackend": {"service": {"name": "orders", "port": {"number": 80}}}}}]);
    let snapshot = behind(default, &[]);
    let by = "Ingress all: nginx.ingress.kubernetes.io/affinity: cookie".to_owned();
    assert_eq!(obstacles(&snapshot, None), [Obstacle::CookieAffinity(by)]);
}

#[test]
fn annotations_of_the_service_itself_count() {
    let annotated = |name: &str, value: &str| {
        find(&orders_with(&[("/service/metadata/annotations", json!({name: value}))]))
    };
    let name = "traefik.ingress.kubernetes.io/service.sticky.cookie";
    assert_eq!(annotated(name, "true"), Some(format!("Service orders: {name}: true")));
    let name = "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes";
    assert!(annotated(name, "preserve_client_ip.enabled=true, stickiness.enabled=true").is_some());
}

#[test]
fn gateways_and_other_kinds_that_stick() {
    let metadata = json!({"name": "x", "namespace": "shop"});
    let route = |persistence: Value, backend: Value| {
        json!({"metadata": metadata, "spec": {"rules": [
            {"sessionPersistence": persistence, "backendRefs": [{"name": "other"}, backend]}, {"backendRefs": [{"name": "orders"}]},
        ]}})
    };
    let cookie = json!({"type": "Cookie"});
    let proxy = |strategy: &str, service: &str| {
        json!({"metadata": metadata, "spec": {"routes": [
            {"loadBalancerPolicy": {"strategy": strategy}, "services": [{"name": service, "port": 80}]},
        ]}})
    };
    let ingress_route =
        |service: Value| json!({"metadata": metadata, "spec": {"routes": [{"services": [service]}]}});
    for (kind, object, sign) in [
        ("HTTPRoute", route(cookie.clone(), json!({"name": "orders"})), Some("sessionPersistence")),
        (
            "GRPCRoute",
            route(cookie.clone(), json!({"name": "orders", "kind": "Service"})),
            Some("sessionPersistence"),
        ),
        ("HTTPRoute", route(Value::Null, json!({"name": "orders"})), None),
        ("HTTPRoute", route(cookie.clone(), json!({"name": "third"})), None),
        ("HTTPRoute", route(cookie.clone(), json!({"name": "orders", "namespace": "other"})), None),
        (
            "HTTPRoute",
            route(cookie, json!({"name": "orders", "namespace": "shop"})),
            Some("sessionPersistence"),
        ),
        ("HTTPProxy", proxy("Cookie", "orders"), Some("loadBalancerPolicy.strategy: Cookie")),
        ("HTTPProxy", proxy("Random", "orders"), None),
        ("HTTPProxy", proxy("Cookie", "other"), None),
        (
            "IngressRoute",
            ingress_route(json!({"name": "orders", "sticky": {"cookie": {}}})),
            Some("sticky.cookie"),
        ),
        (
            "IngressRoute",
            ingress_route(json!({"name": "orders", "sticky": {"cookie": {}}, "nativeLB": true})),
            None,
        ),
        ("IngressRoute", ingress_route(json!({"name": "orders"})), None),
    ] {
        let expected = sign.map(|sign| format!("{kind} x: {sign}"));
        assert_eq!(find(&behind(json!([]), &[(kind, object.clone())])), expected, "{kind} {object}");
    }
}

#[test]
fn a_backend_config_counts_for_the_services_that_name_it() {
    let config = |type_: &str| json!({"metadata": {"name": "sticky"}, "spec": {"sessionAffinity": {"affinityType": type_}}});
    for (annotation, type_, sticks) in [
        (r#"{"default": "sticky"}"#, "GENERATED_COOKIE", true),
        (r#"{"ports": {"80": "sticky"}}"#, "CLIENT_IP", true),
        (r#"{"default": "sticky"}"#, "NONE", false),
        (r#"{"default": "other"}"#, "GENERATED_COOKIE", false),
        ("not JSON", "GENERATED_COOKIE", false),
    ] {
        let mut snapshot = behind(json!([]), &[("BackendConfig", config(type_))]);
        let annotations = [("cloud.google.com/backend-config".to_owned(), annotation.to_owned())];
        snapshot.service.metadata.annotations = Some(annotations.into());
        assert_eq!(find(&snapshot).is_some(), sticks, "{annotation} {type_}");
    }
}

#[test]
fn ingresses_that_cannot_be_read_are_worth_a_note_and_no_more() {
    let mut snapshot = orders_with(&[]);
    snapshot.fronts.ingresses = None;
    assert_eq!(obstacles(&snapshot, None), []);
    assert_eq!(warnings(&snapshot, crate::mode::Mode::StandIn), [Warning::UnknownIngresses]);
}

#[test]
fn an_ingress_with_pods_as_targets_is_a_load_balancer_to_pods() {
    let annotations = json!({"alb.ingress.kubernetes.io/target-type": "ip"});
    let found = obstacles(&behind(ingress("orders", annotations.clone()), &[]), None);
    assert!(matches!(found.as_slice(), [Obstacle::PodsBehindLoadBalancer(_)]), "{found:?}");
    assert_eq!(obstacles(&behind(ingress("other", annotations), &[]), None), []);
}
