//! The sidecar: an agent in the origin's own pods, in front of the ports that the Service leads to. Pure functions from
//! the pod template of a workload to the one with the agent, and back.
//!
//! A port that the Service finds by name is the agent's from then on: the origin's gets another name, and its probes and
//! hooks go on asking the origin itself. The agent reaches the origin at the pod's address, as callers did.

mod edit;
mod names;
mod objects;
mod place;
mod targets;

use serde_json::{Value, json};

use crate::{
    agent::{Agent, AgentParts, AgentSource, Destination, Forward, NodeAddresses},
    error::DeployError,
    holes::Template,
    pod::{self, ListenPort},
    restore::{Part, Restore},
    service::{TargetPort, resolve_ports},
};

use self::edit::Edit;
use self::place::Place;

pub use self::edit::Undo;
pub use self::objects::{SidecarObjects, WorkloadOwner};
pub use self::targets::{SidecarPorts, sidecar_ports};

/// The name of the agent's container.
pub const SIDECAR_CONTAINER: &str = "bridge-agent";

const CONTAINER: Template = Template { name: "sidecar.yaml", text: include_str!("../objects/sidecar.yaml") };

/// Everything that determines the sidecar of one workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Sidecar<'a> {
    pub service: &'a str,
    /// Short and random, `a-z0-9`: "7f3a".
    pub id: &'a str,
    /// The workload's own pod template, `metadata` and `spec`, as JSON.
    pub pod_template: &'a Value,
    pub ports: &'a SidecarPorts,
    pub agent: &'a AgentSource,
    /// The pods' first address is one of IPv6.
    pub ipv6: bool,
    /// OpenShift assigns the namespace's users: then none is set.
    pub openshift: bool,
    /// Set if a quota or LimitRange demands it: "500m".
    pub cpu_limit: Option<&'a str>,
    /// When the agents restore the Service and the workloads; `None`: never.
    pub restore: Option<Restore>,
    pub node_addresses: NodeAddresses,
}

/// The pod template with the sidecar, and the way back.
///
/// # Errors
///
/// [`DeployError::NoContainer`], [`DeployError::NoImage`] and [`DeployError::NoSuchPort`] for a template that does not
/// fit the Service.
pub fn with_sidecar(sidecar: &Sidecar<'_>) -> Result<(Value, Undo), DeployError> {
    let template = sidecar.pod_template;
    let forwards = forwards(sidecar)?;
    let served: Vec<ListenPort> = forwards.iter().map(served).collect();
    let container = pod::main_container(template, &served).unwrap_or_default();
    let container = pod::container(template, container)?;
    let volumes = pod::list(template, "/spec/volumes");
    let agent = Agent::of(AgentParts {
        source: sidecar.agent,
        names: crate::names(sidecar.service, sidecar.id),
        template,
        container,
        resources_of: pod::text(container, "/name").unwrap_or_default(),
        own_ports: sidecar.ports.own,
        openshift: sidecar.openshift,
        cpu_limit: sidecar.cpu_limit,
        restore: sidecar.restore,
        part: Part::Service { name: sidecar.service.to_owned(), id: sidecar.id.to_owned() },
        forwards,
        prefix: prefix(sidecar.id),
        volumes,
        mounts: pod::volumes(template, container).mounts,
        node_addresses: sidecar.node_addresses,
    })?;

    let mut edit = Edit::of(template);
    for volume in &agent.volumes {
        let name = pod::text(volume, "/name").unwrap_or_default();
        edit.add(Place::of(&["spec", "volumes"]), volume.clone(), name);
    }
    for target in &sidecar.ports.targets {
        if let TargetPort::Name(name) = &target.port {
            names::free(&mut edit, template, name);
        }
    }
    let ports: Vec<Value> = sidecar.ports.targets.iter().map(container_port).collect();
    let agent = CONTAINER.fill(&agent.fields.with("ports", ports))?;
    edit.add(Place::of(&["spec", "containers"]), agent, &key_volume(sidecar.id));
    Ok(edit.done())
}

/// The name of the volume with the key in a pod with the sidecar: no other volume has the id in its name.
#[must_use]
pub fn key_volume(id: &str) -> String {
    format!("{}-key", prefix(id))
}

fn prefix(id: &str) -> String {
    format!("bridge-{id}")
}

/// Each of the agent's ports leads to the port of the pod that was the Service's target.
fn forwards(sidecar: &Sidecar<'_>) -> Result<Vec<Forward>, DeployError> {
    let target = |target: &targets::Target| {
        let port = crate::ServicePort {
            name: None,
            port: target.listen,
            protocol: "TCP".to_owned(),
            app_protocol: None,
            target_port: Some(target.port.clone()),
        };
        let found = resolve_ports(&[port], sidecar.pod_template)?;
        let port = found.first().map_or(target.listen, |port| port.listen);
        let to = Destination::OwnPod { port, ipv6: sidecar.ipv6 };
        Ok(Forward { listen: target.listen, to })
    };
    sidecar.ports.targets.iter().map(target).collect()
}

fn served(forward: &Forward) -> ListenPort {
    let listen = match forward.to {
        Destination::OwnPod { port, .. } => port,
        Destination::Address(address) => address.port(),
    };
    ListenPort { service_port: forward.listen, name: None, listen, agent: forward.listen }
}

/// The port of the agent's container that the Service finds.
fn container_port(target: &targets::Target) -> Value {
    match &target.port {
        TargetPort::Name(name) => {
            json!({"name": name, "containerPort": target.listen, "protocol": "TCP"})
        }
        TargetPort::Number(_) => json!({"containerPort": target.listen, "protocol": "TCP"}),
    }
}

#[cfg(test)]
mod tests;
