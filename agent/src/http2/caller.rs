//! The caller's side of a stream.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};

/// The caller's side of a stream, by the progress of its answer.
pub(super) enum Caller {
    Waits(SendResponse<Bytes>),
    /// It has got the head of the final answer.
    Hears(SendStream<Bytes>),
}

impl Caller {
    /// Resolves when the caller has reset the stream, or is gone (`None`).
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reason>> {
        let reset = match self {
            Caller::Waits(respond) => respond.poll_reset(cx),
            Caller::Hears(stream) => stream.poll_reset(cx),
        };
        reset.map(Result::ok)
    }

    pub(super) fn reset(&mut self, reason: Reason) {
        match self {
            Caller::Waits(respond) => respond.send_reset(reason),
            Caller::Hears(stream) => stream.send_reset(reason),
        }
    }
}
