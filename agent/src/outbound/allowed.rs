//! Which addresses a laptop may reach from here: those of the cluster and beyond it, but not what the node, the cloud or
//! this pod keeps for itself. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Where clouds keep metadata and credentials, apart from link-local addresses: AWS over IPv6, Azure's host agent,
/// Alibaba, Oracle.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Why an address is not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Forbidden {
    #[error("{0} is the agent's own loopback")]
    Loopback(IpAddr),
    #[error("{0} is no address of one host")]
    NoHost(IpAddr),
    #[error("{0} is link-local: the node's own, or a cloud's metadata")]
    LinkLocal(IpAddr),
    #[error("{0} is a cloud's metadata")]
    Metadata(IpAddr),
    #[error("{0} is a node")]
    Node(IpAddr),
    #[error("{0} is the agent's own pod")]
    Own(IpAddr),
}

#[derive(Debug)]
pub(crate) struct Allowed {
    pub(super) nodes: Vec<IpAddr>,
    /// Allowed although they are otherwise forbidden.
    pub(super) also: Vec<IpNet>,
}

impl Allowed {
    /// Checks a canonical address before it is connected to.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        if self.also.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        check_routed(address)?;
        if address.is_loopback() {
            Err(Forbidden::Loopback(address))
        } else if METADATA.contains(&address) {
            Err(Forbidden::Metadata(address))
        } else if self.nodes.contains(&address) {
            Err(Forbidden::Node(address))
        } else {
            Ok(())
        }
    }

    /// Checks what was connected to: a connection from an address to itself has not left this pod.
    pub(super) fn check_connected(&self, from: IpAddr, to: IpAddr) -> Result<(), Forbidden> {
        if from == to && self.also.iter().all(|net| !net.contains(&to)) {
            return Err(Forbidden::Own(to));
        }
        Ok(())
    }
}

/// Checks that a canonical address is one that packets are routed to: one host's, and not of one link only.
pub(crate) fn check_routed(address: IpAddr) -> Result<(), Forbidden> {
    let (broadcast, link_local) = match address {
        IpAddr::V4(v4) => (v4.is_broadcast(), v4.is_link_local()),
        IpAddr::V6(v6) => (false, v6.is_unicast_link_local()),
    };
    if address.is_unspecified() || address.is_multicast() || broadcast {
        Err(Forbidden::NoHost(address))
    } else if link_local {
        Err(Forbidden::LinkLocal(address))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Allowed {
        Allowed {
            nodes: vec!["192.168.7.2".parse().expect("an address")],
            also: vec!["169.254.20.10/32".parse().expect("a network")],
        }
    }

    #[test]
    fn what_nodes_clouds_and_this_pod_keep_for_themselves_is_forbidden() {
        for (address, good) in [
            ("10.96.0.1", true),
            ("93.184.216.34", true),
            ("fd00::1", true),
            ("169.254.20.10", true),
            ("169.254.169.254", false),
            ("fe80::1", false),
            ("127.0.0.1", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("ff02::1", false),
            ("fd00:ec2::254", false),
            ("168.63.129.16", false),
            ("192.168.7.2", false),
            ("192.168.7.3", true),
        ] {
            let parsed: IpAddr = address.parse().expect("an address");
            assert_eq!(allowed().check(parsed.to_canonical()).is_ok(), good, "{address}");
        }
    }

    #[test]
    fn a_connection_that_does_not_leave_the_pod_is_forbidden() {
        let [own, other] = ["10.244.0.7", "10.244.0.8"].map(|text| text.parse().expect("an address"));
        assert_eq!(allowed().check_connected(own, own), Err(Forbidden::Own(own)));
        assert_eq!(allowed().check_connected(own, other), Ok(()));
    }
}
