//! The cluster's network, for processes of this machine, by way of a session that the daemon holds.
//!
//! `streams` asks the daemon for connections and hands over those that are to be tied to them, `flows` for UDP; `names` decides what the
//! cluster is asked for a name, and `resolver` asks; `destinations` knows which addresses are the cluster's, and `overlap`
//! which of them are this machine's as well.

mod destinations;
mod flows;
mod names;
mod overlap;
mod resolver;
mod streams;

use std::net::SocketAddr;

use bridge_proto::v1;
use bytes::Bytes;
use tonic::Status;
use tonic::transport::Channel;

pub(crate) use destinations::{Destinations, Place, Scope};
pub(crate) use flows::{Flow, FlowError, Flows};
pub(crate) use names::Search;
pub(crate) use overlap::{Overlap, overlaps};
pub(crate) use resolver::{Answered, Resolver, Source};
pub(crate) use streams::{Dialled, Streams};

pub(crate) type DaemonClient = v1::daemon_client::DaemonClient<Channel>;

/// The pod's resolver, asked through the daemon.
#[derive(Clone)]
pub(crate) struct ClusterDns {
    pub(crate) daemon: DaemonClient,
    pub(crate) session: String,
}

impl resolver::Ask for ClusterDns {
    async fn ask(&self, message: Bytes) -> Result<Bytes, Status> {
        let request = v1::ResolveRequest { session: self.session.clone(), message };
        Ok(self.daemon.clone().resolve(request).await?.into_inner().message)
    }
}

/// The `nameserver` lines of a resolv.conf(5).
pub(crate) fn nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    const DOMAIN: u16 = 53;
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    };
    resolv_conf.lines().filter_map(address).map(|address| SocketAddr::new(address, DOMAIN)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn nameservers_have_the_usual_port() {
        let conf = "search lan\nnameserver 192.168.1.1\n#nameserver 1.1.1.1\nnameserver fd00::1\n";
        let all: Vec<String> = super::nameservers(conf).iter().map(ToString::to_string).collect();
        assert_eq!(all, ["192.168.1.1:53", "[fd00::1]:53"]);
    }
}
