//! Which addresses a laptop may reach from here: those of the cluster and beyond it, but not those that the node, the
//! cloud or this pod keeps for itself. Pure, and the same for connections, flows and probes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};
use tonic::Status;

/// Metadata and credential services of clouds, other than link-local addresses.
const METADATA: [IpAddr; 7] = [
    // Azure's host agent.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Alibaba.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200)),
    // Oracle.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    // Google.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // Scaleway.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
];
/// AWS: instance metadata (::254), pod identity (::23), and anything next to them.
const METADATA_OF_AWS: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32);

/// Why an address may not be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Forbidden {
    #[error("`{0}` is not of the form ADDRESS:PORT")]
    NoAddress(String),
    #[error("{0} is the agent's own loopback")]
    Loopback(IpAddr),
    #[error("{0} is not the address of a single host")]
    NoHost(IpAddr),
    #[error("{0} is link-local: the node's own, or a cloud's metadata")]
    LinkLocal(IpAddr),
    #[error("{0} is a cloud metadata address")]
    Metadata(IpAddr),
    #[error("{0} is a node")]
    Node(IpAddr),
    #[error("{0} is the agent's own pod")]
    Own(IpAddr),
}

/// As a gRPC status, for calls without an answer of their own for it.
pub(super) fn status(why: Forbidden) -> Status {
    match why {
        Forbidden::NoAddress(_) => Status::invalid_argument(why.to_string()),
        _ => Status::permission_denied(why.to_string()),
    }
}

#[derive(Debug)]
pub(crate) struct Allowed {
    pub(super) nodes: Vec<IpAddr>,
    /// Allowed although they are otherwise forbidden.
    pub(super) also: Vec<IpNet>,
}

impl Allowed {
    /// Reads "address:port", and checks it before anything is sent there.
    pub(super) fn check(&self, address: &str) -> Result<SocketAddr, Forbidden> {
        let to: SocketAddr = address.parse().map_err(|_| Forbidden::NoAddress(address.to_owned()))?;
        let ip = to.ip().to_canonical();
        self.check_ip(ip)?;
        if let IpAddr::V6(v6) = ip {
            // A translator on the way may send it there.
            embedded(v6).into_iter().flatten().try_for_each(|v4| self.check_ip(v4.into()))?;
        }
        Ok(SocketAddr::new(ip, to.port()))
    }

    fn check_ip(&self, address: IpAddr) -> Result<(), Forbidden> {
        let (this_network, link_local) = match address {
            IpAddr::V4(v4) => (v4.octets()[0] == 0 || v4.is_broadcast(), v4.is_link_local()),
            IpAddr::V6(v6) => (false, v6.is_unicast_link_local()),
        };
        let of_aws = matches!(address, IpAddr::V6(v6) if METADATA_OF_AWS.contains(&v6));
        if self.also.iter().any(|net| net.contains(&address)) {
            Ok(())
        } else if address.is_unspecified() || address.is_multicast() || this_network {
            Err(Forbidden::NoHost(address))
        } else if link_local {
            Err(Forbidden::LinkLocal(address))
        } else if address.is_loopback() {
            Err(Forbidden::Loopback(address))
        } else if METADATA.contains(&address) || of_aws {
            Err(Forbidden::Metadata(address))
        } else if self.nodes.contains(&address) {
            Err(Forbidden::Node(address))
        } else {
            Ok(())
        }
    }

    /// Checks the result of a connect: a connection from an address to itself has not left this pod.
    pub(super) fn check_connected(&self, from: IpAddr, to: IpAddr) -> Result<(), Forbidden> {
        if from == to && self.also.iter().all(|net| !net.contains(&to)) {
            return Err(Forbidden::Own(to));
        }
        Ok(())
    }
}

/// The IPv4 addresses that an IPv6 address can stand for: translated (RFC 6052, RFC 8215), tunnelled (6to4, Teredo,
/// ISATAP), or in one of the obsolete spellings. Results that begin with a zero are no addresses.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 3] {
    let octets = address.octets();
    let v4 = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let last = v4([12, 13, 14, 15]);
    match address.segments() {
        // ::a.b.c.d, and RFC 2765's ::ffff:0:a.b.c.d; loopback and the unspecified address are judged as they are.
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => [Some(last), None, None],
        [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => [Some(last), None, None],
        // The network chooses how long its prefix is.
        [0x64, 0xff9b, 1, ..] => {
            let candidates = [last, v4([6, 7, 9, 10]), v4([9, 10, 11, 12])];
            candidates.map(|v4| (v4.octets()[0] != 0).then_some(v4))
        }
        [0x2002, ..] => [Some(v4([2, 3, 4, 5])), None, None],
        // The client's is inverted (RFC 4380).
        [0x2001, 0, ..] => [Some(v4([4, 5, 6, 7])), Some(Ipv4Addr::from(!u32::from(last))), None],
        [.., 0 | 0x200, 0x5efe, _, _] => [Some(last), None, None],
        _ => [None; 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Allowed {
        Allowed {
            nodes: ["192.168.7.2", "2001:db8::7"].map(|node| node.parse().expect("an address")).to_vec(),
            also: vec!["169.254.20.10/32".parse().expect("a network")],
        }
    }

    #[test]
    fn addresses_that_nodes_clouds_and_this_pod_keep_are_forbidden() {
        for (address, good) in [
            ("10.96.0.1", true),
            ("93.184.216.34", true),
            ("100.100.100.201", true),
            ("fd00::1", true),
            ("fd20:ce::1", true),
            ("2606:2800:220:1::1", true),
            ("169.254.20.10", true),
            ("192.168.7.3", true),
            ("2001:db8::8", true),
            // This pod, and no host at all.
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("::1", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("::", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("ff02::1", false),
            // Nodes.
            ("192.168.7.2", false),
            ("2001:db8::7", false),
            // Clouds.
            ("169.254.169.254", false),
            ("169.254.170.2", false),
            ("fe80::1", false),
            ("fe80::a9fe:a9fe", false),
            ("fd00:ec2::254", false),
            ("fd00:ec2::23", false),
            ("fd20:ce::254", false),
            ("168.63.129.16", false),
            ("100.100.100.200", false),
            ("fd00:100::100:200", false),
            ("192.0.0.192", false),
            ("fd00:c1::a9fe:a9fe", false),
            ("fd00:42::42", false),
        ] {
            assert_eq!(is_allowed(address), good, "{address}");
        }
    }

    #[test]
    fn every_spelling_of_a_forbidden_address_is_forbidden() {
        for (spelling, of_metadata, of_a_service) in [
            ("mapped", "::ffff:169.254.169.254", "::ffff:10.96.0.1"),
            ("compatible", "::169.254.169.254", "::10.96.0.1"),
            ("SIIT", "::ffff:0:169.254.169.254", "::ffff:0:10.96.0.1"),
            ("NAT64", "64:ff9b::169.254.169.254", "64:ff9b::10.96.0.1"),
            ("local NAT64, /96", "64:ff9b:1::169.254.169.254", "64:ff9b:1::10.96.0.1"),
            ("local NAT64, /48", "64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1:a60:0:100::"),
            ("local NAT64, /64", "64:ff9b:1::a9:fea9:fe00:0", "64:ff9b:1::a:6000:100:0"),
            ("6to4", "2002:a9fe:a9fe::1", "2002:a60:1::1"),
            ("Teredo, client", "2001:0:102:304:0:0:5601:5601", "2001:0:102:304:0:0:f59f:fffe"),
            ("Teredo, server", "2001:0:a9fe:a9fe::f59f:fffe", "2001:0:a60:1::f59f:fffe"),
            ("ISATAP", "2001:db8::5efe:169.254.169.254", "2001:db8::5efe:10.96.0.1"),
            ("ISATAP, global", "2001:db8::200:5efe:169.254.169.254", "2001:db8::200:5efe:10.96.0.1"),
            ("a node's", "64:ff9b::192.168.7.2", "64:ff9b::192.168.7.3"),
            ("loopback's", "2002:7f00:1::", "2002:a60:1::"),
            ("what is allowed", "64:ff9b::169.254.20.11", "64:ff9b::169.254.20.10"),
        ] {
            assert!(!is_allowed(of_metadata), "{spelling}: {of_metadata} should be forbidden");
            assert!(is_allowed(of_a_service), "{spelling}: {of_a_service} should be allowed");
        }
    }

    fn is_allowed(address: &str) -> bool {
        let ip: IpAddr = address.parse().expect("an address");
        allowed().check(&SocketAddr::new(ip, 80).to_string()).is_ok()
    }

    #[test]
    fn an_address_is_parsed_and_a_name_is_refused() {
        let to = allowed().check("[::ffff:10.96.0.1]:80").expect("allowed");
        assert_eq!(to, "10.96.0.1:80".parse().expect("an address"));
        for address in ["orders:80", "10.96.0.1", "[fe80::1%eth0]:80"] {
            assert_eq!(allowed().check(address), Err(Forbidden::NoAddress(address.into())), "{address}");
        }
    }

    #[test]
    fn a_connection_that_does_not_leave_the_pod_is_forbidden() {
        let [own, other] = ["10.244.0.7", "10.244.0.8"].map(|text| text.parse().expect("an address"));
        assert_eq!(allowed().check_connected(own, own), Err(Forbidden::Own(own)));
        assert_eq!(allowed().check_connected(own, other), Ok(()));
    }
}
