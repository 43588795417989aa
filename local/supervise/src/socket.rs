//! A program's socket, which the program and this process both have while a call is answered.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use bridge_os::seccomp::{
    Trapped,
    address::{canonical, spelled},
    watched,
};
use rustix::{
    fs::{OFlags, fcntl_getfl},
    io::Errno,
    net::{
        AddressFamily, Shutdown, SocketType,
        sockopt::{Timeout, socket_domain, socket_protocol, socket_timeout, socket_type},
    },
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::decide::Kind;

/// IPPROTO_TCP, IPPROTO_UDP and IPPROTO_MPTCP.
const TCP: u32 = 6;
const UDP: u32 = 17;
const MPTCP: u32 = 262;

#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
    /// An IPv6 socket, which may speak IPv4 too by mapped addresses.
    six: bool,
    kind: Kind,
    multipath: bool,
}

/// Identifies a socket while it exists, in any process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity(u64);

impl Identity {
    /// The identity of the caller's descriptor of this number, when this process has no room for the socket itself.
    pub(crate) fn of(trapped: &Trapped, number: i32) -> Option<Identity> {
        trapped.inode(number).ok().map(Identity)
    }

    #[cfg(test)]
    pub(crate) const fn of_test(number: u64) -> Identity {
        Identity(number)
    }
}

impl Socket {
    /// The caller's descriptor of this number.
    pub(crate) fn of(trapped: &Trapped, number: i32) -> io::Result<Socket> {
        let descriptor = trapped.descriptor(number)?;
        let domain = socket_domain(&descriptor)?;
        let protocol = socket_protocol(&descriptor)?.map(|protocol| protocol.as_raw().get());
        let internet = [AddressFamily::INET, AddressFamily::INET6].contains(&domain);
        let kind = match (socket_type(&descriptor)?, protocol) {
            (SocketType::STREAM, Some(TCP | MPTCP)) if internet => Kind::Tcp,
            (SocketType::DGRAM, Some(UDP)) if internet => Kind::Udp,
            (SocketType::STREAM | SocketType::SEQPACKET, _) => Kind::OtherStream,
            _ => Kind::Other,
        };
        let six = domain == AddressFamily::INET6;
        Ok(Socket { descriptor, six, kind, multipath: protocol == Some(MPTCP) })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is MPTCP's, which cannot be opened from both ends.
    pub(crate) fn is_multipath(&self) -> bool {
        self.multipath
    }

    pub(crate) fn is_blocking(&self) -> bool {
        !fcntl_getfl(&self.descriptor).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
    }

    /// SO_SNDTIMEO
    pub(crate) fn send_timeout(&self) -> Option<Duration> {
        socket_timeout(&self.descriptor, Timeout::Send).ok().flatten()
    }

    /// SO_RCVTIMEO
    pub(crate) fn receive_timeout(&self) -> Option<Duration> {
        socket_timeout(&self.descriptor, Timeout::Recv).ok().flatten()
    }

    /// Its own address, canonical; none before it has one.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        let name = rustix::net::getsockname(&self.descriptor).ok()?;
        SocketAddr::try_from(name).ok().map(canonical).filter(|local| local.port() != 0)
    }

    /// The address that it is connected to, canonical.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        let name = rustix::net::getpeername(&self.descriptor).ok()??;
        SocketAddr::try_from(name).ok().map(canonical)
    }

    /// The address in this socket's family.
    pub(crate) fn spell(&self, address: SocketAddr) -> SocketAddr {
        spelled(address, self.six)
    }

    pub(crate) fn connect(&self, address: SocketAddr) -> Result<(), Errno> {
        rustix::net::connect(&self.descriptor, &self.spell(address))
    }

    pub(crate) fn listen(&self, backlog: i32) -> Result<(), Errno> {
        rustix::net::listen(&self.descriptor, backlog)
    }

    /// Gives it a port, if it has none, as sending would.
    pub(crate) fn bound(&self) -> Result<SocketAddr, Errno> {
        if let Some(local) = self.local() {
            return Ok(local);
        }
        let any = match self.six {
            true => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            false => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        };
        rustix::net::bind(&self.descriptor, &any)?;
        self.local().ok_or(Errno::ADDRNOTAVAIL)
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        rustix::fs::fstat(&self.descriptor).ok().map(|stat| Identity(stat.st_ino))
    }

    /// The user who created it.
    pub(crate) fn owner(&self) -> Option<u32> {
        rustix::fs::fstat(&self.descriptor).ok().map(|stat| stat.st_uid)
    }

    /// Ends a connect that is in progress, and wakes the program that waits for it.
    pub(crate) fn abort(&self) {
        let _ = rustix::net::shutdown(&self.descriptor, Shutdown::Both);
    }

    /// For waits on it.
    pub(crate) fn watched(&self, interest: Interest) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
        watched(self.as_fd(), interest)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
