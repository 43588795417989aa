//! bridge's dealings with Kubernetes: the only room that knows its types.
//!
//! In the order of one connect: a client for the user's kubeconfig ([`client`]), the Service that is meant
//! ([`target`]), what stands behind it ([`snapshot`], [`workload`]) and what speaks against a stand-in
//! ([`obstacles`]), then attaching and, later, giving back. Beside that: what the user may do ([`access`]), what there is
//! to connect ([`catalog`]), and what can go wrong ([`error`]).

pub mod access;
pub mod catalog;
pub mod client;
pub mod error;
mod nearest;
pub mod obstacles;
pub mod snapshot;
pub mod target;
pub mod workload;

pub use client::{Access, Cluster};
pub use error::ClusterError;
