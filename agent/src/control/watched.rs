//! A daemon's connection: ended when nothing came for too long, and read in small pieces until it has proven the key.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bridge_proto::tunnel::alive::{Heard, Listened, SILENT_AFTER};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::knock::{BYTES, Knock};

/// The size of one read before the proof, so that calls are counted before many are made.
const SIP: usize = 512;

/// A connection on the control port.
pub(super) struct Watched {
    io: Listened<TcpStream>,
    knock: Arc<Knock>,
    /// The bytes that may still be read before the proof.
    left: usize,
    /// A small piece was read: it is processed before the next one.
    sipped: bool,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, knock: Arc<Knock>) -> Self {
        // If it fails, the connection is only slower.
        let _ = stream.set_nodelay(true);
        Self { io: Listened::new(stream), knock, left: BYTES, sipped: false }
    }

    pub(super) fn heard(&self) -> Heard {
        self.io.heard()
    }

    fn poll_sip(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.sipped) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut sip = [0; SIP];
        let most = SIP.min(buf.remaining()).min(self.left);
        if most == 0 && buf.remaining() > 0 {
            self.knock.cut("it sent too much");
            return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
        }
        let mut sip = ReadBuf::new(&mut sip[..most]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut sip))?;
        buf.put_slice(sip.filled());
        self.left -= sip.filled().len();
        self.sipped = true;
        Poll::Ready(Ok(()))
    }
}

/// Resolves once nothing came for 5 s.
pub(super) async fn silent(heard: Heard, knock: &Knock) {
    heard.silent_for(SILENT_AFTER).await;
    if knock.is_proven() {
        tracing::info!("no data from a daemon for {} s: closing its connection", SILENT_AFTER.as_secs());
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.knock.is_proven() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        self.poll_sip(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
