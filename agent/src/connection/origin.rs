//! The connection to the origin that belongs to one client connection.
//!
//! Dialled without waiting, so that a server that speaks first is heard and nobody waits for our decision.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use crate::io::end::End;

const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// An origin's port, and perhaps a connection to it.
#[derive(Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    link: Link,
}

#[derive(Debug)]
enum Link {
    Absent,
    Dialling(TcpStream),
    Up(End<TcpStream>),
    /// The dial failed; the kind says how.
    Failed(io::ErrorKind),
}

/// The origin's behaviour while it has no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unasked {
    /// It cannot be reached.
    Failed,
    /// Its connection broke.
    Broke,
    /// It sent bytes; they are in its buffer.
    Spoke,
    /// It sent its last byte.
    Ended,
}

impl Origin {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, link: Link::Absent }
    }

    /// Begins to connect, if there is no connection.
    pub(crate) fn dial(&mut self) {
        if matches!(self.link, Link::Absent) {
            self.link = match begin_connect(self.address) {
                Ok(stream) => Link::Dialling(stream),
                Err(error) => Link::Failed(error.kind()),
            };
        }
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.link, Link::Absent)
    }

    /// Drops the connection, if any; the next `dial` makes a new one.
    pub(crate) fn drop_link(&mut self) {
        self.link = Link::Absent;
    }

    /// Drops a connection on which something came, or that ended, while it had no request.
    pub(crate) fn drop_if_stale(&mut self) {
        let stale = match &self.link {
            Link::Absent | Link::Dialling(_) => false,
            Link::Failed(_) => true,
            // Asks the kernel, because the runtime may not know yet.
            Link::Up(end) => {
                let peeked = SockRef::from(&end.side).peek(&mut [MaybeUninit::uninit()]);
                end.ended
                    || end.finished
                    || !end.read.is_empty()
                    || !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
        };
        if stale {
            self.drop_link();
        }
    }

    /// Ends the connection, if any, with a reset.
    pub(crate) fn abort(&mut self) {
        use crate::io::side::Side as _;
        match std::mem::replace(&mut self.link, Link::Absent) {
            Link::Up(end) => end.side.abort(),
            Link::Dialling(stream) => stream.abort(),
            Link::Absent | Link::Failed(_) => {}
        }
    }

    /// The connection, if it is up.
    pub(crate) fn up(&mut self) -> Option<&mut End<TcpStream>> {
        match &mut self.link {
            Link::Up(end) => Some(end),
            _ => None,
        }
    }

    /// Consumes self for the connection, if it is up.
    pub(crate) fn into_up(self) -> Option<End<TcpStream>> {
        match self.link {
            Link::Up(end) => Some(end),
            _ => None,
        }
    }

    /// Waits for the connection. Dials if there is none.
    pub(crate) fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut End<TcpStream>>> {
        self.dial();
        if let Link::Dialling(stream) = &mut self.link {
            let ready = ready!(stream.poll_write_ready(cx));
            let failure = match ready {
                Ok(()) => stream.take_error().unwrap_or_else(Some),
                Err(error) => Some(error),
            };
            self.link = match (failure, std::mem::replace(&mut self.link, Link::Absent)) {
                (None, Link::Dialling(stream)) => Link::Up(End::new(stream)),
                (failure, _) => Link::Failed(failure.map_or(io::ErrorKind::Other, |error| error.kind())),
            };
        }
        Poll::Ready(match &mut self.link {
            Link::Up(end) => Ok(end),
            Link::Failed(kind) => Err((*kind).into()),
            Link::Absent | Link::Dialling(_) => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    /// Waits for unrequested bytes or an end. Pending forever without a connection.
    pub(crate) fn poll_unasked(&mut self, cx: &mut Context<'_>) -> Poll<Unasked> {
        if self.is_absent() {
            return Poll::Pending;
        }
        let Ok(end) = ready!(self.poll_up(cx)) else { return Poll::Ready(Unasked::Failed) };
        if !end.read.is_empty() {
            return Poll::Ready(Unasked::Spoke);
        }
        Poll::Ready(match ready!(end.poll_fill(cx)) {
            Ok(0) => Unasked::Ended,
            Ok(_) => Unasked::Spoke,
            Err(_) => Unasked::Broke,
        })
    }
}

/// A socket that connects to `address`; writable once it is connected or has failed.
fn begin_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    configure(&socket)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    TcpStream::from_std(socket.into())
}

/// Options of every connection from a caller and to an origin: no Nagle, and keep-alive probes.
pub(crate) fn configure(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL))
}
