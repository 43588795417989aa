//! Turns a gRPC call's two message streams into one stream of bytes.
//!
//! A task per stream drains the incoming messages at once (so HTTP/2's windows never fill) into a queue that credit
//! bounds; reading takes from the queue and grants credit, writing spends credit. All decisions are the engine's.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, future};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, mpsc};
use tokio::task::coop;
use tokio_util::sync::PollSender;
use tonic::Status;

use self::state::{Answer, State};
use super::budget::{Budget, Hold};
use crate::v1::frame::Kind;
use crate::v1::{self, Cause, Frame};

/// How long a call may last after both of its directions have ended.
const LEFT_WITHIN: Duration = Duration::from_secs(10);

/// The outgoing messages of a call. Only `Ok` is ever sent; a tonic server's answer needs this type.
pub type FrameSender = mpsc::Sender<Result<Frame, Status>>;

/// The far end could not be reached; not one byte was delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", cause_text(*.cause))]
pub struct Refused {
    /// The cause, for programs.
    pub cause: Cause,
    /// Details, for people.
    pub detail: String,
}

/// The stream ended early. Read and write errors carry this as their source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", cause_text(*.cause))]
pub struct ResetBy {
    /// The cause, for programs.
    pub cause: Cause,
    /// Details, for people.
    pub detail: String,
}

fn cause_text(cause: Cause) -> &'static str {
    match cause {
        Cause::Unspecified => "no reason given",
        Cause::Refused => "connection refused",
        Cause::TimedOut => "timed out",
        Cause::Unreachable => "unreachable",
        Cause::NoSuchName => "no such name",
        Cause::Reset => "connection reset",
        Cause::Cancelled => "cancelled",
        Cause::TunnelLost => "the tunnel was lost",
        Cause::Protocol => "protocol violated",
        Cause::Forbidden => "not allowed",
        Cause::NoRoom => "too many connections",
        Cause::NetworkUnreachable => "network unreachable",
        Cause::Loop => "it leads back to where it came from",
    }
}

impl From<ResetBy> for io::Error {
    fn from(reset: ResetBy) -> Self {
        let kind = match reset.cause {
            Cause::TunnelLost => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::ConnectionReset,
        };
        io::Error::new(kind, reset)
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when the task has something to send.
    due: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the state half changed, so a panic elsewhere does no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A byte stream through the tunnel.
///
/// `shutdown` half-closes. Dropped before both directions are finished, it resets the stream (`CANCELLED`). After a
/// reset, or when the tunnel is lost, reads and writes fail with an error whose source is a [`ResetBy`].
#[derive(Debug)]
pub struct TunnelStream {
    shared: Arc<Shared>,
    outgoing: PollSender<Result<Frame, Status>>,
    budget: Budget,
    /// Each frame that waits to be sent has a clone.
    unsent: Arc<()>,
}

/// Bytes that wait to be sent, and count until they are.
struct Unsent {
    bytes: Box<[u8]>,
    _held: Hold,
    _of: Arc<()>,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl TunnelStream {
    /// The capacity of a call's outgoing channel: enough to keep the connection busy, few enough that a slow uplink has
    /// little to catch up with.
    pub const QUEUE: usize = 4;

    /// For the side that wants the stream: asks for it at once. Data may be written before the answer. Memory of the
    /// stream beyond its minimum is held with `room`.
    pub fn open(
        open: v1::Open,
        incoming: impl Stream<Item = Result<Frame, Status>> + Send + Unpin + 'static,
        outgoing: FrameSender,
        room: impl Into<Hold>,
    ) -> Self {
        // A new call's channel has room; if the call is already gone, its incoming side shows it.
        let _ = outgoing.try_send(Ok(frame(Kind::Open(open))));
        Self::start(Answer::Awaited, incoming, outgoing, room.into())
    }

    /// Waits until the far end is connected, or returns why it is not.
    pub async fn opened(&mut self) -> Result<(), Refused> {
        future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            match (&state.answer, &state.ended) {
                (Answer::Opened, _) => Poll::Ready(Ok(())),
                (Answer::Refused(refused), _) => Poll::Ready(Err(refused.clone())),
                (Answer::Awaited, Some(reset)) => {
                    Poll::Ready(Err(Refused { cause: reset.cause, detail: reset.detail.clone() }))
                }
                (Answer::Awaited, None) => {
                    state.answer_waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Ends both directions at once and sends the cause to the far end.
    pub fn reset(self, cause: Cause, detail: impl Into<String>) {
        self.reset_because(ResetBy { cause, detail: detail.into() });
    }

    /// Bytes sent and received so far.
    pub fn bytes(&self) -> (u64, u64) {
        let state = self.shared.lock();
        (state.sending.bytes(), state.receiving.bytes())
    }

    fn reset_because(&self, reset: ResetBy) {
        let mut state = self.shared.lock();
        if state.ended.is_none() {
            state.reset_due = Some(reset.clone());
            state.end(reset);
            self.shared.due.notify_one();
        }
    }

    fn start(
        answer: Answer,
        incoming: impl Stream<Item = Result<Frame, Status>> + Send + Unpin + 'static,
        outgoing: FrameSender,
        room: Hold,
    ) -> Self {
        let budget = room.budget().clone();
        let shared = Arc::new(Shared { state: Mutex::new(State::new(answer, room)), due: Notify::new() });
        tokio::spawn(carry(shared.clone(), incoming, outgoing.clone()));
        Self { shared, outgoing: PollSender::new(outgoing), budget, unsent: Arc::default() }
    }

    /// Waits for room in the outgoing channel; an error if the call is gone.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.outgoing.poll_reserve(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(self.ended_error())),
        }
    }

    fn send(&mut self, kind: Kind) -> io::Result<()> {
        self.outgoing.send_item(Ok(frame(kind))).map_err(|_| self.ended_error())
    }

    fn ended_error(&self) -> io::Error {
        self.shared.lock().ended.clone().unwrap_or_else(tunnel_lost).into()
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.ended.is_none() && !state.is_complete() {
            let reset = ResetBy { cause: Cause::Cancelled, detail: String::new() };
            state.reset_due = Some(reset.clone());
            state.end(reset);
        }
        self.shared.due.notify_one();
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A reader that is as fast as the other side lets others have their turn.
        let turn = ready!(coop::poll_proceed(cx));
        let mut state = self.shared.lock();
        if let Some(reset) = &state.ended {
            turn.made_progress();
            return Poll::Ready(Err(reset.clone().into()));
        }
        if state.take(buf) > 0 {
            turn.made_progress();
            if state.credit_due.is_some() {
                self.shared.due.notify_one();
            }
            return Poll::Ready(Ok(()));
        }
        if state.receiving.is_finished() || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        state.read_waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_room(cx))?;
        let (offset, len, held) = {
            let mut state = self.shared.lock();
            if let Some(reset) = &state.ended {
                return Poll::Ready(Err(reset.clone().into()));
            }
            if state.sending.is_finished() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let len = state.sending.room().min(buf.len());
            if len == 0 {
                state.write_waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let first = Arc::strong_count(&self.unsent) == 1;
            let Poll::Ready(held) = self.budget.poll_hold(cx, len as u64, first) else {
                // The stream's end must be noticed as well.
                state.write_waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            (state.sending.sent(len), len, held)
        };
        let unsent = Unsent { bytes: buf[..len].into(), _held: held, _of: self.unsent.clone() };
        let bytes = Bytes::from_owner(unsent);
        self.send(Kind::Data(v1::Data { offset, bytes }))?;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shared.lock().sending.is_finished() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_room(cx))?;
        let finish = {
            let mut state = self.shared.lock();
            if let Some(reset) = &state.ended {
                return Poll::Ready(Err(reset.clone().into()));
            }
            state.sending.finish()
        };
        if let Some(offset) = finish {
            self.send(Kind::Finish(v1::Finish { offset }))?;
            self.shared.due.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

/// A stream that the other side asks for, not answered yet.
#[derive(Debug)]
pub struct Offered {
    /// The request for it.
    pub open: v1::Open,
    stream: TunnelStream,
}

impl Offered {
    /// Answers that the far end is connected.
    pub async fn accept(mut self) -> io::Result<TunnelStream> {
        self.stream.shared.lock().answer = Answer::Opened;
        future::poll_fn(|cx| self.stream.poll_room(cx)).await?;
        self.stream.send(Kind::Opened(v1::Opened {}))?;
        Ok(self.stream)
    }

    /// Answers that it cannot be reached.
    pub async fn refuse(mut self, cause: Cause, detail: impl Into<String>) -> io::Result<()> {
        let detail = detail.into();
        future::poll_fn(|cx| self.stream.poll_room(cx)).await?;
        self.stream.send(Kind::Refused(v1::Refused { cause: cause.into(), detail: detail.clone() }))?;
        self.stream.shared.lock().end(ResetBy { cause, detail });
        Ok(())
    }
}

/// For the side that parks a call: waits until the other side asks for a stream on it. `None`: the call ended unused.
pub async fn offered(
    mut incoming: impl Stream<Item = Result<Frame, Status>> + Send + Unpin + 'static,
    outgoing: FrameSender,
    room: impl Into<Hold>,
) -> Result<Option<Offered>, Status> {
    let room = room.into();
    match incoming.next().await.transpose()?.map(|frame| frame.kind) {
        None => Ok(None),
        Some(Some(Kind::Open(open))) => {
            let stream = TunnelStream::start(Answer::Awaited, incoming, outgoing, room);
            Ok(Some(Offered { open, stream }))
        }
        Some(_) => Err(Status::invalid_argument("the first message of a stream must be `open`")),
    }
}

/// Carries one stream's messages until both directions are finished or it is reset.
async fn carry(
    shared: Arc<Shared>,
    mut incoming: impl Stream<Item = Result<Frame, Status>> + Unpin,
    outgoing: FrameSender,
) {
    loop {
        let (credit_due, reset_due, over) = {
            let state = shared.lock();
            let complete = state.is_complete() || state.ended.is_some();
            (state.credit_due.is_some(), state.reset_due.clone(), complete && state.reset_due.is_none())
        };
        if let Some(reset) = reset_due {
            // Nothing else is left to do, so waiting for room holds up nobody; a call that is gone needs no reset.
            let message = v1::Reset { cause: reset.cause.into(), detail: reset.detail };
            let _ = outgoing.send(Ok(frame(Kind::Reset(message)))).await;
            return leave(outgoing, incoming).await;
        }
        if over {
            return leave(outgoing, incoming).await;
        }
        tokio::select! {
            next = incoming.next() => shared.lock().receive(next),
            permit = outgoing.reserve(), if credit_due => {
                let limit = shared.lock().credit_due.take();
                if let (Ok(permit), Some(limit)) = (permit, limit) {
                    permit.send(Ok(frame(Kind::Credit(v1::Credit { limit }))));
                }
            }
            () = shared.due.notified() => {}
        }
    }
}

/// Ends a call in order: ends our direction, and waits for the other side to end. A dropped call is cancelled, and its
/// last message may be lost.
async fn leave(outgoing: FrameSender, mut incoming: impl Stream<Item = Result<Frame, Status>> + Unpin) {
    drop(outgoing);
    let ended = async {
        while let Some(Ok(_)) = incoming.next().await {
            // They may be endless.
            coop::consume_budget().await;
        }
    };
    // A side that does not end is not one that needs the last message.
    let _ = tokio::time::timeout(LEFT_WITHIN, ended).await;
}

fn tunnel_lost() -> ResetBy {
    ResetBy { cause: Cause::TunnelLost, detail: "the connection between laptop and agent ended".to_owned() }
}

fn frame(kind: Kind) -> Frame {
    Frame { kind: Some(kind) }
}

#[cfg(any(test, fuzzing))]
pub(super) mod hostile;
mod state;
#[cfg(test)]
mod tests;
