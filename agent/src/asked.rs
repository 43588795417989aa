//! Serves short texts to clients such as the kubelet and Prometheus, by HTTP/1 with one request a connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const ASK: Duration = Duration::from_secs(2);
/// Clients at a time.
const MAX_ASKERS: usize = 64;
const MAX_HEAD: usize = 8192;
const PAUSE: Duration = Duration::from_millis(100);

/// The path that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// How long this agent has been without a session.
    Alone,
    /// Any other: the text that the port is there for.
    Usual,
}

impl Path {
    fn of(head: &[u8]) -> Self {
        if head.starts_with(b"GET /alone ") { Self::Alone } else { Self::Usual }
    }
}

/// The answer to a client.
#[derive(Debug)]
pub(crate) struct Answer {
    /// "200 OK"
    pub(crate) status: &'static str,
    pub(crate) words: String,
}

/// Answers forever.
pub(crate) async fn run<A: Future<Output = Answer> + Send + 'static>(
    listener: TcpListener,
    answer: impl Fn(Path) -> A + Clone + Send + 'static,
) {
    let mut askers = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = askers.join_next() => {}
            accepted = listener.accept(), if askers.len() < MAX_ASKERS => match accepted {
                Ok((stream, _)) => {
                    askers.spawn(tokio::time::timeout(ASK, serve(stream, answer.clone())));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
    }
}

async fn serve<A: Future<Output = Answer>>(
    mut stream: TcpStream,
    answer: impl Fn(Path) -> A,
) -> io::Result<()> {
    let mut head = Vec::new();
    while memchr::memmem::find(&head, b"\r\n\r\n").is_none() && head.len() < MAX_HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let Answer { status, words } = answer(Path::of(&head)).await;
    let length = words.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{words}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
