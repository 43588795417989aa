//! Asks an agent how long it has been without a session.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The limit for the whole answer.
const WITHIN: Duration = Duration::from_secs(5);
/// A number of seconds, and the end of its line.
const MOST_BYTES: usize = 32;

/// How long this agent has had no session. `None`: no agent runs there.
pub(crate) async fn alone_for(agent: SocketAddr) -> anyhow::Result<Option<Duration>> {
    tokio::time::timeout(WITHIN, asked(agent)).await.context("there was no answer")?
}

async fn asked(agent: SocketAddr) -> anyhow::Result<Option<Duration>> {
    let stream = match TcpStream::connect(agent).await {
        Err(error) if nobody_listens(&error) => return Ok(None),
        stream => stream?,
    };
    let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/alone").header("host", agent.to_string()).body(Empty::<Bytes>::new())?;
    let answer = requests.send_request(request).await?;
    let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
    connection.abort();
    let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    let text = std::str::from_utf8(&body)?.trim();
    let seconds = text.parse().with_context(|| format!("{text:?} is no time"))?;
    Ok(Some(Duration::from_secs(seconds)))
}

fn nobody_listens(error: &io::Error) -> bool {
    error.kind() == ErrorKind::ConnectionRefused
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn answering(body: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let size = stream.read(&mut head).await.unwrap();
            assert!(head[..size].starts_with(b"GET /alone HTTP/1.1\r\n"), "{:?}", &head[..size]);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn an_agent_tells_its_time() {
        let alone = alone_for(answering("615\n").await).await.unwrap();
        assert_eq!(alone, Some(Duration::from_secs(615)));
    }

    #[tokio::test]
    async fn no_agent_has_no_session() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(alone_for(address).await.unwrap(), None);
    }

    #[tokio::test]
    async fn anything_else_is_no_answer() {
        for body in ["ready\n", "-1", "", "6156156156156156156156156156156156156156156\n"] {
            assert!(alone_for(answering(body).await).await.is_err(), "{body:?}");
        }
    }
}
