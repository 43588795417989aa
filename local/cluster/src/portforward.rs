//! Kubernetes' port-forward as one connection of bytes: full duplex, with back-pressure.
//!
//! There are two ways to ask for it. By SPDY, API server and kubelet pass the bytes on as they come, and the container
//! runtime reads and writes frames. By WebSocket, the runtime packs and unpacks messages, at several times the cost; it
//! is for proxies that do not pass SPDY. Neither has a half-close that the runtimes heed: the protocol on top must.
//!
//! Each frame or message costs a hand-over in API server, kubelet and container runtime, and a write to the pod. So
//! several small writes go as one.

mod channels;
mod frames;
mod gathered;
mod spdy;
mod websocket;

use std::time::Duration;

use http::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::either::Either;

use self::spdy::Spdy;
use self::websocket::WebSocket;
use crate::client::Cluster;
use crate::error::{Call, ClusterError};

/// How long to wait for SPDY: a proxy may swallow a protocol that it does not know.
const SPDY_WITHIN: Duration = Duration::from_secs(3);
const RESOURCE: &str = "pods/portforward";

/// Opens a connection to a port on the loopback of a pod.
///
/// # Errors
///
/// [`ClusterError`] if the API server refuses. A port without a listener shows later, at the first read.
pub async fn open(
    cluster: &Cluster,
    pod: &str,
    port: u16,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, ClusterError> {
    open_within(SPDY_WITHIN, cluster, pod, port).await
}

type Opened<Spoken, Messages> = Either<Spdy<Spoken>, WebSocket<Messages>>;

async fn open_within(
    spdy_within: Duration,
    cluster: &Cluster,
    pod: &str,
    port: u16,
) -> Result<
    Opened<
        impl AsyncRead + AsyncWrite + Send + Unpin + use<>,
        impl AsyncRead + AsyncWrite + Send + Unpin + use<>,
    >,
    ClusterError,
> {
    match by_spdy(spdy_within, cluster, pod, port).await? {
        Some(connection) => Ok(Either::Left(connection)),
        None => Ok(Either::Right(by_websocket(cluster, pod, port).await?)),
    }
}

/// `None` if there was no answer, or one with another protocol: the other way will show why.
async fn by_spdy(
    within: Duration,
    cluster: &Cluster,
    pod: &str,
    port: u16,
) -> Result<Option<Spdy<impl AsyncRead + AsyncWrite + Send + Unpin + use<>>>, ClusterError> {
    const PROTOCOL: &str = "SPDY/3.1";
    let namespace = &cluster.namespace;
    let asked = async {
        let request = Request::post(path(namespace, pod))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, PROTOCOL)
            .header("x-stream-protocol-version", "portforward.k8s.io")
            .body(Vec::new().into())
            .map_err(kube::Error::HttpError)?;
        cluster.client.send(request).await
    };
    let asking = cluster.call(Call::new("create", RESOURCE, namespace, pod), asked);
    let Ok(answer) = timeout(within, asking).await else {
        tracing::debug!(pod, "no answer to a port-forward by SPDY");
        return Ok(None);
    };
    let answer = answer?;
    let upgrade = answer.headers().get(header::UPGRADE);
    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS
        && upgrade.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()));
    if !switched {
        tracing::debug!(pod, status = %answer.status(), "no port-forward by SPDY");
        return Ok(None);
    }
    match hyper::upgrade::on(answer).await {
        Ok(connection) => Ok(Some(Spdy::new(TokioIo::new(connection), port))),
        Err(error) => {
            tracing::debug!(pod, %error, "no port-forward by SPDY");
            Ok(None)
        }
    }
}

async fn by_websocket(
    cluster: &Cluster,
    pod: &str,
    port: u16,
) -> Result<WebSocket<impl AsyncRead + AsyncWrite + Send + Unpin + use<>>, ClusterError> {
    let namespace = &cluster.namespace;
    let asked = async {
        let request = Request::get(format!("{}?ports={port}", path(namespace, pod)));
        let request = request.body(Vec::new()).map_err(kube::Error::HttpError)?;
        cluster.client.connect(request).await
    };
    let connection = cluster.call(Call::new("get", RESOURCE, namespace, pod), asked).await?;
    Ok(WebSocket::over(connection.into_stream().into_inner()).await)
}

fn path(namespace: &str, pod: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{pod}/portforward")
}

#[cfg(test)]
mod tests {
    use futures::SinkExt;
    use kube::{Client, Config};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    /// The answer of an API server, or a proxy before it, to SPDY. `None`: no answer at all.
    type Answer = Option<&'static str>;

    const SWITCHED: Answer = Some("101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1");

    /// Serves port-forwards to a port that says "hello" until the test ends; SPDY is answered with this.
    async fn serve(listener: TcpListener, spdy: Answer) {
        let mut connections = Vec::new();
        loop {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let head = head(&mut connection).await;
            if let Some(key) = value(&head, "sec-websocket-key") {
                connections.push(Either::Left(by_websocket(connection, key).await));
                continue;
            }
            assert_eq!(value(&head, "upgrade"), Some("SPDY/3.1"), "{head}");
            if let Some(answer) = spdy {
                let answer = format!("HTTP/1.1 {answer}\r\n\r\n");
                connection.write_all(answer.as_bytes()).await.expect("room");
            }
            if spdy == SWITCHED {
                let hello = [&frames::data(5)[..], b"hello"].concat();
                connection.write_all(&hello).await.expect("room");
            }
            connections.push(Either::Right(connection));
        }
    }

    async fn head(connection: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.expect("a request"));
        }
        String::from_utf8(head).expect("text")
    }

    fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    async fn by_websocket(mut connection: TcpStream, key: &str) -> WebSocketStream<TcpStream> {
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        connection.write_all(answer.as_bytes()).await.expect("room");
        let mut socket = WebSocketStream::from_raw_socket(connection, Role::Server, None).await;
        for message in [&b"\0\x50\0"[..], b"\x01\x50\0", b"\0hello"] {
            socket.send(Message::binary(message.to_vec())).await.expect("room");
        }
        socket
    }

    async fn cluster(spdy: Answer) -> (Cluster, impl Future<Output = ()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let server = format!("http://{}", listener.local_addr().expect("bound"));
        let client = Client::try_from(Config::new(server.parse().expect("an address"))).expect("a client");
        let (context, namespace) = ("dev".to_owned(), "shop".to_owned());
        (Cluster { client, context, namespace, server }, serve(listener, spdy))
    }

    #[tokio::test]
    async fn if_spdy_is_refused_a_websocket_is_used() {
        let soon = Duration::from_millis(50);
        for (answer, within, expected) in [
            (SWITCHED, SPDY_WITHIN, "SPDY"),
            (
                Some("101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c"),
                SPDY_WITHIN,
                "WebSocket",
            ),
            (Some("400 Bad Request\r\nConnection: close\r\nContent-Length: 0"), SPDY_WITHIN, "WebSocket"),
            (Some("403 Forbidden\r\nConnection: close\r\nContent-Length: 0"), SPDY_WITHIN, "WebSocket"),
            (None, soon, "WebSocket"),
        ] {
            let (cluster, serving) = cluster(answer).await;
            let asking = async {
                let mut opened = open_within(within, &cluster, "orders-1", 80).await.expect("a port-forward");
                let mut hello = [0; 5];
                opened.read_exact(&mut hello).await.expect("what the port says");
                let way = if matches!(opened, Either::Left(_)) { "SPDY" } else { "WebSocket" };
                (way, hello)
            };
            let asked = tokio::select! {
                asked = asking => asked,
                () = serving => unreachable!("it serves forever"),
            };
            assert_eq!(asked, (expected, *b"hello"), "after {answer:?}");
        }
    }
}
