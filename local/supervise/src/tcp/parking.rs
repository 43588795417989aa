//! Keeps the sockets of non-blocking connects in SYN-SENT, as they would be on the way to a host that has not answered
//! yet.
//!
//! A lot is a listener on loopback whose queue is full: the kernel drops packets that arrive there. When the
//! destination has answered, a socket of ours with the lot's address opens toward the program's, whose own SYN was
//! dropped: the two open at the same time (RFC 9293, 3.5), and are connected at once. When it has failed, the program's
//! socket is made to fail, and the reason goes to the `failures`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use rustix::io::Errno;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::failures::Failures;
use super::peers::{Peer, Peers};
use crate::socket::{Identity, Socket};

/// A queue takes one connection more than its `backlog` (listen(2)), in every kernel.
const ROOM: u32 = 1;
const FILLED_BY: usize = 2;
/// Two sockets on loopback are connected in microseconds. The first packet may get lost even there: the next one goes
/// after a second.
const OPENS_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Parking {
    four: Lot,
    six: Option<Lot>,
    peers: Arc<Peers>,
    failures: Arc<Failures>,
}

#[derive(Debug)]
struct Lot {
    address: SocketAddr,
    /// The listener, and the connections that fill it.
    _sockets: Vec<OwnedFd>,
}

/// A program's waiting socket. It fails when dropped.
#[derive(Debug)]
pub(crate) struct Parked {
    /// `None` once it is connected. Until then this process has it too, even if the program has closed it meanwhile.
    socket: Option<Socket>,
    identity: Identity,
    local: SocketAddr,
    lot: SocketAddr,
    peer: Option<Peer>,
    failures: Arc<Failures>,
    reason: Errno,
}

impl Parking {
    /// A machine without IPv6 has one lot only.
    pub(crate) fn new(peers: Arc<Peers>, failures: Arc<Failures>) -> io::Result<Parking> {
        let four = Lot::new(Ipv4Addr::LOCALHOST.into())?;
        let six = Lot::new(Ipv6Addr::LOCALHOST.into()).ok();
        Ok(Parking { four, six, peers, failures })
    }

    /// Begins a connect that is in progress until it is decided. Does not block.
    pub(super) fn park(&self, socket: Socket, destination: SocketAddr) -> Result<Parked, Errno> {
        let lot = match destination {
            SocketAddr::V4(_) => self.four.address,
            SocketAddr::V6(_) => self.six.as_ref().ok_or(Errno::NETUNREACH)?.address,
        };
        let identity = socket.identity().ok_or(Errno::NETUNREACH)?;
        match socket.connect(lot) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno),
        }
        let local = socket.local().ok_or(Errno::NETUNREACH)?;
        Ok(Parked {
            socket: Some(socket),
            identity,
            local,
            lot,
            peer: Some(self.peers.insert(identity, destination, lot)),
            failures: Arc::clone(&self.failures),
            reason: Errno::NETUNREACH,
        })
    }
}

impl Lot {
    fn new(address: IpAddr) -> io::Result<Lot> {
        let socket = socket(address)?;
        socket.bind((address, 0).into())?;
        let listener = socket.listen(ROOM)?.into_std()?;
        let address = listener.local_addr()?;
        let mut sockets = vec![OwnedFd::from(listener)];
        for _ in 0..FILLED_BY {
            sockets.push(std::net::TcpStream::connect_timeout(&address, OPENS_WITHIN)?.into());
        }
        Ok(Lot { address, _sockets: sockets })
    }
}

impl Parked {
    /// Connects the program's socket; returns the other end, and the entry of the connection.
    pub(super) async fn open(mut self) -> Option<(TcpStream, Peer)> {
        let opened = match timeout(OPENS_WITHIN, open(self.lot, self.local)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a program has given up its connect, or its socket cannot be reached");
                return None;
            }
            Err(_) => return None,
        };
        // From here on only the program has it, so that closing it ends the connection.
        self.socket = None;
        self.peer.take().map(|peer| (opened, peer))
    }

    pub(super) fn fail(mut self, reason: Errno) {
        self.reason = reason;
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            // First the reason, then the call that makes the program ask for it.
            self.peer = None;
            self.failures.insert(self.identity, self.reason);
            socket.abort();
        }
    }
}

async fn open(from: SocketAddr, toward: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(from.ip())?;
    socket.bind(from)?;
    socket.connect(toward).await
}

/// One of several with the same address.
fn socket(address: IpAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseport(true)?;
    Ok(socket)
}
