//! The pretended API server over HTTP on loopback, for daemons that find it through a kubeconfig: it adds port-forwards
//! and credentials to the in-process server.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use super::{ApiServer, failure};

type Answer = UnsyncBoxBody<Bytes, Infallible>;
/// Maps a pod's port to its real address.
type Ports = dyn Fn(&str, u16) -> Option<SocketAddr> + Send + Sync;
/// When this is dropped, the server ends with all its connections.
pub struct Served {
    pub address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    server: ApiServer,
    ports: Box<Ports>,
    /// The bearer tokens that it accepts.
    tokens: Mutex<BTreeSet<String>>,
    away: AtomicBool,
    /// The requests so far, in order: "GET /api/v1/namespaces/shop/services/orders".
    asked: Mutex<Vec<String>>,
    /// Cancels all connections; replaced by [`Served::cut`].
    connections: Mutex<CancellationToken>,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.inner.stop.cancel();
        self.cut();
    }
}

impl Served {
    /// Serves on a port that the kernel chooses. `ports` maps pods' ports to addresses.
    pub async fn start(
        server: ApiServer,
        ports: impl Fn(&str, u16) -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            server,
            ports: Box::new(ports),
            tokens: Mutex::default(),
            away: AtomicBool::new(false),
            asked: Mutex::default(),
            connections: Mutex::default(),
            stop: CancellationToken::new(),
        });
        let (serving, stop) = (inner.clone(), inner.stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(serving.accept(listener)).await });
        Self { address, inner }
    }

    /// A kubeconfig for it, as text. Its token is accepted from now on.
    #[must_use]
    pub fn kubeconfig(&self, token: &str) -> String {
        self.accept(token);
        let server = format!("http://{}", self.address);
        json!({"apiVersion": "v1", "kind": "Config", "current-context": "dev",
            "clusters": [{"name": "dev", "cluster": {"server": server}}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": "me", "namespace": "shop"}}]})
        .to_string()
    }

    /// Accepts the token from now on.
    pub fn accept(&self, token: &str) {
        self.inner.tokens.lock().unwrap().insert(token.to_owned());
    }

    /// Expires the token.
    pub fn expire(&self, token: &str) {
        self.inner.tokens.lock().unwrap().remove(token);
        self.cut();
    }

    /// Cuts the network to it, or restores it: connections end, and new ones are closed at once.
    pub fn away(&self, away: bool) {
        self.inner.away.store(away, Ordering::SeqCst);
        self.cut();
    }

    /// The requests since the last call, in order, without queries: "GET /api/v1/namespaces/shop/services".
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.asked.lock().unwrap())
    }

    /// All connections end.
    pub fn cut(&self) {
        let mut connections = self.inner.connections.lock().unwrap();
        std::mem::take(&mut *connections).cancel();
    }
}

impl Inner {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            if self.away.load(Ordering::SeqCst) {
                continue;
            }
            let (inner, cut) = (self.clone(), self.connections.lock().unwrap().clone());
            let until = cut.clone();
            let answer = service_fn(move |request| {
                let (inner, cut) = (inner.clone(), until.clone());
                async move { Ok::<_, Infallible>(inner.answer(request, cut).await) }
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), answer)
                .with_upgrades();
            tokio::spawn(async move { cut.run_until_cancelled(serving).await });
        }
    }

    async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        cut: CancellationToken,
    ) -> Response<Answer> {
        if !self.knows(request.headers()) {
            return whole(failure(StatusCode::UNAUTHORIZED, "Unauthorized")).await;
        }
        let path = request.uri().path().to_owned();
        self.asked.lock().unwrap().push(format!("{} {path}", request.method()));
        if let Some(pod) = path.strip_suffix("/portforward") {
            let pod = pod.rsplit('/').next().unwrap().to_owned();
            return self.forward(&pod, &mut request, cut).await;
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        self.server.answer(Request::from_parts(parts, body.into())).await.map(BodyExt::boxed_unsync)
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let bearer =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        bearer.is_some_and(|token| self.tokens.lock().unwrap().contains(token))
    }

    /// A port-forward by WebSocket; by SPDY there is none.
    async fn forward(
        &self,
        pod: &str,
        request: &mut Request<Incoming>,
        cut: CancellationToken,
    ) -> Response<Answer> {
        let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
            return whole(failure(StatusCode::BAD_REQUEST, "BadRequest")).await;
        };
        let accept = derive_accept_key(key.as_bytes());
        let query = request.uri().query().unwrap_or_default();
        let port = query.split('&').find_map(|pair| pair.strip_prefix("ports=")?.parse().ok()).unwrap();
        let Some(address) = (self.ports)(pod, port) else {
            return whole(failure(StatusCode::NOT_FOUND, "NotFound")).await;
        };
        let upgrade = hyper::upgrade::on(request);
        tokio::spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            cut.run_until_cancelled(carry(socket, address, port)).await;
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io")
            .header(header::SEC_WEBSOCKET_ACCEPT, accept)
            .body(full(""))
            .unwrap()
    }
}

/// Carries bytes between a port-forward and its destination.
async fn carry(
    mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    address: SocketAddr,
    port: u16,
) {
    for channel in [0, 1] {
        let began = [&[channel][..], &port.to_le_bytes()].concat();
        let _ = socket.send(Message::binary(began)).await;
    }
    let Ok(mut connection) = TcpStream::connect(address).await else {
        let _ = socket.send(Message::binary(b"\x01connection refused".to_vec())).await;
        return;
    };
    let mut piece = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => if connection.write_all(&bytes[1..]).await.is_err() { return },
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            read = connection.read(&mut piece) => match read {
                Ok(0) | Err(_) => return,
                Ok(len) => {
                    let message = [&[0][..], &piece[..len]].concat();
                    if socket.send(Message::binary(message)).await.is_err() {
                        return;
                    }
                }
            },
        }
    }
}

fn full(bytes: impl Into<Bytes>) -> Answer {
    Full::new(bytes.into()).boxed_unsync()
}

/// The answer with its body read.
async fn whole(answer: Response<kube::client::Body>) -> Response<Answer> {
    let (parts, body) = answer.into_parts();
    Response::from_parts(parts, full(body.collect_bytes().await.unwrap()))
}
