//! The cluster's network for one command on this machine, through one session.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bridge_client::Attached;
use bridge_os::networks;
use bridge_proto::dns::nameservers;
use bridge_proto::v1;
use hickory_proto::ProtoError;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::Name;
use ipnet::IpNet;

use super::cluster_dns::ClusterDns;
use super::destinations::{Destinations, Scope};
use super::flows::Flows;
use super::names::Search;
use super::overlap::{Overlap, overlaps};
use super::resolver::{Answered, Resolver};
use super::streams::Streams;

/// libc's resolver if resolv.conf(5) names none.
const NO_RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// A part of the network that the user adds to the cluster, or excludes.
#[derive(Debug, Clone, Default)]
pub struct Part {
    pub networks: Vec<IpNet>,
    pub names: Vec<Name>,
}

/// The user's choices about the cluster's network.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    pub also: Part,
    pub not: Part,
    /// All connections go through the cluster.
    pub everything: bool,
}

/// The cluster's network.
pub struct Network {
    pub destinations: Arc<Destinations>,
    pub resolver: Arc<Resolver<ClusterDns>>,
    pub streams: Arc<Streams>,
    pub flows: Flows,
    /// This machine's first resolver.
    pub upstream: SocketAddr,
    pub overlaps: Vec<Overlap>,
}

impl Network {
    /// The network of this session, whose target has these surroundings.
    #[must_use]
    pub fn of(attached: &Attached, surroundings: &v1::SurroundingsOfTarget, choice: Choice) -> Self {
        let Choice { also, not, everything } = choice;
        let pods_conf = surroundings.inside.as_ref().map(|inside| inside.resolv_conf.as_str());
        let pods_conf = pods_conf.unwrap_or_default();
        // A machine without a resolver asks none.
        let conf = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        let mut resolvers = nameservers(&conf);
        if resolvers.is_empty() {
            resolvers.push(NO_RESOLVER);
        }
        let known = surroundings.networks.iter().filter_map(|net| net.parse().ok());
        // The pod's resolver is an address of the cluster, wherever it is.
        let cluster_dns = nameservers(pods_conf).into_iter().map(|resolver| IpNet::from(resolver.ip()));
        let scope = Scope {
            networks: known.chain(cluster_dns).chain(also.networks).collect(),
            excluded: not.networks,
            everything,
        };
        let overlaps = overlaps(&scope, &networks::routed());
        let destinations = Arc::new(Destinations::new(scope, resolvers.clone()));
        let dns = ClusterDns { daemon: attached.daemon.client.clone(), via: attached.via.clone() };
        let search = Search::of(pods_conf, &conf).with(also.names, not.names);
        Self {
            resolver: Arc::new(Resolver::new(search, dns, destinations.clone())),
            destinations,
            streams: Arc::new(Streams::new(attached.runtime_dir.streams(), attached.via.clone())),
            flows: Flows { daemon: attached.daemon.client.clone(), via: attached.via.clone() },
            upstream: resolvers[0],
            overlaps,
        }
    }

    /// Asks as a program would, and gets the same answer.
    ///
    /// # Errors
    ///
    /// If the question cannot be encoded.
    pub async fn ask(&self, query: Query) -> Result<Answered, ProtoError> {
        let mut message = Message::query();
        message.metadata.id = rand::random();
        message.metadata.recursion_desired = true;
        message.add_query(query);
        Ok(self.resolver.answer(message.to_vec()?.into(), self.upstream).await)
    }
}

#[cfg(test)]
impl Network {
    /// Without a cluster: everything is this machine's.
    pub fn of_this_machine() -> Self {
        let daemon = tonic::transport::Endpoint::from_static("http://daemon").connect_lazy();
        let daemon = bridge_client::DaemonClient::new(daemon);
        let destinations = Arc::new(Destinations::new(Scope::default(), Vec::new()));
        let (_, via) = bridge_client::Via::to("");
        let dns = ClusterDns { daemon: daemon.clone(), via: via.clone() };
        Self {
            resolver: Arc::new(Resolver::new(Search::of("", ""), dns, destinations.clone())),
            destinations,
            streams: Arc::new(Streams::new("/nowhere".into(), via.clone())),
            flows: Flows { daemon, via },
            upstream: NO_RESOLVER,
            overlaps: Vec::new(),
        }
    }
}
