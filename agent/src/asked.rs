//! Serves one short text to clients such as the kubelet and Prometheus. HTTP/1 with one request a connection; the path
//! does not matter.

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
    answer: impl Fn() -> A,
) {
    let mut askers = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = askers.join_next() => {}
            accepted = listener.accept(), if askers.len() < MAX_ASKERS => match accepted {
                Ok((stream, _)) => {
                    askers.spawn(tokio::time::timeout(ASK, serve(stream, answer())));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
    }
}

async fn serve(mut stream: TcpStream, answer: impl Future<Output = Answer>) -> io::Result<()> {
    let mut head = Vec::new();
    while memchr::memmem::find(&head, b"\r\n\r\n").is_none() && head.len() < MAX_HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let Answer { status, words } = answer.await;
    let length = words.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{words}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
