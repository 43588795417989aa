//! One relay on each loopback, to which the programs' own sockets are connected. A connection's destination is known by
//! its source address, which the relay sees on its side and the supervisor on the program's, and by its owner: an
//! address may belong to another process by now.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bridge_os::{
    owners::{self, Owner},
    seccomp::{Reply, address::canonical},
};
use rustix::io::Errno;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};

use super::peers::{Peer, Peers};
use crate::{
    dns,
    socket::Socket,
    way::{Carry, Way},
};

const BACKLOG: u32 = 4096;
/// A connection that nobody announces comes from no program of ours.
const STRANGER: Duration = Duration::from_secs(2);
const MAX_STRANGERS: usize = 1024;
/// An announced connection that does not arrive was closed before it was made.
const ARRIVAL: Duration = Duration::from_secs(30);
const SWEEP_FROM: usize = 1024;
/// The pause in accepting after a failure, mostly for lack of descriptors.
const REST: Duration = Duration::from_millis(20);

/// The far end of a connection to the relay.
#[derive(Debug)]
pub(crate) enum Upstream<S> {
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

/// One side learns of a connection before the other.
enum Arrival<S> {
    Announced(Announced<S>, Instant),
    Awaited(oneshot::Sender<Announced<S>>),
}

/// The purpose of a connection.
struct Announced<S> {
    upstream: Upstream<S>,
    peer: Peer,
    /// The user who created the program's socket.
    owner: Option<u32>,
}

impl<W: Way> Relay<W> {
    /// The relay, and its listeners for `serve`. A machine without IPv6 has one only.
    pub(crate) fn bind(way: Arc<W>, peers: Arc<Peers>) -> io::Result<(Arc<Relay<W>>, Vec<TcpListener>)> {
        let four = listen(TcpSocket::new_v4()?, Ipv4Addr::LOCALHOST.into())?;
        let six = TcpSocket::new_v6().and_then(|socket| listen(socket, Ipv6Addr::LOCALHOST.into())).ok();
        let relay = Relay {
            four: four.local_addr()?,
            six: six.as_ref().and_then(|listener| listener.local_addr().ok()),
            way,
            arrivals: Mutex::default(),
            peers,
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
            && let (Some(local), Some(identity)) = (socket.local(), socket.identity())
        {
            let peer = self.peers.insert(identity, destination, relay);
            self.announce(local, Announced { upstream, peer, owner: socket.owner() });
        }
        connected.map_or_else(Reply::Error, |()| Reply::Value(0))
    }

    fn arrivals(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arrival<W::Stream>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, local: SocketAddr, announced: Announced<W::Stream>) {
        let mut arrivals = self.arrivals();
        match arrivals.remove(&local) {
            Some(Arrival::Awaited(arrival_tx)) => {
                let _ = arrival_tx.send(announced);
            }
            _ => {
                if arrivals.len() >= SWEEP_FROM {
                    arrivals.retain(|_, arrival| match arrival {
                        Arrival::Announced(_, since) => since.elapsed() < ARRIVAL,
                        Arrival::Awaited(arrival_tx) => !arrival_tx.is_closed(),
                    });
                }
                arrivals.insert(local, Arrival::Announced(announced, Instant::now()));
            }
        }
    }

    /// The purpose of the connection from this address; `None` if nobody announces it.
    async fn announced(&self, local: SocketAddr) -> Option<Announced<W::Stream>> {
        let arrival_rx = {
            let mut arrivals = self.arrivals();
            match arrivals.remove(&local) {
                Some(Arrival::Announced(announced, _)) => return Some(announced),
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

    /// Accepts connections forever. All of them end with the future.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((local, from)) => {
                        connections.spawn(Arc::clone(&self).carry(local, from));
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
        let Some(announced) = self.announced(canonical(from)).await else { return reset(&local) };
        if is_another_users(&local, from, announced.owner) {
            return reset(&local);
        }
        let Announced { upstream, peer: _peer, .. } = announced;
        let stream = match upstream {
            Upstream::Dialled(stream) => stream,
            Upstream::Resolve(resolver) => {
                let _ = dns::serve(local, resolver, Arc::clone(&self.way)).await;
                return;
            }
        };
        let _ = local.set_nodelay(true);
        stream.carry(local).await;
    }
}

/// Whether a connection certainly belongs to another user. If it was closed meanwhile, that is unknown.
fn is_another_users(local: &TcpStream, from: SocketAddr, owner: Option<u32>) -> bool {
    let found = local.local_addr().and_then(|near| owners::of_tcp(from, near));
    matches!((found, owner), (Ok(Owner::User(user)), Some(owner)) if user != owner)
}

fn listen(socket: TcpSocket, address: std::net::IpAddr) -> io::Result<TcpListener> {
    socket.bind((address, 0).into())?;
    socket.listen(BACKLOG)
}

/// Ends the connection with RST: a program must not take a failure for an orderly end.
fn reset(local: &TcpStream) {
    let _ = local.set_zero_linger();
}
