//! Connections to an API server as kube makes them, but without Nagle's algorithm, for which kube has no setting (tunnels
//! run on them, and a small message would wait 40 ms for the answer to the one before it), and read in large pieces.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderValue;
use http::header::AUTHORIZATION;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::{
    self,
    connect::{Connect, Connected, Connection, HttpConnector},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tower::{BoxError, ServiceBuilder};

/// Bytes that are read at once, if they are there: rustls asks for 4 KiB at a time.
const READ: usize = 64 * 1024;

/// Runs the credential plugin, if there is one, and waits for it. Connections through a proxy are kube's own.
pub(crate) fn client(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let http = http(&config)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// A client that sends this token and knows no other credentials: what a kubeconfig can ask for is not part of a program
/// that needs none of it.
pub(crate) fn with_token(mut config: Config, token: &str) -> kube::Result<Client> {
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|error| kube::Error::HttpError(error.into()))?;
    bearer.set_sensitive(true);
    config.headers.push((AUTHORIZATION, bearer));
    let http = http(&config)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

fn http(config: &Config) -> kube::Result<legacy::Client<impl Connect + Clone + use<>, Body>> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let read_large = |io: TokioIo<TcpStream>| TokioIo::new(ReadLarge::new(io.into_inner()));
    let tcp = ServiceBuilder::new().map_response(read_large).service(tcp);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    Ok(legacy::Builder::new(TokioExecutor::new()).build(connector))
}

/// A connection that reads large pieces, however small the pieces that its reader asks for.
#[derive(Debug)]
struct ReadLarge(BufReader<TcpStream>);

impl ReadLarge {
    fn new(tcp: TcpStream) -> Self {
        Self(BufReader::with_capacity(READ, tcp))
    }
}

impl Connection for ReadLarge {
    fn connected(&self) -> Connected {
        self.0.get_ref().connected()
    }
}

impl AsyncRead for ReadLarge {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for ReadLarge {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
