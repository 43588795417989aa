//! What is to know about a Service before or without connecting it: where its ports lead, what its container is given,
//! from where it can be reached. Names of variables, never their values. Pure functions of a [`Snapshot`].

use bridge_deploy::{ListenPort, main_container, resolve_ports};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use serde_json::Value;

use crate::catalog::{self, Session};
use crate::choose::{Asked, Choice, choose};
use crate::fronts::Fronts;
use crate::obstacle::Against;
use crate::snapshot::Snapshot;
use crate::state::Attachment;
use crate::workload::Workload;

/// A Service and the container behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub ports: Vec<ListenPort>,
    /// "Deployment orders"
    pub workloads: Vec<String>,
    /// The container that serves it, and its image.
    pub container: Option<(String, String)>,
    /// The mode in which it would be connected, or the reasons why it cannot be.
    pub mode: Result<Choice, Vec<Against>>,
    pub variables: Vec<String>,
    /// The objects all of whose entries are variables: "ConfigMap orders-config".
    pub variables_of: Vec<String>,
    pub volumes: Vec<Volume>,
    /// By the Ingresses and HTTPRoutes that the user may read.
    pub urls: Vec<String>,
    /// The same of all Services of the namespace.
    pub fronts: Vec<Front>,
    pub sessions: Vec<Session>,
}

/// A URL that leads to a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Front {
    pub url: String,
    pub service: String,
    /// Number or name; `None`: its only one.
    pub port: Option<String>,
    /// This path only, and none below it.
    pub exact: bool,
}

/// A volume in the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub path: String,
    /// "ConfigMap orders-menu", "emptyDir"
    pub source: String,
}

/// Describes the Service; `asked`: as for a connect.
#[must_use]
pub fn describe(snapshot: &Snapshot, asked: Asked<'_>) -> Description {
    let template = snapshot.origin().map(|origin| &origin.template);
    // A port that leads nowhere is an obstacle, and named there.
    let ports = snapshot
        .facts()
        .ok()
        .and_then(|facts| resolve_ports(&facts.ports, template.unwrap_or(&Value::Null)).ok())
        .unwrap_or_default();
    let name = template.and_then(|template| main_container(template, &ports));
    let container = template.zip(name).and_then(|(template, name)| {
        let containers = template.pointer("/spec/containers")?.as_array()?;
        containers.iter().find(|container| container["name"] == name)
    });
    let attachment = Attachment::of(&snapshot.service).ok().flatten();
    let sessions = attachment.map(|there| there.sessions).unwrap_or_default();
    let service = snapshot.service.name_any();
    let fronts = fronts(&snapshot.fronts);
    let own = fronts.iter().filter(|front| front.service == service);
    let mut urls: Vec<String> = own.map(|front| front.url.clone()).collect();
    urls.dedup();
    Description {
        ports,
        workloads: snapshot.workloads.iter().map(Workload::title).collect(),
        container: container.map(|it| (text(it, "name"), text(it, "image"))),
        mode: choose(snapshot, asked),
        variables: container.map(variables).unwrap_or_default(),
        variables_of: container.map(variables_of).unwrap_or_default(),
        volumes: container.zip(template).map(|(it, template)| volumes(it, template)).unwrap_or_default(),
        urls,
        fronts,
        sessions: sessions.into_iter().map(catalog::session).collect(),
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn all<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn variables(container: &Value) -> Vec<String> {
    let mut names: Vec<String> = all(container, "env").map(|variable| text(variable, "name")).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn variables_of(container: &Value) -> Vec<String> {
    let of = |source: &Value| {
        let named = |field: &str, kind: &str| {
            let name = source.get(field)?["name"].as_str()?;
            Some(format!("{kind} {name}"))
        };
        named("configMapRef", "ConfigMap").or_else(|| named("secretRef", "Secret"))
    };
    all(container, "envFrom").filter_map(of).collect()
}

fn volumes(container: &Value, template: &Value) -> Vec<Volume> {
    let sources = &template["spec"];
    let source = |name: &str| {
        let volume = all(sources, "volumes").find(|volume| volume["name"] == name)?.as_object()?;
        let (kind, source) = volume.iter().find(|(field, _)| *field != "name")?;
        let named = |field: &str, kind: &str| Some(format!("{kind} {}", source[field].as_str()?));
        match kind.as_str() {
            "configMap" => named("name", "ConfigMap"),
            "secret" => named("secretName", "Secret"),
            "persistentVolumeClaim" => named("claimName", "PersistentVolumeClaim"),
            _ => None,
        }
        .or_else(|| Some(kind.clone()))
    };
    let volume = |mount: &Value| {
        let name = mount["name"].as_str().unwrap_or_default();
        Volume { path: text(mount, "mountPath"), source: source(name).unwrap_or_else(|| name.to_owned()) }
    };
    all(container, "volumeMounts").map(volume).collect()
}

/// Those of Ingresses and HTTPRoutes that name a host, sorted.
fn fronts(fronts: &Fronts) -> Vec<Front> {
    let ingresses = fronts.ingresses.iter().flatten().flat_map(of_ingress);
    let routes = fronts.others.iter().filter(|other| other.kind == "HTTPRoute");
    let routes = routes.flat_map(|route| of_route(&route.object.data));
    let mut fronts: Vec<Front> = ingresses.chain(routes).collect();
    fronts.sort_unstable();
    fronts.dedup();
    fronts
}

fn of_ingress(ingress: &Ingress) -> Vec<Front> {
    let Some(spec) = &ingress.spec else { return Vec::new() };
    let encrypted = |host: &str| {
        let hosts = spec.tls.iter().flatten().flat_map(|tls| tls.hosts.iter().flatten());
        hosts.into_iter().any(|other| other == host)
    };
    let mut fronts = Vec::new();
    for rule in spec.rules.iter().flatten() {
        let Some(host) = &rule.host else { continue };
        let scheme = if encrypted(host) { "https" } else { "http" };
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let Some(service) = &path.backend.service else { continue };
            let port = service.port.as_ref();
            let port =
                port.and_then(|port| port.number.map(|number| number.to_string()).or(port.name.clone()));
            fronts.push(Front {
                url: format!("{scheme}://{host}{}", path.path.as_deref().unwrap_or("/")),
                service: service.name.clone(),
                port,
                exact: path.path_type == "Exact",
            });
        }
    }
    fronts
}

/// An HTTPRoute's listeners may or may not have TLS: most of those with a host do.
fn of_route(route: &Value) -> Vec<Front> {
    let spec = &route["spec"];
    let mut fronts = Vec::new();
    for rule in all(spec, "rules") {
        // Without a match, it is every path.
        let mut paths: Vec<(&str, bool)> = all(rule, "matches")
            .map(|matched| &matched["path"])
            .map(|path| (path["value"].as_str().unwrap_or("/"), path["type"] == "Exact"))
            .collect();
        if paths.is_empty() {
            paths.push(("/", false));
        }
        for backend in all(rule, "backendRefs") {
            let Some(service) = backend["name"].as_str() else { continue };
            for host in all(spec, "hostnames").filter_map(Value::as_str) {
                fronts.extend(paths.iter().map(|(path, exact)| Front {
                    url: format!("https://{host}{path}"),
                    service: service.to_owned(),
                    port: backend["port"].as_u64().map(|port| port.to_string()),
                    exact: *exact,
                }));
            }
        }
    }
    fronts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mode::Mode;
    use crate::snapshot::tests::orders_with;

    fn described(changes: &[(&str, Value)]) -> Description {
        describe(&orders_with(changes), Asked { mode: None, carried: Some("amd64") })
    }

    #[test]
    fn a_service_is_described_without_a_value() {
        let container = json!([{
            "name": "main", "image": "shop:1", "ports": [{"name": "http", "containerPort": 8080}],
            "env": [{"name": "TOKEN", "value": "hunter2"}, {"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
            "envFrom": [{"configMapRef": {"name": "orders-config"}}, {"secretRef": {"name": "orders-secret"}}],
            "volumeMounts": [
                {"name": "menu", "mountPath": "/etc/shop"}, {"name": "cache", "mountPath": "/cache"},
                {"name": "key", "mountPath": "/key"},
            ],
        }]);
        let volumes = json!([
            {"name": "menu", "configMap": {"name": "orders-menu"}}, {"name": "cache", "emptyDir": {}},
            {"name": "key", "secret": {"secretName": "orders-key"}},
        ]);
        let description = described(&[
            ("/workloads/0/object/spec/template/spec/containers", container),
            ("/workloads/0/object/spec/template/spec/volumes", volumes),
        ]);
        assert_eq!(description.container, Some(("main".to_owned(), "shop:1".to_owned())));
        assert_eq!(description.workloads, ["Deployment orders"]);
        assert_eq!(description.mode.as_ref().map(|choice| choice.mode), Ok(Mode::StandIn));
        assert_eq!(description.variables, ["A", "TOKEN"]);
        assert_eq!(description.variables_of, ["ConfigMap orders-config", "Secret orders-secret"]);
        let volumes: Vec<_> =
            description.volumes.iter().map(|volume| (volume.path.as_str(), volume.source.as_str())).collect();
        let expected =
            [("/etc/shop", "ConfigMap orders-menu"), ("/cache", "emptyDir"), ("/key", "Secret orders-key")];
        assert_eq!(volumes, expected);
        assert!(!format!("{description:?}").contains("hunter2"), "{description:?}");
    }

    #[test]
    fn why_it_cannot_be_connected_is_a_part() {
        let headless = described(&[("/service/spec/clusterIP", json!("None"))]);
        assert!(headless.mode.is_err_and(|against| against[0].to_string().contains("headless")));
    }

    #[test]
    fn urls_are_those_of_ingresses_and_routes_with_a_host() {
        let backend = |service: &str| json!({"service": {"name": service, "port": {"number": 80}}});
        let ingress: Ingress = serde_json::from_value(json!({
            "metadata": {"name": "shop"},
            "spec": {
                "tls": [{"hosts": ["shop.example.com"]}],
                "rules": [
                    {"host": "shop.example.com", "http": {"paths": [
                        {"path": "/orders", "pathType": "Prefix", "backend": backend("orders")},
                        {"path": "/", "pathType": "Exact", "backend": backend("web")},
                    ]}},
                    {"host": "plain.example.com", "http": {"paths": [{"pathType": "Prefix", "backend": backend("orders")}]}},
                    {"http": {"paths": [{"path": "/x", "pathType": "Prefix", "backend": backend("orders")}]}},
                ],
            },
        }))
        .expect("an Ingress");
        let front = |url: &str, service: &str, port: Option<&str>, exact: bool| Front {
            url: url.to_owned(),
            service: service.to_owned(),
            port: port.map(str::to_owned),
            exact,
        };
        let of_ingress = of_ingress(&ingress);
        let expected = [
            front("https://shop.example.com/orders", "orders", Some("80"), false),
            front("https://shop.example.com/", "web", Some("80"), true),
            front("http://plain.example.com/", "orders", Some("80"), false),
        ];
        assert_eq!(of_ingress, expected, "the rule without a host names no URL");
        let route = json!({"spec": {"hostnames": ["a.example"], "rules": [
            {"matches": [{"path": {"type": "Exact", "value": "/v1"}}], "backendRefs": [{"name": "orders", "port": 8080}]},
            {"backendRefs": [{"name": "web"}]},
        ]}});
        let expected = [
            front("https://a.example/v1", "orders", Some("8080"), true),
            front("https://a.example/", "web", None, false),
        ];
        assert_eq!(of_route(&route), expected);
    }
}
