//! The workloads that roll their pods out when their template changes: those whose pods can get a sidecar.

use std::fmt;

use bridge_proto::target::{Kind, Target};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::{Api, Client};

use crate::kind;

/// The kind of such a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AppKind {
    Deployment,
    StatefulSet,
    DaemonSet,
    /// Of Argo Rollouts: a cluster may not know this kind.
    Rollout,
}

/// One such workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct App {
    pub kind: AppKind,
    pub name: String,
    pub uid: String,
}

impl AppKind {
    pub(crate) const ALL: [Self; 4] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet, Self::Rollout];

    /// The kind with this name: "Deployment".
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.kind().to_string() == name)
    }

    /// The kind of an owner.
    pub(crate) fn of(owner: &OwnerReference) -> Option<Self> {
        Self::named(&owner.kind).filter(|kind| owner.api_version == kind.api_resource().api_version)
    }

    fn kind(self) -> Kind {
        match self {
            Self::Deployment => Kind::Deployment,
            Self::StatefulSet => Kind::StatefulSet,
            Self::DaemonSet => Kind::DaemonSet,
            Self::Rollout => Kind::Rollout,
        }
    }

    /// "apps"
    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet | Self::DaemonSet => "apps",
            Self::Rollout => "argoproj.io",
        }
    }

    /// As in the API: "deployments".
    #[must_use]
    pub fn resource(self) -> &'static str {
        self.kind().resource()
    }

    pub(crate) fn api_resource(self) -> kube::api::ApiResource {
        kind::api(self.kind())
    }

    pub(crate) fn api(self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &self.api_resource())
    }
}

impl App {
    /// As typed: "deploy/orders".
    #[must_use]
    pub fn typed(&self) -> String {
        Target { kind: self.kind.kind(), name: self.name.clone() }.with_kind()
    }
}

/// As Kubernetes writes it: "Deployment".
impl fmt::Display for AppKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

/// "Deployment orders"
impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_by_its_name_and_group() {
        let version_of = |kind: AppKind| kind.api_resource().api_version;
        let owner = |api_version: &str, kind: &str| OwnerReference {
            api_version: api_version.into(),
            kind: kind.into(),
            ..OwnerReference::default()
        };
        for kind in AppKind::ALL {
            assert_eq!(AppKind::of(&owner(&version_of(kind), &kind.to_string())), Some(kind));
            assert!(version_of(kind).starts_with(kind.group()));
        }
        assert_eq!(AppKind::of(&owner("apps/v1", "ReplicaSet")), None);
        assert_eq!(AppKind::of(&owner("apps/v1", "Rollout")), None);
        assert_eq!(AppKind::of(&owner("apps.kruise.io/v1beta1", "StatefulSet")), None);
    }
}
