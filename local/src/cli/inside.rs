//! What a local command needs to run as if it ran in the target's pod: its environment, the cluster's names, and
//! which addresses belong to the cluster.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use bridge_client::Attached;
use bridge_os::networks;
use bridge_proto::dns::nameservers;
use hickory_proto::ProtoError;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::Name;
use ipnet::IpNet;

use super::args::{Egress, InsideArgs};
use super::environment::{self, Variables, of_the_target};
use super::error::Failed;
use super::exit::Exit;
use bridge_inside::network::{
    Answered, ClusterDns, Destinations, Flows, Overlap, Resolver, Scope, Search, Streams, overlaps,
};

/// What libc asks where resolv.conf(5) names nobody.
const NO_RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The cluster's network, by way of one session.
pub(crate) struct Network {
    pub(crate) destinations: Arc<Destinations>,
    pub(crate) resolver: Arc<Resolver<ClusterDns>>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) flows: Flows,
    /// The first of this machine's.
    pub(crate) upstream: SocketAddr,
    pub(crate) overlaps: Vec<Overlap>,
    /// What is said of the target's variables that do not come.
    pub(crate) left_out: String,
    /// The target's variables.
    pub(crate) environment: BTreeMap<OsString, OsString>,
}

impl Network {
    pub(crate) async fn of(attached: &mut Attached, args: &InsideArgs) -> Result<Self, Failed> {
        let also = Part::of(&args.scope.also_cluster)?;
        let not = Part::of(&args.scope.not_cluster)?;
        let environment = added(args)?;
        let surroundings = attached.surroundings().await?;
        let inside = surroundings.inside.unwrap_or_default();

        // A machine without a resolver asks nobody.
        let conf = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        let mut resolvers = nameservers(&conf);
        if resolvers.is_empty() {
            resolvers.push(NO_RESOLVER);
        }
        let known = surroundings.networks.iter().filter_map(|net| net.parse().ok());
        // The pod's resolver is an address of the cluster, wherever it is.
        let cluster_dns =
            nameservers(&inside.resolv_conf).into_iter().map(|resolver| IpNet::from(resolver.ip()));
        let scope = Scope {
            networks: known.chain(cluster_dns).chain(also.networks).collect(),
            excluded: not.networks,
            everything: args.scope.egress == Egress::Cluster,
        };
        let overlaps = overlaps(&scope, &networks::routed());
        let destinations = Arc::new(Destinations::new(scope, resolvers.clone()));
        let dns = ClusterDns { daemon: attached.daemon.client.clone(), via: attached.via.clone() };
        let search = Search::of(&inside.resolv_conf, &conf).with(also.names, not.names);
        let mut chosen = of_the_target(&inside, &args.variables);
        let left_out = chosen.describe();
        chosen.variables.extend(environment);
        let os = OsString::from_vec;
        Ok(Self {
            resolver: Arc::new(Resolver::new(search, dns, destinations.clone())),
            destinations,
            streams: Arc::new(Streams::new(attached.place.streams(), attached.via.clone())),
            flows: Flows { daemon: attached.daemon.client.clone(), via: attached.via.clone() },
            upstream: resolvers[0],
            overlaps,
            left_out,
            environment: chosen.variables.into_iter().map(|(name, value)| (os(name), os(value))).collect(),
        })
    }

    /// Asks as a program would, and hears what it would hear. Fails where the question cannot be encoded.
    pub(crate) async fn ask(&self, query: Query) -> Result<Answered, ProtoError> {
        let mut message = Message::query();
        message.metadata.id = rand::random();
        message.metadata.recursion_desired = true;
        message.add_query(query);
        Ok(self.resolver.answer(message.to_vec()?.into(), self.upstream).await)
    }
}

#[cfg(test)]
impl Network {
    /// Of no cluster: everything is this machine's.
    pub(crate) fn of_this_machine() -> Self {
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
            left_out: String::new(),
            environment: BTreeMap::new(),
        }
    }
}

/// What the user adds; the later ones count.
fn added(args: &InsideArgs) -> Result<Variables, Failed> {
    let mut all = Vec::new();
    for file in &args.env_file {
        let wrong = |why: String| Failed::new(Exit::Usage, format!("{}: {why}", file.display()), "");
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        all.extend(environment::read_file(&text).map_err(wrong)?);
    }
    all.extend(args.env.iter().cloned());
    Ok(all.into_iter().map(|variable| (variable.name.into_bytes(), variable.value.into_bytes())).collect())
}

/// What the user counts to the cluster, or does not.
struct Part {
    networks: Vec<IpNet>,
    names: Vec<Name>,
}

impl Part {
    fn of(all: &[String]) -> Result<Self, Failed> {
        let mut part = Part { networks: Vec::new(), names: Vec::new() };
        for text in all {
            if let Ok(network) = text.parse() {
                part.networks.push(network);
            } else if let Ok(address) = text.parse::<IpAddr>() {
                part.networks.push(address.into());
            } else {
                let mut name = Name::from_utf8(text).map_err(|_| {
                    let message = format!("{text:?} is not a network, address or name");
                    Failed::new(Exit::Usage, message, "examples: 10.8.0.0/16, 10.8.0.1, corp.example")
                })?;
                name.set_fqdn(true);
                part.names.push(name);
            }
        }
        Ok(part)
    }
}
