//! One daemon's session: its token, its parked calls, and its share of the agent's memory.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bridge_proto::proof::LENGTH;
use bridge_proto::tunnel::{Budget, FrameSender, Hold, TUNNEL_BUDGET};
use bridge_proto::v1::Frame;
use futures::{Stream, StreamExt as _, stream};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::tally::Tally;

/// Limit on the parked calls of one session.
const MAX_PARKED: usize = 4096;
/// Parked calls that always have room: twice as many as a daemon has at first.
const ALWAYS_PARKED: usize = 64;
/// Limit on the streams that a session may follow at a time: arrivals, requests, files.
const MAX_FOLLOWERS: usize = 16;
/// Limit on the copies of requests that are under way to a session's laptop.
const MAX_COPIES: usize = 64;

/// The cost of a session's parts, in bytes: the memory that they may use and that is not counted as it comes and goes.
pub(crate) mod share {
    /// A call: its two buffers, and HTTP/2's state of it.
    pub(crate) const CALL: u64 = 20 << 10;
    /// A stream: a receiver's first window, the buffers between it and a socket, and HTTP/2's unsent data.
    pub(crate) const STREAM: u64 = 192 << 10;
    /// A flow of datagrams, without waiting ones.
    pub(crate) const FLOW: u64 = 8 << 10;
    /// A reading of the volumes: their lists, and the waiting pieces.
    pub(crate) const FILES: u64 = 2 << 20;
    /// A request by HTTP/2 on a stream that it shares with others.
    pub(crate) const EXCHANGE: u64 = 8 << 10;
    /// The part of a copied request that may wait for the laptop.
    pub(crate) const COPY: u64 = 256 << 10;
    /// The limit of HTTP/2's window of a daemon's connection.
    pub(crate) const WINDOW: u64 = 4 << 20;

    /// The message for daemons that want more.
    pub(crate) const FULL: &str = "this session has used up its memory on this agent: let waiting requests and \
                                   connections finish, or cancel them";
}

/// Limit on the connections that a session opens in the cluster, until it shares the limit of all sessions.
const ALONE: u64 = 16;

/// One developer's attachment, as long as its control call lives.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    /// The developer's name, for others.
    pub(crate) user: String,
    pub(crate) since_ms: u64,
    token: String,
    /// The fingerprint of its secret (`bridge_proto::proof::fingerprint`).
    pub(crate) secret: [u8; LENGTH],
    /// Cancelled at its end: open streams are reset.
    pub(crate) ended: CancellationToken,
    /// Its budget of the agent's memory, in bytes,
    pub(crate) budget: Budget,
    /// and of connections in the cluster.
    pub(crate) outbound: Budget,
    /// The number of streams that may still follow the agent's events.
    pub(crate) followers: Arc<Semaphore>,
    /// The memory of its connection's HTTP/2 window.
    _window: Option<Hold>,
    /// The requests that went to its laptop,
    pub(crate) tally: Tally,
    /// the copies that its laptop answered,
    pub(crate) copied: Tally,
    /// and those that were given up.
    pub(crate) given_up: AtomicU64,
    /// The number of copies that may still begin.
    pub(crate) copies: Arc<Semaphore>,
    /// The number of streams opened to all sessions of this agent.
    pub(crate) streams: Arc<AtomicU64>,
    parked: Mutex<VecDeque<Parked>>,
    /// A permit for each parked call; closed at the end.
    available: Semaphore,
}

/// A call on which a stream can be opened without a round trip.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) incoming: Streaming<Frame>,
    pub(crate) outgoing: FrameSender,
    /// The memory of the call.
    pub(crate) room: Hold,
}

/// Why a call is not parked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotParked {
    #[error("more than {MAX_PARKED} calls are parked")]
    TooMany,
    #[error("{}", share::FULL)]
    Full,
}

impl Session {
    pub(crate) fn new(id: &str, user: &str, since_ms: u64, token: String) -> Self {
        Self {
            id: id.to_owned(),
            user: user.to_owned(),
            since_ms,
            token,
            secret: [0; LENGTH],
            ended: CancellationToken::new(),
            budget: Budget::new(TUNNEL_BUDGET),
            outbound: Budget::new(ALONE),
            followers: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            _window: None,
            tally: Tally::default(),
            copied: Tally::default(),
            given_up: AtomicU64::new(0),
            copies: Arc::new(Semaphore::new(MAX_COPIES)),
            streams: Arc::default(),
            parked: Mutex::default(),
            available: Semaphore::new(0),
        }
    }

    /// Takes its connection's window, in bytes, out of its budget. False if there is no room for it.
    pub(crate) fn hold_window(&mut self, window: u64) -> bool {
        self._window = self.budget.begin(window);
        self._window.is_some()
    }

    /// Keeps a call for a stream to come.
    pub(crate) fn park(&self, incoming: Streaming<Frame>, outgoing: FrameSender) -> Result<(), NotParked> {
        let mut parked = lock(&self.parked);
        let mut room = self.budget.nothing();
        if parked.len() >= MAX_PARKED || !room.set(share::CALL) {
            parked.retain(|call| !call.outgoing.is_closed());
        }
        if parked.len() >= MAX_PARKED {
            return Err(NotParked::TooMany);
        }
        if room.amount() == 0 && parked.len() < ALWAYS_PARKED {
            room = self.budget.hold(share::CALL);
        } else if !room.set(share::CALL) {
            return Err(NotParked::Full);
        }
        parked.push_back(Parked { incoming, outgoing, room });
        drop(parked);
        self.available.add_permits(1);
        Ok(())
    }

    /// Waits for a parked call, as long as the session lives.
    pub(crate) async fn take_parked(&self) -> Option<Parked> {
        loop {
            // A call that was given up or swept leaves its permit behind, so a permit guarantees nothing.
            self.available.acquire().await.ok()?.forget();
            let call = lock(&self.parked).pop_front();
            if let Some(call) = call.filter(|call| !call.outgoing.is_closed()) {
                return Some(call);
            }
        }
    }

    /// The messages of a call until the session ends: its streams end with it, even if their connection lives on.
    pub(crate) fn while_it_lives(
        &self,
        incoming: Streaming<Frame>,
    ) -> impl Stream<Item = Result<Frame, Status>> + Send + Unpin + use<> {
        let over = stream::iter([Err(Status::cancelled("the session has ended"))]);
        incoming.take_until(Box::pin(self.ended.clone().cancelled_owned())).chain(over)
    }

    /// Whether this is the token of its daemon.
    pub(crate) fn has_token(&self, token: &[u8]) -> bool {
        self.token.as_bytes().ct_eq(token).into()
    }

    /// Whether the other session has this one's id, but not its daemon.
    pub(crate) fn is_anothers(&self, other: &Self) -> bool {
        self.id == other.id && !bool::from(self.secret.ct_eq(&other.secret))
    }

    /// Resets its streams, and accepts no more calls.
    pub(crate) fn end(&self) {
        self.ended.cancel();
        self.available.close();
        lock(&self.parked).clear();
    }
}

/// No code that holds one of these locks can leave its data half changed, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
