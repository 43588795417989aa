//! The one task of a caller's connection: the caller's side, the origin's, and the streams between them. `begin`
//! decides where a stream goes.

mod begin;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use h2::{Reason, server};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::caller::Caller;
use super::exchange::Accepted;
use super::frames::Account;
use super::io::{Io, Turn, Written};
use super::laptop::{Lanes, Start};
use super::link::{Event, Link};
use super::wakes::{Part, Wakes};
use super::window::Window;
use super::work::{Done, Ended, Work};
use crate::connection::origin::Origin;
use crate::context::Data;
use crate::port::Port;

/// How often the parts of a task may wake each other before others get their turn.
const MAX_ROUNDS: usize = 16;
/// The number of turns in which a caller may send all it can for no stream (pings, settings): some MiB.
const MAX_IDLE_TURNS: u32 = 256;
/// The time that a caller may stay after a GOAWAY.
const FAREWELL: Duration = Duration::from_secs(5);

/// A caller's connection that speaks HTTP/2.
pub(super) struct Task {
    context: Arc<Data>,
    port: Port,
    start: Start,
    caller: server::Connection<Io<TcpStream>, Bytes>,
    written: Written,
    /// The caller's small frames.
    account: Account,
    /// It was high, and the caller goes.
    is_spent: bool,
    link: Link,
    /// The previous one, which takes no more streams and serves those that it has.
    before: Option<Link>,
    streams: FuturesUnordered<Work>,
    /// Streams that wait for the origin's connection.
    waiting: Vec<Accepted>,
    lanes: Lanes,
    load: Load,
    /// Streams have something to do, and wait until the caller reads.
    held_back: bool,
    /// To be reset once earlier data has been written.
    resets: Vec<(Caller, Reason)>,
    /// Streams whose origin is gone. Their handles are kept, because dropping one resets its stream.
    lost: Vec<Caller>,
    /// Events from the caller, and from the origin.
    from_caller: Window,
    from_origin: Window,
    wakes: Wakes,
    turn: Turn,
    /// Turns in a row in which the caller sent all it could, and none of it was for a stream.
    idle_turns: u32,
    /// A stream had something to do in this turn.
    worked: bool,
    draining: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    leaving: Option<Leaving>,
}

/// The streams in progress.
#[derive(Debug, Default)]
struct Load {
    at_laptop: usize,
    /// Bytes of the heads of all requests, waiting ones included.
    heads: usize,
}

/// The connection is to end.
#[derive(Default)]
struct Leaving {
    /// The reason of the GOAWAY that has still to be sent.
    reason: Option<Reason>,
    /// Runs while no stream is in progress.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Load {
    fn ends(&mut self, done: &Done) {
        self.heads -= done.head;
        self.at_laptop -= usize::from(done.at_laptop);
    }
}

impl Task {
    pub(super) fn new(
        context: Arc<Data>,
        port: Port,
        start: Start,
        (caller, written, account): (server::Connection<Io<TcpStream>, Bytes>, Written, Account),
        link: Link,
        lanes: Lanes,
        turn: Turn,
    ) -> Self {
        let (drain, pool) = (context.drain.clone(), context.http2.clone());
        Self {
            context,
            port,
            start,
            caller,
            written,
            account,
            is_spent: false,
            link,
            before: None,
            streams: FuturesUnordered::new(),
            waiting: Vec::new(),
            lanes,
            load: Load::default(),
            held_back: false,
            resets: Vec::new(),
            lost: Vec::new(),
            from_caller: Window::new(pool.clone()),
            from_origin: Window::new(pool),
            wakes: Wakes::new(),
            turn,
            idle_turns: 0,
            worked: false,
            draining: Some(Box::pin(async move { drain.begun().await })),
            leaving: None,
        }
    }

    /// Serves until the connection is over. The caller's socket is returned to its owner.
    pub(super) async fn run(mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
        let Self { caller, link, before, streams, waiting, lost, resets, lanes, .. } = self;
        // First the connection, so that the end of its streams is no reset.
        drop(caller);
        drop((streams, waiting, lost, resets, lanes));
        for link in std::iter::once(link).chain(before) {
            link.end().await;
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.wakes.run(cx);
        self.turn.begin();
        self.links().for_each(Link::begin_turn);
        for _ in 0..MAX_ROUNDS {
            let due = self.wakes.take();
            if due.has(Part::Origin) {
                self.poll_origin();
            }
            // A caller that does not read gets nothing more: untaken data waits at its source.
            self.worked |= due.has(Part::Streams);
            if due.has(Part::Streams) && !self.written.all() {
                self.held_back = true;
            } else if due.has(Part::Streams) {
                self.poll_streams();
                self.grow_windows();
            }
            if due.has(Part::Caller) && self.poll_caller().is_ready() {
                return Poll::Ready(());
            }
            if due.has(Part::Others) {
                self.poll_drain();
            }
            if self.turn.is_over() || self.links().any(Link::is_turn_over) {
                self.note_turn();
                break;
            }
            if self.wakes.rest() {
                // Now that nothing else is left to do.
                match self.poll_leave() {
                    Poll::Pending if self.wakes.rest() => return Poll::Pending,
                    Poll::Pending => {}
                    Poll::Ready(()) => return Poll::Ready(()),
                }
            }
        }
        self.wakes.rest();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Notes that the turn is over although there is more to read.
    fn note_turn(&mut self) {
        let idle = self.turn.is_over() && !std::mem::take(&mut self.worked);
        self.idle_turns = if idle { self.idle_turns + 1 } else { 0 };
        if self.idle_turns == MAX_IDLE_TURNS {
            tracing::debug!("closing the connection of a caller that sends much outside of any stream");
            self.caller.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            self.wakes.set(Part::Caller);
        }
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::once(&self.link).chain(&self.before)
    }

    fn poll_origin(&mut self) {
        let mut cx = Context::from_waker(self.wakes.waker(Part::Origin));
        let before = self.before.as_mut().map(|before| before.poll(&mut cx));
        let now = self.link.poll(&mut cx);
        if let Some(Poll::Ready(Event::Over(reason))) = before {
            self.before = None;
            self.leave(reason);
        }
        let Poll::Ready(event) = now else { return };
        match event {
            Event::Up(_) => {
                for accepted in self.no_longer_waiting() {
                    self.hand_to_origin(accepted);
                }
                self.wakes.set(Part::Origin);
            }
            Event::GoingAway => {
                self.caller_goes();
                // Streams that the caller begins before it gets the GOAWAY are not refused: they get a connection of
                // their own.
                if self.before.is_none() {
                    let next = Link::Absent(Origin::new(self.context.origin(self.port)));
                    self.before = Some(std::mem::replace(&mut self.link, next));
                    // It has still to be driven.
                    self.wakes.set(Part::Origin);
                }
            }
            Event::Over(reason) => {
                for accepted in self.no_longer_waiting() {
                    self.lose(Caller::Waits(accepted.respond), None);
                }
                self.leave(reason);
            }
            // Too late to relay it.
            Event::Foreign(_) => self.leave(Some(Reason::INTERNAL_ERROR)),
        }
    }

    fn poll_streams(&mut self) {
        let mut cx = Context::from_waker(self.wakes.waker(Part::Streams));
        let mut done = Vec::new();
        while let Poll::Ready(Some(one)) = self.streams.poll_next_unpin(&mut cx) {
            self.load.ends(&one);
            if !matches!(one.ended, Ended::Over) {
                done.push(one);
            }
        }
        for one in done {
            match one.ended {
                Ended::Over => {}
                Ended::ToOrigin(mut accepted, why) => {
                    accepted.record.fell_back(why);
                    self.hand_to_origin(accepted);
                }
                Ended::Again(accepted) => self.route_again(accepted),
                Ended::Lost(caller, wanted) => self.lose(caller, Some(wanted)),
                Ended::Reset(caller, reason) => {
                    self.resets.push((caller, reason));
                    self.wakes.set(Part::Caller);
                }
            }
        }
    }

    /// Grows the windows, so that stalled streams leave room for others.
    fn grow_windows(&mut self) {
        if let Some(size) = self.from_caller.grow() {
            self.caller.set_target_window_size(size);
            self.wakes.set(Part::Caller);
        }
        if let Link::Up(up) = &mut self.link
            && let Some(size) = self.from_origin.grow()
        {
            up.set_window(size);
            self.wakes.set(Part::Origin);
        }
    }

    fn poll_caller(&mut self) -> Poll<()> {
        loop {
            let mut cx = Context::from_waker(self.wakes.waker(Part::Caller));
            match self.caller.poll_accept(&mut cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.route(request, respond),
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(%error, "a caller's connection failed");
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if !self.is_spent && self.account.is_high() {
            self.is_spent = true;
            self.caller_goes();
        }
        if self.written.all() && std::mem::take(&mut self.held_back) {
            self.wakes.set(Part::Streams);
        }
        if self.written.all() && !self.resets.is_empty() {
            for (mut caller, reason) in self.resets.drain(..) {
                caller.reset(reason);
            }
            self.wakes.set(Part::Caller);
        }
        Poll::Pending
    }

    fn poll_drain(&mut self) {
        let mut cx = Context::from_waker(self.wakes.waker(Part::Others));
        if self.draining.as_mut().is_some_and(|draining| draining.as_mut().poll(&mut cx).is_ready()) {
            self.draining = None;
            self.caller_goes();
        }
    }

    /// Announces to the caller that it may begin no more streams; those that it has begun are served.
    fn caller_goes(&mut self) {
        self.caller.graceful_shutdown();
        self.wakes.set(Part::Caller);
    }

    /// Nothing more can go to the origin: the connection ends after the streams in progress.
    fn leave(&mut self, reason: Option<Reason>) {
        self.caller_goes();
        self.leaving = Some(Leaving { reason, deadline: None });
    }

    /// Ready: the connection is over.
    fn poll_leave(&mut self) -> Poll<()> {
        let Some(leaving) = &mut self.leaving else { return Poll::Pending };
        // A caller may read late: its data is held for it, as a socket would hold it.
        let under_way = !(self.streams.is_empty() && self.waiting.is_empty() && self.resets.is_empty());
        if under_way || !self.written.all() {
            leaving.deadline = None;
            return Poll::Pending;
        }
        match leaving.reason.take() {
            Some(reason) => {
                self.caller.abrupt_shutdown(reason);
                self.wakes.set(Part::Caller);
            }
            // As the origin's connection ended under them.
            None if !self.lost.is_empty() => return Poll::Ready(()),
            None => {}
        }
        let mut cx = Context::from_waker(self.wakes.waker(Part::Others));
        let deadline = leaving.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL)));
        deadline.as_mut().poll(&mut cx)
    }
}
