//! The objects beside the workloads: the key and the program. They belong to the Service and to the workloads, so that
//! pods start as long as there is one of these.

use serde_json::{Value, json};

use crate::{
    agent::AgentSource,
    brought,
    error::DeployError,
    holes::Filling,
    names::{self, Names},
    restore::Restore,
    service::ServiceFacts,
};

/// Everything that determines the objects.
#[derive(Debug, Clone, PartialEq)]
pub struct SidecarObjects<'a> {
    pub service: &'a ServiceFacts,
    /// Short and random, `a-z0-9`: "7f3a".
    pub id: &'a str,
    /// The user's name, for the annotation with the creator.
    pub user: &'a str,
    pub agent: &'a AgentSource,
    pub workloads: Vec<WorkloadOwner<'a>>,
}

/// A workload whose pods have the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkloadOwner<'a> {
    /// "apps/v1"
    pub api_version: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
}

impl SidecarObjects<'_> {
    #[must_use]
    pub fn names(&self) -> Names {
        names::names(&self.service.name, self.id)
    }

    /// The Secret with the key by which daemons prove themselves.
    ///
    /// # Errors
    ///
    /// None for templates that pass the tests.
    pub fn secret(&self, key: &[u8]) -> Result<Value, DeployError> {
        brought::secret(self.common(), &self.names(), key)
    }

    /// The ConfigMaps with the agent program; none if it comes as an image.
    ///
    /// # Errors
    ///
    /// See [`SidecarObjects::secret`].
    pub fn program(&self) -> Result<Vec<Value>, DeployError> {
        brought::program(|| self.common(), &self.names(), self.agent)
    }

    /// The ConfigMaps with the program by which the agents restore the Service and the workloads; none if they never do.
    ///
    /// # Errors
    ///
    /// See [`SidecarObjects::secret`].
    pub fn restorer(&self, restore: Option<Restore>) -> Result<Vec<Value>, DeployError> {
        brought::restorer(|| self.common(), &self.names(), self.agent, restore)
    }

    fn common(&self) -> Filling {
        let (service, namespace) = (&self.service.name, &self.service.namespace);
        let about = format!(
            "Created by bridge for {}. Part of the sidecars in the pods of Service {service}. To remove them, run \
             `bridge clean {service} -n {namespace}`. If you delete it by hand while the pods have them, new pods do \
             not start.",
            self.user
        );
        let mut owners = self.service.owners();
        if let Some(owners) = owners.as_array_mut() {
            owners.extend(self.workloads.iter().map(|WorkloadOwner { api_version, kind, name, uid }| {
                json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid})
            }));
        }
        Filling::default()
            .with("namespace", namespace.as_str())
            .with("labels", names::labels(service, self.id))
            .with("about", about)
            .with("owners", owners)
    }
}
