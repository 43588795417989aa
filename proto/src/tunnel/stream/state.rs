//! A stream's state: messages in; bytes to read and messages to send out. No I/O.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;
use tonic::Status;

use super::{Refused, ResetBy, tunnel_lost};
use crate::tunnel::budget::Hold;
use crate::tunnel::engine::{Receiving, Sending, Violation};
use crate::v1::frame::Kind;
use crate::v1::{Cause, Frame};

/// Smaller pieces are put together while they wait: else each would hold more memory than it has bytes.
const SMALL: usize = 1024;

/// The far end's answer to the request for this stream.
#[derive(Debug)]
pub(super) enum Answer {
    Awaited,
    Opened,
    Refused(Refused),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    pub(super) queue: VecDeque<Bytes>,
    pub(super) answer: Answer,
    pub(super) ended: Option<ResetBy>,
    /// To be sent when there is room: the newest limit, and the reset that ends everything.
    pub(super) credit_due: Option<u64>,
    pub(super) reset_due: Option<ResetBy>,
    pub(super) read_waker: Option<Waker>,
    pub(super) write_waker: Option<Waker>,
    pub(super) answer_waker: Option<Waker>,
}

impl State {
    fn wake_all(&mut self) {
        for waker in
            [self.read_waker.take(), self.write_waker.take(), self.answer_waker.take()].into_iter().flatten()
        {
            waker.wake();
        }
    }

    pub(super) fn end(&mut self, reset: ResetBy) {
        self.ended.get_or_insert(reset);
        self.queue.clear();
        self.wake_all();
    }

    pub(super) fn new(answer: Answer, room: Hold) -> Self {
        Self {
            sending: Sending::new(),
            receiving: Receiving::new(room),
            queue: VecDeque::new(),
            answer,
            ended: None,
            credit_due: None,
            reset_due: None,
            read_waker: None,
            write_waker: None,
            answer_waker: None,
        }
    }

    /// Moves received bytes to the reader, and returns their number.
    pub(super) fn take(&mut self, buf: &mut ReadBuf<'_>) -> usize {
        let mut taken = 0;
        while let Some(front) = self.queue.front_mut() {
            let len = front.len().min(buf.remaining());
            if len == 0 {
                break;
            }
            buf.put_slice(&front.split_to(len));
            taken += len;
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
        if taken > 0
            && let Some(limit) = self.receiving.taken(taken)
        {
            self.credit_due = Some(limit);
        }
        taken
    }

    pub(super) fn is_complete(&self) -> bool {
        self.sending.is_finished() && self.receiving.is_finished()
    }

    /// Takes one message of the other side, or the end of its messages.
    pub(super) fn receive(&mut self, next: Option<Result<Frame, Status>>) {
        if self.ended.is_some() {
            // It may have been on its way when this side ended the stream.
            return;
        }
        let kind = match next {
            Some(Ok(Frame { kind: Some(kind) })) => kind,
            // A kind that this revision does not know: important additions come with a new revision.
            Some(Ok(Frame { kind: None })) => return,
            Some(Err(_)) | None => return self.end(tunnel_lost()),
        };
        let done = match kind {
            Kind::Data(data) => self.receiving.data(data.offset, data.bytes.len()).map(|()| {
                keep(&mut self.queue, data.bytes);
                wake(&mut self.read_waker);
            }),
            Kind::Finish(finish) => self.receiving.finish(finish.offset).map(|()| wake(&mut self.read_waker)),
            Kind::Credit(credit) => {
                self.sending.credited(credit.limit);
                wake(&mut self.write_waker);
                Ok(())
            }
            Kind::Opened(_) => {
                self.answer = Answer::Opened;
                wake(&mut self.answer_waker);
                Ok(())
            }
            Kind::Refused(refused) => {
                let (cause, detail) = (refused.cause(), refused.detail);
                self.answer = Answer::Refused(Refused { cause, detail: detail.clone() });
                self.end(ResetBy { cause, detail });
                Ok(())
            }
            Kind::Reset(reset) => {
                self.end(ResetBy { cause: reset.cause(), detail: reset.detail });
                Ok(())
            }
            Kind::Open(_) => Ok(()),
        };
        if let Err(violation) = done {
            self.violated(&violation);
        }
    }

    fn violated(&mut self, violation: &Violation) {
        let reset = ResetBy { cause: Cause::Protocol, detail: violation.to_string() };
        self.reset_due = Some(reset.clone());
        self.end(reset);
    }
}

fn keep(queue: &mut VecDeque<Bytes>, bytes: Bytes) {
    match queue.back_mut() {
        _ if bytes.is_empty() => {}
        Some(last) if bytes.len() < SMALL && last.len() < SMALL => {
            let mut both =
                std::mem::take(last).try_into_mut().unwrap_or_else(|last| BytesMut::from(&last[..]));
            both.extend_from_slice(&bytes);
            *last = both.freeze();
        }
        // A small one is a part of the buffer that it came in.
        _ if bytes.len() < SMALL => queue.push_back(Bytes::copy_from_slice(&bytes)),
        _ => queue.push_back(bytes),
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
