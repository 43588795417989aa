//! Socket addresses as the kernel lays them out in memory (ip(7), ipv6(7), unix(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// No address is longer (struct sockaddr_storage).
pub const LONGEST: usize = 128;

const INTERNET: u16 = libc::AF_INET as u16;
const INTERNET6: u16 = libc::AF_INET6 as u16;
const UNIX: u16 = libc::AF_UNIX as u16;
/// The path of a Unix socket follows the family.
const PATH: usize = 2;

/// The kind of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name<'a> {
    Internet(SocketAddr),
    /// The path, without its terminating zero; an abstract name begins with one.
    Unix(&'a [u8]),
    /// An address of another family, or one too short for its own.
    Other,
}

pub fn decode(bytes: &[u8]) -> Name<'_> {
    let Some((family, rest)) = bytes.split_first_chunk::<2>() else { return Name::Other };
    match u16::from_ne_bytes(*family) {
        INTERNET => internet(rest).map_or(Name::Other, Name::Internet),
        INTERNET6 => internet6(rest).map_or(Name::Other, Name::Internet),
        UNIX => Name::Unix(path(&bytes[PATH..])),
        _ => Name::Other,
    }
}

fn internet(rest: &[u8]) -> Option<SocketAddr> {
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (address, _) = rest.split_first_chunk::<4>()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(*address), u16::from_be_bytes(*port)).into())
}

fn internet6(rest: &[u8]) -> Option<SocketAddr> {
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (flow, rest) = rest.split_first_chunk::<4>()?;
    let (address, rest) = rest.split_first_chunk::<16>()?;
    // Old programs omit the scope (SIN6_LEN_RFC2133): the kernel takes it for 0.
    let scope = rest.first_chunk::<4>().map_or(0, |scope| u32::from_ne_bytes(*scope));
    let port = u16::from_be_bytes(*port);
    Some(SocketAddrV6::new(Ipv6Addr::from(*address), port, u32::from_be_bytes(*flow), scope).into())
}

fn path(bytes: &[u8]) -> &[u8] {
    // An abstract name begins with a zero and may have more.
    match bytes.iter().position(|byte| *byte == 0) {
        Some(end) if end > 0 => &bytes[..end],
        _ => bytes,
    }
}

pub fn encode(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match address {
        SocketAddr::V4(address) => {
            bytes.extend(INTERNET.to_ne_bytes());
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(address.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(address) => {
            bytes.extend(INTERNET6.to_ne_bytes());
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(address.flowinfo().to_be_bytes());
            bytes.extend(address.ip().octets());
            bytes.extend(address.scope_id().to_ne_bytes());
        }
    }
    bytes
}

/// The canonical address: IPv4-mapped IPv6 as IPv4 (RFC 4291, 2.5.5.2), no flow label.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(six) => match six.ip().to_ipv4_mapped() {
            Some(four) => SocketAddr::new(IpAddr::V4(four), six.port()),
            None => SocketAddrV6::new(*six.ip(), six.port(), 0, six.scope_id()).into(),
        },
    }
}

/// The form that a socket of IPv6 (`six`) or of IPv4 accepts and returns.
pub fn spelled(address: SocketAddr, six: bool) -> SocketAddr {
    match (address, six) {
        (SocketAddr::V4(four), true) => {
            SocketAddrV6::new(four.ip().to_ipv6_mapped(), four.port(), 0, 0).into()
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_address_is_decoded() {
        for text in ["10.96.0.10:53", "[fd10:96::a]:80", "[::ffff:10.96.0.10]:443", "[fe80::1%3]:53"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(decode(&encode(address)), Name::Internet(address));
        }
    }

    #[test]
    fn an_address_that_is_too_short_names_nothing() {
        let whole = encode("[fd10:96::a]:80".parse().unwrap());
        assert!(matches!(decode(&whole[..24]), Name::Internet(_)), "the scope may be left out");
        assert_eq!(decode(&whole[..23]), Name::Other);
        assert_eq!(decode(&encode("10.0.0.1:1".parse().unwrap())[..7]), Name::Other);
        assert_eq!(decode(&[]), Name::Other);
        assert_eq!(decode(&[16, 0, 0, 0]), Name::Other);
    }

    #[test]
    fn paths_end_at_their_zero() {
        let unix = |path: &[u8]| [&UNIX.to_ne_bytes(), path].concat();
        assert_eq!(decode(&unix(b"/run/x\0junk")), Name::Unix(b"/run/x"));
        assert_eq!(decode(&unix(b"/run/x")), Name::Unix(b"/run/x"));
        assert_eq!(decode(&unix(b"\0abstract\0x")), Name::Unix(b"\0abstract\0x"));
    }

    #[test]
    fn two_spellings_are_one_address() {
        let four: SocketAddr = "10.96.0.10:53".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:10.96.0.10]:53".parse().unwrap();
        assert_eq!(canonical(mapped), four);
        assert_eq!(spelled(four, true), mapped);
        assert_eq!(spelled(four, false), four);
        let six: SocketAddr = "[fe80::1%3]:53".parse().unwrap();
        assert_eq!((canonical(six), spelled(six, true)), (six, six));
    }
}
