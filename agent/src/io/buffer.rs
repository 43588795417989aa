//! Bytes that were read from one side and are not yet written to the other.
//!
//! Begins small, grows with the traffic, and holds no memory while it is empty and idle: a thousand keep-alive
//! connections cost next to nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::side::Side;

const SMALL: usize = 8 * 1024;
const LARGE: usize = 64 * 1024;

/// A queue of bytes, at most 64 KiB.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    /// The size of the next allocation.
    ask: usize,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), start: 0, ask: SMALL }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() - self.start >= LARGE
    }

    /// The first `len` bytes were written.
    pub(crate) fn consume(&mut self, len: usize) {
        self.start += len;
        debug_assert!(self.start <= self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }

    /// Replaces the first `len` bytes.
    pub(crate) fn replace_front(&mut self, len: usize, mut other: Vec<u8>) {
        other.extend_from_slice(&self.filled()[len..]);
        self.bytes = other;
        self.start = 0;
    }

    /// Reads once; 0 is the end. To be called only while it is not full.
    pub(crate) fn poll_fill<S: Side>(
        &mut self,
        cx: &mut Context<'_>,
        side: &mut S,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(readable) = side.poll_readable(cx) else {
            self.release();
            return Poll::Pending;
        };
        readable?;
        self.make_room();
        let room = self.bytes.capacity() - self.bytes.len();
        let Poll::Ready(read) = poll_read_buf(Pin::new(side), cx, &mut self.bytes) else {
            self.release();
            return Poll::Pending;
        };
        let read = read?;
        if read == room {
            self.ask = (self.ask * 2).min(LARGE);
        }
        Poll::Ready(Ok(read))
    }

    /// Writes the first `len` bytes, or some of them; returns how many.
    pub(crate) fn poll_drain<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        side: &mut S,
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(side).poll_write(cx, &self.filled()[..len]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.consume(written);
        Poll::Ready(Ok(written))
    }

    /// Frees the memory if nothing is held.
    fn release(&mut self) {
        if self.is_empty() && self.bytes.capacity() > 0 {
            self.bytes = Vec::new();
            self.ask = SMALL;
        }
    }

    fn make_room(&mut self) {
        if self.bytes.is_empty() {
            if self.bytes.capacity() < self.ask {
                self.bytes = Vec::with_capacity(self.ask);
            }
        } else if self.bytes.len() == self.bytes.capacity() {
            if self.start > 0 {
                self.bytes.drain(..self.start);
                self.start = 0;
            } else {
                self.bytes.reserve_exact(self.bytes.len().min(LARGE));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buffer = Buffer::new();
        buffer.replace_front(0, b"one two".to_vec());
        buffer.consume(4);
        assert_eq!(buffer.filled(), b"two");
        buffer.replace_front(1, b"TT".to_vec());
        assert_eq!(buffer.filled(), b"TTwo");
        buffer.consume(4);
        assert!(buffer.is_empty());
    }

    #[test]
    fn an_empty_one_holds_no_memory_once_released() {
        let mut buffer = Buffer::new();
        buffer.make_room();
        assert!(buffer.bytes.capacity() >= SMALL);
        buffer.release();
        assert_eq!(buffer.bytes.capacity(), 0);
    }
}
