//! One end of a TCP connection, and servers that accept such: with raw bytes.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The header that the agent adds to each request that goes to a laptop.
const HOPS: &[u8] = b"x-bridge-hops: ";

/// A client or a server's side of one connection.
pub(crate) struct Peer {
    stream: TcpStream,
    /// It is a process on a laptop: expected bytes are without the header of hops.
    is_local: bool,
}

/// Connects from another pod, as far as the agent can tell.
pub(crate) async fn connect(port: u16) -> TcpStream {
    connect_from([127, 0, 0, 2], port).await
}

/// Connects from this address of loopback.
pub(crate) async fn connect_from(address: [u8; 4], port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((address, 0).into()).expect("an address of loopback");
    let stream = socket.connect(([127, 0, 0, 1], port).into()).await.expect("the port listens");
    stream.set_nodelay(true).expect("a socket");
    stream
}

impl Peer {
    pub(crate) async fn connect(port: u16) -> Self {
        Self { stream: connect(port).await, is_local: false }
    }

    /// Connects from within the agent's pod.
    pub(crate) async fn connect_from_inside(port: u16) -> Self {
        Self { stream: connect_from([127, 0, 0, 1], port).await, is_local: false }
    }

    pub(crate) async fn says(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the other end takes it");
    }

    /// Sends bytes that the other end may no longer take.
    pub(crate) async fn tries_to_say(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// The next bytes are these.
    pub(crate) async fn hears(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut all = Vec::new();
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            let left = expected.len() - heard.len();
            let mut part = vec![0; left.min(64 * 1024)];
            match self.stream.read(&mut part).await {
                Ok(0) => panic!("ended after {:?} in place of {:?}", text(&heard), text(expected)),
                Ok(read) => all.extend_from_slice(&part[..read]),
                Err(error) => panic!("{error} after {:?} in place of {:?}", text(&heard), text(expected)),
            }
            heard = if self.is_local { without_hops(&all) } else { all.clone() };
            assert!(
                expected.starts_with(&heard),
                "heard {:?} in place of {:?}",
                text(&heard),
                text(expected)
            );
        }
    }

    /// This number of bytes, whatever they are.
    pub(crate) async fn hears_some(&mut self, len: usize) -> Vec<u8> {
        let mut heard = vec![0; len];
        self.stream.read_exact(&mut heard).await.expect("so many bytes");
        heard
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// The next bytes up to an empty line.
    pub(crate) async fn hears_head(&mut self) -> String {
        self.hears_up_to("\r\n\r\n").await
    }

    /// Everything up to and with these bytes.
    pub(crate) async fn hears_up_to(&mut self, last: &str) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(last.as_bytes()) {
            match self.stream.read_u8().await {
                Ok(byte) => heard.push(byte),
                Err(error) => panic!("{error} after {:?} in place of {last:?}", text(&heard)),
            }
        }
        text(&heard)
    }

    /// An answer with Content-Length: its head and its body, which one to HEAD does not have.
    pub(crate) async fn hears_answer_to(&mut self, request: &str) -> (String, String) {
        if request.starts_with("HEAD ") {
            (self.hears_head().await, String::new())
        } else {
            self.hears_answer().await
        }
    }

    /// An answer with Content-Length: its head and its body.
    pub(crate) async fn hears_answer(&mut self) -> (String, String) {
        let head = self.hears_head().await;
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:").map(|n| n.trim().to_owned())
            })
            .unwrap_or_else(|| panic!("no length in {head:?}"));
        let mut body = vec![0; length.parse().expect("a number")];
        self.stream.read_exact(&mut body).await.expect("the whole body");
        (head, text(&body))
    }

    /// Everything up to the end, which is an orderly one.
    pub(crate) async fn hears_rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.expect("an orderly end");
        text(&rest)
    }

    /// The other end sends nothing more and ends in order.
    pub(crate) async fn hears_end(&mut self) {
        assert_eq!(self.hears_rest().await, "");
    }

    /// The connection breaks; returns the bytes before that.
    pub(crate) async fn hears_reset(&mut self) -> String {
        let mut rest = Vec::new();
        let end = self.stream.read_to_end(&mut rest).await;
        let error = end.expect_err("the connection should have been reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        text(&rest)
    }

    /// Half-closes.
    pub(crate) async fn ends(&mut self) {
        self.stream.shutdown().await.expect("a connected socket");
    }

    pub(crate) fn resets(self) {
        SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
    }
}

/// The bytes without the lines of hops, whole or begun, of a head.
fn without_hops(bytes: &[u8]) -> Vec<u8> {
    // Empty lines may be in front of a head.
    let begin = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(bytes.len());
    let end = bytes[begin..].windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.map_or(bytes.len(), |end| begin + end);
    let (head, rest) = bytes.split_at(end);
    let is_hops = |line: &[u8]| line.starts_with(HOPS) || !line.is_empty() && HOPS.starts_with(line);
    let mut kept = head
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|line| !is_hops(line))
        .collect::<Vec<_>>()
        .concat();
    if !rest.is_empty() && head.split(|&byte| byte == b'\n').next_back().is_some_and(is_hops) {
        // The end of that line was the head's last but one.
        kept.truncate(kept.len() - 2);
    }
    kept.extend_from_slice(rest);
    kept
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server that does what the test says, connection by connection.
pub(crate) struct Server {
    listener: TcpListener,
    is_local: bool,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("a free port"), is_local: false }
    }

    /// A process on a laptop.
    pub(crate) async fn local() -> Self {
        Self { is_local: true, ..Self::start().await }
    }

    /// From now on the kernel holds little that the process has not read: by itself it may hold tens of megabytes.
    pub(crate) fn has_a_small_buffer(&self) {
        SockRef::from(&self.listener).set_recv_buffer_size(64 << 10).expect("a socket");
    }

    pub(crate) fn port(&self) -> u16 {
        self.address().port()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket")
    }

    pub(crate) async fn accepts(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Peer { stream, is_local: self.is_local }
    }
}

/// A port on which nothing listens, and which no other test gets: it stays bound as long as the tests run.
pub(crate) async fn dead_port() -> u16 {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let port = socket.local_addr().expect("a bound socket").port();
    std::mem::forget(socket);
    port
}
