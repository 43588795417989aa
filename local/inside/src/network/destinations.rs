//! The cluster's addresses: its networks, as far as known, and every address that its DNS gave out. Pure, except that
//! it learns.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{PoisonError, RwLock};

use ipnet::IpNet;

/// Addresses that are remembered; the oldest go first.
const MOST_LEARNED: usize = 65_536;

/// The cluster's networks, besides the addresses from its DNS.
#[derive(Debug, Default)]
pub struct Scope {
    /// The cluster's own networks, and those that the user adds.
    pub networks: Vec<IpNet>,
    /// Never the cluster's.
    pub excluded: Vec<IpNet>,
    /// All destinations outside this machine are reached through the cluster.
    pub everything: bool,
}

/// The location of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// This machine, or a host that it reaches on its own.
    Laptop,
    Cluster,
    /// One of this machine's resolvers.
    Resolver,
}

#[derive(Debug)]
pub struct Destinations {
    scope: Scope,
    /// This machine's.
    resolvers: Vec<SocketAddr>,
    learned: RwLock<Learned>,
}

#[derive(Debug, Default)]
struct Learned {
    addresses: HashSet<IpAddr>,
    in_order: VecDeque<IpAddr>,
}

impl Destinations {
    pub fn new(scope: Scope, resolvers: Vec<SocketAddr>) -> Self {
        Self { scope, resolvers, learned: RwLock::default() }
    }

    /// The location of an address; an IPv4-mapped IPv6 address is the IPv4 address.
    pub fn of(&self, destination: SocketAddr) -> Place {
        let address = destination.ip().to_canonical();
        if self.resolvers.contains(&SocketAddr::new(address, destination.port())) {
            return Place::Resolver;
        }
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        if is_local(address) || within(&self.scope.excluded) {
            return Place::Laptop;
        }
        let is_the_cluster_s = self.scope.everything || within(&self.scope.networks) || self.knows(address);
        if is_the_cluster_s { Place::Cluster } else { Place::Laptop }
    }

    /// Whether the cluster can be asked for this network's names.
    pub fn overlaps(&self, net: &IpNet) -> bool {
        self.scope.networks.iter().any(|known| known.contains(net) || net.contains(known))
            || self.knows(net.addr())
    }

    /// Notes an address that the cluster's DNS has given out.
    pub fn learn(&self, address: IpAddr) {
        if is_local(address) || self.knows(address) {
            return;
        }
        let mut learned = self.learned.write().unwrap_or_else(PoisonError::into_inner);
        if learned.addresses.insert(address) {
            learned.in_order.push_back(address);
        }
        if learned.in_order.len() > MOST_LEARNED
            && let Some(oldest) = learned.in_order.pop_front()
        {
            learned.addresses.remove(&oldest);
        }
    }

    fn knows(&self, address: IpAddr) -> bool {
        self.learned.read().unwrap_or_else(PoisonError::into_inner).addresses.contains(&address)
    }
}

/// Whether it never leaves this machine or its network segment.
pub(super) fn is_local(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(all: &[&str]) -> Vec<IpNet> {
        all.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn place(destinations: &Destinations, destination: &str) -> Place {
        destinations.of(destination.parse().unwrap())
    }

    #[test]
    fn the_cluster_s_networks_and_addresses_from_its_dns_are_the_cluster_s() {
        let scope = Scope {
            networks: nets(&["10.96.0.0/16", "fd00:10:96::/112"]),
            excluded: nets(&["10.96.7.0/24"]),
            everything: false,
        };
        let destinations = Destinations::new(scope, vec!["192.168.1.1:53".parse().unwrap()]);
        destinations.learn("10.244.0.9".parse().unwrap());
        destinations.learn("127.0.0.1".parse().unwrap());
        for (destination, expected) in [
            ("10.96.0.1:443", Place::Cluster),
            ("[::ffff:10.96.0.1]:443", Place::Cluster),
            ("[fd00:10:96::a]:53", Place::Cluster),
            ("10.96.7.1:80", Place::Laptop),
            ("10.244.0.9:8080", Place::Cluster),
            ("10.244.0.8:8080", Place::Laptop),
            ("127.0.0.1:5432", Place::Laptop),
            ("169.254.169.254:80", Place::Laptop),
            ("192.168.1.1:53", Place::Resolver),
            ("192.168.1.1:80", Place::Laptop),
            ("93.184.216.34:443", Place::Laptop),
        ] {
            assert_eq!(place(&destinations, destination), expected, "{destination}");
        }
    }

    #[test]
    fn everything_means_all_but_this_machine() {
        let scope = Scope { everything: true, excluded: nets(&["192.168.0.0/16"]), ..Scope::default() };
        let destinations = Destinations::new(scope, Vec::new());
        assert_eq!(place(&destinations, "93.184.216.34:443"), Place::Cluster);
        assert_eq!(place(&destinations, "192.168.1.7:80"), Place::Laptop);
        assert_eq!(place(&destinations, "[::1]:80"), Place::Laptop);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let destinations = Destinations::new(Scope::default(), Vec::new());
        let address = |number: usize| IpAddr::from(u32::try_from(number + (11 << 24)).unwrap().to_be_bytes());
        for number in 0..=MOST_LEARNED {
            destinations.learn(address(number));
        }
        assert!(!destinations.knows(address(0)) && destinations.knows(address(1)));
    }
}
