//! The fronts. A front takes datagrams from the programs' sockets only, carries each sender's as a flow, and ends a
//! flow that is idle. Fronts stay, because a connected socket may send again; the least used go when there are too
//! many.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bridge_os::{
    owners::{self, Owner},
    seccomp::address::canonical,
};
use bytes::Bytes;
use tokio::{
    net::UdpSocket,
    runtime::Handle,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::message::LONGEST_DATAGRAM;
use crate::{
    dns,
    way::{Flow, Way},
};

const MAX_FRONTS: usize = 1024;
/// Limit on the flows of one front, or its concurrent questions. Further datagrams are dropped.
const MAX_FLOWS: usize = 512;
/// The time after which a flow without datagrams in either direction ends.
const IDLE: Duration = Duration::from_secs(120);
/// Datagrams of one sender that may wait, mainly while its flow begins.
const QUEUE: usize = 64;
/// The limit for an answer to a question: libc asks again after 5 s.
const ANSWER: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(crate) struct Fronts {
    runtime: Handle,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    fronts: HashMap<Key, Front>,
    destinations: HashMap<SocketAddr, SocketAddr>,
    uses: u64,
}

/// The same address may be a resolver or not, as knowledge of it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    destination: SocketAddr,
    resolves: bool,
}

#[derive(Debug)]
struct Front {
    entrance: Entrance,
    last_use: u64,
    _task: AbortOnDropHandle<()>,
}

/// The address to send to instead of the destination.
#[derive(Debug, Clone)]
pub(crate) struct Entrance {
    pub(crate) address: SocketAddr,
    senders: Senders,
}

/// Addresses of the programs' sockets, and their owners. Datagrams of others on this machine must not reach the
/// cluster.
#[derive(Debug, Clone, Default)]
struct Senders(Arc<Mutex<HashMap<SocketAddr, Option<u32>>>>);

impl Entrance {
    /// Admits datagrams from this socket, whose address is `local`.
    pub(crate) fn admit(&self, local: SocketAddr, owner: Option<u32>) {
        // Of the addresses of such a socket, it sends from the front's own.
        let ip = if local.ip().is_unspecified() { self.address.ip() } else { local.ip() };
        let from = SocketAddr::new(ip, local.port());
        self.senders.0.lock().unwrap_or_else(PoisonError::into_inner).insert(from, owner);
    }
}

impl Senders {
    /// The owner of this address, if it is a program's.
    fn owner(&self, from: SocketAddr) -> Option<Option<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&from).copied()
    }
}

/// Whether another user has the program's address by now. An address without an owner was the program's a moment ago.
fn is_taken_over(from: SocketAddr, owner: Option<u32>) -> bool {
    let is_other = |other: &Owner| matches!(other, Owner::User(user) if Some(*user) != owner);
    owner.is_some() && owners::of_udp(from).is_ok_and(|owners| owners.iter().any(is_other))
}

impl Fronts {
    pub(crate) fn new(runtime: Handle) -> Fronts {
        Fronts { runtime, table: Mutex::default() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The front for a destination. Does not block.
    pub(crate) fn toward<W: Way>(
        &self,
        way: &Arc<W>,
        destination: SocketAddr,
        resolves: bool,
    ) -> io::Result<Entrance> {
        let key = Key { destination, resolves };
        let mut table = self.table();
        table.uses += 1;
        let last_use = table.uses;
        if let Some(front) = table.fronts.get_mut(&key) {
            front.last_use = last_use;
            return Ok(front.entrance.clone());
        }
        let loopback = match destination {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        };
        let socket = std::net::UdpSocket::bind(loopback)?;
        socket.set_nonblocking(true)?;
        let entrance = Entrance { address: socket.local_addr()?, senders: Senders::default() };
        let serving = serve(socket, entrance.senders.clone(), Arc::clone(way), key);
        let task = AbortOnDropHandle::new(self.runtime.spawn(async {
            if let Err(error) = serving.await {
                tracing::warn!(%error, "a front for datagrams ended");
            }
        }));
        table.make_room();
        table.destinations.insert(entrance.address, destination);
        table.fronts.insert(key, Front { entrance: entrance.clone(), last_use, _task: task });
        Ok(entrance)
    }

    /// The destination for which this address stands.
    pub(crate) fn meant(&self, front: SocketAddr) -> Option<SocketAddr> {
        self.table().destinations.get(&front).copied()
    }
}

impl Table {
    fn make_room(&mut self) {
        if self.fronts.len() < MAX_FRONTS {
            return;
        }
        let oldest = self.fronts.iter().min_by_key(|(_, front)| front.last_use).map(|(key, _)| *key);
        if let Some(front) = oldest.and_then(|key| self.fronts.remove(&key)) {
            self.destinations.remove(&front.entrance.address);
        }
    }
}

/// Takes datagrams forever. Its flows and questions end with it.
async fn serve<W: Way>(
    socket: std::net::UdpSocket,
    senders: Senders,
    way: Arc<W>,
    key: Key,
) -> io::Result<()> {
    let socket = Arc::new(UdpSocket::from_std(socket)?);
    let mut flows = HashMap::<SocketAddr, mpsc::Sender<Bytes>>::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; LONGEST_DATAGRAM];
    loop {
        let (length, from) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                // A program closed its socket before it got the answer: its mistake, or its haste.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            },
            Some(_) = tasks.join_next() => continue,
        };
        let Some(owner) = senders.owner(canonical(from)) else { continue };
        let goes_on = flows.get(&from).is_some_and(|flow| !flow.is_closed());
        if !goes_on && is_taken_over(canonical(from), owner) {
            continue;
        }
        let datagram = Bytes::copy_from_slice(&buffer[..length]);
        if key.resolves {
            if tasks.len() < MAX_FLOWS {
                tasks.spawn(resolve(Arc::clone(&socket), Arc::clone(&way), key.destination, from, datagram));
            }
            continue;
        }
        let datagram = match flows.get(&from).map(|flow| flow.try_send(datagram.clone())) {
            Some(Ok(()) | Err(mpsc::error::TrySendError::Full(_))) => continue,
            Some(Err(mpsc::error::TrySendError::Closed(datagram))) => datagram,
            None => datagram,
        };
        flows.retain(|_, flow| !flow.is_closed());
        if flows.len() >= MAX_FLOWS {
            continue;
        }
        let (datagrams_tx, datagrams_rx) = mpsc::channel(QUEUE);
        let _ = datagrams_tx.try_send(datagram);
        flows.insert(from, datagrams_tx);
        tasks.spawn(carry(Arc::clone(&socket), Arc::clone(&way), key.destination, from, datagrams_rx));
    }
}

async fn resolve<W: Way>(
    socket: Arc<UdpSocket>,
    way: Arc<W>,
    resolver: SocketAddr,
    from: SocketAddr,
    query: Bytes,
) {
    // A program waits in vain for an answer from a resolver that is away.
    if let Ok(answer) = timeout(ANSWER, way.resolve(query.clone(), resolver)).await {
        let _ = socket.send_to(&dns::fit(&query, answer), from).await;
    }
}

/// One sender's flow, until it is idle or the other side ends it.
async fn carry<W: Way>(
    socket: Arc<UdpSocket>,
    way: Arc<W>,
    destination: SocketAddr,
    from: SocketAddr,
    mut outward: mpsc::Receiver<Bytes>,
) {
    let Flow { datagrams_tx, mut datagrams_rx } = match timeout(W::PATIENCE, way.flow(destination)).await {
        Ok(Ok(flow)) => flow,
        Ok(Err(refusal)) => {
            tracing::debug!(%destination, %refusal, "datagrams are dropped");
            return;
        }
        Err(_) => return,
    };
    let mut idle = Instant::now() + IDLE;
    loop {
        tokio::select! {
            datagram = outward.recv() => match datagram {
                // A full way drops it, as a full network does.
                Some(datagram) => match datagrams_tx.try_send(datagram) {
                    Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                },
                None => return,
            },
            datagram = datagrams_rx.recv() => match datagram {
                Some(datagram) => {
                    let _ = socket.send_to(&datagram, from).await;
                }
                None => return,
            },
            () = tokio::time::sleep_until(idle) => return,
        }
        idle = Instant::now() + IDLE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::way::{Carry, Refusal};

    const DESTINATION: &str = "10.96.0.9:7";

    /// Sends everything back.
    struct Echo;

    struct Nothing;

    impl Carry for Nothing {
        async fn carry(self, _: tokio::net::TcpStream) {}
    }

    impl Way for Echo {
        type Stream = Nothing;

        async fn dial(&self, _: SocketAddr) -> Result<Nothing, Refusal> {
            Err(Refusal::Refused)
        }

        async fn flow(&self, _: SocketAddr) -> Result<Flow, Refusal> {
            let (datagrams_tx, mut out) = mpsc::channel::<Bytes>(4);
            let (back_tx, datagrams_rx) = mpsc::channel(4);
            tokio::spawn(async move {
                while let Some(datagram) = out.recv().await {
                    let _ = back_tx.send(datagram).await;
                }
            });
            Ok(Flow { datagrams_tx, datagrams_rx })
        }

        async fn resolve(&self, query: Bytes, _: SocketAddr) -> Bytes {
            query
        }

        fn listens(&self, _: SocketAddr) {}
    }

    async fn echoed(socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 64];
        let length = timeout(Duration::from_secs(20), socket.recv(&mut buffer)).await.unwrap().unwrap();
        buffer[..length].to_vec()
    }

    #[tokio::test]
    async fn only_the_program_s_own_address_is_served_and_not_its_port_on_another() {
        // Given a front that knows a program's socket,
        let fronts = Fronts::new(Handle::current());
        let front = fronts.toward(&Arc::new(Echo), DESTINATION.parse().unwrap(), false).unwrap();
        let program = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let local = program.local_addr().unwrap();
        front.admit(local, Some(bridge_os::peer::own_uid()));
        // when a stranger sends from the same port of another address,
        let stranger = UdpSocket::bind(("127.0.0.2", local.port())).await.unwrap();
        stranger.send_to(b"strange", front.address).await.unwrap();
        // then only the program is answered.
        program.send_to(b"own", front.address).await.unwrap();
        assert_eq!(echoed(&program).await, b"own");
        assert!(stranger.try_recv(&mut [0; 64]).is_err(), "the stranger was served");
    }

    #[tokio::test]
    async fn a_socket_with_any_address_sends_from_loopback() {
        let fronts = Fronts::new(Handle::current());
        let front = fronts.toward(&Arc::new(Echo), DESTINATION.parse().unwrap(), false).unwrap();
        let program = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        front.admit(program.local_addr().unwrap(), Some(bridge_os::peer::own_uid()));
        program.send_to(b"own", front.address).await.unwrap();
        assert_eq!(echoed(&program).await, b"own");
    }

    #[tokio::test]
    async fn an_address_that_another_user_has_now_is_not_served() {
        let fronts = Fronts::new(Handle::current());
        let front = fronts.toward(&Arc::new(Echo), DESTINATION.parse().unwrap(), false).unwrap();
        let (other, own) =
            (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let uid = bridge_os::peer::own_uid();
        front.admit(other.local_addr().unwrap(), Some(uid + 1));
        front.admit(own.local_addr().unwrap(), Some(uid));
        other.send_to(b"strange", front.address).await.unwrap();
        own.send_to(b"own", front.address).await.unwrap();
        assert_eq!(echoed(&own).await, b"own");
        assert!(other.try_recv(&mut [0; 64]).is_err(), "another user was served");
    }
}
