//! `bridge proxy`: SOCKS5 (RFC 1928) and HTTP CONNECT (RFC 9110, 9.3.6) on one port of loopback, for programs that run
//! already and for systems without supervision. Names are looked up as in the target's pod.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bridge_proto::tunnel::Refused;
use bridge_proto::v1::Cause;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::args::{ConnectArgs, InsideArgs, ProxyArgs};
use super::attached::Attached;
use super::error::Failed;
use super::inside::Network;
use super::output;
use crate::network::Place;

/// Who connects says at once what is wanted.
const ASKED_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Of a CONNECT, all lines together.
const MAX_HEAD: u64 = 16 * 1024;
/// After an accept that failed, as when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);
const SOCKS5: u8 = 5;

pub(crate) async fn run(args: ProxyArgs) -> Result<(), Failed> {
    let mut attached = Attached::to(&ConnectArgs::plain(args.target.clone(), args.cluster.clone())).await?;
    let served = serve(&mut attached, &args).await;
    let ended = attached.end().await;
    served.and(ended)
}

async fn serve(attached: &mut Attached, args: &ProxyArgs) -> Result<(), Failed> {
    let inside = InsideArgs { scope: args.scope.clone(), ..InsideArgs::default() };
    let network = Arc::new(Network::of(attached, &inside).await?);
    let failed =
        |error: io::Error| Failed::internal(format!("cannot listen on port {}: {error}", args.listen));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.listen)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    output::print(&format!("export ALL_PROXY=socks5h://{address} HTTPS_PROXY=http://{address}\n"))?;
    output::note("  stop with Ctrl-C\n");
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    let network = network.clone();
                    connections.spawn(async move { pass_on(connection, &network).await });
                }
                Err(error) => {
                    output::note(&format!("  cannot accept: {error}\n"));
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// What a client wants to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    protocol: Protocol,
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Socks,
    Http,
}

async fn pass_on(connection: TcpStream, network: &Network) {
    let mut connection = BufReader::new(connection);
    // What is no request, or breaks off, gets no answer: nobody could be meant.
    let Ok(Ok(wanted)) = tokio::time::timeout(ASKED_WITHIN, asked(&mut connection)).await else { return };
    let reached = reach(&wanted, network).await;
    let answer = answer(wanted.protocol, reached.as_ref().err());
    let mut connection = connection.into_inner();
    if connection.write_all(&answer).await.is_err() {
        return;
    }
    match reached {
        Ok(Reached::Cluster(dialled)) => drop(dialled.carry(&connection).await),
        Ok(Reached::Laptop(mut stream)) => drop(copy_bidirectional(&mut connection, &mut stream).await),
        Err(refused) => output::note(&format!("  {}: {refused}\n", wanted.describe())),
    }
}

/// Reads what is wanted, and in SOCKS answers the greeting before it.
async fn asked(connection: &mut BufReader<TcpStream>) -> io::Result<Wanted> {
    match connection.fill_buf().await?.first() {
        Some(&SOCKS5) => socks(connection).await,
        Some(_) => http(connection).await,
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn socks(connection: &mut BufReader<TcpStream>) -> io::Result<Wanted> {
    const NO_AUTHENTICATION: u8 = 0;
    const NONE_ACCEPTABLE: u8 = 0xff;
    const CONNECT: u8 = 1;
    const COMMAND_NOT_SUPPORTED: u8 = 7;
    let _version = connection.read_u8().await?;
    let mut methods = vec![0; connection.read_u8().await?.into()];
    connection.read_exact(&mut methods).await?;
    if !methods.contains(&NO_AUTHENTICATION) {
        connection.get_mut().write_all(&[SOCKS5, NONE_ACCEPTABLE]).await?;
        return Err(io::ErrorKind::InvalidData.into());
    }
    connection.get_mut().write_all(&[SOCKS5, NO_AUTHENTICATION]).await?;

    let mut head = [0; 4];
    connection.read_exact(&mut head).await?;
    let host = match head[3] {
        1 => {
            let mut octets = [0; 4];
            connection.read_exact(&mut octets).await?;
            Host::Address(Ipv4Addr::from(octets).into())
        }
        4 => {
            let mut octets = [0; 16];
            connection.read_exact(&mut octets).await?;
            Host::Address(Ipv6Addr::from(octets).into())
        }
        3 => {
            let mut name = vec![0; connection.read_u8().await?.into()];
            connection.read_exact(&mut name).await?;
            host(&String::from_utf8(name).map_err(|_| io::ErrorKind::InvalidData)?)
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    let port = connection.read_u16().await?;
    if head[1] != CONNECT {
        connection.get_mut().write_all(&socks_reply(COMMAND_NOT_SUPPORTED)).await?;
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Wanted { protocol: Protocol::Socks, host, port })
}

async fn http(connection: &mut BufReader<TcpStream>) -> io::Result<Wanted> {
    const NOT_CONNECT: &[u8] =
        b"HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let mut lines = connection.take(MAX_HEAD);
    let mut first = String::new();
    lines.read_line(&mut first).await?;
    let mut line = String::new();
    while lines.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let wanted = connect_line(&first);
    if wanted.is_none() {
        connection.get_mut().write_all(NOT_CONNECT).await?;
    }
    wanted.ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// "CONNECT host:port HTTP/1.1"
fn connect_line(line: &str) -> Option<Wanted> {
    let mut words = line.split_whitespace();
    if words.next() != Some("CONNECT") {
        return None;
    }
    let (name, port) = words.next()?.rsplit_once(':')?;
    Some(Wanted { protocol: Protocol::Http, host: host(name), port: port.parse().ok()? })
}

fn host(text: &str) -> Host {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_or_else(|_| Host::Name(text.to_owned()), Host::Address)
}

/// What was reached, and by whom.
enum Reached {
    Cluster(crate::network::Dialled),
    Laptop(TcpStream),
}

async fn reach(wanted: &Wanted, network: &Network) -> Result<Reached, Refused> {
    let addresses = match &wanted.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => addresses(name, network).await,
    };
    let mut refused = Refused { cause: Cause::NoSuchName, detail: "nobody knows it".to_owned() };
    for address in addresses {
        let to = SocketAddr::new(address, wanted.port);
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

/// IPv4 first, as most clusters have nothing else.
async fn addresses(name: &str, network: &Network) -> Vec<IpAddr> {
    let Ok(mut name) = Name::from_utf8(name) else { return Vec::new() };
    if name.is_localhost() {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    name.set_fqdn(true);
    let ask = async |record_type| {
        let mut message = Message::query();
        message.metadata.id = rand::random();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.clone(), record_type));
        let query = message.to_vec().unwrap_or_default();
        let answered = network.resolver.answer(query.into(), network.upstream).await;
        Message::from_vec(&answered.message).map(|answer| answer.answers).unwrap_or_default()
    };
    let (v4, v6) = tokio::join!(ask(RecordType::A), ask(RecordType::AAAA));
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    v4.iter().chain(&v6).filter_map(|record| address(&record.data)).collect()
}

fn answer(protocol: Protocol, refused: Option<&Refused>) -> Vec<u8> {
    match (protocol, refused) {
        (Protocol::Socks, None) => socks_reply(0),
        (Protocol::Socks, Some(refused)) => socks_reply(match refused.cause {
            Cause::Forbidden => 2,
            Cause::TunnelLost => 3,
            Cause::Refused => 5,
            Cause::TimedOut => 6,
            _ => 4,
        }),
        (Protocol::Http, None) => b"HTTP/1.1 200 Connected\r\n\r\n".to_vec(),
        (Protocol::Http, Some(refused)) => {
            let (status, text) = match refused.cause {
                Cause::Forbidden => ("403 Forbidden", refused.to_string()),
                Cause::TimedOut => ("504 Gateway Timeout", refused.to_string()),
                _ => ("502 Bad Gateway", refused.to_string()),
            };
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\n");
            format!("{head}Content-Length: {}\r\n\r\nbridge: {text}\n", text.len() + 9).into_bytes()
        }
    }
}

/// The address in it is of no use to anybody (RFC 1928, 6).
fn socks_reply(code: u8) -> Vec<u8> {
    vec![SOCKS5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

impl Wanted {
    fn describe(&self) -> String {
        match &self.host {
            Host::Address(address) => SocketAddr::new(*address, self.port).to_string(),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_names_host_and_port() {
        let wanted = |host, port| Some(Wanted { protocol: Protocol::Http, host, port });
        let name = |text: &str| Host::Name(text.to_owned());
        assert_eq!(connect_line("CONNECT db.shop:5432 HTTP/1.1\r\n"), wanted(name("db.shop"), 5432));
        let v6 = Host::Address("fd00::7".parse().unwrap());
        assert_eq!(connect_line("CONNECT [fd00::7]:80 HTTP/1.1\r\n"), wanted(v6, 80));
        for line in ["GET http://db/ HTTP/1.1", "CONNECT db HTTP/1.1", "CONNECT db:x HTTP/1.1", ""] {
            assert_eq!(connect_line(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn a_socks_client_is_greeted_and_heard() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = tokio::spawn(async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(&[5, 2, 0, 2]).await.unwrap();
            let mut chosen = [0; 2];
            client.read_exact(&mut chosen).await.unwrap();
            client.write_all(b"\x05\x01\x00\x03\x07db.shop\x15\x38").await.unwrap();
            chosen
        });
        let mut connection = BufReader::new(listener.accept().await.unwrap().0);
        let wanted = asked(&mut connection).await.unwrap();
        assert_eq!(
            wanted,
            Wanted { protocol: Protocol::Socks, host: Host::Name("db.shop".into()), port: 5432 }
        );
        assert_eq!(client.await.unwrap(), [5, 0], "no authentication");
    }

    #[test]
    fn a_failure_is_said_in_the_client_s_own_words() {
        let refused = Refused { cause: Cause::Refused, detail: "nothing listens".into() };
        assert_eq!(answer(Protocol::Socks, Some(&refused))[1], 5);
        let text = String::from_utf8(answer(Protocol::Http, Some(&refused))).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{text}");
    }
}
