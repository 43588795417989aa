//! Distinguishes a silent connection from a slow one: notes when bytes of any kind last came.
//!
//! HTTP/2 libraries wait only for the answer to a ping, which would end a slow link that is busy with data. Both ends
//! send something every `SAY_EVERY`, so a connection that delivered nothing for `SILENT_AFTER` is dead.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How often each end sends something.
pub const SAY_EVERY: Duration = Duration::from_secs(2);
/// A connection from which nothing came for this long is dead.
pub const SILENT_AFTER: Duration = Duration::from_secs(5);

/// The time when bytes last came over one connection. A clone is a handle to the same connection.
#[derive(Debug, Clone)]
pub struct Heard {
    began: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Heard {
    fn new() -> Self {
        Self { began: Instant::now(), last_ms: Arc::new(AtomicU64::new(0)) }
    }

    fn now(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(since, Ordering::Relaxed);
    }

    /// Returns once nothing came for `bound`.
    pub async fn silent_for(&self, bound: Duration) {
        loop {
            let last = self.began + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let due = last + bound;
            if Instant::now() >= due {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

/// A connection that notes when bytes come.
#[derive(Debug)]
pub struct Listened<Io> {
    io: Io,
    heard: Heard,
}

impl<Io> Listened<Io> {
    /// Wraps a new connection: it counts as heard from just now.
    pub fn new(io: Io) -> Self {
        Self { io, heard: Heard::new() }
    }

    /// A handle to ask when bytes last came.
    pub fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &Io {
        &self.io
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Listened<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.now();
        }
        polled
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Listened<Io> {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_byte() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut near = Listened::new(near);
        let heard = near.heard();
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        far.write_all(b"x").await.expect("room for one byte");
        near.read_u8().await.expect("one byte");
        heard.silent_for(SILENT_AFTER).await;
        assert_eq!(began.elapsed().as_secs(), 8, "three seconds until the byte, five after it");
    }
}
