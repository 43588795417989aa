//! Decides which objects belong to a stand-in: by name and by owner. Anyone who may create an object can write labels,
//! so a label alone proves nothing, and names are derived, never cut out of others. Pure.

use bridge_deploy::{
    MANAGED_BY_LABEL, Names, SERVICE_LABEL, SIDECAR_CONTAINER, STAND_IN_LABEL, is_stand_in_id,
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::app::{App, AppKind};

/// A stand-in of an existing Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Of {
    pub(crate) service: String,
    /// The Service's uid: a later Service of the same name is another one.
    pub(crate) uid: String,
    /// The stand-in's id.
    pub(crate) id: String,
}

impl Of {
    /// `None` for a Service that the API server has not created, and for an invalid id.
    pub(crate) fn new(service: &Service, id: &str) -> Option<Self> {
        let (name, uid) = (service.metadata.name.clone()?, service.metadata.uid.clone()?);
        is_stand_in_id(id).then(|| Self { service: name, uid, id: id.to_owned() })
    }

    pub(crate) fn names(&self) -> Names {
        bridge_deploy::names(&self.service, &self.id)
    }

    /// Whether the Service owns this object for this stand-in. Objects handed over to draining pods are theirs.
    pub(crate) fn owns(&self, object: &ObjectMeta) -> bool {
        self.is_owned(object, |owner| self.is_owner(owner))
    }

    /// Whether one of these workloads owns this object for a sidecar: its Service may be gone.
    pub(crate) fn owns_by(&self, object: &ObjectMeta, apps: &[App]) -> bool {
        let is_one = |owner: &OwnerReference| {
            AppKind::of(owner)
                .is_some_and(|kind| apps.iter().any(|app| app.kind == kind && app.uid == owner.uid))
        };
        self.is_owned(object, is_one)
    }

    fn is_owned(&self, object: &ObjectMeta, by: impl Fn(&OwnerReference) -> bool) -> bool {
        let label =
            |name: &str| object.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
        let by_us = label(MANAGED_BY_LABEL) == Some("bridge");
        let labelled = label(SERVICE_LABEL) == Some(&self.service) && label(STAND_IN_LABEL) == Some(&self.id);
        let owners = object.owner_references.iter().flatten();
        by_us && labelled && owners.into_iter().any(by)
    }

    fn is_owner(&self, owner: &OwnerReference) -> bool {
        let OwnerReference { api_version, kind, name, uid, .. } = owner;
        api_version == "v1" && kind == "Service" && *name == self.service && *uid == self.uid
    }
}

/// Whether a pod belongs to a Deployment by its own metadata, even if the Deployment is gone. Good enough where a wrong
/// answer harms nobody; otherwise use [`crate::agents`].
pub(crate) fn is_of_deployment(name: &str, pod: &ObjectMeta) -> bool {
    let hash = pod.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    hash.is_some_and(|hash| replica_set(pod).is_some_and(|owner| owner.name == format!("{name}-{hash}")))
}

/// Whether a pod has the sidecar with this id.
pub(crate) fn has_sidecar(pod: &Pod, id: &str) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut mounts = containers
        .filter(|container| container.name == SIDECAR_CONTAINER)
        .flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.any(|mount| mount.name == bridge_deploy::key_volume(id))
}

/// The stand-in that an object's labels name.
pub(crate) fn labelled(object: &ObjectMeta) -> Option<(&str, &str)> {
    let labels = object.labels.as_ref()?;
    Some((labels.get(SERVICE_LABEL)?, labels.get(STAND_IN_LABEL)?))
}

/// The ReplicaSet that controls a pod.
pub(crate) fn replica_set(pod: &ObjectMeta) -> Option<&OwnerReference> {
    controller(pod).filter(|owner| owner.api_version == "apps/v1" && owner.kind == "ReplicaSet")
}

/// The Deployment, StatefulSet, DaemonSet or Rollout that controls an object: its kind and uid.
pub(crate) fn app(object: &ObjectMeta) -> Option<(AppKind, &str)> {
    let owner = controller(object)?;
    Some((AppKind::of(owner)?, &owner.uid))
}

fn controller(object: &ObjectMeta) -> Option<&OwnerReference> {
    object.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Why a Service is not the one in front of the origin that would be created under its name, if so.
pub(crate) fn leads_elsewhere(wanted: &Service, there: &Service) -> Option<&'static str> {
    let Some(there) = &there.spec else { return Some("it leads nowhere") };
    let wanted = wanted.spec.clone().unwrap_or_default();
    let is_plain = there.type_.as_deref().is_none_or(|kind| kind == "ClusterIP")
        && there.external_name.is_none()
        && there.external_ips.as_ref().is_none_or(Vec::is_empty);
    let ports = |ports: &Option<Vec<ServicePort>>| {
        let port = |port: &ServicePort| {
            let to = port.target_port.clone().unwrap_or(IntOrString::Int(port.port));
            (port.port, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), to)
        };
        ports.iter().flatten().map(port).collect::<Vec<_>>()
    };
    let same = there.selector == wanted.selector && ports(&there.ports) == ports(&wanted.ports);
    (!is_plain || !same).then_some("it does not lead to the Service's pods")
}

/// Why a ConfigMap is not the one with the program that would be created under its name, if so.
pub(crate) fn is_another_program(wanted: &ConfigMap, there: &ConfigMap) -> Option<&'static str> {
    let same = there.immutable == Some(true)
        && there.binary_data == wanted.binary_data
        && there.data.as_ref().is_none_or(|data| data.is_empty());
    (!same).then_some("it does not hold this bridge's agent")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of() -> Of {
        Of { service: "orders".into(), uid: "u1".into(), id: "7f3a".into() }
    }

    fn meta(json: Value) -> ObjectMeta {
        serde_json::from_value(json).expect("metadata")
    }

    fn object() -> Value {
        json!({
            "name": "orders-bridge-7f3a-origin",
            "labels": {MANAGED_BY_LABEL: "bridge", SERVICE_LABEL: "orders", STAND_IN_LABEL: "7f3a"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "orders", "uid": "u1"}],
        })
    }

    #[test]
    fn objects_are_ours_if_the_service_owns_them_by_uid_and_they_are_labelled_so() {
        assert!(of().owns(&meta(object())));
        for (what, pointer, value) in [
            ("labels alone", "/ownerReferences", json!([])),
            ("a Service of the same name that was made before", "/ownerReferences/0/uid", json!("u0")),
            ("another Service's", "/ownerReferences/0/name", json!("payments")),
            ("what a pod owns", "/ownerReferences/0/kind", json!("Pod")),
            ("another group's Service", "/ownerReferences/0/apiVersion", json!("serving.knative.dev/v1")),
            ("another stand-in's", &format!("/labels/{}", STAND_IN_LABEL.replace('/', "~1")), json!("0000")),
            ("what others made", &format!("/labels/{}", MANAGED_BY_LABEL.replace('/', "~1")), json!("Helm")),
        ] {
            let mut other = object();
            *other.pointer_mut(pointer).expect("it is there") = value;
            assert!(!of().owns(&meta(other)), "{what} was taken for ours");
        }
    }

    #[test]
    fn only_a_valid_id_names_objects() {
        let service =
            |metadata: Value| serde_json::from_value(json!({"metadata": metadata})).expect("a Service");
        let orders: Service = service(json!({"name": "orders", "uid": "u1"}));
        assert_eq!(Of::new(&orders, "7f3a"), Some(of()));
        for id in ["", "x-payments", "7F3A", "a.b", "0123456789abcdef0"] {
            assert_eq!(Of::new(&orders, id), None, "{id:?}");
        }
        assert_eq!(
            Of::new(&service(json!({"name": "orders"})), "7f3a"),
            None,
            "without a uid nothing is known by it"
        );
    }

    #[test]
    fn a_service_that_leads_elsewhere_is_not_taken_for_the_one_in_front_of_the_origin() {
        let service =
            |spec: Value| -> Service { serde_json::from_value(json!({"spec": spec})).expect("a Service") };
        let wanted = json!({"type": "ClusterIP", "selector": {"app": "orders"}, "ports": [{"port": 80}]});
        let there = json!({
            "type": "ClusterIP", "clusterIP": "10.0.0.1", "selector": {"app": "orders"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        });
        let is_wrong = |there: Value| leads_elsewhere(&service(wanted.clone()), &service(there));
        assert_eq!(is_wrong(there.clone()), None, "with what the API server fills in it is the same");
        for (field, value) in [
            ("selector", json!({"app": "mallory"})),
            ("ports", json!([{"port": 80, "targetPort": 6666}])),
            ("type", json!("LoadBalancer")),
            ("externalName", json!("mallory.example")),
            ("externalIPs", json!(["10.0.0.2"])),
        ] {
            let mut other = there.clone();
            other[field] = value;
            assert!(is_wrong(other).is_some(), "with another {field} it leads elsewhere");
        }
    }

    #[test]
    fn a_config_map_with_another_program_is_not_used() {
        let map = |json: Value| -> ConfigMap { serde_json::from_value(json).expect("a ConfigMap") };
        let ours = json!({"immutable": true, "binaryData": {"loader": "YQ=="}});
        assert_eq!(is_another_program(&map(ours.clone()), &map(ours.clone())), None);
        for (field, value) in [
            ("binaryData", json!({"loader": "Yg=="})),
            ("binaryData", json!({"loader": "YQ==", "more": "YQ=="})),
            ("immutable", json!(false)),
            ("data", json!({"agent.0": "x"})),
        ] {
            let mut other = ours.clone();
            other[field] = value;
            assert!(is_another_program(&map(ours.clone()), &map(other)).is_some(), "another {field}");
        }
    }

    #[test]
    fn a_pod_of_the_deployment_says_so_by_its_controller() {
        let pod = |owner: Value| {
            let labels = json!({"pod-template-hash": "5d8"});
            meta(json!({"name": "p", "uid": "p1", "labels": labels, "ownerReferences": [owner]}))
        };
        let replica_set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "orders-bridge-7f3a-5d8", "uid": "r", "controller": true,
        });
        let is_ours = |pod: ObjectMeta| is_of_deployment(&of().names().stand_in, &pod);
        assert!(is_ours(pod(replica_set.clone())));
        for (field, value) in
            [("name", json!("web-5d8")), ("kind", json!("Job")), ("controller", json!(false))]
        {
            let mut other = replica_set.clone();
            other[field] = value;
            assert!(!is_ours(pod(other)), "with another {field} it is not ours");
        }
    }
}
