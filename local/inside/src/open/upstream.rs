//! Sends requests to Services from inside the cluster, or to hosts from this machine, by HTTP/1.1: WebSockets and other
//! upgrades need it, and every server speaks it. Finds out why there is no answer.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bridge_proto::tunnel::Refused;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, Response, Uri, Version, uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::names::Destination;
use crate::loopback::pair;
use crate::network::Streams;

/// Any body on its way.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// Distinguishes Services, which are dialled in the cluster, from hosts.
const IN_CLUSTER: &str = "cluster";
/// Agents decide about a request by its connection, too: one that began before a `bridge connect` may never reach the
/// laptop. None is used longer than this for new requests.
const CONNECTIONS_LAST: Duration = Duration::from_secs(10);
/// Servers of development environments close idle connections after five seconds.
const IDLE: Duration = Duration::from_secs(4);
const MOST_IDLE: usize = 16;
/// Names, TCP and TLS, from this machine.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// The largest head of an answer.
const LARGEST_HEAD: usize = 256 * 1024;
const MOST_HEADERS: usize = 256;
/// A server that is asked in the protocol that it speaks answers at once.
const PROBED_WITHIN: Duration = Duration::from_secs(3);
/// What a client of HTTP/2 says first (RFC 9113 section 3.4): the preface, and empty settings.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The first bytes of a connection that show what it speaks: the header of a frame of HTTP/2.
const LOOK: usize = 9;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The agent cannot connect.
    Refused(Refused),
    /// This machine cannot.
    Unreachable(String),
    /// No TLS with that host: its certificate, above all.
    Tls(String),
    /// What answers speaks TLS,
    SpeaksTls,
    /// or HTTP/2 alone, as gRPC servers do,
    SpeaksHttp2,
    /// or something else.
    NotHttp(String),
    /// It closed the connection instead.
    Closed,
    Silent(Duration),
}

/// The connections to all sites.
pub(super) struct Upstream {
    connector: Connector,
    client: Mutex<Option<(Instant, Client<Connector, Body>)>>,
}

#[derive(Clone)]
struct Connector(Arc<Inner>);

struct Inner {
    /// `None`: no Service is reached.
    streams: Option<Streams>,
    tls: Mutex<Option<TlsConnector>>,
    /// What the last connection to each authority spoke first.
    spoken: Mutex<HashMap<String, Spoken>>,
}

/// What a server's first bytes show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
    Tls,
    Other,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Unconnected {
    #[error("{0}")]
    Refused(Refused),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Tls(String),
}

impl Upstream {
    pub(super) fn new(streams: Option<Streams>) -> Self {
        let inner = Inner { streams, tls: Mutex::default(), spoken: Mutex::default() };
        Self { connector: Connector(Arc::new(inner)), client: Mutex::default() }
    }

    /// Sends a request, whose target is a path, and returns the head of the answer once it is there, and its body as it
    /// comes.
    pub(super) async fn send(
        &self,
        to: &Destination,
        request: Request<Incoming>,
        within: Duration,
    ) -> Result<Response<Incoming>, Trouble> {
        let (mut head, body) = request.into_parts();
        head.version = Version::HTTP_11;
        head.uri = target(to, &head.uri);
        let uri = head.uri.clone();
        // A server may close an idle connection just when it is used again, and has done nothing then.
        let again = matches!(head.method, Method::GET | Method::HEAD) && body.is_end_stream();
        let again = again.then(|| {
            let mut again = Request::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
            again.method_mut().clone_from(&head.method);
            again.uri_mut().clone_from(&head.uri);
            again.headers_mut().clone_from(&head.headers);
            again
        });
        let request = Request::from_parts(head, body.map_err(Into::into).boxed_unsync());
        let answered = async {
            match (self.client().request(request).await, again) {
                (Err(error), Some(again)) if is_cut_off(&error) => self.client().request(again).await,
                (answer, _) => answer,
            }
        };
        match timeout(within, answered).await {
            Err(_) => Err(Trouble::Silent(within)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => match self.trouble(&error, &uri) {
                // Many servers say nothing to a client that speaks something else.
                Trouble::Closed => Err(self.speaks(&uri).await.unwrap_or(Trouble::Closed)),
                trouble => Err(trouble),
            },
        }
    }

    /// Whether a server that says nothing in HTTP/1 does so in TLS or in HTTP/2.
    async fn speaks(&self, to: &Uri) -> Option<Trouble> {
        let connect = async || tower::Service::call(&mut self.connector.clone(), to.clone()).await.ok();
        let inner = &self.connector.0;
        let in_tls = async {
            let (tls, name) = (inner.tls().ok()?, ServerName::try_from("localhost").ok()?);
            // Whether it succeeds does not matter.
            tls.connect(name, connect().await?.into_inner()).await.ok()
        };
        let in_http2 = async {
            let mut wire = connect().await?.into_inner();
            wire.write_all(HTTP2).await.ok()?;
            wire.read(&mut [0; LOOK]).await.ok()
        };
        let _ = timeout(PROBED_WITHIN, in_tls).await;
        if inner.spoken(to) != Some(Spoken::Tls) {
            let _ = timeout(PROBED_WITHIN, in_http2).await;
        }
        match inner.spoken(to)? {
            Spoken::Tls => Some(Trouble::SpeaksTls),
            Spoken::Http2 => Some(Trouble::SpeaksHttp2),
            Spoken::Http1 | Spoken::Other => None,
        }
    }

    /// The present client. An older one ends with its last request.
    fn client(&self) -> Client<Connector, Body> {
        let mut client = lock(&self.client);
        if let Some((_, client)) = client.as_ref().filter(|(since, _)| since.elapsed() < CONNECTIONS_LAST) {
            return client.clone();
        }
        let new = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .http1_max_buf_size(LARGEST_HEAD)
            .http1_max_headers(MOST_HEADERS)
            .set_host(false)
            .build(self.connector.clone());
        client.insert((Instant::now(), new)).1.clone()
    }

    fn trouble(&self, error: &ClientError, to: &Uri) -> Trouble {
        if let Some(unconnected) = cause::<Unconnected>(error) {
            return match unconnected {
                Unconnected::Refused(refused) => Trouble::Refused(refused.clone()),
                Unconnected::Io(error) => Trouble::Unreachable(error.to_string()),
                Unconnected::Tls(why) => Trouble::Tls(why.clone()),
            };
        }
        match self.connector.0.spoken(to) {
            Some(Spoken::Tls) => Trouble::SpeaksTls,
            Some(Spoken::Http2) => Trouble::SpeaksHttp2,
            _ if is_cut_off(error) => Trouble::Closed,
            _ => Trouble::NotHttp(match cause::<hyper::Error>(error) {
                Some(why) => bridge_client::chain(why),
                None => bridge_client::chain(error),
            }),
        }
    }
}

/// "cluster://10.96.0.9:80/path", "https://shop.example.com/path"
fn target(to: &Destination, path: &Uri) -> Uri {
    let (scheme, authority) = match to {
        Destination::Service { address, .. } => (IN_CLUSTER, address.to_string()),
        Destination::Host(origin) => (origin.scheme(), origin.authority.clone()),
    };
    let path = path.path_and_query().cloned().unwrap_or_else(|| uri::PathAndQuery::from_static("/"));
    let built = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    // An address and an origin are authorities; a request without one would be refused.
    built.unwrap_or_default()
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = Unconnected;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let inner = self.0.clone();
        async move {
            let wire = match to.scheme_str() {
                Some(IN_CLUSTER) => inner.in_cluster(&to).await?,
                _ => {
                    let connected = timeout(CONNECT_WITHIN, inner.outside(&to)).await;
                    connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))?
                }
            };
            Ok(TokioIo::new(Wire { wire, first: Some((Vec::new(), authority(&to), inner)) }))
        }
        .boxed()
    }
}

impl Inner {
    /// What the server spoke last.
    fn spoken(&self, to: &Uri) -> Option<Spoken> {
        lock(&self.spoken).get(&authority(to)).copied()
    }

    async fn in_cluster(&self, to: &Uri) -> Result<Box<dyn Duplex>, Unconnected> {
        let address = to.authority().and_then(|authority| authority.as_str().parse().ok());
        let (Some(address), Some(streams)) = (address, &self.streams) else {
            return Err(io::Error::from(io::ErrorKind::AddrNotAvailable).into());
        };
        let dialled = streams.dial(address).await.map_err(Unconnected::Refused)?;
        let (near, far) = pair().await?;
        near.set_nodelay(true)?;
        dialled.carry(&far).await?;
        Ok(Box::new(near))
    }

    async fn outside(&self, to: &Uri) -> Result<Box<dyn Duplex>, Unconnected> {
        let host = to.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let encrypted = to.scheme_str() == Some("https");
        let port = to.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let connection = TcpStream::connect((host.as_str(), port)).await?;
        connection.set_nodelay(true)?;
        if !encrypted {
            return Ok(Box::new(connection));
        }
        let tls = |error: &dyn std::fmt::Display| Unconnected::Tls(error.to_string());
        let name = ServerName::try_from(host).map_err(|error| tls(&error))?;
        let connector = self.tls().map_err(|error| tls(&error))?;
        let encrypted = connector.connect(name, connection).await.map_err(|error| tls(&error))?;
        Ok(Box::new(encrypted))
    }

    /// By the certificates that this machine trusts, which are read once.
    fn tls(&self) -> Result<TlsConnector, rustls::Error> {
        let mut there = lock(&self.tls);
        if let Some(connector) = there.as_ref() {
            return Ok(connector.clone());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
        Ok(there.insert(TlsConnector::from(Arc::new(config))).clone())
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that notes what the server speaks.
struct Wire {
    wire: Box<dyn Duplex>,
    /// The first bytes that came, and where to note them. `None`: it is done.
    first: Option<(Vec<u8>, String, Arc<Inner>)>,
}

impl Wire {
    fn look_at(&mut self, read: &[u8]) {
        let Some((bytes, authority, inner)) = &mut self.first else { return };
        bytes.extend(read.iter().take(LOOK - bytes.len()));
        // An alert is shorter, and may be all that comes.
        lock(&inner.spoken).insert(authority.clone(), Spoken::of(bytes));
        if bytes.len() >= LOOK || read.is_empty() {
            self.first = None;
        }
    }
}

impl Spoken {
    fn of(first: &[u8]) -> Self {
        match first {
            // An alert or a handshake (RFC 8446 section 5.1).
            [0x15 | 0x16, 0x03, ..] => Self::Tls,
            [b'H', b'T', b'T', b'P', b'/', ..] => Self::Http1,
            // SETTINGS of the connection (RFC 9113 section 6.5), or GOAWAY.
            [_, _, _, 4 | 7, 0, 0, 0, 0, 0, ..] => Self::Http2,
            _ => Self::Other,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.wire).poll_read(cx, buf));
        if self.first.is_some() {
            self.look_at(&buf.filled()[before..]);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

fn authority(of: &Uri) -> String {
    of.authority().map(ToString::to_string).unwrap_or_default()
}

/// Whether the server closed the connection before it had answered.
fn is_cut_off(error: &ClientError) -> bool {
    let is_reset = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
    };
    cause::<Unconnected>(error).is_none()
        && (cause::<hyper::Error>(error).is_some_and(hyper::Error::is_incomplete_message)
            || cause::<io::Error>(error).is_some_and(is_reset))
}

/// The cause of this type, however deep.
fn cause<'a, E: Error + 'static>(error: &'a ClientError) -> Option<&'a E> {
    let first: Option<&'a (dyn Error + 'static)> = error.source();
    std::iter::successors(first, |error| (*error).source()).find_map(|error| error.downcast_ref())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::names::Origin;

    #[test]
    fn first_bytes_show_what_a_server_speaks() {
        for (first, expected) in [
            (&b"HTTP/1.1 "[..], Spoken::Http1),
            (b"\x15\x03\x01\x00\x02\x02\x46", Spoken::Tls),
            (b"\0\0\x06\x04\0\0\0\0\0", Spoken::Http2),
            (b"\0\0\x08\x07\0\0\0\0\0", Spoken::Http2),
            (b"\0\0\x06\x04\0\0\0\0\x01", Spoken::Other),
            (b"-ERR unkn", Spoken::Other),
            (b"", Spoken::Other),
        ] {
            assert_eq!(Spoken::of(first), expected, "{}", first.escape_ascii());
        }
    }

    #[test]
    fn services_and_hosts_are_kept_apart() {
        let path = "/a?b".parse().unwrap();
        let service =
            Destination::Service { name: "web".to_owned(), address: "10.96.0.1:80".parse().unwrap() };
        assert_eq!(target(&service, &path), "cluster://10.96.0.1:80/a?b");
        let host = Destination::Host(Origin::parse("https://shop.example.com:444").unwrap());
        assert_eq!(target(&host, &path), "https://shop.example.com:444/a?b");
        let options = "*".parse().unwrap();
        assert_eq!(target(&host, &options).path(), "*");
    }
}
