//! Which ports of the pods the sidecars stand in front of, and the ports that they listen on instead: the same in each
//! workload behind a Service.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    error::DeployError,
    own_ports::{FIRST_OWN_PORT, OwnPorts},
    pod::{ListenPort, tcp_ports},
    service::{ServicePort, TargetPort, resolve_ports},
};

/// The ports of the agents beside the pods of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidecarPorts {
    pub own: OwnPorts,
    /// One for each distinct target of the Service's TCP ports.
    pub(super) targets: Vec<Target>,
    /// The TCP ports of the Service, as the first workload and the agents have them.
    pub listen: Vec<ListenPort>,
    /// The targetPorts that the Service needs for the agents to get its requests: those that name no port of the pods.
    pub repointed: BTreeMap<u16, TargetPort>,
}

/// A port of the pods, and the agents' port in front of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) port: TargetPort,
    pub(super) listen: u16,
}

/// Chooses the ports for the workloads with these templates.
///
/// A number leads past a sidecar, so the Service has to be re-pointed: to the name that the port has in each template, by
/// which it is found with and without a sidecar; without such a name, to the agents' port.
///
/// # Errors
///
/// [`DeployError::NoSuchPort`] for a name that no container has.
pub fn sidecar_ports(ports: &[ServicePort], templates: &[&Value]) -> Result<SidecarPorts, DeployError> {
    let mut taken: BTreeSet<u16> = BTreeSet::new();
    let mut served: Vec<ListenPort> = Vec::new();
    for template in templates {
        let listen = resolve_ports(ports, template)?;
        taken.extend(listen.iter().map(|port| port.listen));
        taken.extend(tcp_ports(template).iter().map(|port| port.number));
        if served.is_empty() {
            served = listen;
        }
    }
    let mut free = (FIRST_OWN_PORT..u16::MAX).filter(|port| !taken.contains(port));
    let mut next = || free.next().unwrap_or(u16::MAX);
    let own = OwnPorts { control: next(), readiness: next(), metrics: next() };

    let mut chosen =
        SidecarPorts { own, targets: Vec::new(), listen: Vec::new(), repointed: BTreeMap::new() };
    for (port, served) in ports.iter().filter(|port| port.is_tcp()).zip(served) {
        let target = target(port, templates);
        let known = chosen.targets.iter().find(|known| known.port == target).map(|known| known.listen);
        let listen = match known {
            Some(listen) => listen,
            None => {
                let listen = next();
                chosen.targets.push(Target { port: target.clone(), listen });
                listen
            }
        };
        chosen.listen.push(ListenPort { agent: listen, ..served });
        let wanted = match target {
            TargetPort::Name(name) => TargetPort::Name(name),
            TargetPort::Number(_) => TargetPort::Number(listen),
        };
        if port.target_port.as_ref() != Some(&wanted) {
            chosen.repointed.insert(port.port, wanted);
        }
    }
    Ok(chosen)
}

/// The target of a port: by name if each template has one that leads there.
fn target(port: &ServicePort, templates: &[&Value]) -> TargetPort {
    let number = match &port.target_port {
        Some(TargetPort::Name(name)) => return TargetPort::Name(name.clone()),
        None | Some(TargetPort::Number(0)) => port.port,
        Some(TargetPort::Number(number)) => *number,
    };
    let mut names = templates.iter().map(|template| name_of(number, template));
    let first = names.next().flatten();
    match first.filter(|first| names.all(|name| name == Some(*first))) {
        Some(name) => TargetPort::Name(name.to_owned()),
        None => TargetPort::Number(number),
    }
}

/// The name by which Kubernetes finds this port and no other.
fn name_of(number: u16, template: &Value) -> Option<&str> {
    let declared = tcp_ports(template);
    let name = declared.iter().find(|port| port.number == number)?.name?;
    let found = declared.iter().find(|port| port.name == Some(name))?;
    (found.number == number).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(ports: Value) -> Value {
        json!({"spec": {"containers": [{"name": "web", "image": "web:1", "ports": ports}]}})
    }

    fn ports(ports: Value) -> Vec<ServicePort> {
        serde_json::from_value(ports).unwrap()
    }

    #[test]
    fn agents_listen_where_no_workload_does() {
        let one = template(json!([{"name": "http", "containerPort": 8080}, {"containerPort": 7391}]));
        let other = template(json!([{"name": "http", "containerPort": 7393}]));
        let service = ports(json!([
            {"name": "http", "port": 80, "targetPort": "http"},
            {"name": "same", "port": 81, "targetPort": "http"},
            {"name": "admin", "port": 9000, "targetPort": 7395},
            {"name": "dns", "port": 53, "protocol": "UDP"},
        ]));
        let chosen = sidecar_ports(&service, &[&one, &other]).unwrap();
        assert_eq!(chosen.own, OwnPorts { control: 7390, readiness: 7392, metrics: 7394 });
        let listen: Vec<_> =
            chosen.listen.iter().map(|port| (port.service_port, port.listen, port.agent)).collect();
        assert_eq!(listen, [(80, 8080, 7396), (81, 8080, 7396), (9000, 7395, 7397)]);
        assert_eq!(chosen.targets.len(), 2);
    }

    #[test]
    fn a_number_is_re_pointed_to_the_name_that_it_has_in_each_workload() {
        let named = |name: &str| template(json!([{"name": name, "containerPort": 8080}]));
        let shadowed =
            json!([{"name": "http", "containerPort": 80}, {"name": "http", "containerPort": 8080}]);
        let to = |name: &str| Some(TargetPort::Name(name.to_owned()));
        let agents = Some(TargetPort::Number(7393));
        for (what, target, templates, expected) in [
            ("a name stays", json!("http"), vec![named("http")], None),
            ("a named number", json!(8080), vec![named("http")], to("http")),
            ("in both", json!(8080), vec![named("http"), named("http")], to("http")),
            ("different names", json!(8080), vec![named("http"), named("web")], agents.clone()),
            ("in one of them", json!(8080), vec![named("http"), template(json!([]))], agents.clone()),
            ("a name of another port", json!(8080), vec![template(shadowed)], agents.clone()),
            ("no name", json!(8080), vec![template(json!([{"containerPort": 8080}]))], agents),
            ("none at all", json!(0), vec![named("http")], Some(TargetPort::Number(7393))),
        ] {
            let service = ports(json!([{"port": 80, "targetPort": target}]));
            let templates: Vec<&Value> = templates.iter().collect();
            let chosen = sidecar_ports(&service, &templates).unwrap();
            assert_eq!(chosen.repointed.get(&80), expected.as_ref(), "{what}");
        }
    }

    #[test]
    fn a_name_that_a_workload_lacks_is_an_error() {
        let service = ports(json!([{"port": 80, "targetPort": "http"}]));
        let chosen = sidecar_ports(&service, &[&template(json!([]))]);
        assert_eq!(chosen, Err(DeployError::NoSuchPort { port: 80, name: "http".into() }));
    }
}
