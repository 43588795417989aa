//! One end of a connection without a network: delivers its input piece by piece, and takes as much as it likes.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::side::Side;

#[derive(Debug, Default)]
pub(in crate::http1) struct Pipe {
    unsaid: VecDeque<Vec<u8>>,
    pub(in crate::http1) taken: Vec<u8>,
    /// The number of bytes that it takes at once. It takes none every other time.
    at_once: usize,
    tired: bool,
}

impl Pipe {
    pub(in crate::http1) fn saying(pieces: &[&[u8]]) -> Self {
        let unsaid = pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| piece.to_vec()).collect();
        Self { unsaid, ..Self::default() }
    }

    pub(in crate::http1) fn taking(at_once: usize) -> Self {
        Self { at_once, ..Self::default() }
    }

    pub(in crate::http1) fn unsaid(&self) -> Vec<u8> {
        self.unsaid.iter().flatten().copied().collect()
    }
}

impl Side for Pipe {
    fn poll_readable(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn abort(self) {}
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(piece) = self.unsaid.front_mut() {
            let said = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..said]);
            piece.drain(..said);
            if piece.is_empty() {
                self.unsaid.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.tired = !self.tired;
        if self.tired {
            return Poll::Pending;
        }
        let taken = bytes.len().min(self.at_once);
        self.taken.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
