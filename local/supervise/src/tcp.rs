//! TCP: one relay on each loopback, to which the programs' own sockets are connected. Which destination a connection was
//! meant for is known by its source address, which the relay sees on its side and the supervisor on the program's.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bridge_os::seccomp::{Reply, address::canonical};
use rustix::io::Errno;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};

use crate::{Carry, Way, decide::LONGEST_HOLD, dns, socket::Socket};

const BACKLOG: u32 = 4096;
/// A connection that nobody announces comes from no program of ours.
const STRANGER: Duration = Duration::from_secs(2);
const MAX_STRANGERS: usize = 1024;
/// An announced connection that does not arrive was closed before it was made.
const ARRIVAL: Duration = Duration::from_secs(30);
const SWEEP_FROM: usize = 1024;
/// How long `accept` rests when it fails, for want of descriptors above all.
const REST: Duration = Duration::from_millis(20);

/// What a connection to the relay goes on to.
#[derive(Debug)]
pub(crate) enum Upstream<S> {
    Dial(SocketAddr),
    Dialled(S),
    Resolve(SocketAddr),
}

pub(crate) struct Relay<W: Way> {
    four: SocketAddr,
    six: Option<SocketAddr>,
    way: Arc<W>,
    arrivals: Mutex<HashMap<SocketAddr, Arrival<W::Stream>>>,
    peers: Arc<Peers>,
}

/// One side knows of a connection before the other.
enum Arrival<S> {
    Announced(Upstream<S>, Peer, Instant),
    Awaited(oneshot::Sender<(Upstream<S>, Peer)>),
}

impl<W: Way> Relay<W> {
    /// The relay, and its listeners for `serve`. A machine without IPv6 has one only.
    pub(crate) fn bind(way: Arc<W>) -> io::Result<(Arc<Relay<W>>, Vec<TcpListener>)> {
        let four = listen(TcpSocket::new_v4()?, Ipv4Addr::LOCALHOST.into())?;
        let six = TcpSocket::new_v6().and_then(|socket| listen(socket, Ipv6Addr::LOCALHOST.into())).ok();
        let relay = Relay {
            four: four.local_addr()?,
            six: six.as_ref().and_then(|listener| listener.local_addr().ok()),
            way,
            arrivals: Mutex::default(),
            peers: Arc::default(),
        };
        Ok((Arc::new(relay), [Some(four), six].into_iter().flatten().collect()))
    }

    /// Connects a program's socket to the relay. Non-blocking sockets take microseconds; blocking ones may wait.
    pub(crate) fn join(
        &self,
        socket: &Socket,
        destination: SocketAddr,
        upstream: Upstream<W::Stream>,
    ) -> Reply {
        let relay = match (destination, self.six) {
            (SocketAddr::V4(_), _) => self.four,
            (SocketAddr::V6(_), Some(six)) => six,
            (SocketAddr::V6(_), None) => return Reply::Error(Errno::NETUNREACH),
        };
        let connected = socket.connect(relay);
        if matches!(connected, Ok(()) | Err(Errno::INPROGRESS))
            && let Some(local) = socket.local()
        {
            let peer = self.peers.insert(local, destination);
            self.announce(local, upstream, peer);
        }
        connected.map_or_else(Reply::Error, |()| Reply::Value(0))
    }

    /// What connect(2) says of a socket that is connected to the relay already, or about to be.
    pub(crate) fn repeat(&self, socket: &Socket) -> Option<Reply> {
        let (destination, missed) = self.peers.take_missed(socket.local()?)?;
        let relay = if destination.is_ipv4() { self.four } else { self.six? };
        Some(match socket.connect(relay) {
            // Its caller was interrupted and never heard that it had succeeded.
            Err(Errno::ISCONN) if missed => Reply::Value(0),
            Err(errno) => Reply::Error(errno),
            Ok(()) => Reply::Value(0),
        })
    }

    /// The answer to a socket's connect reached nobody: the same connect may come again.
    pub(crate) fn missed(&self, socket: &Socket) {
        if let Some(local) = socket.local() {
            self.peers.missed(local);
        }
    }

    /// Whether the socket is connected to the relay, or was.
    pub(crate) fn knows(&self, socket: &Socket) -> bool {
        socket.local().is_some_and(|local| self.peers.of(local).is_some())
    }

    /// Whom a socket was meant for that is connected to `peer`.
    pub(crate) fn meant(&self, socket: &Socket, peer: SocketAddr) -> Option<SocketAddr> {
        let ours = peer == self.four || Some(peer) == self.six;
        if ours { self.peers.of(socket.local()?) } else { None }
    }

    fn arrivals(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arrival<W::Stream>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, local: SocketAddr, upstream: Upstream<W::Stream>, peer: Peer) {
        let mut arrivals = self.arrivals();
        match arrivals.remove(&local) {
            Some(Arrival::Awaited(arrival_tx)) => {
                let _ = arrival_tx.send((upstream, peer));
            }
            _ => {
                if arrivals.len() >= SWEEP_FROM {
                    arrivals.retain(|_, arrival| match arrival {
                        Arrival::Announced(_, _, since) => since.elapsed() < ARRIVAL,
                        Arrival::Awaited(arrival_tx) => !arrival_tx.is_closed(),
                    });
                }
                arrivals.insert(local, Arrival::Announced(upstream, peer, Instant::now()));
            }
        }
    }

    /// What the connection from this address is for; none if nobody announces it.
    async fn announced(&self, local: SocketAddr) -> Option<(Upstream<W::Stream>, Peer)> {
        let arrival_rx = {
            let mut arrivals = self.arrivals();
            match arrivals.remove(&local) {
                Some(Arrival::Announced(upstream, peer, _)) => return Some((upstream, peer)),
                _ if arrivals.len() >= SWEEP_FROM + MAX_STRANGERS => return None,
                _ => {
                    let (arrival_tx, arrival_rx) = oneshot::channel();
                    arrivals.insert(local, Arrival::Awaited(arrival_tx));
                    arrival_rx
                }
            }
        };
        let announced = timeout(STRANGER, arrival_rx).await;
        if announced.is_err() {
            let mut arrivals = self.arrivals();
            if matches!(arrivals.get(&local), Some(Arrival::Awaited(arrival_tx)) if arrival_tx.is_closed()) {
                arrivals.remove(&local);
            }
        }
        announced.ok()?.ok()
    }

    /// Takes connections for ever. All of them end with the future.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((local, from)) => {
                        connections.spawn(Arc::clone(&self).carry(local, canonical(from)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a supervised connection waits");
                        tokio::time::sleep(REST).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn carry(self: Arc<Self>, local: TcpStream, from: SocketAddr) {
        let Some((upstream, _peer)) = self.announced(from).await else { return reset(&local) };
        let stream = match upstream {
            Upstream::Dialled(stream) => stream,
            Upstream::Dial(destination) => match dial(&*self.way, destination, LONGEST_HOLD).await {
                Ok(stream) => stream,
                Err(errno) => {
                    tracing::debug!(%destination, %errno, "a connection that could not wait is reset");
                    return reset(&local);
                }
            },
            Upstream::Resolve(resolver) => {
                let _ = dns::serve(local, resolver, Arc::clone(&self.way)).await;
                return;
            }
        };
        let _ = local.set_nodelay(true);
        stream.carry(local).await;
    }
}

/// Dials within the bound.
pub(crate) async fn dial<W: Way>(
    way: &W,
    destination: SocketAddr,
    bound: Duration,
) -> Result<W::Stream, Errno> {
    match timeout(bound, way.dial(destination)).await {
        Ok(dialled) => dialled.map_err(|refusal| refusal.errno()),
        Err(_) => Err(Errno::TIMEDOUT),
    }
}

fn listen(socket: TcpSocket, address: std::net::IpAddr) -> io::Result<TcpListener> {
    socket.bind((address, 0).into())?;
    socket.listen(BACKLOG)
}

/// The connection ends with RST: a program must not take a failure for an orderly end.
fn reset(local: &TcpStream) {
    let _ = local.set_zero_linger();
}

/// Whom the programs' sockets were meant for, by their own addresses.
#[derive(Debug, Default)]
struct Peers {
    table: Mutex<HashMap<SocketAddr, Meant>>,
    serial: AtomicU64,
}

#[derive(Debug)]
struct Meant {
    destination: SocketAddr,
    /// An address is used again after its connection: the end of the first must not forget the second.
    serial: u64,
    missed: bool,
}

/// The entry of one connection, for as long as it lives.
#[derive(Debug)]
struct Peer {
    peers: Arc<Peers>,
    local: SocketAddr,
    serial: u64,
}

impl Peers {
    fn table(&self) -> MutexGuard<'_, HashMap<SocketAddr, Meant>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(self: &Arc<Self>, local: SocketAddr, destination: SocketAddr) -> Peer {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        self.table().insert(local, Meant { destination, serial, missed: false });
        Peer { peers: Arc::clone(self), local, serial }
    }

    fn of(&self, local: SocketAddr) -> Option<SocketAddr> {
        self.table().get(&local).map(|meant| meant.destination)
    }

    fn missed(&self, local: SocketAddr) {
        if let Some(meant) = self.table().get_mut(&local) {
            meant.missed = true;
        }
    }

    /// The destination, and whether the answer to its connect was missed until now.
    fn take_missed(&self, local: SocketAddr) -> Option<(SocketAddr, bool)> {
        let mut table = self.table();
        let meant = table.get_mut(&local)?;
        Some((meant.destination, std::mem::take(&mut meant.missed)))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut table = self.peers.table();
        if table.get(&self.local).is_some_and(|meant| meant.serial == self.serial) {
            table.remove(&self.local);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    #[test]
    fn an_address_that_is_used_again_keeps_its_second_meaning() {
        let peers = Arc::new(Peers::default());
        let first = peers.insert(address(1), address(80));
        let second = peers.insert(address(1), address(443));
        drop(first);
        assert_eq!(peers.of(address(1)), Some(address(443)));
        drop(second);
        assert_eq!(peers.of(address(1)), None);
    }

    #[test]
    fn a_missed_answer_is_missed_once() {
        let peers = Arc::new(Peers::default());
        let _peer = peers.insert(address(1), address(80));
        assert_eq!(peers.take_missed(address(1)), Some((address(80), false)));
        peers.missed(address(1));
        assert_eq!(peers.take_missed(address(1)), Some((address(80), true)));
        assert_eq!(peers.take_missed(address(1)), Some((address(80), false)));
    }
}
