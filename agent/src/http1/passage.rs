//! One message on its way from one side to the other: its head, then exactly its body, and not one byte more.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::flaw::Flaw;
use super::framing::{Body, Framing};
use super::rewrite;
use crate::io::end::End;
use crate::io::side::Side;

/// A message on its way. The bytes that may go on are at the front of the source's buffer.
#[derive(Debug)]
pub(super) struct Passage {
    passable: usize,
    /// Bytes of trailers after those, which wait until all of them are there.
    held: usize,
    /// Trailers that address caches do not go on.
    private: bool,
    body: Body,
    /// A part of the body has come.
    begun: bool,
}

/// How a passage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    Whole,
    /// The source ended before the message did.
    Truncated,
}

/// Why a passage failed.
#[derive(Debug)]
pub(super) enum Broken {
    Source(io::Error),
    Sink,
    Flawed(Flaw),
}

impl Passage {
    /// A message whose head, and perhaps more of it, is at the front of `bytes`.
    pub(super) fn begin(bytes: &[u8], head_len: usize, framing: Framing) -> Result<Self, Flaw> {
        Self::of_answer(bytes, head_len, framing, false)
    }

    /// The same for an answer; a `private` one drops trailers that address caches.
    pub(super) fn of_answer(
        bytes: &[u8],
        head_len: usize,
        framing: Framing,
        private: bool,
    ) -> Result<Self, Flaw> {
        let mut passage =
            Self { passable: head_len, held: 0, private, body: Body::new(framing), begun: false };
        passage.scan(&bytes[head_len..])?;
        Ok(passage)
    }

    /// Counts off the next bytes.
    fn scan(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        let own = self.body.scan(bytes)?;
        let trailers = if self.private { self.body.trailers() - self.held } else { 0 };
        self.passable += own - trailers;
        self.held += trailers;
        self.begun |= own > 0;
        Ok(())
    }

    /// To be called when the head was replaced by one of another length.
    pub(super) fn head_changed(&mut self, old_len: usize, new_len: usize) {
        self.passable = self.passable - old_len + new_len;
    }

    /// To be called when the head was sent in another way.
    pub(super) fn head_gone(&mut self, head_len: usize) {
        self.passable -= head_len;
    }

    /// Whether nothing of its body has come, although there is one.
    pub(super) fn awaits_body(&self) -> bool {
        !self.begun && !self.body.is_over()
    }

    /// If all of it is in the source's buffer, the number of bytes beyond it.
    pub(super) fn surplus(&self, bytes: &[u8]) -> Option<usize> {
        self.body.is_over().then(|| bytes.len() - self.passable - self.held)
    }

    /// Moves bytes until the message has passed.
    pub(super) fn poll<A: Side, B: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut End<A>,
        to: &mut B,
    ) -> Poll<Result<Passed, Broken>> {
        loop {
            if self.passable > 0 {
                self.passable -=
                    ready!(from.read.poll_drain(cx, self.passable, to)).map_err(|_| Broken::Sink)?;
            } else if self.body.is_over() && self.held > 0 {
                let trailers = rewrite::without_caching(&from.read.filled()[..self.held]);
                self.passable = trailers.len();
                from.read.replace_front(std::mem::take(&mut self.held), trailers);
                self.private = false;
            } else if self.body.is_over() {
                return Poll::Ready(Ok(Passed::Whole));
            } else if from.read.filled().len() > self.held {
                self.scan(&from.read.filled()[self.held..]).map_err(Broken::Flawed)?;
            } else if ready!(from.poll_fill(cx)).map_err(Broken::Source)? == 0 {
                let whole = self.body.lasts_until_close();
                return Poll::Ready(Ok(if whole { Passed::Whole } else { Passed::Truncated }));
            }
        }
    }
}

#[cfg(test)]
mod tests;
