//! bridge's dealings with Kubernetes: the only room that knows its types.
//!
//! In the order of one connect: a client for the user's kubeconfig ([`client`]), the Service that is meant
//! ([`target`]), what stands behind it ([`snapshot`], [`workload`]), in which mode it can be connected and what speaks
//! against the others ([`choose`], [`obstacles`], of which [`fronts`] are a part), then taking over and, later, giving back ([`takeover`]), and following what
//! becomes of the origin ([`follow`]), each by calls for single [`objects`] and changes that others may make at the same
//! time (`change`); what of all this is ours is decided by uid (`ours`, `agents`).
//! Beside that: what the user may do
//! ([`access`]), what there is
//! to connect ([`catalog`]), what the agents log ([`logs`]), which cluster it is ([`survey`]), which addresses are its own
//! ([`ranges`]), where its Services are ([`services`]), and what can go wrong
//! ([`error`]).

pub mod access;
mod agents;
pub mod catalog;
mod change;
pub mod choose;
pub mod client;
mod connection;
pub mod error;
pub mod events;
pub mod follow;
pub mod fronts;
mod kind;
pub mod logs;
pub mod mode;
pub mod mounts;
mod nearest;
pub mod objects;
mod obstacle;
pub mod obstacles;
mod ours;
mod ownership;
pub mod portforward;
#[cfg(any(test, feature = "pretended"))]
pub mod pretended;
pub mod ranges;
pub mod services;
pub mod snapshot;
pub mod standing;
pub mod state;
pub mod survey;
pub mod takeover;
pub mod target;
mod unquoted;
pub mod watch;
pub mod workload;

pub use client::{Access, Cluster};
pub use error::ClusterError;
pub use takeover::clean;
