//! The common part of callers, origins and laptops: a byte stream that can be reset.

use std::io;
use std::task::{Context, Poll};

use bridge_proto::tunnel::TunnelStream;
use bridge_proto::v1::Cause;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream that can be reset.
pub(crate) trait Side: AsyncRead + AsyncWrite + Unpin {
    /// Whether reading makes sense now; saves a buffer while nothing is there.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends it so that the peer sees a reset, not an orderly end.
    fn abort(self);
}

impl Side for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn abort(self) {
        // If it fails, the connection is gone already.
        let _ = self.set_zero_linger();
    }
}

impl Side for TunnelStream {
    fn poll_readable(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn abort(self) {
        self.reset(Cause::Reset, "the caller's connection was reset");
    }
}
