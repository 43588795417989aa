//! The owner of the other end of a connection on loopback. A port of loopback is open to every user of a machine, and
//! the kernel knows the user who created each socket.
//!
//! TCP: sock_diag(7), which finds one of a million sockets at once; on systems without it, /proc/net (proc(5)), as
//! always for UDP. A socket that its process has closed has no owner any more.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use crate::peer::own_uid;

const ROOT: u32 = 0;
/// The kernel answers at once.
const ANSWERS_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// The owner of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    User(u32),
    /// It has been closed.
    Nobody,
}

impl Owner {
    /// This user, or root, who can do anything that this user can.
    pub fn is_trusted(self) -> bool {
        matches!(self, Owner::User(user) if user == own_uid() || user == ROOT)
    }

    /// Another user, for certain.
    pub fn is_foreign(self) -> bool {
        matches!(self, Owner::User(_)) && !self.is_trusted()
    }
}

/// The owner of the other end of a TCP connection: `far` is its address, `near` that of our end.
pub fn of_tcp(far: SocketAddr, near: SocketAddr) -> io::Result<Owner> {
    match asked(far, near) {
        Ok(owner) => Ok(owner),
        Err(_) => Ok(in_table("tcp", &|row| row.local == far && row.remote == near)?
            .first()
            .copied()
            .unwrap_or(Owner::Nobody)),
    }
}

/// The owners of the UDP sockets that can send from this address; all of them, as several can have one.
pub fn of_udp(from: SocketAddr) -> io::Result<Vec<Owner>> {
    let sends = |row: &Row| {
        row.local.port() == from.port() && (row.local.ip() == from.ip() || row.local.ip().is_unspecified())
    };
    in_table("udp", &sends)
}

/// A line of /proc/net/tcp and its kin. IPv4-mapped addresses are IPv4.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    owner: Owner,
}

fn in_table(protocol: &str, is_meant: &dyn Fn(&Row) -> bool) -> io::Result<Vec<Owner>> {
    let mut owners = Vec::new();
    let four = fs::read_to_string(format!("/proc/net/{protocol}"))?;
    // A machine without IPv6 has no such table.
    let six = fs::read_to_string(format!("/proc/net/{protocol}6")).unwrap_or_default();
    for table in [four, six] {
        let rows = table.lines().skip(1).filter_map(row);
        owners.extend(rows.filter(|row| is_meant(row)).map(|row| row.owner));
    }
    Ok(owners)
}

fn row(line: &str) -> Option<Row> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    // State, queues, timer and retransmissions are between.
    let user = fields.nth(4)?.parse().ok()?;
    let inode: u64 = fields.nth(1)?.parse().ok()?;
    Some(Row { local, remote, owner: owner(user, inode) })
}

fn owner(user: u32, inode: u64) -> Owner {
    // The remains of a closed socket belong to user 0, whatever its owner was.
    if inode == 0 { Owner::Nobody } else { Owner::User(user) }
}

/// "0100007F:1F90": words of 32 bits as they are in memory, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let word = |index: usize| {
        let word = u32::from_str_radix(address.get(index * 8..index * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            Ipv6Addr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

/// Asks SOCK_DIAG_BY_FAMILY for one socket.
fn asked(far: SocketAddr, near: SocketAddr) -> Result<Owner, Errno> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWERS_WITHIN))?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &diag::request(far, near), SendFlags::empty(), &kernel)?;
    let mut answer = [0; diag::LONGEST];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    diag::answer(&answer[..length], far)
}

/// The messages of sock_diag(7).
mod diag {
    use super::{Errno, IpAddr, Owner, SocketAddr, owner};

    pub(super) const LONGEST: usize = 1024;
    const BY_FAMILY: u16 = 20;
    const REQUEST: u16 = 1;
    const ERROR: u16 = 2;
    const HEADER: usize = 16;
    const TCP: u8 = 6;
    const LISTENS: u8 = 10;
    /// In a struct inet_diag_msg.
    const STATE: usize = HEADER + 1;
    const PORT: usize = HEADER + 4;
    const USER: usize = HEADER + 64;
    const INODE: usize = HEADER + 68;

    /// A struct nlmsghdr and a struct inet_diag_req_v2.
    pub(super) fn request(of: SocketAddr, toward: SocketAddr) -> Vec<u8> {
        let family = if of.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let mut body = vec![family as u8, TCP, 0, 0];
        // In any state.
        body.extend(u32::MAX.to_ne_bytes());
        body.extend(of.port().to_be_bytes());
        body.extend(toward.port().to_be_bytes());
        for address in [of.ip(), toward.ip()] {
            let mut bytes = [0; 16];
            match address {
                IpAddr::V4(four) => bytes[..4].copy_from_slice(&four.octets()),
                IpAddr::V6(six) => bytes = six.octets(),
            }
            body.extend(bytes);
        }
        // Any interface, and no cookie.
        body.extend(0u32.to_ne_bytes());
        body.extend([0xff; 8]);
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(BY_FAMILY.to_ne_bytes());
        message.extend(REQUEST.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        message
    }

    pub(super) fn answer(message: &[u8], of: SocketAddr) -> Result<Owner, Errno> {
        let word = |at: usize| message.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        let kind = message.get(4..).and_then(<[u8]>::first_chunk).map(|bytes| u16::from_ne_bytes(*bytes));
        match kind {
            Some(ERROR) => {
                let code = word(HEADER).map_or(0, |code| (code as i32).wrapping_neg());
                // There is no such socket.
                if code == Errno::NOENT.raw_os_error() { Ok(Owner::Nobody) } else { Err(Errno::PROTO) }
            }
            Some(BY_FAMILY) => {
                let port =
                    message.get(PORT..).and_then(<[u8]>::first_chunk).map(|it| u16::from_be_bytes(*it));
                // If no connection is found, the kernel returns the listener there.
                if message.get(STATE) == Some(&LISTENS) || port != Some(of.port()) {
                    return Ok(Owner::Nobody);
                }
                let (Some(user), Some(inode)) = (word(USER), word(INODE)) else { return Err(Errno::PROTO) };
                Ok(owner(user, inode.into()))
            }
            _ => Err(Errno::PROTO),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    const NOBODY: u32 = 65_534;

    /// The results of both ways.
    fn both(far: SocketAddr, near: SocketAddr) -> [Owner; 2] {
        let table = in_table("tcp", &|row| row.local == far && row.remote == near).unwrap();
        [of_tcp(far, near).unwrap(), table.first().copied().unwrap_or(Owner::Nobody)]
    }

    #[test]
    fn a_connection_of_our_own_is_ours() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, far) = listener.accept().unwrap();
            let owners = both(far, accepted.local_addr().unwrap());
            assert_eq!(owners, [Owner::User(own_uid()); 2], "{address}");
            assert!(owners[0].is_trusted() && !owners[0].is_foreign());
        }
    }

    #[test]
    fn so_is_one_that_is_made_by_a_socket_for_ipv6() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mapped = SocketAddr::new(
            Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
            listener.local_addr().unwrap().port(),
        );
        let Ok(_client) = TcpStream::connect(mapped) else { return };
        let (accepted, far) = listener.accept().unwrap();
        assert_eq!(both(far, accepted.local_addr().unwrap()), [Owner::User(own_uid()); 2]);
    }

    #[test]
    fn a_closed_socket_has_no_owner_not_even_root() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, far) = listener.accept().unwrap();
        let near = accepted.local_addr().unwrap();
        drop(client);
        // A process that was forked meanwhile has it, too, until it executes its program.
        assert_eq!(accepted.read(&mut [0]).unwrap(), 0, "the end");
        assert_eq!(both(far, near), [Owner::Nobody; 2]);
        assert!(!Owner::Nobody.is_trusted() && !Owner::Nobody.is_foreign());
        // Even if another process listens on its port by now.
        let _other = TcpListener::bind(far);
        assert_eq!(of_tcp(far, near).unwrap(), Owner::Nobody);
    }

    /// Needs root, because only root can act as another user.
    #[test]
    fn a_connection_of_another_user_is_foreign() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; read", listener.local_addr().unwrap().port());
        let mut command = Command::new("bash");
        command.args(["-c", &script]).stdin(Stdio::piped()).current_dir("/").uid(NOBODY);
        let Ok(mut other) = command.spawn() else { return };
        let (accepted, far) = listener.accept().unwrap();
        let owners = both(far, accepted.local_addr().unwrap());
        drop(other.stdin.take());
        other.wait().unwrap();
        assert_eq!(owners, [Owner::User(NOBODY); 2]);
        assert!(owners[0].is_foreign() && !owners[0].is_trusted());
    }

    #[test]
    fn datagrams_are_from_whoever_has_the_port() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let any = UdpSocket::bind("0.0.0.0:0").unwrap();
        let from = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), any.local_addr().unwrap().port());
        for from in [socket.local_addr().unwrap(), from] {
            assert_eq!(of_udp(from).unwrap(), [Owner::User(own_uid())], "{from}");
        }
        let gone = socket.local_addr().unwrap();
        drop(socket);
        // A concurrent test may be starting a program, which has all descriptors until it is loaded.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !of_udp(gone).unwrap().is_empty() {
            assert!(Instant::now() < deadline, "expected nobody at {gone}: {:?}", of_udp(gone));
            std::thread::yield_now();
        }
    }

    #[test]
    fn lines_of_the_tables_are_read() {
        let four = "   1: 0100007F:1F90 0200007F:0050 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1";
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        if cfg!(target_endian = "little") {
            let expected = Row {
                local: address("127.0.0.1:8080"),
                remote: address("127.0.0.2:80"),
                owner: Owner::User(1000),
            };
            assert_eq!(row(four), Some(expected));
            assert_eq!(
                super::address("0000000000000000FFFF00000100007F:0050"),
                Some(address("127.0.0.1:80"))
            );
            assert_eq!(super::address("00000000000000000000000001000000:0050"), Some(address("[::1]:80")));
        }
        assert_eq!(row(&four.replace("4711", "0")).unwrap().owner, Owner::Nobody);
        for nonsense in ["", "1:", "1: x y", "  sl  local_address rem_address   st"] {
            assert_eq!(row(nonsense), None);
        }
        assert!(diag::answer(&[], address("127.0.0.1:1")).is_err());
    }
}
