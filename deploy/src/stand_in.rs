//! The stand-in: a Deployment of agents in the origin's place, and the objects beside it. Pure functions that return
//! the objects as JSON, in the order in which they are created.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};

use crate::{
    error::DeployError,
    holes::{Filling, Template},
    names::{self, Names, attached_selector, names},
    origin_template::origin_template,
    pod,
    program::{LOADER_FILE, Program},
    service::{ListenPort, ServiceFacts, resolve_ports},
};

/// The agent's user if the origin's cannot be used: "nonroot" in distroless images.
const NOBODY_SPECIAL: u64 = 65532;
/// The first port to try for ourselves: below the range of ephemeral ports, and not in common use.
const FIRST_OWN_PORT: u16 = 7390;

const SECRET: Template = Template { name: "secret.yaml", text: include_str!("../objects/secret.yaml") };
const PROGRAM: Template = Template { name: "program.yaml", text: include_str!("../objects/program.yaml") };
const ORIGIN_SERVICE: Template =
    Template { name: "origin-service.yaml", text: include_str!("../objects/origin-service.yaml") };
const DEPLOYMENT: Template =
    Template { name: "deployment.yaml", text: include_str!("../objects/deployment.yaml") };

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
}

/// The source of the agent program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSource {
    /// Brought by the client; runs on the origin's own image.
    Carried(Program),
    /// An image that has it as `/bridge-agent`.
    Image(String),
}

/// Ports of the agent itself, besides those of the Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnPorts {
    /// On loopback: for daemons.
    pub control: u16,
    /// On the pod's address: `/ready`.
    pub readiness: u16,
    /// On loopback: for Prometheus.
    pub metrics: u16,
}

/// Ports that neither the Service leads to nor any container of the origin declares.
#[must_use]
pub fn own_ports(pod_template: &Value, listen: &[ListenPort]) -> OwnPorts {
    let declared = pod::tcp_ports(pod_template);
    let taken =
        |port: u16| declared.iter().any(|d| d.number == port) || listen.iter().any(|l| l.listen == port);
    let mut free = (FIRST_OWN_PORT..u16::MAX).filter(|port| !taken(*port));
    let mut own = |otherwise: u16| free.next().unwrap_or(otherwise);
    OwnPorts {
        control: own(FIRST_OWN_PORT),
        readiness: own(FIRST_OWN_PORT + 1),
        metrics: own(FIRST_OWN_PORT + 2),
    }
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
    SECRET.fill(&stand_in.common().with("name", stand_in.names().secret).with("key", BASE64.encode(key)))
}

/// The ConfigMaps with the agent program; none if it comes as an image.
///
/// # Errors
///
/// See [`secret`].
pub fn program(stand_in: &StandIn) -> Result<Vec<Value>, DeployError> {
    let AgentSource::Carried(program) = &stand_in.agent else { return Ok(Vec::new()) };
    let (names, identity) = (stand_in.names(), program.identity());
    program
        .maps()
        .iter()
        .enumerate()
        .map(|(index, parts)| {
            let files: Map<_, _> =
                parts.iter().map(|part| (part.key(), BASE64.encode(part.bytes).into())).collect();
            let name = names.program(&identity, index);
            PROGRAM.fill(&stand_in.common().with("name", name).with("files", files))
        })
        .collect()
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
    let agent = Agent::of(stand_in, template, container, &listen, origin)?;
    let service = &stand_in.service;
    let pod_labels = names::pod_labels(&service.name, &stand_in.id, &stand_in.attached_selector());
    let filling = stand_in
        .common()
        .with("name", stand_in.names().stand_in)
        .with("origin_template", origin_template(template))
        .with("service", service.name.as_str())
        .with("id", stand_in.id.as_str())
        .with("replicas", stand_in.replicas)
        .with("pod_labels", pod_labels)
        .with("affinity", affinity(stand_in))
        .with("sysctls", pod::sysctls(template, &listen))
        .with("run_as_user", run_as_user(stand_in, container))
        .with("run_as_group", pod::security(template, container, "runAsGroup"))
        .with("image", agent.image)
        .with("command", json!([agent.command]))
        .with("args", json!(agent.args))
        .with("working_dir", pod::at(container, "/workingDir"))
        .with("env", agent.env)
        .with("env_from", pod::env_from(container))
        .with("ports", pod::ports(template))
        .with("cpu_limit", json!(stand_in.cpu_limit))
        .with("readiness_port", stand_in.own_ports.readiness)
        .with("mounts", agent.mounts)
        .with("volumes", agent.volumes);
    DEPLOYMENT.fill(&of_the_origin(filling, template))
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

fn affinity(stand_in: &StandIn) -> Value {
    let (os, architecture) = match &stand_in.agent {
        AgentSource::Carried(program) => (program.os.as_str(), Some(program.architecture.as_str())),
        AgentSource::Image(_) => ("linux", None),
    };
    pod::affinity(&stand_in.pod_template, os, architecture, &stand_in.preferred_nodes)
}

fn run_as_user(stand_in: &StandIn, container: &Value) -> Value {
    if stand_in.openshift {
        return Value::Null;
    }
    json!(pod::user(&stand_in.pod_template, container).unwrap_or(NOBODY_SPECIAL))
}

/// The parts of the one container that differ between stand-ins.
struct Agent {
    image: String,
    command: String,
    args: Vec<String>,
    env: Vec<Value>,
    mounts: Vec<Value>,
    volumes: Vec<Value>,
}

impl Agent {
    fn of(
        stand_in: &StandIn,
        template: &Value,
        container: &Value,
        listen: &[ListenPort],
        origin: IpAddr,
    ) -> Result<Self, DeployError> {
        let pod::Volumes { mut volumes, mut mounts } = pod::volumes(template, container);
        let of_the_container = pod::mount_paths(template, &mounts);
        let folder = free_folder(&mounts);
        let mut mount = |purpose: &str, read_only: bool, mut volume: Value| {
            let name = free_name(&format!("bridge-{purpose}"), &volumes);
            volume["name"] = json!(name);
            volumes.push(volume);
            let path = format!("{folder}/{purpose}");
            let mut mounted = json!({"name": name, "mountPath": path});
            if read_only {
                mounted["readOnly"] = json!(true);
            }
            mounts.push(mounted);
            path
        };

        // Readable by any user of the pod, which has one: without fsGroup the files belong to root.
        let names = stand_in.names();
        let key = mount("key", true, json!({"secret": {"secretName": names.secret, "defaultMode": 0o444}}));
        let mut env = pod::env(template, container);
        let pod_name = free_name("BRIDGE_POD_NAME", &env);
        env.push(json!({"name": pod_name, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}));
        let node = free_name("BRIDGE_NODE_ADDRESSES", &env);
        env.push(json!({"name": node, "valueFrom": {"fieldRef": {"fieldPath": "status.hostIPs"}}}));
        let variables = OwnVariables { pod_name, node };
        let mut agent_args = agent_args(stand_in.own_ports, listen, origin, &key, &variables);
        for path in of_the_container {
            // Kubernetes would replace "$(NAME)" by a variable.
            agent_args.extend(["--volume".to_owned(), path.replace("$(", "$$(")]);
        }

        let (image, command, args) = match &stand_in.agent {
            AgentSource::Image(image) => (image.clone(), "/bridge-agent".to_owned(), agent_args),
            AgentSource::Carried(program) => {
                let image = pod::text(container, "/image")
                    .ok_or_else(|| DeployError::NoImage { container: stand_in.container.clone() })?;
                let files = mount("program", true, program_volume(program, &names));
                let run = mount("run", false, json!({"emptyDir": {"sizeLimit": "64Mi"}}));
                let parts = program.maps();
                let parts = parts.iter().flatten().filter(|part| part.file != LOADER_FILE);
                let mut args = vec!["--listen".to_owned(), stand_in.own_ports.readiness.to_string()];
                args.extend(parts.map(|part| format!("{files}/{}", part.key())));
                args.push(format!("{run}/agent"));
                args.push("--".to_owned());
                args.extend(agent_args);
                (image.to_owned(), format!("{files}/{}", LOADER_FILE), args)
            }
        };
        Ok(Self { image, command, args, env, mounts, volumes })
    }
}

/// Names of the variables that are the agent's own.
struct OwnVariables {
    pod_name: String,
    node: String,
}

/// All ConfigMaps of the program in one directory, executable.
fn program_volume(program: &Program, names: &Names) -> Value {
    let identity = program.identity();
    let name = |index| names.program(&identity, index);
    let sources: Vec<Value> =
        (0..program.maps().len()).map(|index| json!({"configMap": {"name": name(index)}})).collect();
    json!({"projected": {"defaultMode": 0o555, "sources": sources}})
}

fn agent_args(
    own: OwnPorts,
    listen: &[ListenPort],
    origin: IpAddr,
    key_folder: &str,
    variables: &OwnVariables,
) -> Vec<String> {
    let mut args = Vec::new();
    let mut seen = Vec::new();
    for port in listen {
        // Two ports of the Service may lead to the same one of the pods: either way to the origin is right.
        if !seen.contains(&port.listen) {
            seen.push(port.listen);
            let to = std::net::SocketAddr::new(origin, port.service_port);
            args.extend(["--forward".to_owned(), format!("{}={to}", port.listen)]);
        }
    }
    args.extend(["--control".to_owned(), own.control.to_string()]);
    args.extend(["--readiness".to_owned(), own.readiness.to_string()]);
    args.extend(["--metrics".to_owned(), own.metrics.to_string()]);
    args.extend(["--key-file".to_owned(), format!("{key_folder}/key")]);
    let OwnVariables { pod_name, node } = variables;
    args.extend(["--name".to_owned(), format!("$({pod_name})")]);
    args.extend(["--node".to_owned(), format!("$({node})")]);
    for own in [pod_name, node] {
        args.extend(["--own-variable".to_owned(), own.clone()]);
    }
    args
}

/// A name that none of these objects has.
fn free_name(wanted: &str, objects: &[Value]) -> String {
    let taken = |name: &str| objects.iter().any(|object| pod::text(object, "/name") == Some(name));
    let (separator, mut number) = (if wanted.contains('_') { '_' } else { '-' }, 2);
    let mut name = wanted.to_owned();
    while taken(&name) {
        name = format!("{wanted}{separator}{number}");
        number += 1;
    }
    name
}

/// A directory at the root that no mount is in or above. It is named unlike any program at an image's root: a file of
/// the image with its name would keep the pod from starting.
fn free_folder(mounts: &[Value]) -> String {
    let inside = |folder: &str| {
        mounts.iter().filter_map(|mount| pod::text(mount, "/mountPath")).any(|path| {
            path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let mut folder = "/bridge.dev".to_owned();
    let mut number = 2;
    while inside(&folder) {
        folder = format!("/bridge.dev-{number}");
        number += 1;
    }
    folder
}

#[cfg(test)]
mod tests;
