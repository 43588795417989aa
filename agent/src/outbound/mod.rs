//! Outbound: carries out the requests of a laptop's process to the cluster, as if it ran in this pod.
//!
//! `dial` opens TCP connections, `flow` UDP flows and `probe` a connection that carries nothing, all to addresses that
//! `allowed` permits; `resolve` asks the pod's resolvers, which `resolv_conf` names; `surroundings` reports the
//! container's environment, `files` its volumes. Callers of the target come first: connections that laptops open here
//! have a limit of their own, which sessions share as they share the agent's memory.

mod allowed;
pub(crate) mod dial;
pub(crate) mod files;
pub(crate) mod flow;
pub(crate) mod probe;
mod resolv_conf;
mod resolve;
mod surroundings;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use bridge_proto::dns::nameservers;
use ipnet::IpNet;

use self::allowed::Allowed;

/// The settings of outbound. By default only the pod's own resolver, and no address outside the cluster.
#[derive(Debug, Clone, Default)]
pub struct Outward {
    /// Addresses of nodes, as far as known: never connected to.
    pub nodes: Vec<IpAddr>,
    /// Allowed although they are otherwise forbidden.
    pub also_allowed: Vec<IpNet>,
    /// Used instead of the pod's.
    pub resolver: Option<SocketAddr>,
    /// Environment variables that are ours and not the container's.
    pub own_variables: Vec<String>,
    /// The mount paths of the container's volumes.
    pub volumes: Vec<PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Outbound {
    allowed: Allowed,
    resolvers: Vec<SocketAddr>,
    /// As it was when the agent started: the kubelet writes it once, before that.
    resolv_conf: String,
    own_variables: Vec<String>,
    volumes: Vec<PathBuf>,
}

impl Outbound {
    pub(crate) fn new(outward: Outward) -> Self {
        let Outward { nodes, also_allowed, resolver, own_variables, volumes } = outward;
        let resolv_conf = resolv_conf::text();
        Self {
            allowed: Allowed { nodes, also: also_allowed },
            resolvers: resolver.map_or_else(|| nameservers(&resolv_conf), |resolver| vec![resolver]),
            resolv_conf,
            own_variables,
            volumes,
        }
    }
}
