//! A body on its way from one HTTP/2 connection to another, trailers included.
//!
//! Data is taken in at once, and returned to its sender's window only when the receiver's window has taken it: only its
//! own receiver holds a stream up, and its window bounds its memory.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use super::answers;
use super::window::Waiting;
use crate::copies::pipe::Inlet;
use crate::requests::Record;

/// Smaller pieces are put together while they wait: else each would hold more memory than it has bytes.
const SMALL: usize = 1024;

/// A body on its way.
pub(super) struct Passage {
    from: RecvStream,
    pieces: VecDeque<Bytes>,
    /// The end after the pieces.
    end: Option<End>,
    waits: Waiting,
    /// Trailers that address caches do not go on.
    private: bool,
}

enum End {
    Plain,
    Trailers(HeaderMap),
}

/// Who sees a body pass.
pub(super) enum Onlooker<'a> {
    /// The record of an answer notes its trailers.
    Record(&'a mut Record),
    /// The copy of a request, if there is one, gets all of it.
    Copy(&'a mut Option<Inlet>),
}

impl Onlooker<'_> {
    fn sees(&mut self, data: &[u8]) {
        if let Onlooker::Copy(Some(copy)) = self {
            copy.put(data);
        }
    }

    fn sees_end(&mut self, trailers: Option<&HeaderMap>) {
        match self {
            Onlooker::Record(record) => {
                if let Some(trailers) = trailers {
                    record.grpc_status_of(trailers);
                }
            }
            Onlooker::Copy(copy) => {
                if let Some(copy) = copy.take() {
                    copy.whole(trailers.cloned());
                }
            }
        }
    }
}

/// The side of a passage that broke.
pub(super) enum Broken {
    Source(h2::Error),
    Sink,
    /// More of it has come than may wait here.
    NoRoom,
}

impl Passage {
    pub(super) fn new(from: RecvStream, waits: Waiting) -> Self {
        Self { from, pieces: VecDeque::new(), end: None, waits, private: false }
    }

    /// Drops trailers that address caches.
    pub(super) fn keeps_private(&mut self) {
        self.private = true;
    }

    /// Moves as much as possible. Ready: the body has passed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut SendStream<Bytes>,
        onlooker: Onlooker<'_>,
    ) -> Poll<Result<(), Broken>> {
        let polled = self.pass(cx, to, onlooker);
        if polled.is_pending() && !self.waits.count(self.pieces.iter().map(Bytes::len).sum()) {
            return Poll::Ready(Err(Broken::NoRoom));
        }
        polled
    }

    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut SendStream<Bytes>,
        mut onlooker: Onlooker<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            self.take_in(cx).map_err(Broken::Source)?;
            let Some(piece) = self.pieces.front_mut() else {
                let sent = match self.end.take() {
                    None => return Poll::Pending,
                    Some(End::Plain) => {
                        onlooker.sees_end(None);
                        to.send_data(Bytes::new(), true)
                    }
                    Some(End::Trailers(trailers)) => {
                        onlooker.sees_end(Some(&trailers));
                        to.send_trailers(trailers)
                    }
                };
                return Poll::Ready(sent.map_err(|_| Broken::Sink));
            };
            let room = ready!(poll_room(cx, piece.len(), to))?;
            let part = piece.split_to(room);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            let ends = self.pieces.is_empty() && matches!(self.end, Some(End::Plain));
            onlooker.sees(&part);
            to.send_data(part, ends).map_err(|_| Broken::Sink)?;
            // Fails only for a stream that is gone, which reading reports.
            let _ = self.from.flow_control().release_capacity(room);
            if ends {
                onlooker.sees_end(None);
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes in everything that has come.
    fn take_in(&mut self, cx: &mut Context<'_>) -> Result<(), h2::Error> {
        while self.end.is_none() {
            match self.from.poll_data(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(bytes)) => {
                    let bytes = bytes?;
                    if self.from.is_end_stream() {
                        self.end = Some(End::Plain);
                    } else {
                        self.waits.read(bytes.len());
                    }
                    self.keep(bytes);
                }
                Poll::Ready(None) => match self.from.poll_trailers(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(trailers) => self.end = Some(self.end_of(trailers?)),
                },
            }
        }
        Ok(())
    }

    fn end_of(&self, trailers: Option<HeaderMap>) -> End {
        let Some(mut trailers) = trailers else { return End::Plain };
        if self.private {
            answers::strip(&mut trailers);
        }
        if trailers.is_empty() { End::Plain } else { End::Trailers(trailers) }
    }

    fn keep(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        match self.pieces.back_mut() {
            Some(last) if bytes.len() < SMALL && last.len() < SMALL => {
                let mut both =
                    std::mem::take(last).try_into_mut().unwrap_or_else(|last| BytesMut::from(&last[..]));
                both.extend_from_slice(&bytes);
                *last = both.freeze();
            }
            _ => self.pieces.push_back(bytes),
        }
    }
}

/// The number of `len` bytes that the receiver takes now.
fn poll_room(cx: &mut Context<'_>, len: usize, to: &mut SendStream<Bytes>) -> Poll<Result<usize, Broken>> {
    to.reserve_capacity(len);
    let room = match to.capacity() {
        0 => match ready!(to.poll_capacity(cx)) {
            Some(Ok(room)) => room,
            Some(Err(_)) | None => return Poll::Ready(Err(Broken::Sink)),
        },
        room => room,
    };
    Poll::Ready(Ok(room.min(len)))
}
