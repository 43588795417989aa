//! Every Kubernetes object that bridge creates: YAML with typed holes (`objects/`), and the pure functions that fill it.
//!
//! The input is a description of a Service and its pods ([`StandIn`]), as JSON where Kubernetes may know more than we
//! do; the output are objects as JSON, to be created in this order: [`secret`], [`program`] and [`origin_service`],
//! then [`deployment`], which needs the address of the origin's Service; a pod template with a sidecar
//! ([`with_sidecar`]); or an agent aside ([`Aside`]). No Kubernetes client and none of its types in here.

mod agent;
mod aside;
mod brought;
mod deployment;
mod error;
mod holes;
mod names;
mod origin_template;
mod own_ports;
mod pod;
mod program;
mod restore;
mod service;
mod sidecar;
mod stand_in;

/// The least rights that a developer needs: a Role, as YAML.
pub const RBAC_DEVELOPER: &str = include_str!("../rbac-developer.yaml");

pub use agent::{AgentSource, NodeAddresses};
pub use aside::{Aside, Owner, aside_names};
pub use error::DeployError;
pub use names::{
    ABOUT_ANNOTATION, ASIDE_LABEL, MANAGED_BY_LABEL, Names, SERVICE_LABEL, SESSION_ANNOTATION,
    STAND_IN_LABEL, attached_selector, is_stand_in_id, names,
};
pub use origin_template::{ORIGIN_TEMPLATE_ANNOTATION, is_stale, origin_template};
pub use own_ports::{OwnPorts, own_ports};
pub use pod::{ListenPort, main_container, mount_paths};
pub use program::{Program, ProgramPart};
pub use restore::{RESTORE_ACCOUNT, Restore};
pub use service::{ServiceFacts, ServicePort, TargetPort, resolve_ports};
pub use sidecar::{
    SIDECAR_CONTAINER, Sidecar, SidecarObjects, SidecarPorts, Undo, WorkloadOwner, key_volume, sidecar_ports,
    with_sidecar,
};
pub use stand_in::{StandIn, deployment, origin_service, program, replicas_for, restorer, secret};
