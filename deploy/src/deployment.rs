//! The Deployment of agents in pods of their own, which are copies of the origin's in everything that a process sees.
//! In: the origin's pod template, and what distinguishes these agents; out: the object as JSON.

use serde_json::Value;

use crate::{
    agent::{Agent, AgentParts, AgentSource, Forward, NodeAddresses},
    error::DeployError,
    holes::{Filling, Template},
    names::Names,
    own_ports::OwnPorts,
    pod,
    restore::{Part, Restore},
};

const DEPLOYMENT: Template =
    Template { name: "deployment.yaml", text: include_str!("../objects/deployment.yaml") };

/// Everything that determines the Deployment, except for its annotations.
pub(crate) struct Deployment<'a> {
    /// The values that all objects of these agents share.
    pub(crate) common: Filling,
    pub(crate) names: Names,
    /// The origin's pod template, `metadata` and `spec`.
    pub(crate) pod_template: &'a Value,
    /// The container of the template that the agent copies.
    pub(crate) container: &'a Value,
    pub(crate) replicas: u32,
    pub(crate) source: &'a AgentSource,
    pub(crate) own_ports: OwnPorts,
    pub(crate) forwards: Vec<Forward>,
    /// The labels by which it knows its pods,
    pub(crate) agents: Value,
    /// and all labels of these pods.
    pub(crate) pod_labels: Value,
    pub(crate) ports: Value,
    pub(crate) sysctls: Value,
    /// The time that a pod has to end, in seconds.
    pub(crate) grace: u32,
    /// Names of nodes that have the image.
    pub(crate) preferred_nodes: &'a [String],
    /// OpenShift assigns the namespace's users: then none is set.
    pub(crate) openshift: bool,
    pub(crate) cpu_limit: Option<&'a str>,
    /// When the agents restore what they are part of.
    pub(crate) restore: Option<Restore>,
    pub(crate) part: Part,
}

impl Deployment<'_> {
    /// `annotations`: the values for their holes.
    pub(crate) fn fill(self, annotations: Filling) -> Result<Value, DeployError> {
        let template = self.pod_template;
        let pod::Volumes { mut volumes, mounts } = pod::volumes(template, self.container);
        let name = self.names.stand_in.clone();
        let agent = Agent::of(AgentParts {
            source: self.source,
            names: self.names,
            template,
            container: self.container,
            resources_of: "agent",
            own_ports: self.own_ports,
            openshift: self.openshift,
            cpu_limit: self.cpu_limit,
            restore: self.restore,
            part: self.part,
            forwards: self.forwards,
            prefix: "bridge".to_owned(),
            volumes: &volumes,
            mounts,
            node_addresses: NodeAddresses::All,
        })?;
        volumes.extend(agent.volumes);
        let filling = self
            .common
            .and(agent.fields)
            .and(annotations)
            .with("name", name)
            .with("agents", self.agents)
            .with("replicas", self.replicas)
            .with("pod_labels", self.pod_labels)
            .with("affinity", affinity(template, self.source, self.preferred_nodes))
            .with("sysctls", self.sysctls)
            .with("ports", self.ports)
            .with("grace", self.grace)
            .with("volumes", volumes);
        DEPLOYMENT.fill(&of_the_origin(filling, template))
    }
}

/// Adds the fields that are copied unchanged.
fn of_the_origin(filling: Filling, template: &Value) -> Filling {
    [
        ("service_account", "/spec/serviceAccountName"),
        ("automount_token", "/spec/automountServiceAccountToken"),
        ("pull_secrets", "/spec/imagePullSecrets"),
        ("node_selector", "/spec/nodeSelector"),
        ("tolerations", "/spec/tolerations"),
        ("priority_class", "/spec/priorityClassName"),
        ("runtime_class", "/spec/runtimeClassName"),
        ("host_aliases", "/spec/hostAliases"),
        ("dns_policy", "/spec/dnsPolicy"),
        ("dns_config", "/spec/dnsConfig"),
        ("service_links", "/spec/enableServiceLinks"),
        ("fs_group", "/spec/securityContext/fsGroup"),
        ("fs_group_change_policy", "/spec/securityContext/fsGroupChangePolicy"),
        ("supplemental_groups", "/spec/securityContext/supplementalGroups"),
        ("supplemental_groups_policy", "/spec/securityContext/supplementalGroupsPolicy"),
    ]
    .into_iter()
    .fold(filling, |filling, (hole, pointer)| filling.with(hole, pod::at(template, pointer)))
}

fn affinity(template: &Value, source: &AgentSource, preferred_nodes: &[String]) -> Value {
    let (os, architecture) = match source {
        AgentSource::Carried(program) => (program.os.as_str(), Some(program.architecture.as_str())),
        AgentSource::Image(_) => ("linux", None),
    };
    pod::affinity(template, os, architecture, preferred_nodes)
}
