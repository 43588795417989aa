//! SOCKS5 (RFC 1928) and HTTP (RFC 9110, 9.3.6; RFC 9112, 3.2.2) on one port of loopback, for programs that run already
//! (`bridge proxy`) and for systems without supervision. Names are looked up as in the target's pod.
//!
//! `socks` and `http` hear what a client wants, and answer it; `datagrams` carries the UDP of a SOCKS client.

mod datagrams;
mod http;
mod socks;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bridge_client::Attached;
use bridge_proto::tunnel::Refused;
use bridge_proto::v1::Cause;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::args::{InsideArgs, ProxyArgs};
use super::attach;
use super::error::Failed;
use super::inside::Network;
use super::interrupt::told_to_end;
use super::loopback::{Door, pair};
use super::output;
use bridge_inside::network::Place;

pub(crate) const ANY_PORT: u16 = 0;
/// Who listens there, for people.
pub(crate) const WHAT: &str = "bridge proxy";
/// Who connects says at once what is wanted.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// After an accept that failed, as when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn run(args: ProxyArgs) -> Result<(), Failed> {
    let mut attached = attach::without_listening(args.target.clone(), args.cluster.clone()).await?;
    let proxy = match bound(&mut attached, &args).await {
        Ok(proxy) => proxy,
        Err(failed) => return attach::end(attached).await.and(Err(failed)),
    };
    let mut attached = attached.kept(output::say);
    let served = serve(&mut attached, proxy, &args).await;
    let ended = attach::end(attached).await;
    served.and(ended)
}

/// Where no requests come in.
async fn bound(attached: &mut Attached, args: &ProxyArgs) -> Result<Proxy, Failed> {
    let failed =
        |error: io::Error| Failed::internal(format!("cannot listen on port {}: {error}", args.listen));
    let proxy = Proxy::bind(args.listen).await.map_err(failed)?;
    attached.listens(vec![proxy.address.port().into()], WHAT).await?;
    Ok(proxy)
}

async fn serve(attached: &mut Attached, proxy: Proxy, args: &ProxyArgs) -> Result<(), Failed> {
    let inside = InsideArgs { scope: args.scope.clone(), ..InsideArgs::default() };
    let network = Arc::new(Network::of(attached, &inside).await?);
    let address = proxy.address;
    output::print(&format!("export ALL_PROXY=socks5h://{address} HTTPS_PROXY=http://{address}\n"))?;
    output::note("  stop with Ctrl-C\n");
    tokio::select! {
        never = proxy.serve(network) => match never {},
        () = told_to_end() => Ok(()),
    }
}

/// It listens, and serves nobody yet.
pub(crate) struct Proxy {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// On loopback.
    pub(crate) async fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// Serves this user for ever. All connections end with the future.
    pub(crate) async fn serve(self, network: Arc<Network>) -> Infallible {
        let (mut connections, door) = (JoinSet::new(), Door::default());
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((connection, from)) if door.lets_in(&connection, from) => {
                        connections.spawn(pass_on(connection, network.clone()));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        output::note(&format!("  cannot accept: {error}\n"));
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// What tells programs of a proxy, each kind in its own way.
pub(crate) fn variables(proxy: SocketAddr) -> Vec<(&'static str, String)> {
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
        // Without it, Node does not look at the others.
        ("NODE_USE_ENV_PROXY", "1".to_owned()),
    ]
}

/// What a client wants to reach.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Wanted {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Address(IpAddr),
    Name(String),
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Socks(Wanted),
    /// A socket for datagrams.
    Datagrams,
    Connect(Wanted),
    /// One HTTP request, whose head goes on like this.
    Request(Wanted, Vec<u8>),
}

async fn pass_on(mut connection: TcpStream, network: Arc<Network>) {
    // What is no request, or breaks off, gets no answer: nobody could be meant.
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
        Err(refused) => output::note(&output::line(&format!("  {}: {refused}", wanted.describe()))),
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

/// What was reached, and by whom.
enum Reached {
    Cluster(bridge_inside::network::Dialled),
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

impl Wanted {
    /// Where it may be, the likeliest first.
    async fn addresses(&self, network: &Network) -> Vec<SocketAddr> {
        let addresses = match &self.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => looked_up(name, network).await,
        };
        addresses.into_iter().map(|address| SocketAddr::new(address, self.port)).collect()
    }

    fn describe(&self) -> String {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).to_string(),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }
}

impl Host {
    /// A name, or an address as URLs spell it.
    fn of(text: &str) -> Self {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        bare.parse().map_or_else(|_| Host::Name(text.to_owned()), Host::Address)
    }
}

/// IPv4 first, as most clusters have nothing else.
async fn looked_up(name: &str, network: &Network) -> Vec<IpAddr> {
    let Ok(mut name) = Name::from_utf8(name) else { return Vec::new() };
    if name.is_localhost() {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    name.set_fqdn(true);
    let ask = async |record_type| {
        let answered = network.ask(Query::query(name.clone(), record_type)).await.ok()?;
        Message::from_vec(&answered.message).ok().map(|answer| answer.answers)
    };
    let (v4, v6) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    [v4, v6].iter().flatten().flatten().filter_map(|record| address(&record.data)).collect()
}
