//! The stand-in: a Deployment of agents in the origin's place, and the objects beside it. Pure functions that return
//! the objects as JSON, in the order in which they are created.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::{
    agent::{AgentSource, Destination, Forward},
    brought,
    deployment::Deployment,
    error::DeployError,
    holes::{Filling, Template},
    names::{self, Names, attached_selector, names},
    origin_template::origin_template,
    own_ports::OwnPorts,
    pod::{self, ListenPort},
    restore::{Part, Restore},
    service::{ServiceFacts, resolve_ports},
};

const ORIGIN_SERVICE: Template =
    Template { name: "origin-service.yaml", text: include_str!("../objects/origin-service.yaml") };
/// When a stand-in goes, open connections have this time to finish, in seconds.
const GRACE: u32 = 600;

/// Everything that determines a stand-in.
#[derive(Debug, Clone, PartialEq)]
pub struct StandIn {
    /// Short and random, `a-z0-9`: "7f3a".
    pub id: String,
    /// The user's name, for the annotation with the creator.
    pub user: String,
    pub service: ServiceFacts,
    /// The origin's pod template, `metadata` and `spec`, as JSON.
    pub pod_template: Value,
    /// The container of the template whose image, environment and mounts the agent copies; see
    /// [`crate::main_container`].
    pub container: String,
    pub replicas: u32,
    pub agent: AgentSource,
    /// See [`own_ports`].
    pub own_ports: OwnPorts,
    /// Names of the nodes on which the origin runs: they have the image.
    pub preferred_nodes: Vec<String>,
    /// OpenShift assigns the namespace's users: then none is set.
    pub openshift: bool,
    /// Set if a quota or LimitRange demands it: "500m".
    pub cpu_limit: Option<String>,
    /// When the agents restore the Service; `None`: never.
    pub restore: Option<Restore>,
}

/// The number of agents for this number of pods: one for one, else at least two, so that one may go.
#[must_use]
pub fn replicas_for(origin: u32) -> u32 {
    if origin == 1 { 1 } else { origin.max(2) }
}

impl StandIn {
    #[must_use]
    pub fn names(&self) -> Names {
        names(&self.service.name, &self.id)
    }

    /// The selector of the Service while the stand-in is in its place.
    #[must_use]
    pub fn attached_selector(&self) -> std::collections::BTreeMap<String, String> {
        attached_selector(&self.service.selector, &self.names().stand_in)
    }

    /// The values that all our objects share.
    fn common(&self) -> Filling {
        let (service, namespace) = (&self.service.name, &self.service.namespace);
        let about = format!(
            "Created by bridge for {}. Part of a stand-in between Service {service} and its pods. To remove it, run \
             `bridge clean {service} -n {namespace}`. If you delete it by hand while the Service selects it, requests \
             fail.",
            self.user
        );
        Filling::default()
            .with("namespace", namespace.as_str())
            .with("labels", names::labels(service, &self.id))
            .with("about", about)
            .with("owners", self.service.owners())
    }
}

/// The Secret with the key by which daemons prove themselves.
///
/// # Errors
///
/// None for templates that pass the tests; likewise for the other objects, unless stated otherwise.
pub fn secret(stand_in: &StandIn, key: &[u8]) -> Result<Value, DeployError> {
    brought::secret(stand_in.common(), &stand_in.names(), key)
}

/// The ConfigMaps with the agent program; none if it comes as an image.
///
/// # Errors
///
/// See [`secret`].
pub fn program(stand_in: &StandIn) -> Result<Vec<Value>, DeployError> {
    brought::program(|| stand_in.common(), &stand_in.names(), &stand_in.agent)
}

/// The ConfigMaps with the program by which the agents restore the Service; none if they never do.
///
/// # Errors
///
/// See [`secret`].
pub fn restorer(stand_in: &StandIn) -> Result<Vec<Value>, DeployError> {
    brought::restorer(|| stand_in.common(), &stand_in.names(), &stand_in.agent, stand_in.restore)
}

/// The Service that leads from the agents to the origin.
///
/// # Errors
///
/// See [`secret`].
pub fn origin_service(stand_in: &StandIn) -> Result<Value, DeployError> {
    let service = &stand_in.service;
    let ports: Vec<Value> =
        service.ports.iter().filter(|port| port.is_tcp()).map(|port| json!(port)).collect();
    ORIGIN_SERVICE.fill(
        &stand_in
            .common()
            .with("name", stand_in.names().origin)
            .with("selector", json!(service.selector))
            .with("ports", ports)
            .with("session_affinity", json!(service.session_affinity))
            .with("session_affinity_config", service.session_affinity_config.clone())
            .with("publish_not_ready_addresses", json!(service.publish_not_ready_addresses.then_some(true)))
            .with("ip_families", pod::some(service.ip_families.iter().map(|f| json!(f)).collect()))
            .with("ip_family_policy", json!(service.ip_family_policy))
            .with("traffic_distribution", json!(service.traffic_distribution)),
    )
}

/// The Deployment of agents, which reach the origin at `origin`, the address of the Service created before.
///
/// # Errors
///
/// [`DeployError::NoContainer`], [`DeployError::NoImage`] and [`DeployError::NoSuchPort`] for a template that does not
/// fit the Service or the container.
pub fn deployment(stand_in: &StandIn, origin: IpAddr) -> Result<Value, DeployError> {
    let template = &stand_in.pod_template;
    let container = pod::container(template, &stand_in.container)?;
    let listen = resolve_ports(&stand_in.service.ports, template)?;
    let service = &stand_in.service;
    let agents = names::agents(&service.name, &stand_in.id);
    let deployment = Deployment {
        common: stand_in.common(),
        names: stand_in.names(),
        pod_template: template,
        container,
        replicas: stand_in.replicas,
        source: &stand_in.agent,
        own_ports: stand_in.own_ports,
        forwards: forwards(&listen, origin),
        pod_labels: names::pod_labels(&service.name, &stand_in.id, &stand_in.attached_selector()),
        agents,
        ports: pod::ports(template),
        sysctls: pod::sysctls(template, &listen),
        grace: GRACE,
        preferred_nodes: &stand_in.preferred_nodes,
        openshift: stand_in.openshift,
        cpu_limit: stand_in.cpu_limit.as_deref(),
        restore: stand_in.restore,
        part: Part::Service { name: service.name.clone(), id: stand_in.id.clone() },
    };
    deployment.fill(
        Filling::default().with("origin_template", origin_template(template)).with("session", Value::Null),
    )
}

/// Each port of the pods leads to the port of the origin's Service.
fn forwards(listen: &[ListenPort], origin: IpAddr) -> Vec<Forward> {
    let mut forwards: Vec<Forward> = Vec::new();
    for port in listen {
        // Two ports of the Service may lead to the same one of the pods: either way to the origin is right.
        if forwards.iter().all(|forward| forward.listen != port.listen) {
            let to = Destination::Address(SocketAddr::new(origin, port.service_port));
            forwards.push(Forward { listen: port.listen, to });
        }
    }
    forwards
}

#[cfg(test)]
mod tests;
