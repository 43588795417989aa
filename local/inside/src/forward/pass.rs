//! Passes one connection to a forwarded port into the cluster, unless it is a website's.
//!
//! A program that speaks first does so at once, and is judged before the daemon gets the connection itself. One that
//! does not may wait for the server, or may be a browser that has connected in advance: its bytes pass through here, so
//! that the first of them can be judged whenever they come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bridge_proto::tunnel::Refused;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;

use super::hosts::{First, Foreign, LONGEST_HEAD, Names};
use crate::loopback::pair;
use crate::network::Dialled;

/// A program on the same machine that speaks first has sent something by then.
const SPEAKS_WITHIN: Duration = Duration::from_millis(3);
/// The time that a refused client has to read its answer.
const DROPPED_FOR: Duration = Duration::from_secs(1);
const LOOK: usize = 16 * 1024;

/// How it ended, if not as its two ends wanted.
#[derive(Debug)]
pub enum Ended {
    Foreign(Foreign),
    Failed(String),
}

/// Carries the connection to the destination of the dial.
///
/// # Errors
///
/// If the dial fails, or the client is a website's: it has got its answer.
pub async fn pass(
    connection: TcpStream,
    names: &Names,
    dial: impl Future<Output = Result<Dialled, Refused>>,
) -> Result<(), Ended> {
    let (dialled, first) = tokio::join!(dial, first_look(&connection, names));
    let failed = |error: io::Error| Ended::Failed(error.to_string());
    if let First::Foreign(foreign) = first {
        return Err(refuse(connection, foreign, names.service()).await);
    }
    let dialled = match dialled {
        Ok(dialled) => dialled,
        Err(refused) => {
            // Closed with a reset: no peer would take this for an orderly end.
            let _ = connection.set_zero_linger();
            return Err(Ended::Failed(refused.to_string()));
        }
    };
    if first == First::Pass {
        return dialled.carry(&connection).await.map_err(failed);
    }
    let (mut near, far) = pair().await.map_err(failed)?;
    dialled.carry(&far).await.map_err(failed)?;
    drop(far);
    let mut looked_at = LookedAt { connection, names, said: Vec::new(), first: First::Open };
    // If one of the two breaks off, the other sees it.
    let _ = copy_bidirectional(&mut looked_at, &mut near).await;
    match looked_at.first {
        First::Foreign(foreign) => Err(refuse(looked_at.connection, foreign, names.service()).await),
        First::Open | First::Pass => Ok(()),
    }
}

async fn first_look(connection: &TcpStream, names: &Names) -> First {
    let mut bytes = vec![0; LOOK];
    match tokio::time::timeout(SPEAKS_WITHIN, connection.peek(&mut bytes)).await {
        // A client that sends nothing more asks for nothing.
        Ok(Ok(0) | Err(_)) => First::Pass,
        Ok(Ok(length)) => names.look_at(&bytes[..length]),
        Err(_) => First::Open,
    }
}

/// A connection whose first bytes are held until they are judged.
struct LookedAt<'a> {
    connection: TcpStream,
    names: &'a Names,
    /// The bytes that are still held.
    said: Vec<u8>,
    first: First,
}

impl LookedAt<'_> {
    /// Reads until the client's first bytes can be judged.
    fn poll_known(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; LOOK];
        while self.first == First::Open {
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.connection).poll_read(cx, &mut read))?;
            self.said.extend_from_slice(read.filled());
            self.first = self.names.look_at(&self.said);
            if self.first == First::Open && (read.filled().is_empty() || self.said.len() >= LONGEST_HEAD) {
                self.first = First::Pass;
            }
        }
        match self.first {
            First::Foreign(_) => Poll::Ready(Err(io::ErrorKind::PermissionDenied.into())),
            First::Open | First::Pass => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for LookedAt<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_known(cx))?;
        if self.said.is_empty() {
            return Pin::new(&mut self.connection).poll_read(cx, buf);
        }
        let length = self.said.len().min(buf.remaining());
        buf.put_slice(&self.said[..length]);
        self.said.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LookedAt<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

/// Answers, and waits until the answer has arrived.
async fn refuse(mut connection: TcpStream, foreign: Foreign, service: &str) -> Ended {
    let place = connection.local_addr().map(|place| place.to_string()).unwrap_or_default();
    let answered = async {
        connection.write_all(&foreign.answer(service, &place)).await?;
        connection.shutdown().await?;
        // Unread bytes would cause a reset, which could overtake the answer.
        tokio::io::copy(&mut connection, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(DROPPED_FOR, answered).await;
    Ended::Foreign(foreign)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;

    /// A client, and the server that it is passed to through here.
    async fn led() -> (TcpStream, DuplexStream, tokio::task::JoinHandle<First>) {
        let (client, connection) = pair().await.unwrap();
        let (mut near, server) = tokio::io::duplex(LONGEST_HEAD);
        let names = Names::new("orders", "shop", "10.96.7.1".parse().unwrap());
        let passing = tokio::spawn(async move {
            let said = Vec::new();
            let mut looked_at = LookedAt { connection, names: &names, said, first: First::Open };
            let _ = copy_bidirectional(&mut looked_at, &mut near).await;
            let LookedAt { connection, first, .. } = looked_at;
            match first {
                First::Foreign(foreign) => match refuse(connection, foreign, "orders").await {
                    Ended::Foreign(foreign) => First::Foreign(foreign),
                    Ended::Failed(why) => panic!("{why}"),
                },
                other => other,
            }
        });
        (client, server, passing)
    }

    #[tokio::test]
    async fn a_server_that_speaks_first_is_heard_and_other_protocols_pass() {
        let (mut client, mut server, passing) = led().await;
        server.write_all(b"220 hello\r\n").await.unwrap();
        let mut greeting = [0; 11];
        client.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 hello\r\n");
        client.write_all(b"EHLO me\r\n").await.unwrap();
        let mut said = [0; 9];
        server.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"EHLO me\r\n");
        drop((client, server));
        assert_eq!(passing.await.unwrap(), First::Pass);
    }

    #[tokio::test]
    async fn a_request_in_pieces_goes_on_whole() {
        let (mut client, mut server, passing) = led().await;
        let pieces = ["GE", "T / HTTP/1.1\r\nHost: loc", "alhost\r\n", "\r\nbody"];
        for piece in pieces {
            client.write_all(piece.as_bytes()).await.unwrap();
            client.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        client.shutdown().await.unwrap();
        let mut said = String::new();
        server.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, pieces.concat());
        drop((client, server));
        assert_eq!(passing.await.unwrap(), First::Pass);
    }

    #[tokio::test]
    async fn a_website_s_request_reaches_nobody_however_late_it_comes() {
        // Given a browser that has connected in advance, and a server that has already sent something,
        let (mut client, mut server, passing) = led().await;
        server.write_all(b"hello").await.unwrap();
        client.read_exact(&mut [0; 5]).await.unwrap();
        // when a page's request comes,
        client.write_all(b"POST / HTTP/1.1\r\nHost: evil.example:8080\r\n\r\nbody").await.unwrap();
        client.shutdown().await.unwrap();
        // then it is answered here, and the server gets nothing.
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
        assert!(matches!(passing.await.unwrap(), First::Foreign(Foreign::Host(_))));
        let mut said = Vec::new();
        server.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"");
    }

    #[tokio::test]
    async fn a_client_that_sends_nothing_more_ends_in_order() {
        let (mut client, mut server, passing) = led().await;
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
        server.write_all(b"late").await.unwrap();
        drop(server);
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "late");
        assert_eq!(passing.await.unwrap(), First::Pass);
    }
}
