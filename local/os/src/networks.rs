//! The networks to which this machine has routes, and their interfaces: its own, its containers', a VPN's.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A route that is no default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    pub address: IpAddr,
    /// The length of the network's prefix.
    pub bits: u8,
    pub interface: String,
}

/// The routes of the main table; none if they cannot be read.
pub fn routed() -> Vec<Routed> {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let (four, six) = (read("/proc/net/route"), read("/proc/net/ipv6_route"));
    four.lines().filter_map(of_ipv4).chain(six.lines().filter_map(of_ipv6)).filter(is_network).collect()
}

/// Every machine has loopback, link-local and multicast addresses.
fn is_network(routed: &Routed) -> bool {
    let everywhere = match routed.address {
        IpAddr::V4(four) => four.is_loopback() || four.is_link_local() || four.is_multicast(),
        IpAddr::V6(six) => six.is_loopback() || six.is_unicast_link_local() || six.is_multicast(),
    };
    routed.bits > 0 && routed.interface != "lo" && !everywhere
}

/// Parses a line of /proc/net/route (proc(5)): the interface, and among others address and mask in the machine's byte
/// order.
fn of_ipv4(line: &str) -> Option<Routed> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let word = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok().map(u32::to_ne_bytes);
    let (address, mask) = (Ipv4Addr::from(word(1)?), Ipv4Addr::from(word(7)?));
    let bits = u8::try_from(mask.to_bits().leading_ones()).ok()?;
    Some(Routed { address: address.into(), bits, interface: (*fields.first()?).to_owned() })
}

/// Parses a line of /proc/net/ipv6_route: address, its bits, and at the end the interface.
fn of_ipv6(line: &str) -> Option<Routed> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let address = u128::from_str_radix(fields.first()?, 16).ok()?;
    let bits = u8::from_str_radix(fields.get(1)?, 16).ok()?;
    let interface = (*fields.get(9)?).to_owned();
    Some(Routed { address: Ipv6Addr::from_bits(address).into(), bits, interface })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_the_kernel_writes_it() {
        let four = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0";
        let six = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 \
                   00000000000000000000000000000000 00000100 00000001 00000000 00000001     tun0";
        let show = |routed: Routed| format!("{}/{} by {}", routed.address, routed.bits, routed.interface);
        if cfg!(target_endian = "little") {
            assert_eq!(of_ipv4(four).map(show).unwrap(), "192.168.0.0/16 by eth0");
        }
        assert_eq!(of_ipv6(six).map(show).unwrap(), "fd00::/64 by tun0");
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
        assert_eq!(of_ipv4(head), None);
        assert_eq!(of_ipv6(""), None);
    }

    #[test]
    fn networks_that_every_machine_has_are_left_out() {
        let is = |address: &str, bits, interface: &str| {
            is_network(&Routed { address: address.parse().unwrap(), bits, interface: interface.to_owned() })
        };
        assert!(is("192.168.0.0", 16, "eth0") && is("fd00::", 64, "tun0"));
        assert!(!is("0.0.0.0", 0, "eth0") && !is("fe80::", 64, "eth0") && !is("ff00::", 8, "eth0"));
        assert!(!is("169.254.0.0", 16, "eth0") && !is("fd00::7", 128, "lo"));
    }
}
