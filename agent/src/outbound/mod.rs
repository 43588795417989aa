//! The way out: what a laptop's process asks of the cluster is done from here, as if it ran in this pod.
//!
//! `dial` opens TCP connections, `flow` UDP flows and `probe` a connection that carries nothing, all to what `allowed`
//! permits; `resolve` asks the pod's resolvers, which `resolv_conf` names; `surroundings` tells what the container sees,
//! `files` its volumes. Callers of the target come first: what laptops open here has a bound of its own, apart from
//! theirs, which sessions share as they share the agent's memory.

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

/// What the way out is given. By default only the pod's own resolver, and no address that is not the cluster's.
#[derive(Debug, Clone, Default)]
pub struct Outward {
    /// Of nodes, as far as they are known: never connected to.
    pub nodes: Vec<IpAddr>,
    /// Allowed although they are otherwise forbidden.
    pub also_allowed: Vec<IpNet>,
    /// Asked instead of the pod's.
    pub resolver: Option<SocketAddr>,
    /// Variables of the environment that are ours and not the container's.
    pub own_variables: Vec<String>,
    /// Where volumes of the container are mounted.
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
