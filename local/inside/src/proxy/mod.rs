//! SOCKS5 (RFC 1928) and HTTP (RFC 9110, 9.3.6; RFC 9112, 3.2.2) on one port of loopback, for programs that run already
//! and for systems without supervision. Names are looked up as in the target's pod.
//!
//! `socks` and `http` read a client's request, and answer it; `wanted` finds the addresses; `datagrams` carries the UDP
//! of a SOCKS client.

mod datagrams;
mod http;
mod socks;
mod wanted;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bridge_client::{Said, Say};
use bridge_proto::tunnel::Refused;
use bridge_proto::v1::Cause;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::wanted::{Asked, Wanted};
use crate::loopback::{Door, pair};
use crate::network::{Dialled, Network, Place};

pub const ANY_PORT: u16 = 0;
/// The time that a client has to send its request.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The pause after an accept that failed, as when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// A proxy that listens, and serves nobody yet.
#[derive(Debug)]
pub struct Proxy {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Proxy {
    /// Listens on loopback.
    ///
    /// # Errors
    ///
    /// If the port is taken.
    pub async fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// Serves this user until the future is dropped, and all connections end with it. Reports unreachable destinations.
    pub async fn serve(self, network: Arc<Network>, say: Say) -> Infallible {
        let (mut connections, door) = (JoinSet::new(), Door::new(say.clone()));
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((connection, from)) if door.lets_in(&connection, from) => {
                        connections.spawn(pass_on(connection, network.clone(), say.clone()));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        say(&Said::Note(format!("cannot accept: {error}")));
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// The environment variables that point programs to a proxy, for each kind of program.
#[must_use]
pub fn variables(proxy: SocketAddr) -> Vec<(&'static str, String)> {
    let (socks, http) = (format!("socks5h://{proxy}"), format!("http://{proxy}"));
    let own = "localhost,127.0.0.1,::1".to_owned();
    vec![
        ("ALL_PROXY", socks.clone()),
        ("all_proxy", socks),
        ("HTTP_PROXY", http.clone()),
        ("http_proxy", http.clone()),
        ("HTTPS_PROXY", http.clone()),
        ("https_proxy", http),
        ("NO_PROXY", own.clone()),
        ("no_proxy", own),
        // Without it, Node ignores the others.
        ("NODE_USE_ENV_PROXY", "1".to_owned()),
    ]
}

async fn pass_on(mut connection: TcpStream, network: Arc<Network>, say: Say) {
    // An invalid or incomplete request gets no answer.
    let Ok(Ok(asked)) = tokio::time::timeout(ASKED_WITHIN, asked(&mut connection)).await else { return };
    let (wanted, answer, head): (_, fn(_) -> _, _) = match asked {
        Asked::Socks(wanted) => (wanted, socks::answer, Vec::new()),
        Asked::Connect(wanted) => (wanted, http::answer_connect, Vec::new()),
        Asked::Request(wanted, head) => (wanted, http::answer_request, head),
        // It ends with the connection.
        Asked::Datagrams => return drop(datagrams::serve(connection, network).await),
    };
    let reached = reach(&wanted, &network).await;
    if connection.write_all(&answer(reached.as_ref().err())).await.is_err() {
        return;
    }
    match reached {
        Ok(Reached::Cluster(dialled)) if head.is_empty() => drop(dialled.carry(&connection).await),
        Ok(reached) => drop(carry(connection, reached, &head).await),
        Err(refused) => say(&Said::Note(format!("{}: {refused}", wanted.describe()))),
    }
}

async fn asked(connection: &mut TcpStream) -> io::Result<Asked> {
    let mut first = [0];
    match connection.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ if first[0] == socks::VERSION => socks::asked(connection).await,
        _ => http::asked(connection).await,
    }
}

/// The connection that was made.
enum Reached {
    Cluster(Dialled),
    Laptop(TcpStream),
}

/// Carries a connection that begins with these bytes.
async fn carry(mut connection: TcpStream, reached: Reached, head: &[u8]) -> io::Result<()> {
    let mut stream = match reached {
        Reached::Laptop(stream) => stream,
        Reached::Cluster(dialled) => {
            let (near, far) = pair().await?;
            dialled.carry(&far).await?;
            near
        }
    };
    stream.write_all(head).await?;
    copy_bidirectional(&mut connection, &mut stream).await.map(drop)
}

async fn reach(wanted: &Wanted, network: &Network) -> Result<Reached, Refused> {
    let mut refused = Refused { cause: Cause::NoSuchName, detail: "unknown name".to_owned() };
    for to in wanted.addresses(network).await {
        let reached = match network.destinations.of(to) {
            Place::Cluster => network.streams.dial(to).await.map(Reached::Cluster),
            Place::Laptop | Place::Resolver => directly(to).await.map(Reached::Laptop),
        };
        match reached {
            Ok(reached) => return Ok(reached),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

async fn directly(to: SocketAddr) -> Result<TcpStream, Refused> {
    let connected = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(to)).await;
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.map_err(|error| Refused { cause: Cause::of_dial(&error), detail: error.to_string() })
}
