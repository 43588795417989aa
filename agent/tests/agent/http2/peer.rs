//! Callers and servers that speak HTTP/2, stream by stream.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::peer::{Peer, Server};

/// A caller's connection.
pub(crate) struct Caller {
    pub(crate) send: SendRequest<Bytes>,
    /// Ends with the connection.
    pub(crate) ended: JoinHandle<Result<(), h2::Error>>,
}

impl Caller {
    pub(crate) async fn connect(port: u16) -> Self {
        Self::with(port, &h2::client::Builder::new()).await
    }

    pub(crate) async fn with(port: u16, builder: &h2::client::Builder) -> Self {
        Self::on(crate::peer::connect(port).await, builder).await
    }

    pub(crate) async fn on(stream: TcpStream, builder: &h2::client::Builder) -> Self {
        let (send, connection) = builder.handshake(stream).await.expect("a fresh connection");
        Self { send, ended: tokio::spawn(connection) }
    }

    /// Begins a request whose body is still to come.
    pub(crate) async fn begins(&mut self, request: Request<()>) -> (ResponseFuture, SendStream<Bytes>) {
        let mut send = self.send.clone().ready().await.expect("the connection takes streams");
        send.send_request(request, false).expect("a good request")
    }

    /// Sends a request without a body.
    pub(crate) async fn asks(&mut self, request: Request<()>) -> ResponseFuture {
        let mut send = self.send.clone().ready().await.expect("the connection takes streams");
        send.send_request(request, true).expect("a good request").0
    }
}

impl Caller {
    /// The server takes no more streams.
    pub(crate) async fn is_told_to_go(&mut self) {
        while self.send.clone().ready().await.is_ok() {
            // The client has still to read the bytes that came.
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://orders{path}")).body(()).expect("a good request")
}

pub(crate) fn alices(path: &str) -> Request<()> {
    with_header(get(path), "x-bridge", "alice")
}

pub(crate) fn with_header(mut request: Request<()>, name: &'static str, value: &str) -> Request<()> {
    request.headers_mut().append(name, value.parse().expect("a good value"));
    request
}

/// A body and the trailers after it, all of which came in order.
pub(crate) async fn rest(body: &mut RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("the body goes on");
        body.flow_control().release_capacity(data.len()).expect("what was received");
        bytes.extend_from_slice(&data);
    }
    (bytes, body.trailers().await.expect("an orderly end"))
}

/// The next piece of a body.
pub(crate) async fn hears(body: &mut RecvStream, expected: &str) {
    let mut heard = Vec::new();
    while heard.len() < expected.len() {
        let data = body.data().await.expect("the body goes on").expect("the body goes on");
        body.flow_control().release_capacity(data.len()).expect("what was received");
        heard.extend_from_slice(&data);
    }
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

pub(crate) fn trailers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect()
}

/// The next frame of one of these kinds: its kind, stream and payload.
pub(crate) async fn hears_one_of(peer: &mut Peer, kinds: &[u8]) -> (u8, u8, Vec<u8>) {
    loop {
        let head = peer.hears_some(9).await;
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = peer.hears_some(length).await;
        if kinds.contains(&head[3]) {
            return (head[3], head[8], payload);
        }
    }
}

/// The next frame of this kind: its stream and payload.
pub(crate) async fn hears_frame(peer: &mut Peer, kind: u8) -> (u8, Vec<u8>) {
    let (_, stream, payload) = hears_one_of(peer, &[kind]).await;
    (stream, payload)
}

/// A server's connection.
pub(crate) struct Serving {
    streams_rx: mpsc::Receiver<Stream>,
    say_tx: mpsc::Sender<Say>,
    pub(crate) ended: JoinHandle<Result<(), h2::Error>>,
}

/// Commands to a connection.
#[derive(Debug)]
pub(crate) enum Say {
    GracefulGoAway,
    GoAway(Reason),
}

/// A stream, as the server sees it.
pub(crate) struct Stream {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
}

impl Serving {
    pub(crate) async fn on(server: &Server) -> Self {
        Self::with(server.accepts().await, &h2::server::Builder::new()).await
    }

    pub(crate) async fn with(peer: Peer, builder: &h2::server::Builder) -> Self {
        let mut connection = builder.handshake(peer.into_stream()).await.expect("HTTP/2");
        let (streams_tx, streams_rx) = mpsc::channel(1000);
        let (say_tx, mut say_rx) = mpsc::channel(1000);
        let ended = tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = connection.accept() => match accepted {
                        Some(Ok((request, respond))) => drop(streams_tx.send(Stream { request, respond }).await),
                        Some(Err(error)) => return Err(error),
                        None => return Ok(()),
                    },
                    Some(say) = say_rx.recv() => match say {
                        Say::GracefulGoAway => connection.graceful_shutdown(),
                        Say::GoAway(reason) => connection.abrupt_shutdown(reason),
                    },
                }
            }
        });
        Self { streams_rx, say_tx, ended }
    }

    pub(crate) async fn hears(&mut self) -> Stream {
        self.streams_rx.recv().await.expect("a stream should have come")
    }

    /// Takes a stream that has already come.
    pub(crate) fn hears_at_once(&mut self) -> bool {
        self.streams_rx.try_recv().is_ok()
    }

    pub(crate) fn says(&self, say: Say) {
        self.say_tx.try_send(say).expect("the connection lives");
    }
}

impl Stream {
    /// Answers with a body at once.
    pub(crate) fn answers(mut self, body: &'static str) {
        let mut stream = self.respond.send_response(Response::new(()), false).expect("an open stream");
        stream.send_data(Bytes::from_static(body.as_bytes()), true).expect("an open stream");
    }

    /// Begins an answer whose body is still to come.
    pub(crate) fn begins(mut self) -> (RecvStream, SendStream<Bytes>) {
        let stream = self.respond.send_response(Response::new(()), false).expect("an open stream");
        (self.request.into_body(), stream)
    }
}

/// The whole answer: its status, headers and body.
pub(crate) async fn answer(response: ResponseFuture) -> (u16, HeaderMap, String) {
    let (head, mut body) = response.await.expect("an answer").into_parts();
    let (bytes, trailers) = rest(&mut body).await;
    assert_eq!(trailers, None);
    (head.status.as_u16(), head.headers, String::from_utf8(bytes).expect("text"))
}
