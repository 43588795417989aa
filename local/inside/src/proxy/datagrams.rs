//! The datagrams of one SOCKS client (UDP ASSOCIATE: RFC 1928, 7), to any destinations, as long as the connection that
//! asked for them lives. Datagrams without room are dropped, as in any network; fragments, which no client sends,
//! always are.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::socks;
use super::wanted::Wanted;
use crate::loopback::is_own_datagram;
use crate::network::{Flow, Network, Place};

/// Limit on one client's destinations. For one more, the least recently used one goes.
const MOST: usize = 128;
/// Datagrams that may wait for a destination, and those of all destinations that may wait for the client.
const QUEUE: usize = 64;
/// The time after which an idle destination is forgotten.
const IDLE: Duration = Duration::from_secs(60);
const LONGEST: usize = 65_535;

/// Carries them until the client closes its connection, or sends anything more on it.
pub(super) async fn serve(mut connection: TcpStream, network: Arc<Network>) -> io::Result<()> {
    let socket = UdpSocket::bind((connection.local_addr()?.ip(), 0)).await?;
    connection.write_all(&socks::reply(0, socket.local_addr()?)).await?;
    let host = connection.peer_addr()?.ip();
    let (back_tx, mut back_rx) = mpsc::channel(QUEUE);
    let mut destinations = Destinations { network, back_tx, all: HashMap::new(), tasks: JoinSet::new() };
    let mut client = None;
    let (mut buffer, mut more) = (vec![0; LONGEST], [0]);
    loop {
        tokio::select! {
            _ = connection.read(&mut more) => return Ok(()),
            received = socket.recv_from(&mut buffer) => {
                // The error of an earlier answer: the client is gone, or about to be.
                let Ok((length, from)) = received else { continue };
                // This user's first datagram shows the client's address. No one else is served.
                if client.is_none() && from.ip() == host && is_own_datagram(from) {
                    client = Some(from);
                }
                if client == Some(from) {
                    destinations.send(&buffer[..length]).await;
                }
            }
            Some(answer) = back_rx.recv() => if let Some(client) = client {
                let _ = socket.send_to(&answer, client).await;
            },
            Some(_) = destinations.tasks.join_next() => destinations.all.retain(|_, there| !there.datagrams_tx.is_closed()),
        }
    }
}

/// The destinations of a client. Each has a task; all end with this.
struct Destinations {
    network: Arc<Network>,
    back_tx: mpsc::Sender<Bytes>,
    all: HashMap<Wanted, Destination>,
    tasks: JoinSet<()>,
}

struct Destination {
    datagrams_tx: mpsc::Sender<Bytes>,
    used: Instant,
}

impl Destinations {
    async fn send(&mut self, datagram: &[u8]) {
        let Some((to, data)) = opened(datagram).await else { return };
        let data = Bytes::copy_from_slice(data);
        if !self.all.contains_key(&to) && self.all.len() >= MOST {
            let oldest = self.all.iter().min_by_key(|(_, there)| there.used).map(|(to, _)| to.clone());
            // Its task ends, as it can get nothing more to send.
            oldest.and_then(|oldest| self.all.remove(&oldest));
        }
        let there = self.all.entry(to).or_insert_with_key(|to| {
            let (datagrams_tx, datagrams_rx) = mpsc::channel(QUEUE);
            let (network, back_tx) = (self.network.clone(), self.back_tx.clone());
            self.tasks.spawn(carry(to.clone(), network, datagrams_rx, back_tx));
            Destination { datagrams_tx, used: Instant::now() }
        });
        there.used = Instant::now();
        let _ = there.datagrams_tx.try_send(data);
    }
}

/// A client's datagram: its destination, and its content.
async fn opened(datagram: &[u8]) -> Option<(Wanted, &[u8])> {
    const WHOLE: [u8; 3] = [0, 0, 0];
    let mut rest = datagram.strip_prefix(&WHOLE)?;
    let to = socks::wanted(&mut rest).await.ok()?;
    Some((to, rest))
}

/// A datagram from this address, for the client.
fn closed(from: SocketAddr, data: &[u8]) -> Bytes {
    [&[0, 0, 0][..], &socks::written(from), data].concat().into()
}

/// Carries one destination's datagrams both ways, until it is idle or forgotten.
async fn carry(
    to: Wanted,
    network: Arc<Network>,
    mut datagrams_rx: mpsc::Receiver<Bytes>,
    back_tx: mpsc::Sender<Bytes>,
) {
    let Some(address) = to.addresses(&network).await.into_iter().next() else { return };
    let Some(mut path) = Path::to(address, &network).await else { return };
    loop {
        let answer = tokio::select! {
            datagram = datagrams_rx.recv() => match datagram {
                Some(datagram) => path.send(datagram).await,
                None => return,
            },
            answer = path.receive() => match answer {
                Some(answer) => Some(answer),
                None => return,
            },
            () = tokio::time::sleep(IDLE) => return,
        };
        if let Some(answer) = answer {
            let _ = back_tx.try_send(closed(address, &answer));
        }
    }
}

/// The way of datagrams to a destination, and back.
enum Path {
    Cluster(Flow),
    Laptop(UdpSocket, Vec<u8>),
    /// One of this machine's resolvers, whose questions the cluster answers.
    Resolver(SocketAddr, Arc<Network>),
}

impl Path {
    async fn to(address: SocketAddr, network: &Arc<Network>) -> Option<Self> {
        match network.destinations.of(address) {
            Place::Cluster => network.flows.open(address).await.ok().map(Path::Cluster),
            Place::Resolver => Some(Path::Resolver(address, network.clone())),
            Place::Laptop => {
                let four = address.is_ipv4();
                let any: IpAddr =
                    if four { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                let socket = UdpSocket::bind((any, 0)).await.ok()?;
                socket.connect(address).await.ok()?;
                Some(Path::Laptop(socket, vec![0; LONGEST]))
            }
        }
    }

    /// Sends; returns the answer, if there is one at once. A destination without a listener is just silent.
    async fn send(&self, datagram: Bytes) -> Option<Bytes> {
        match self {
            Path::Cluster(flow) => drop(flow.datagrams_tx.try_send(datagram)),
            Path::Laptop(socket, _) => drop(socket.send(&datagram).await),
            Path::Resolver(address, network) => {
                return Some(network.resolver.answer(datagram, *address).await.message);
            }
        }
        None
    }

    /// The next datagram back; `None` when there will be none.
    async fn receive(&mut self) -> Option<Bytes> {
        match self {
            Path::Cluster(flow) => flow.datagrams_rx.recv().await,
            Path::Laptop(socket, buffer) => {
                let length = socket.recv(buffer).await.ok()?;
                Some(Bytes::copy_from_slice(&buffer[..length]))
            }
            Path::Resolver(..) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    /// A client of a proxy that knows this machine only, its connection, and the address for its datagrams.
    async fn client() -> (UdpSocket, TcpStream, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await.unwrap().0;
        tokio::spawn(serve(accepted, Arc::new(Network::of_this_machine())));
        let mut reply = [0; 10];
        connection.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[..4], [5, 0, 0, 1]);
        let port = u16::from_be_bytes([reply[8], reply[9]]);
        let address =
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(reply[4], reply[5], reply[6], reply[7])), port);
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), connection, address)
    }

    /// Answers each datagram with itself.
    async fn echo() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&buffer[..length], from).await;
            }
        });
        address
    }

    async fn received(socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 128];
        let length = timeout(Duration::from_secs(20), socket.recv(&mut buffer)).await.unwrap().unwrap();
        buffer[..length].to_vec()
    }

    #[tokio::test]
    async fn datagrams_go_to_several_destinations_and_come_back_with_their_addresses() {
        let (client, _connection, proxy) = client().await;
        for data in [&b"one"[..], b"two"] {
            let there = echo().await;
            client.send_to(&closed(there, data), proxy).await.unwrap();
            assert_eq!(received(&client).await, closed(there, data));
        }
        // By name, too.
        let port = echo().await.port();
        let named = [&[0, 0, 0, 3, 9][..], b"localhost", &port.to_be_bytes(), b"three"].concat();
        client.send_to(&named, proxy).await.unwrap();
        assert!(received(&client).await.ends_with(b"three"));
    }

    #[tokio::test]
    async fn fragments_nonsense_and_strangers_are_not_served() {
        let (client, _connection, proxy) = client().await;
        let there = echo().await;
        let fragment = [&[0, 0, 1][..], &socks::written(there), b"part"].concat();
        for nonsense in [&fragment[..], b"", &[0, 0, 0], &[0, 0, 0, 9, 9]] {
            client.send_to(nonsense, proxy).await.unwrap();
        }
        let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        stranger.send_to(&closed(there, b"strange"), proxy).await.unwrap();
        client.send_to(&closed(there, b"whole"), proxy).await.unwrap();
        assert_eq!(received(&client).await, closed(there, b"whole"));
        assert!(stranger.try_recv(&mut [0; 64]).is_err(), "the stranger was served");
    }

    #[tokio::test]
    async fn a_client_s_destinations_are_bounded() {
        let (back_tx, _back_rx) = mpsc::channel(1);
        let network = Arc::new(Network::of_this_machine());
        let mut destinations = Destinations { network, back_tx, all: HashMap::new(), tasks: JoinSet::new() };
        let to = |number: usize| {
            let port = u16::try_from(number + 1).unwrap();
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
        };
        for number in 0..=MOST {
            destinations.send(&closed(to(number), b"x")).await;
        }
        let wanted = |number: usize| Wanted {
            host: super::super::wanted::Host::Address(to(number).ip()),
            port: to(number).port(),
        };
        assert_eq!(destinations.all.len(), MOST);
        assert!(!destinations.all.contains_key(&wanted(0)) && destinations.all.contains_key(&wanted(MOST)));
    }

    #[tokio::test]
    async fn they_end_with_the_connection() {
        let (client, connection, proxy) = client().await;
        let there = echo().await;
        client.send_to(&closed(there, b"x"), proxy).await.unwrap();
        received(&client).await;
        drop(connection);
        // Loopback reports at once that nobody listens any more.
        client.connect(proxy).await.unwrap();
        let gone = async {
            while client.send(&closed(there, b"x")).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), gone).await.unwrap();
    }
}
