//! Listens on the agent's readiness port before anything else.
//!
//! The kubelet probes a container as soon as it sees it running, and if nobody listens then, not again for a second. So
//! the port listens from the first millisecond; the probe waits in the socket's queue until the agent, which finds the
//! socket as its standard input, answers it.

use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{self, AddressFamily, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, SocketType, sockopt},
    stdio,
};

const BACKLOG: i32 = 128;

/// Makes standard input a socket that listens on `port` of all addresses.
pub(crate) fn on_stdin(port: u16) -> Result<(), Errno> {
    let socket = on_both_families(port).or_else(|_| on_ipv4(port))?;
    net::listen(&socket, BACKLOG)?;
    stdio::dup2_stdin(&socket)
}

fn on_both_families(port: u16) -> Result<OwnedFd, Errno> {
    let socket = net::socket(AddressFamily::INET6, SocketType::STREAM, None)?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
    Ok(socket)
}

fn on_ipv4(port: u16) -> Result<OwnedFd, Errno> {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    Ok(socket)
}
