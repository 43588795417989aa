//! The reasons against a stand-in, with advice; and the warnings of each mode. Pure functions of a [`Snapshot`].

mod affinity;
mod mesh;
pub(crate) mod network_policy;
mod platform;

use bridge_deploy::DeployError;
use k8s_openapi::api::core::v1::ServiceSpec;
use kube::ResourceExt;

use crate::{
    error::ClusterError,
    mode::Mode,
    snapshot::{Snapshot, is_ready},
    state::Attachment,
    target::name_of,
    workload::{Labels, Owner, Workload},
};

pub use crate::obstacle::{Against, Mesh, Obstacle, Warning};

/// The reasons against a stand-in, the most fundamental first. `carried`: the architecture of the agent program in this
/// bridge, `None` if it comes as an image.
#[must_use]
pub fn obstacles(snapshot: &Snapshot, carried: Option<&str>) -> Vec<Obstacle> {
    let spec = snapshot.service.spec.clone().unwrap_or_default();
    let mut found = of_service(snapshot, &spec);
    found
        .extend(Attachment::of(&snapshot.service).err().map(|error| Obstacle::Attachment(error.to_string())));
    if found.iter().any(|o| matches!(o, Obstacle::ExternalName(_) | Obstacle::NoSelector)) {
        return found;
    }
    found.extend(affinity::find(snapshot).map(Obstacle::CookieAffinity));
    found.extend(load_balancer(snapshot));
    found.extend(written_selector(snapshot));
    found.extend(mesh::find(snapshot).map(|(mesh, sign)| Obstacle::Mesh { mesh, sign }));
    found.extend(of_pods(snapshot));
    if let [origin] = snapshot.workloads.as_slice() {
        found.extend(of_template(snapshot, origin, carried));
    }
    let policies = network_policy::naming_the_origin(snapshot);
    if !policies.is_empty() {
        found.push(Obstacle::NetworkPolicies(policies));
    }
    found
}

/// Warnings about a Service that can be connected in this mode.
#[must_use]
pub fn warnings(snapshot: &Snapshot, mode: Mode) -> Vec<Warning> {
    let of_mode = match mode {
        Mode::StandIn => of_stand_in(snapshot),
        Mode::Sidecar => of_sidecar(snapshot),
    };
    let not_a_time = snapshot.account.as_ref().and_then(|account| account.not_a_time.clone());
    of_mode.into_iter().chain(not_a_time.map(Warning::NotATime)).collect()
}

fn of_sidecar(snapshot: &Snapshot) -> Vec<Warning> {
    let managed = |workload: &Workload| {
        let tool = tool(&workload.labels, &workload.annotations)?;
        Some(Warning::GitOpsWorkload { tool, workload: workload.title() })
    };
    let mut warnings: Vec<Warning> = snapshot.workloads.iter().filter_map(managed).collect();
    if snapshot.policies.is_none() {
        warnings.push(Warning::UnknownPolicies);
    }
    warnings
}

fn of_stand_in(snapshot: &Snapshot) -> Vec<Warning> {
    let service = || name_of(&snapshot.service);
    let mut warnings = Vec::new();
    if let Some(tool) = tool(snapshot.service.labels(), snapshot.service.annotations()) {
        warnings.push(Warning::GitOps { tool, service: service() });
    }
    if let Some(owner) = Owner::of(&snapshot.service) {
        warnings.push(Warning::Controlled {
            owner: format!("{} {}", owner.kind, owner.name),
            service: service(),
        });
    }
    warnings.extend(
        snapshot
            .workloads
            .iter()
            .filter(|workload| workload.kind == "StatefulSet")
            .map(|workload| Warning::NamedPods(workload.name.clone())),
    );
    if snapshot.policies.is_none() {
        warnings.push(Warning::UnknownPolicies);
    }
    if snapshot.fronts.ingresses.is_none() {
        warnings.push(Warning::UnknownIngresses);
    }
    warnings
}

fn of_service(snapshot: &Snapshot, spec: &ServiceSpec) -> Vec<Obstacle> {
    let is = |field: &Option<String>, value: &str| field.as_deref() == Some(value);
    if is(&spec.type_, "ExternalName") {
        return vec![Obstacle::ExternalName(spec.external_name.clone().unwrap_or_default())];
    }
    if snapshot.selector.is_empty() {
        return vec![Obstacle::NoSelector];
    }
    let mut found = Vec::new();
    if is(&spec.cluster_ip, "None") {
        let name = snapshot.service.metadata.name.as_deref();
        let governed = |workload: &&Workload| workload.governing_service.as_deref() == name;
        found.push(match snapshot.workloads.iter().find(governed) {
            Some(workload) => Obstacle::NamedPods(workload.name.clone()),
            None => Obstacle::Headless,
        });
    }
    if is(&spec.session_affinity, "ClientIP") {
        found.push(Obstacle::ClientIpAffinity);
    }
    for (field, value) in [
        ("internalTrafficPolicy", &spec.internal_traffic_policy),
        ("externalTrafficPolicy", &spec.external_traffic_policy),
    ] {
        if is(value, "Local") {
            found.push(Obstacle::LocalTraffic { field });
        }
    }
    let ports = spec.ports.as_deref().unwrap_or_default();
    let other: Vec<String> = ports
        .iter()
        .filter_map(|port| {
            let protocol = port.protocol.as_deref().filter(|protocol| *protocol != "TCP")?;
            Some(format!("{}/{protocol}", port.port))
        })
        .collect();
    if !other.is_empty() {
        found.push(Obstacle::NotTcp(other));
    } else if ports.is_empty() {
        found.push(Obstacle::NoPorts);
    }
    found
}

/// Cloud load balancers that send to pod addresses. GKE marks every Service as a possible target (`{"ingress":true}`);
/// only existing groups show that it is one.
fn load_balancer(snapshot: &Snapshot) -> Option<Obstacle> {
    const AWS: [(&str, &str); 3] = [
        ("service.beta.kubernetes.io/aws-load-balancer-nlb-target-type", "ip"),
        ("service.beta.kubernetes.io/aws-load-balancer-type", "nlb-ip"),
        ("alb.ingress.kubernetes.io/target-type", "ip"),
    ];
    const READINESS_GATES: [&str; 2] = ["cloud.google.com/load-balancer-neg-ready", "target-health."];

    let annotations = snapshot.service.annotations();
    let neg = || {
        let groups = |name: &str, field: &str| {
            annotations.get(name).is_some_and(|json| {
                let json: Option<serde_json::Value> = serde_json::from_str(json).ok();
                json.and_then(|json| json.get(field)?.as_object().map(|groups| !groups.is_empty()))
                    .unwrap_or(false)
            })
        };
        (groups("cloud.google.com/neg-status", "network_endpoint_groups")
            || groups("cloud.google.com/neg", "exposed_ports"))
        .then(|| "annotation cloud.google.com/neg".to_owned())
    };
    let service = name_of(&snapshot.service);
    let of_ingresses = || affinity::leading_to(snapshot, &service).map(ResourceExt::annotations);
    let aws = || {
        std::iter::once(annotations).chain(of_ingresses()).find_map(|annotations| {
            let found = AWS.iter().find(|(name, value)| annotations.get(*name).is_some_and(|v| v == value));
            found.map(|(name, value)| format!("annotation {name}: {value}"))
        })
    };
    let gate = || {
        let specs = snapshot.pods.iter().filter_map(|pod| pod.spec.as_ref());
        let gates = specs.flat_map(|spec| spec.readiness_gates.iter().flatten());
        gates
            .map(|gate| &gate.condition_type)
            .find(|name| READINESS_GATES.iter().any(|prefix| name.starts_with(prefix)))
            .map(|name| format!("readiness gate {name}"))
    };
    neg().or_else(aws).or_else(gate).map(Obstacle::PodsBehindLoadBalancer)
}

fn written_selector(snapshot: &Snapshot) -> Option<Obstacle> {
    const KEYS: [(&str, &str); 3] = [
        ("rollouts-pod-template-hash", "Argo Rollouts"),
        ("pod-template-hash", "the Deployment controller"),
        ("controller-revision-hash", "the controller of the workload"),
    ];
    let by_key = KEYS.iter().find(|(key, _)| snapshot.selector.contains_key(*key));
    if let Some((key, controller)) = by_key {
        return Some(Obstacle::WrittenSelector(controller, (*key).to_owned()));
    }
    let any_key = || snapshot.selector.keys().next().cloned().unwrap_or_default();
    let service = &snapshot.service;
    let rollouts = service.annotations().contains_key("argo-rollouts.argoproj.io/managed-by-rollouts");
    let flagger = service.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == "flagger")
        || Owner::of(service).is_some_and(|owner| owner.api_group == "flagger.app");
    match (rollouts, flagger) {
        (true, _) => Some(Obstacle::WrittenSelector("Argo Rollouts", any_key())),
        (_, true) => Some(Obstacle::WrittenSelector("Flagger", any_key())),
        _ => None,
    }
}

fn of_pods(snapshot: &Snapshot) -> Option<Obstacle> {
    let selector = || snapshot.selector.clone();
    let (pods, workloads) = (&snapshot.pods, &snapshot.workloads);
    if pods.is_empty() {
        // A session replaces the workload.
        return workloads.is_empty().then(|| Obstacle::NoPods { selector: selector() });
    }
    if workloads.len() > 1 {
        return Some(Obstacle::SeveralWorkloads(workloads.iter().map(Workload::title).collect()));
    }
    let also_unready = snapshot.service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses);
    let none_ready = also_unready != Some(true) && !pods.iter().any(is_ready);
    none_ready.then(|| Obstacle::NoneReady { pods: pods.len(), selector: selector() })
}

pub(crate) fn of_template(snapshot: &Snapshot, origin: &Workload, carried: Option<&str>) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if let Err(ClusterError::Deploy(DeployError::NoSuchPort { port, name })) = snapshot.listen_ports() {
        found.push(Obstacle::NoSuchTargetPort { port, name });
    }
    if origin.template.pointer("/spec/hostNetwork").and_then(serde_json::Value::as_bool) == Some(true) {
        found.push(Obstacle::HostNetwork);
    }
    found.extend(of_platform(&origin.template, carried));
    found
}

/// The reasons against an agent in any pod of this template.
pub(crate) fn of_platform(template: &serde_json::Value, carried: Option<&str>) -> Vec<Obstacle> {
    platform::other(template, carried).into_iter().chain(platform::sandbox(template)).collect()
}

/// The tool that manages an object with these labels and annotations.
fn tool(labels: &Labels, annotations: &Labels) -> Option<&'static str> {
    const SIGNS: [(&str, &str); 4] = [
        ("argocd.argoproj.io/tracking-id", "Argo CD"),
        ("argocd.argoproj.io/instance", "Argo CD"),
        ("kustomize.toolkit.fluxcd.io/name", "Flux"),
        ("helm.toolkit.fluxcd.io/name", "Flux"),
    ];
    let there = |name: &str| labels.contains_key(name) || annotations.contains_key(name);
    SIGNS.iter().find(|(name, _)| there(name)).map(|(_, tool)| *tool)
}

#[cfg(test)]
#[path = "obstacles_tests.rs"]
mod tests;
