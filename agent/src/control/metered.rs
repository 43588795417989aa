//! Measures the incoming messages of a call: an unfinished message counts as memory of its session.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bridge_proto::tunnel::Hold;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// Length of a message's prefix: whether it is compressed, and its length
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
const PREFIX: usize = 5;
/// The bytes that a call without a session may send in total.
const LOOSE: usize = 8 * 1024;

/// The bounds of a call.
#[derive(Debug)]
pub(super) enum Bound {
    /// The call belongs to a session.
    Session(Hold),
    /// It belongs to none yet; such calls are few at a time.
    Loose { sent: usize, _place: OwnedSemaphorePermit },
}

/// A call's body.
#[derive(Debug)]
pub(super) struct Metered {
    body: Incoming,
    unfinished: Unfinished,
    bound: Bound,
}

/// A call sent more than there is room for.
#[derive(Debug, thiserror::Error)]
#[error("there is no room for messages of this length")]
pub(super) struct NoRoom;

/// Why a body broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error(transparent)]
    Connection(#[from] hyper::Error),
}

impl Metered {
    pub(super) fn new(body: Incoming, bound: Bound) -> Self {
        Self { body, unfinished: Unfinished::default(), bound }
    }

    fn takes(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let fits = match &mut self.bound {
            Bound::Session(hold) => {
                self.unfinished.advance(bytes);
                hold.set(self.unfinished.bytes as u64)
            }
            Bound::Loose { sent, .. } => {
                *sent = sent.saturating_add(bytes.len());
                *sent <= LOOSE
            }
        };
        if fits { Ok(()) } else { Err(NoRoom) }
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else { return Poll::Ready(None) };
        let frame = frame?;
        if let Some(bytes) = frame.data_ref() {
            self.takes(bytes)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The received part of an unfinished message. Pure.
#[derive(Debug, Default)]
struct Unfinished {
    bytes: usize,
    /// The message's length, as far as it has come.
    length: usize,
}

impl Unfinished {
    fn advance(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.bytes < PREFIX {
                self.length = if self.bytes == 0 { 0 } else { self.length << 8 | usize::from(first) };
                self.bytes += 1;
                bytes = rest;
            } else {
                let part = bytes.len().min(PREFIX + self.length - self.bytes);
                self.bytes += part;
                bytes = &bytes[part..];
            }
            if self.bytes >= PREFIX && self.bytes == PREFIX + self.length {
                *self = Self::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_messages_do_not_count_however_they_are_cut() {
        let messages: Vec<u8> = [0usize, 1, 300, 70_000].iter().flat_map(|&length| message(length)).collect();
        for cut in [1, 2, 4, 5, 6, 7, 300, 4096] {
            let mut unfinished = Unfinished::default();
            for part in messages.chunks(cut) {
                unfinished.advance(part);
                assert!(unfinished.bytes < PREFIX + 70_000);
            }
            assert_eq!(unfinished.bytes, 0, "in pieces of {cut}");
        }
    }

    #[test]
    fn unfinished_messages_count() {
        let mut unfinished = Unfinished::default();
        unfinished.advance(&[message(10), message(70_000)].concat()[..15 + 5 + 1000]);
        assert_eq!(unfinished.bytes, 1005);
        unfinished.advance(&[7; 69_000]);
        assert_eq!(unfinished.bytes, 0);
        unfinished.advance(&[0, 0xff, 0xff]);
        assert_eq!(unfinished.bytes, 3);
    }

    fn message(length: usize) -> Vec<u8> {
        let prefix = u32::try_from(length).expect("short").to_be_bytes();
        [&[0], &prefix[..], &vec![7; length]].concat()
    }
}
