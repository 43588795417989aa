//! Writes to one side, and puts what it has taken into the pipe of a copy.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::pipe::Inlet;

/// A side with a copy.
pub(crate) struct Tee<'a, S> {
    pub(crate) to: &'a mut S,
    pub(crate) copy: &'a Inlet,
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tee<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.to).poll_write(cx, bytes))?;
        self.copy.put(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.to).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.to).poll_shutdown(cx)
    }
}
