//! bridge's dealings with Kubernetes: the only crate that knows its types.
//!
//! In the order of one connect: a client for the user's kubeconfig ([`client`]), the Service that the user names
//! ([`target`]), the pods behind it ([`snapshot`], [`workload`]), the mode in which it can be connected and the reasons
//! against the others ([`choose`], [`obstacles`], of which [`fronts`] are a part), then taking over and, later,
//! restoring ([`takeover`]), following changes of the origin ([`follow`]) and restarting it ([`restart`]), each by calls
//! for single [`objects`] and changes that others may make at the same time (`change`); ownership of all these objects is
//! decided by uid (`ours`, `agents`). Where no Service or no request is needed, an agent is put beside the pods
//! ([`aside`]), which may be scaled to zero meanwhile ([`replace`]). Where an admin allows it
//! ([`account`]), agents whose laptops are gone restore it themselves ([`restore`]). Besides: the user's rights ([`access`]), the
//! [`namespaces`] of the cluster, the list of Services to connect ([`catalog`]) and one of them in detail
//! ([`description`]), the agents' logs ([`logs`]), changes that are only rehearsed (`rehearsal`), facts about the cluster ([`survey`]), its addresses
//! ([`ranges`]), its Services ([`services`]), and errors ([`error`]).

pub mod access;
pub mod account;
mod against_sidecar;
mod agents;
mod annotation;
pub mod app;
pub mod aside;
pub mod catalog;
mod change;
pub mod choose;
pub mod client;
mod connection;
mod delete;
pub mod description;
pub mod error;
pub mod events;
pub mod follow;
pub mod fronts;
mod kind;
pub mod logs;
mod merge;
pub mod mode;
pub mod mounts;
pub mod namespaces;
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
mod ready;
pub mod record;
mod rehearsal;
pub mod replace;
pub mod restart;
pub mod restore;
pub mod services;
pub mod snapshot;
mod spec;
pub mod standing;
pub mod state;
pub mod survey;
pub mod takeover;
pub mod target;
mod unquoted;
pub mod watch;
pub mod workload;
mod write;

pub use client::{Access, Cluster};
pub use error::ClusterError;
pub use takeover::clean;
