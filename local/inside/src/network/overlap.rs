//! Networks that the cluster and this machine both have: a VPN, a home network or containers with the cluster's
//! addresses. Pure.

use bridge_os::networks::Routed;
use ipnet::IpNet;

use super::destinations::Scope;

/// A network that is the cluster's for a command, and would have been this machine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    cluster: IpNet,
    laptop: IpNet,
    interface: String,
}

impl std::fmt::Display for Overlap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Overlap { cluster, laptop, interface } = self;
        write!(
            f,
            "{cluster} is a network of the cluster, and {laptop} ({interface}) of your laptop: the command \
             reaches the cluster's; to keep yours, pass --not-cluster {laptop}"
        )
    }
}

/// Networks of this machine that lie within one of the cluster's. A wider one (a VPN for all of 10.0.0.0/8) is none:
/// the more specific one wins, as among routes.
pub fn overlaps(scope: &Scope, routed: &[Routed]) -> Vec<Overlap> {
    let mut found: Vec<Overlap> = Vec::new();
    for Routed { address, bits, interface } in routed {
        let Ok(laptop) = IpNet::new(*address, *bits) else { continue };
        let contains = |net: &&IpNet| net.contains(&laptop);
        if scope.excluded.iter().any(|net| contains(&net)) || found.iter().any(|found| found.laptop == laptop)
        {
            continue;
        }
        if let Some(cluster) = scope.networks.iter().find(contains) {
            found.push(Overlap { cluster: *cluster, laptop, interface: interface.clone() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(all: &[&str]) -> Vec<IpNet> {
        all.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn networks_within_the_cluster_s_are_reported_with_the_remedy() {
        let routed: Vec<Routed> = [
            ("10.0.0.0/8", "vpn0"),
            ("10.96.3.0/24", "vpn0"),
            ("10.96.3.0/24", "eth1"),
            ("192.168.1.0/24", "eth0"),
            ("fd00:10:96::/112", "tun0"),
        ]
        .map(|(net, interface)| {
            let net: IpNet = net.parse().unwrap();
            Routed { address: net.addr(), bits: net.prefix_len(), interface: interface.to_owned() }
        })
        .to_vec();
        let scope = |excluded: &[&str]| Scope {
            networks: nets(&["10.96.0.0/16", "fd00:10:96::/108"]),
            excluded: nets(excluded),
            everything: false,
        };
        let said: Vec<String> = overlaps(&scope(&[]), &routed).iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(
            said[0],
            "10.96.0.0/16 is a network of the cluster, and 10.96.3.0/24 (vpn0) of your laptop: the command \
             reaches the cluster's; to keep yours, pass --not-cluster 10.96.3.0/24"
        );
        assert_eq!(overlaps(&scope(&["10.96.3.0/24", "fd00::/8"]), &routed), []);
    }
}
