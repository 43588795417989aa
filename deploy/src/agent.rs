//! The agent's container: what runs in it, and the volumes that bring its program and its key. The same in a pod of its
//! own and beside the origin's containers.

use serde_json::{Value, json};

use crate::{
    error::DeployError,
    holes::Filling,
    names::Names,
    own_ports::OwnPorts,
    pod,
    program::{LOADER_FILE, Program},
    restore::{Part, Paths, Restore, Restorer},
};

/// The agent's user if the origin's cannot be used: "nonroot" in distroless images.
const NOBODY_SPECIAL: u64 = 65532;

/// The source of the agent program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSource {
    /// Brought by the client; runs on the origin's own image.
    Carried(Program),
    /// An image that has it as `/bridge-agent`.
    Image(String),
}

/// Everything that determines the container.
pub(crate) struct AgentParts<'a> {
    pub(crate) source: &'a AgentSource,
    pub(crate) names: Names,
    /// The origin's pod template.
    pub(crate) template: &'a Value,
    /// The container of the template that it copies.
    pub(crate) container: &'a Value,
    /// The container of its pod whose resources its environment tells.
    pub(crate) resources_of: &'a str,
    pub(crate) own_ports: OwnPorts,
    /// OpenShift assigns the namespace's users: then none is set.
    pub(crate) openshift: bool,
    pub(crate) cpu_limit: Option<&'a str>,
    /// When it restores what it is part of.
    pub(crate) restore: Option<Restore>,
    pub(crate) part: Part,
    /// The ports to listen on, and where each leads.
    pub(crate) forwards: Vec<Forward>,
    /// The names of its volumes begin with it: "bridge".
    pub(crate) prefix: String,
    /// The volumes of its pod.
    pub(crate) volumes: &'a [Value],
    /// The mounts of these volumes that it copies.
    pub(crate) mounts: Vec<Value>,
    pub(crate) node_addresses: NodeAddresses,
}

/// A port that the agent listens on.
pub(crate) struct Forward {
    pub(crate) listen: u16,
    pub(crate) to: Destination,
}

/// Where a port leads.
pub(crate) enum Destination {
    Address(std::net::SocketAddr),
    /// A port of the agent's own pod, at the pod's address.
    OwnPod {
        port: u16,
        ipv6: bool,
    },
}

/// What is not the same for every agent.
pub(crate) struct Agent {
    /// The fields of its container, but for the ports.
    pub(crate) fields: Filling,
    /// Its own volumes, to be added to the pod's.
    pub(crate) volumes: Vec<Value>,
}

impl Agent {
    pub(crate) fn of(parts: AgentParts<'_>) -> Result<Self, DeployError> {
        let AgentParts { source, names, template, container, own_ports, forwards, prefix, .. } = parts;
        let (restore, part) = (parts.restore, parts.part);
        let of_the_container = pod::mount_paths(template, &parts.mounts);
        let folder = free_folder(&parts.mounts);
        let (mut mounts, mut volumes): (_, Vec<Value>) = (parts.mounts, Vec::new());
        let mut mount = |purpose: &str, read_only: bool, mut volume: Value| {
            let name = free_name(&format!("{prefix}-{purpose}"), parts.volumes);
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
        let key = mount("key", true, json!({"secret": {"secretName": names.secret, "defaultMode": 0o444}}));
        let mut env = pod::env(template, container, parts.resources_of);
        let variables = OwnVariables::add(&mut env, &forwards, parts.node_addresses);
        let mut agent_args = variables.args(own_ports, &forwards, &key);
        for path in of_the_container {
            // Kubernetes would replace "$(NAME)" by a variable.
            agent_args.extend(["--volume".to_owned(), path.replace("$(", "$$(")]);
        }

        let (image, command, args) = match source {
            AgentSource::Image(image) => (image.clone(), "/bridge-agent".to_owned(), agent_args),
            AgentSource::Carried(program) => {
                let image = pod::text(container, "/image").ok_or_else(|| DeployError::NoImage {
                    container: pod::text(container, "/name").unwrap_or_default().to_owned(),
                })?;
                let files = mount("program", true, program_volume(program, &names));
                let run = mount("run", false, json!({"emptyDir": {"sizeLimit": "64Mi"}}));
                let parts = program.maps();
                let parts = parts.iter().flatten().filter(|part| part.file != LOADER_FILE);
                let mut args = vec!["--listen".to_owned(), own_ports.readiness.to_string()];
                args.extend(parts.map(|part| format!("{files}/{}", part.key())));
                args.push(format!("{run}/agent"));
                args.push("--".to_owned());
                args.extend(agent_args);
                let loader = format!("{files}/{LOADER_FILE}");
                if let Some(when) = restore {
                    let readiness = own_ports.readiness;
                    let restorer = Restorer { when, part, program, names: &names, readiness };
                    let paths = Paths {
                        loader: loader.clone(),
                        parts: mount("restorer", true, restorer.parts()),
                        account: mount("account", true, Restorer::account()),
                        run: &run,
                    };
                    args.extend(restorer.args(&paths));
                }
                (image.to_owned(), loader, args)
            }
        };
        let fields = Filling::default()
            .with("image", image)
            .with("command", json!([command]))
            .with("args", json!(args))
            .with("working_dir", pod::at(container, "/workingDir"))
            .with("env", env)
            .with("env_from", pod::env_from(container))
            .with("cpu_limit", json!(parts.cpu_limit))
            .with("readiness_port", own_ports.readiness)
            .with("run_as_user", run_as_user(parts.openshift, template, container))
            .with("run_as_group", pod::security(template, container, "runAsGroup"))
            .with("mounts", mounts);
        Ok(Self { fields, volumes })
    }
}

/// The user that it runs as; `Null`: the namespace assigns one.
fn run_as_user(openshift: bool, template: &Value, container: &Value) -> Value {
    if openshift {
        return Value::Null;
    }
    json!(pod::user(template, container).unwrap_or(NOBODY_SPECIAL))
}

/// The addresses of its node that the agent gets, so that it dials none of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NodeAddresses {
    #[default]
    All,
    /// Only the first. Argo Rollouts check templates themselves, by the rules of an earlier Kubernetes that did not know of
    /// several.
    First,
}

impl NodeAddresses {
    fn field(self) -> &'static str {
        match self {
            Self::All => "status.hostIPs",
            Self::First => "status.hostIP",
        }
    }
}

/// Names of the variables that are the agent's own.
struct OwnVariables {
    pod_name: String,
    node: String,
    /// Only if a port leads to its own pod.
    address: Option<String>,
}

impl OwnVariables {
    /// Adds them to the container's environment, under names that it does not have.
    fn add(env: &mut Vec<Value>, forwards: &[Forward], node: NodeAddresses) -> Self {
        let mut own = |name: &str, path: &str| {
            let name = free_name(name, env);
            env.push(json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
            name
        };
        let to_own_pod = forwards.iter().any(|forward| matches!(forward.to, Destination::OwnPod { .. }));
        Self {
            pod_name: own("BRIDGE_POD_NAME", "metadata.name"),
            node: own("BRIDGE_NODE_ADDRESSES", node.field()),
            address: to_own_pod.then(|| own("BRIDGE_POD_ADDRESS", "status.podIP")),
        }
    }

    fn args(&self, own: OwnPorts, forwards: &[Forward], key_folder: &str) -> Vec<String> {
        let mut args = Vec::new();
        for Forward { listen, to } in forwards {
            args.extend(["--forward".to_owned(), format!("{listen}={}", self.text(to))]);
        }
        if self.address.is_some() {
            args.push("--beside-origin".to_owned());
        }
        args.extend(["--control".to_owned(), own.control.to_string()]);
        args.extend(["--readiness".to_owned(), own.readiness.to_string()]);
        args.extend(["--metrics".to_owned(), own.metrics.to_string()]);
        args.extend(["--key-file".to_owned(), format!("{key_folder}/key")]);
        args.extend(["--name".to_owned(), format!("$({})", self.pod_name)]);
        args.extend(["--node".to_owned(), format!("$({})", self.node)]);
        for own in [Some(&self.pod_name), Some(&self.node), self.address.as_ref()].into_iter().flatten() {
            args.extend(["--own-variable".to_owned(), own.clone()]);
        }
        args
    }

    fn text(&self, to: &Destination) -> String {
        let address = self.address.as_deref().unwrap_or_default();
        match to {
            Destination::Address(address) => address.to_string(),
            Destination::OwnPod { port, ipv6: false } => format!("$({address}):{port}"),
            Destination::OwnPod { port, ipv6: true } => format!("[$({address})]:{port}"),
        }
    }
}

/// All ConfigMaps of the program in one directory, executable.
fn program_volume(program: &Program, names: &Names) -> Value {
    let identity = program.identity();
    let name = |index| names.program(&identity, index);
    let sources: Vec<Value> =
        (0..program.maps().len()).map(|index| json!({"configMap": {"name": name(index)}})).collect();
    json!({"projected": {"defaultMode": 0o555, "sources": sources}})
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
