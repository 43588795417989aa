//! A port-forward by WebSocket (`v4.channel.k8s.io` or `v5`): each binary message is a channel's number and bytes.
//!
//! For the first port, channel 0 carries data and channel 1 errors as text; the first message of each is only the port, two
//! bytes, little endian.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::channels::{Channels, DATA};
use super::gathered::as_one;

/// Bytes of one message. Larger ones gain nothing on the way through API server and kubelet.
const MESSAGE: usize = 32 * 1024;
/// Bytes of one read: the size of a TLS record. Tungstenite clears as much before each read, and one brings a record at
/// most.
const READ: usize = 16 * 1024;

/// The data channel of one forwarded port.
pub(super) struct WebSocket<Io> {
    socket: WebSocketStream<Io>,
    /// The unread rest of the last message.
    unread: Bytes,
    channels: Channels,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> WebSocket<Io> {
    /// Over an upgraded connection.
    pub(super) async fn over(io: Io) -> Self {
        let config = WebSocketConfig::default().read_buffer_size(READ);
        Self::new(WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await)
    }

    fn new(socket: WebSocketStream<Io>) -> Self {
        Self { socket, unread: Bytes::new(), channels: Channels::default() }
    }
}

fn socket_error(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            io::ErrorKind::BrokenPipe.into()
        }
        other => io::Error::other(other),
    }
}

/// A data message with the first of these bytes, and their number.
fn message_of(bufs: &[IoSlice<'_>]) -> (Bytes, usize) {
    let (len, pieces) = as_one(bufs, MESSAGE);
    let mut message = Vec::with_capacity(1 + len);
    message.push(DATA);
    pieces.for_each(|piece| message.extend_from_slice(piece));
    (message.into(), len)
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(message))) => self.unread = self.channels.receive(message)?,
                // Tungstenite answers pings; a text message means nothing here.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(socket_error(error))),
            }
        }
        let len = buf.remaining().min(self.unread.len());
        buf.put_slice(&self.unread.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(socket_error)?;
        let (message, len) = message_of(bufs);
        Pin::new(&mut self.socket).start_send(Message::Binary(message)).map_err(socket_error)?;
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(socket_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.socket).poll_close(cx)) {
            Ok(()) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(socket_error(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::super::channels::ERRORS;
    use super::*;

    async fn pair() -> (WebSocket<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        (WebSocket::new(near), far)
    }

    async fn say(far: &mut WebSocketStream<DuplexStream>, message: &[u8]) {
        far.send(Message::binary(message.to_vec())).await.expect("room");
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_after_the_ports() {
        let (mut near, mut far) = pair().await;
        say(&mut far, &[DATA, 0x90, 0x1f]).await;
        say(&mut far, &[ERRORS, 0x90, 0x1f]).await;
        say(&mut far, b"\x00hello").await;
        let mut hello = [0; 5];
        near.read_exact(&mut hello).await.expect("bytes");
        assert_eq!(&hello, b"hello");
        near.write_all(b"world").await.expect("room");
        near.flush().await.expect("room");
        let message = far.next().await.expect("a message").expect("no error");
        assert_eq!(message.into_data().as_ref(), b"\x00world");
    }

    #[tokio::test]
    async fn pieces_that_are_written_together_are_one_message() {
        let (mut near, mut far) = pair().await;
        let pieces = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(&[7; MESSAGE])];
        let written = near.write_vectored(&pieces).await.expect("room");
        near.flush().await.expect("room");
        let message = far.next().await.expect("a message").expect("no error").into_data();
        assert_eq!((written, message.len()), (MESSAGE, 1 + MESSAGE), "no longer than the longest");
        assert_eq!(&message[..6], b"\x00head\x07");
    }

    #[tokio::test]
    async fn the_kubelet_s_message_becomes_the_error() {
        let (mut near, mut far) = pair().await;
        say(&mut far, &[DATA, 0x90, 0x1f]).await;
        say(&mut far, &[ERRORS, 0x90, 0x1f]).await;
        say(&mut far, b"\x01connection refused").await;
        let error = near.read_u8().await.expect_err("the error channel spoke");
        assert_eq!(error.to_string(), "connection refused");
    }

    #[tokio::test]
    async fn garbage_is_an_error_and_no_panic() {
        for message in [&b""[..], b"\x07x", b"\x00abc"] {
            let (mut near, mut far) = pair().await;
            say(&mut far, message).await;
            let error = near.read_u8().await.expect_err("not of the protocol");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{message:?}");
        }
    }

    #[tokio::test]
    async fn the_end_of_the_socket_is_the_end_of_the_stream() {
        let (mut near, mut far) = pair().await;
        say(&mut far, &[DATA, 0x90, 0x1f]).await;
        far.close(None).await.expect("open");
        let mut rest = Vec::new();
        assert_eq!(near.read_to_end(&mut rest).await.expect("no error"), 0);
    }
}
