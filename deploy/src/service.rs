//! The connected Service: the facts about it, the container ports of its ports, and the Service in front of its origin.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::DeployError;
use crate::pod::{ListenPort, tcp_ports};

/// The facts about the Service from which the stand-in is made: read from its JSON with [`ServiceFacts::of`].
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceFacts {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub selector: BTreeMap<String, String>,
    pub ports: Vec<ServicePort>,
    /// Normally `None`, as `ClientIP` is refused elsewhere; copied all the same.
    pub session_affinity: Option<String>,
    pub session_affinity_config: Value,
    pub publish_not_ready_addresses: bool,
    pub ip_families: Vec<String>,
    pub ip_family_policy: Option<String>,
    pub traffic_distribution: Option<String>,
}

/// `spec.ports[]` of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub port: u16,
    #[serde(default = "tcp")]
    pub protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<TargetPort>,
}

impl ServicePort {
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol == "TCP"
    }
}

/// Kubernetes' IntOrString for a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetPort {
    Number(u16),
    Name(String),
}

fn tcp() -> String {
    "TCP".to_owned()
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Spec {
    selector: BTreeMap<String, String>,
    ports: Vec<ServicePort>,
    session_affinity: Option<String>,
    session_affinity_config: Value,
    publish_not_ready_addresses: bool,
    ip_families: Vec<String>,
    ip_family_policy: Option<String>,
    traffic_distribution: Option<String>,
}

impl ServiceFacts {
    /// Reads a Service as the API server returns it.
    ///
    /// # Errors
    ///
    /// [`DeployError::Service`] if it has no name, namespace or uid, or an invalid port.
    pub fn of(service: &Value) -> Result<Self, DeployError> {
        let Object { metadata, spec } = Object::deserialize(service)
            .map_err(|error| DeployError::Service { reason: error.to_string() })?;
        Ok(Self {
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            selector: spec.selector,
            ports: spec.ports,
            session_affinity: spec.session_affinity,
            session_affinity_config: spec.session_affinity_config,
            publish_not_ready_addresses: spec.publish_not_ready_addresses,
            ip_families: spec.ip_families,
            ip_family_policy: spec.ip_family_policy,
            traffic_distribution: spec.traffic_distribution,
        })
    }

    /// Deleting the Service deletes the objects that it owns, and only that: it controls none of them and waits for
    /// none.
    pub(crate) fn owners(&self) -> Value {
        json!([{ "apiVersion": "v1", "kind": "Service", "name": self.name, "uid": self.uid }])
    }
}

/// The container ports of the Service's TCP ports in pods with this template, as kube-proxy would find them: a number
/// as it is, a name by the containers' ports, nothing as the port itself. Ports of other protocols are omitted.
///
/// # Errors
///
/// [`DeployError::NoSuchPort`] for a name that no container has.
pub fn resolve_ports(ports: &[ServicePort], pod_template: &Value) -> Result<Vec<ListenPort>, DeployError> {
    let declared = tcp_ports(pod_template);
    ports
        .iter()
        .filter(|port| port.is_tcp())
        .map(|port| {
            let listen = match &port.target_port {
                None | Some(TargetPort::Number(0)) => port.port,
                Some(TargetPort::Number(number)) => *number,
                Some(TargetPort::Name(name)) => declared
                    .iter()
                    .find(|container_port| container_port.name == Some(name))
                    .map(|container_port| container_port.number)
                    .ok_or_else(|| DeployError::NoSuchPort { port: port.port, name: name.clone() })?,
            };
            Ok(ListenPort { service_port: port.port, name: port.name.clone(), listen, agent: listen })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Value {
        json!({"metadata": {"name": "orders", "namespace": "shop", "uid": "u"}, "spec": spec})
    }

    #[test]
    fn a_port_leads_where_kube_proxy_would_send_it() {
        let template = json!({"spec": {
            "containers": [
                {"name": "main", "ports": [
                    {"name": "http", "containerPort": 9},
                    {"name": "http", "containerPort": 8080, "protocol": "UDP"},
                ]},
                {"name": "side", "ports": [{"name": "metrics", "containerPort": 9090}]},
            ],
            "initContainers": [
                {"name": "proxy", "restartPolicy": "Always", "ports": [{"name": "late", "containerPort": 7070}]},
                {"name": "setup", "ports": [{"name": "never", "containerPort": 6060}]},
            ],
        }});
        for (port, expected) in [
            (json!({"port": 80}), Ok(80)),
            (json!({"port": 80, "targetPort": 8080}), Ok(8080)),
            (json!({"port": 80, "targetPort": "http", "protocol": "TCP"}), Ok(9)),
            (json!({"port": 80, "targetPort": "metrics"}), Ok(9090)),
            (json!({"port": 80, "targetPort": "late"}), Ok(7070)),
            (json!({"port": 80, "targetPort": "never"}), Err(80)),
        ] {
            let facts = ServiceFacts::of(&service(json!({"ports": [port]}))).unwrap();
            let got = resolve_ports(&facts.ports, &template);
            match expected {
                Ok(listen) => assert_eq!(got.unwrap()[0].listen, listen),
                Err(port) => {
                    assert!(matches!(got, Err(DeployError::NoSuchPort { port: p, .. }) if p == port))
                }
            }
        }
    }

    #[test]
    fn ports_that_are_not_tcp_are_left_out() {
        let facts = ServiceFacts::of(&service(json!({"ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}
        ]})));
        let ports = resolve_ports(&facts.unwrap().ports, &json!({})).unwrap();
        assert_eq!(
            ports,
            [ListenPort { service_port: 53, name: Some("dns-tcp".into()), listen: 53, agent: 53 }]
        );
    }

    #[test]
    fn an_invalid_service_is_refused() {
        assert!(matches!(ServiceFacts::of(&json!({"metadata": {}})), Err(DeployError::Service { .. })));
    }
}
