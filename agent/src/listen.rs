//! Accepts connections on a port of the target, as many at a time as descriptors allow.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge_proto::v1::Arrival;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::connection::serve::serve;
use crate::connection::{Connection, origin};
use crate::context::Data;
use crate::port::Port;

const BACKLOG: i32 = 4096;
/// The pause in accepting when descriptors have run out and no connection ends.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// Callers' connections, of all ports.
#[derive(Debug)]
pub(crate) struct Callers {
    pub(crate) context: Arc<Data>,
    /// The initial number of places.
    capacity: usize,
    room: Arc<Semaphore>,
    arrivals: broadcast::Sender<Arrival>,
    accepted: AtomicU64,
    ended: AtomicU64,
    /// The number that a panic ended.
    defects: AtomicU64,
}

impl Callers {
    /// `capacity`: places, one for each connection and for each listener that waits.
    pub(crate) fn new(context: Arc<Data>, capacity: usize, arrivals: broadcast::Sender<Arrival>) -> Self {
        Self {
            context,
            capacity,
            room: Arc::new(Semaphore::new(capacity)),
            arrivals,
            accepted: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            defects: AtomicU64::new(0),
        }
    }

    /// Places taken by connections, and by listeners that wait.
    pub(crate) fn places_taken(&self) -> usize {
        self.capacity.saturating_sub(self.room.available_permits())
    }

    /// The number of connections so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// The number of connections that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// The number of connections that a bug ended.
    pub(crate) fn defects(&self) -> u64 {
        self.defects.load(Ordering::Relaxed)
    }
}

/// Listens on a port of all addresses, of both families if both exist.
pub(crate) fn on_all_addresses(port: u16) -> io::Result<TcpListener> {
    bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .or_else(|_| bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))))
}

/// The same, unless standard input is a socket that listens on this port already: the loader opens it, so that the
/// kubelet is heard before the agent is unpacked.
pub(crate) fn on_stdin_or_all_addresses(port: u16) -> io::Result<TcpListener> {
    match inherited(port)? {
        Some(listener) => TcpListener::from_std(listener),
        None => on_all_addresses(port),
    }
}

fn inherited(port: u16) -> io::Result<Option<std::net::TcpListener>> {
    let stdin = std::io::stdin();
    let socket = SockRef::from(&stdin);
    let listens = socket.is_listener().unwrap_or(false);
    if !listens || socket.local_addr()?.as_socket().map(|address| address.port()) != Some(port) {
        return Ok(None);
    }
    let listener = std::net::TcpListener::from(stdin.as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

/// Listens on a port of loopback, which cannot be reached from outside the pod.
pub(crate) fn on_loopback(port: u16) -> io::Result<TcpListener> {
    bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until stopped, and returns when the last connection has ended.
pub(crate) async fn run(listener: TcpListener, callers: Arc<Callers>, port: Port, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &callers) => accepted,
            Some(ended) = connections.join_next() => {
                note_end(&callers, &ended);
                continue;
            }
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let conn = arrived(&callers, port, peer, stream);
                connections.spawn(async move {
                    serve(conn).await;
                    drop(permit);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, port = port.number, "cannot accept; waiting until a connection ends");
                let ended = tokio::time::timeout(OUT_OF_DESCRIPTORS, connections.join_next()).await;
                if let Ok(Some(ended)) = ended {
                    note_end(&callers, &ended);
                }
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        note_end(&callers, &ended);
    }
}

type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, callers: &Callers) -> io::Result<Accepted> {
    let permit = callers.room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, canonical(peer), permit))
}

fn arrived(callers: &Callers, port: Port, peer: SocketAddr, stream: TcpStream) -> Connection {
    if let Err(error) = origin::configure(&SockRef::from(&stream)) {
        tracing::debug!(%error, "a connection ended at once");
    }
    callers.context.drain.arrived();
    callers.accepted.fetch_add(1, Ordering::Relaxed);
    if callers.arrivals.receiver_count() > 0 {
        let arrival = Arrival { peer: peer.to_string(), target_port: port.number.into() };
        // If it cannot be sent, nobody listens.
        let _ = callers.arrivals.send(arrival);
    }
    Connection::new(callers.context.clone(), port, peer, stream)
}

/// An IPv4 caller's own address, although the socket is IPv6.
fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip() {
        IpAddr::V6(v6) => SocketAddr::new(v6.to_canonical(), peer.port()),
        IpAddr::V4(_) => peer,
    }
}

/// Errors of `accept` that concern one connection only, and not the next call.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn note_end(callers: &Callers, ended: &Result<(), JoinError>) {
    callers.ended.fetch_add(1, Ordering::Relaxed);
    if let Err(error) = ended
        && error.is_panic()
    {
        let so_far = callers.defects.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::error!(%error, so_far, "a bug ended one connection");
    }
}
