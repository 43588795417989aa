//! The destination that a client of the proxy wants, and its addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::network::Network;

/// The destination that a client wants to reach.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) host: Host,
    pub(super) port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

/// A client's request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Socks(Wanted),
    /// A socket for datagrams.
    Datagrams,
    Connect(Wanted),
    /// One HTTP request, whose head continues like this.
    Request(Wanted, Vec<u8>),
}

impl Wanted {
    /// The possible addresses, the likeliest first.
    pub(super) async fn addresses(&self, network: &Network) -> Vec<SocketAddr> {
        let addresses = match &self.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => looked_up(name, network).await,
        };
        addresses.into_iter().map(|address| SocketAddr::new(address, self.port)).collect()
    }

    pub(super) fn describe(&self) -> String {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).to_string(),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }
}

impl Host {
    /// A name, or an address as URLs spell it.
    pub(super) fn of(text: &str) -> Self {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        bare.parse().map_or_else(|_| Host::Name(text.to_owned()), Host::Address)
    }
}

/// IPv4 first, as most clusters have nothing else.
async fn looked_up(name: &str, network: &Network) -> Vec<IpAddr> {
    let Ok(mut name) = Name::from_utf8(name) else { return Vec::new() };
    if name.is_localhost() {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    name.set_fqdn(true);
    let ask = async |record_type| {
        let answered = network.ask(Query::query(name.clone(), record_type)).await.ok()?;
        Message::from_vec(&answered.message).ok().map(|answer| answer.answers)
    };
    let (v4, v6) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    [v4, v6].iter().flatten().flatten().filter_map(|record| address(&record.data)).collect()
}
