//! The origin: the workload that owns the pods, and its pod template as JSON, so that nothing unknown to us is lost.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, api::DynamicObject};
use serde_json::{Value, json};

use bridge_proto::target::Kind;

use crate::app::{App, AppKind};
use crate::kind;
use crate::record::Record;

pub type Labels = BTreeMap<String, String>;

/// Whether a Service with this selector selects pods with these labels. An empty one selects none.
pub(crate) fn selects(selector: &Labels, labels: &Labels) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// The labels of the pods with this template.
pub(crate) fn pod_labels(template: &Value) -> Labels {
    let labels = template.pointer("/metadata/labels").cloned().unwrap_or_default();
    serde_json::from_value(labels).unwrap_or_default()
}

/// The workload behind a Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// "Deployment"; for an unknown controller, its own kind: "Rollout".
    pub kind: String,
    pub name: String,
    /// As declared; `None` if the kind declares none.
    pub replicas: Option<u32>,
    pub uid: Option<String>,
    /// `metadata` and `spec` of its pods, without a sidecar of ours.
    pub template: Value,
    /// The template is the workload's own, and not copied from one of its pods.
    pub declared: bool,
    /// It is only known by name: the rest is its ReplicaSet's.
    pub unread: bool,
    pub labels: Labels,
    pub annotations: Labels,
    /// A StatefulSet's `spec.serviceName`.
    pub governing_service: Option<String>,
    /// How its pods are replaced: "Recreate".
    pub strategy: Option<String>,
    /// A roll-out leaves the pods of a StatefulSet below this number alone.
    pub partition: u64,
    /// Changes of its template do not roll out.
    pub paused: bool,
    /// They roll out in steps, or to pods beside the old ones until someone promotes them.
    pub in_steps: bool,
    /// The sidecar in its template; an error if that cannot be read.
    pub sidecar: Result<Option<Record>, String>,
}

/// A reference to the controller of a pod or ReplicaSet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub kind: String,
    pub api_group: String,
    pub name: String,
}

impl Owner {
    /// The controller of an object, if it has one.
    #[must_use]
    pub fn of(object: &impl Resource) -> Option<Self> {
        let owners = object.meta().owner_references.as_deref().unwrap_or_default();
        let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        Some(Self { kind: owner.kind.clone(), api_group: group.to_owned(), name: owner.name.clone() })
    }

    /// The kind, if it is one that we can read.
    #[must_use]
    pub fn known(&self) -> Option<Kind> {
        match (self.api_group.as_str(), self.kind.as_str()) {
            ("apps", "Deployment") => Some(Kind::Deployment),
            ("apps", "ReplicaSet") => Some(Kind::ReplicaSet),
            ("apps", "StatefulSet") => Some(Kind::StatefulSet),
            ("apps", "DaemonSet") => Some(Kind::DaemonSet),
            ("argoproj.io", "Rollout") => Some(Kind::Rollout),
            _ => None,
        }
    }
}

impl Workload {
    /// A Deployment, StatefulSet, DaemonSet, ReplicaSet or CronJob as the API server returns it.
    #[must_use]
    pub fn of(kind: Kind, object: &DynamicObject) -> Self {
        let spec = |field: &str| object.data.get("spec").and_then(|spec| spec.get(field));
        let sidecar = Record::of(&object.metadata);
        let template = kind::pod_template(kind, &object.data).cloned().unwrap_or_default();
        let by = |pointer: &str| spec("strategy").or_else(|| spec("updateStrategy"))?.pointer(pointer);
        Self {
            uid: object.metadata.uid.clone(),
            template: match &sidecar {
                Ok(Some(record)) => record.undo.undone(&template),
                _ => template,
            },
            strategy: by("/type").and_then(Value::as_str).map(str::to_owned),
            partition: by("/rollingUpdate/partition").and_then(Value::as_u64).unwrap_or_default(),
            paused: spec("paused").and_then(Value::as_bool) == Some(true),
            in_steps: by("/blueGreen").is_some()
                || by("/canary/steps").and_then(Value::as_array).is_some_and(|steps| !steps.is_empty()),
            sidecar,
            kind: kind.to_string(),
            name: object.metadata.name.clone().unwrap_or_default(),
            replicas: spec("replicas").and_then(Value::as_u64).and_then(|count| count.try_into().ok()),
            declared: true,
            unread: false,
            labels: object.metadata.labels.clone().unwrap_or_default(),
            annotations: object.metadata.annotations.clone().unwrap_or_default(),
            governing_service: spec("serviceName").and_then(Value::as_str).map(str::to_owned),
        }
    }

    /// The same workload, under the controller above it that cannot be read: its ReplicaSet is its own.
    #[must_use]
    pub fn under(self, owner: Owner) -> Self {
        Self { kind: owner.kind, name: owner.name, unread: true, ..self }
    }

    /// Whether it has a template of its own: a Rollout may refer to that of a Deployment.
    #[must_use]
    pub fn has_template(&self) -> bool {
        self.template.is_object()
    }

    /// A pod without a controller, or with one that we do not know: its own template. `spec` is as the API server
    /// returns it.
    #[must_use]
    pub fn of_pod(metadata: &ObjectMeta, spec: Value, owner: Option<Owner>) -> Self {
        let itself = || ("Pod".to_owned(), metadata.name.clone().unwrap_or_default());
        let (kind, name) = owner.map_or_else(itself, |owner| (owner.kind, owner.name));
        let (labels, annotations) = (metadata.labels.clone(), metadata.annotations.clone());
        Self {
            kind,
            name,
            uid: metadata.uid.clone(),
            replicas: None,
            template: json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}),
            declared: false,
            unread: false,
            labels: labels.unwrap_or_default(),
            annotations: annotations.unwrap_or_default(),
            governing_service: None,
            strategy: None,
            partition: 0,
            paused: false,
            in_steps: false,
            sidecar: Ok(None),
        }
    }

    /// The kind, if it is one whose template can be changed and rolls out.
    #[must_use]
    pub fn app_kind(&self) -> Option<AppKind> {
        AppKind::named(&self.kind).filter(|_| self.declared && !self.unread)
    }

    /// The workload as one that can get a sidecar.
    #[must_use]
    pub fn app(&self) -> Option<App> {
        Some(App { kind: self.app_kind()?, name: self.name.clone(), uid: self.uid.clone()? })
    }

    /// "Deployment orders"
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_a_selector_selects_nothing() {
        let of = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<Labels>()
        };
        let labels = of(&[("app", "orders"), ("tier", "back")]);
        for (selector, expected) in [
            (&[("app", "orders")][..], true),
            (&[("app", "orders"), ("tier", "back")], true),
            (&[("app", "orders"), ("tier", "front")], false),
            (&[], false),
        ] {
            assert_eq!(selects(&of(selector), &labels), expected, "{selector:?}");
        }
    }
}
