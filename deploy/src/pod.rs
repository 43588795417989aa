//! The parts of the origin's pod template that the stand-in's pods copy: pure functions from its JSON, so that no field
//! unknown to us is lost within these parts. Everything else is not copied: probes, hooks, other and init containers,
//! host namespaces and ports, capabilities, other kinds of volumes, labels.
//!
//! References to ConfigMaps, Secrets and trust bundles are copied as optional: the origin may be rolled out with others
//! and these deleted, and an agent must start all the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::error::DeployError;

/// Sysctls that Pod Security `restricted` allows, without the two that we set ourselves.
const SAFE_SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// A declared TCP port of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContainerPort<'a> {
    pub(crate) container: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) number: u16,
}

/// A TCP port of the Service and the container port that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenPort {
    /// The port that callers use.
    pub service_port: u16,
    pub name: Option<String>,
    /// The port that the pods listen on.
    pub listen: u16,
    /// The port that the agents listen on: the same, unless they are in these pods.
    pub agent: u16,
}

/// The elements of the list at a JSON pointer; none if there is no such list.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The value at a JSON pointer, else `Null`, which omits a hole.
pub(crate) fn at(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or(Value::Null)
}

pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// An empty list as `Null`, so that its key is omitted.
pub(crate) fn some(items: Vec<Value>) -> Value {
    if items.is_empty() { Value::Null } else { Value::Array(items) }
}

/// All declared TCP ports, in the order in which Kubernetes looks a name up: containers, then restartable init
/// containers.
pub(crate) fn tcp_ports(template: &Value) -> Vec<ContainerPort<'_>> {
    let sidecars = list(template, "/spec/initContainers")
        .iter()
        .filter(|container| text(container, "/restartPolicy") == Some("Always"));
    list(template, "/spec/containers")
        .iter()
        .chain(sidecars)
        .flat_map(|container| {
            let owner = text(container, "/name").unwrap_or_default();
            list(container, "/ports").iter().filter_map(move |port| {
                let number = port.get("containerPort")?.as_u64()?;
                (text(port, "/protocol").unwrap_or("TCP") == "TCP").then_some(ContainerPort {
                    container: owner,
                    name: text(port, "/name"),
                    number: u16::try_from(number).ok()?,
                })
            })
        })
        .collect()
}

/// The container that serves the Service: the one that declares most of the ports, else kubectl's default container,
/// else the first. `None` for a template without containers.
#[must_use]
pub fn main_container<'a>(template: &'a Value, ports: &[ListenPort]) -> Option<&'a str> {
    let declared = tcp_ports(template);
    let served = |name: &str| {
        ports
            .iter()
            .filter(|port| declared.iter().any(|d| d.container == name && d.number == port.listen))
            .count()
    };
    let names: Vec<&str> =
        list(template, "/spec/containers").iter().filter_map(|container| text(container, "/name")).collect();
    let most = names.iter().map(|name| served(name)).max().unwrap_or_default();
    if most > 0 {
        return names.into_iter().find(|name| served(name) == most);
    }
    let default = text(template, "/metadata/annotations/kubectl.kubernetes.io~1default-container");
    default.filter(|name| names.contains(name)).or_else(|| names.first().copied())
}

pub(crate) fn container<'a>(template: &'a Value, name: &str) -> Result<&'a Value, DeployError> {
    list(template, "/spec/containers")
        .iter()
        .find(|container| text(container, "/name") == Some(name))
        .ok_or_else(|| DeployError::NoContainer { container: name.to_owned() })
}

/// The ports of all containers, so that a Service's named ports lead to us as well; without host ports. A container has
/// each name and number once: the first of each stays, as it is the one that Kubernetes finds.
pub(crate) fn ports(template: &Value) -> Value {
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    let mut kept = Vec::new();
    for port in tcp_ports(template) {
        match port.name {
            Some(name) if names.insert(name) => {
                numbers.insert(port.number);
                kept.push(json!({"name": name, "containerPort": port.number, "protocol": "TCP"}));
            }
            None if numbers.insert(port.number) => {
                kept.push(json!({"containerPort": port.number, "protocol": "TCP"}));
            }
            _ => {}
        }
    }
    some(kept)
}

/// The origin's environment. Values that the downward API would read from labels and annotations, which our pods do not
/// have, become the text that the origin gets; values from a container are read from `resources_of`. Variables from
/// files of a volume are omitted: an init container writes those, and we have none.
pub(crate) fn env(template: &Value, container: &Value, resources_of: &str) -> Vec<Value> {
    list(container, "/env")
        .iter()
        .filter(|variable| variable.pointer("/valueFrom/fileKeyRef").is_none())
        .map(|variable| {
            let literal = text(variable, "/valueFrom/fieldRef/fieldPath")
                .and_then(|path| metadata_text(template, path));
            match literal {
                // In a plain value, `$(NAME)` would be looked up.
                Some(value) => json!({"name": variable["name"], "value": value.replace("$(", "$$(")}),
                None => optional(
                    of_container(variable.clone(), "/valueFrom/resourceFieldRef", resources_of),
                    &["/valueFrom/configMapKeyRef", "/valueFrom/secretKeyRef"],
                ),
            }
        })
        .collect()
}

/// The ConfigMaps and Secrets that the environment includes as a whole.
pub(crate) fn env_from(container: &Value) -> Value {
    let sources = list(container, "/envFrom").iter().cloned();
    some(sources.map(|source| optional(source, &["/configMapRef", "/secretRef"])).collect())
}

/// The same, with the references at these JSON pointers made optional.
fn optional(mut value: Value, references: &[&str]) -> Value {
    for reference in references {
        if let Some(reference) = value.pointer_mut(reference).and_then(Value::as_object_mut) {
            reference.insert("optional".to_owned(), json!(true));
        }
    }
    value
}

/// The value of `metadata.labels['key']` or `metadata.annotations['key']` in the template.
fn metadata_text<'a>(template: &'a Value, path: &str) -> Option<&'a str> {
    let (field, key) = path.strip_prefix("metadata.")?.strip_suffix("']")?.split_once("['")?;
    template.get("metadata")?.get(field)?.get(key)?.as_str()
}

fn of_container(mut value: Value, pointer: &str, container: &str) -> Value {
    if let Some(name) = value.pointer_mut(pointer).and_then(|reference| reference.get_mut("containerName")) {
        *name = json!(container);
    }
    value
}

/// The volumes that the container mounts and that any node can give to a second pod, and their mounts.
pub(crate) struct Volumes {
    pub(crate) volumes: Vec<Value>,
    pub(crate) mounts: Vec<Value>,
}

pub(crate) fn volumes(template: &Value, container: &Value) -> Volumes {
    let mounts = list(container, "/volumeMounts");
    let mounted = |volume: &&Value| mounts.iter().any(|mount| mount.get("name") == volume.get("name"));
    let volumes: Vec<Value> = list(template, "/spec/volumes")
        .iter()
        .filter(mounted)
        .filter(|volume| is_cloned(volume))
        .cloned()
        .map(|volume| optional(in_our_container(volume), &["/configMap", "/secret"]))
        .collect();
    let mounts = mounts
        .iter()
        .filter(|mount| volumes.iter().any(|volume| volume.get("name") == mount.get("name")))
        .cloned()
        .map(|mut mount| {
            // Only privileged containers may propagate mounts to the host; and the host propagates none to us.
            if let Some(fields) = mount.as_object_mut() {
                fields.remove("mountPropagation");
            }
            mount
        })
        .collect();
    Volumes { volumes, mounts }
}

/// The mount paths of a container, including the token of its service account, which is mounted without the template
/// naming it.
#[must_use]
pub fn mount_paths(template: &Value, mounts: &[Value]) -> Vec<String> {
    const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

    let path = |mount: &Value| {
        let path = text(mount, "/mountPath")?.trim_matches('/');
        (!path.is_empty()).then(|| format!("/{path}"))
    };
    let mut paths: Vec<String> = mounts.iter().filter_map(path).collect();
    let has_token = at(template, "/spec/automountServiceAccountToken") != Value::Bool(false);
    if has_token && paths.iter().all(|path| path != TOKEN) {
        paths.push(TOKEN.to_owned());
    }
    paths
}

fn is_cloned(volume: &Value) -> bool {
    // Huge pages would have to be requested as a resource of ours.
    let huge_pages = text(volume, "/emptyDir/medium").is_some_and(|medium| medium.starts_with("HugePages"));
    ["configMap", "secret", "projected", "downwardAPI", "emptyDir"]
        .iter()
        .any(|kind| volume.get(kind).is_some())
        && !huge_pages
}

fn in_our_container(mut volume: Value) -> Value {
    let own = |items: Option<&mut Vec<Value>>| {
        for item in items.into_iter().flatten() {
            *item = of_container(item.take(), "/resourceFieldRef", "agent");
        }
    };
    own(volume.pointer_mut("/downwardAPI/items").and_then(Value::as_array_mut));
    for source in volume.pointer_mut("/projected/sources").and_then(Value::as_array_mut).into_iter().flatten()
    {
        own(source.pointer_mut("/downwardAPI/items").and_then(Value::as_array_mut));
        *source = optional(source.take(), &["/configMap", "/secret", "/clusterTrustBundle"]);
    }
    volume
}

/// The origin's user, if it is given by number and is not root; the container's setting goes before the pod's.
pub(crate) fn user(template: &Value, container: &Value) -> Option<u64> {
    security(template, container, "runAsUser").as_u64().filter(|user| *user != 0)
}

/// A field of the container's security context, else of the pod's.
pub(crate) fn security(template: &Value, container: &Value, field: &str) -> Value {
    let of =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(|context| context.get(field)).cloned();
    of(container, "/securityContext").or_else(|| of(template, "/spec/securityContext")).unwrap_or(Value::Null)
}

/// The origin's safe sysctls, and ours.
pub(crate) fn sysctls(template: &Value, listen: &[ListenPort]) -> Value {
    let mut sysctls: Vec<Value> = list(template, "/spec/securityContext/sysctls")
        .iter()
        .filter(|sysctl| text(sysctl, "/name").is_some_and(|name| SAFE_SYSCTLS.contains(&name)))
        .cloned()
        .collect();
    // Every connection to the origin takes a local port: nearly twice the default. Not from 1024 on: that is where
    // services listen, and after a restart of the container a connection of ours could hold a port that we must listen
    // on. (Above, the agent listens before it dials, and the kernel gives no listening port away.)
    sysctls.push(json!({"name": "net.ipv4.ip_local_port_range", "value": "10240 65535"}));
    if listen.iter().any(|port| port.listen < 1024) {
        // Port 80 without a capability: in this pod, any user may.
        sysctls.push(json!({"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}));
    }
    some(sysctls)
}

/// Node affinity: the origin's, on nodes for our program (architecture and system), the given nodes preferred, as they
/// have the image. Affinity to pods is not copied: it was meant for the origin's labels.
pub(crate) fn affinity(
    template: &Value,
    os: &str,
    architecture: Option<&str>,
    preferred_nodes: &[String],
) -> Value {
    const REQUIRED: &str =
        "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    const PREFERRED: &str = "/spec/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution";

    let node = |label: &str, value: &str| json!({"key": label, "operator": "In", "values": [value]});
    let mut requirements = vec![node("kubernetes.io/os", os)];
    requirements.extend(architecture.map(|name| node("kubernetes.io/arch", name)));

    // Terms are alternatives, so ours goes into each. An empty one matches nothing and must stay so.
    let mut terms: Vec<Value> = list(template, REQUIRED)
        .iter()
        .filter(|term| ["/matchExpressions", "/matchFields"].iter().any(|p| !list(term, p).is_empty()))
        .cloned()
        .collect();
    if terms.is_empty() {
        terms.push(json!({}));
    }
    for term in &mut terms {
        let own: Vec<Value> = list(term, "/matchExpressions").iter().chain(&requirements).cloned().collect();
        term["matchExpressions"] = Value::Array(own);
    }

    // By name, which is not always the label kubernetes.io/hostname; a term holds one.
    let mut preferred = list(template, PREFERRED).to_vec();
    preferred.extend(preferred_nodes.iter().map(|name| {
        let node = json!({"key": "metadata.name", "operator": "In", "values": [name]});
        json!({"weight": 100, "preference": {"matchFields": [node]}})
    }));

    let mut affinity =
        json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    if !preferred.is_empty() {
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = Value::Array(preferred);
    }
    json!({ "nodeAffinity": affinity })
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
