//! The sessions that daemons hold here: their tokens, their parked calls, and their routes.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use bridge_proto::proof::LENGTH;
use bridge_proto::tunnel::{Budget, FrameSender, Hold, Pool, TUNNEL_BUDGET};
use bridge_proto::v1::{self, Frame};
use futures::{Stream, StreamExt as _, stream};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::requests::Tally;
use crate::routes::{self, Entry, Refusal, Table};

/// Parked calls of one session.
const MAX_PARKED: usize = 4096;
/// Parked calls for which there is always room: as many as a daemon has at first, twice.
const ALWAYS_PARKED: usize = 64;
/// Sessions at a time.
const MAX_SESSIONS: usize = 256;
/// What a session may follow at a time: arrivals, requests, files.
const MAX_FOLLOWERS: usize = 16;

/// What the parts of a session cost, in bytes: what they can hold that is not counted as it comes and goes.
pub(crate) mod share {
    /// A call: its two buffers, and what HTTP/2 knows of it.
    pub(crate) const CALL: u64 = 20 << 10;
    /// A stream: a receiver's first window, the buffers between it and a socket, and what HTTP/2 has still to send.
    pub(crate) const STREAM: u64 = 192 << 10;
    /// A flow of datagrams, without those that wait.
    pub(crate) const FLOW: u64 = 8 << 10;
    /// A look at the volumes: what is in them, and the pieces that wait.
    pub(crate) const FILES: u64 = 2 << 20;
    /// A request by HTTP/2 on a stream that it shares with others.
    pub(crate) const EXCHANGE: u64 = 8 << 10;
    /// HTTP/2's window of a daemon's connection, at most.
    pub(crate) const WINDOW: u64 = 4 << 20;

    /// For daemons that want more than that.
    pub(crate) const FULL: &str = "this session holds all the memory that it may have of this agent: \
         let requests and connections that wait go on, or end them";
}

/// What a session may open in the cluster where it shares with nobody.
const ALONE: u64 = 16;

/// One developer's attachment, as long as its control call lives.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    /// The developer, as others see them.
    pub(crate) user: String,
    pub(crate) since_ms: u64,
    token: String,
    /// Of its secret (`bridge_proto::proof::fingerprint`).
    pub(crate) secret: [u8; LENGTH],
    /// Its end: the streams under way are reset.
    pub(crate) ended: CancellationToken,
    /// What it may hold of the agent's memory, in bytes,
    pub(crate) budget: Budget,
    /// and of what it may open in the cluster.
    pub(crate) outbound: Budget,
    /// What may still follow what the agent sees.
    pub(crate) followers: Arc<Semaphore>,
    /// What its connection may hold in HTTP/2's window.
    _window: Option<Hold>,
    /// The requests that went to its laptop.
    pub(crate) tally: Tally,
    /// Streams that were opened to any session of this agent.
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
    /// Room for the call.
    pub(crate) room: Hold,
}

/// A call is not parked.
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
            streams: Arc::default(),
            parked: Mutex::default(),
            available: Semaphore::new(0),
        }
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
            // A call that was given up or swept leaves its permit behind, so a permit promises nothing.
            self.available.acquire().await.ok()?.forget();
            let call = lock(&self.parked).pop_front();
            if let Some(call) = call.filter(|call| !call.outgoing.is_closed()) {
                return Some(call);
            }
        }
    }

    /// The messages of a call until the session ends: its streams end with it, even if the connection that carries them
    /// lives on.
    pub(crate) fn while_it_lives(
        &self,
        incoming: Streaming<Frame>,
    ) -> impl Stream<Item = Result<Frame, Status>> + Send + Unpin + use<> {
        let over = stream::iter([Err(Status::cancelled("the session has ended"))]);
        incoming.take_until(Box::pin(self.ended.clone().cancelled_owned())).chain(over)
    }

    /// Another connection's session, under this one's id and not of this one's daemon.
    fn is_anothers(&self, other: &Self) -> bool {
        self.id == other.id && !bool::from(self.secret.ct_eq(&other.secret))
    }

    fn end(&self) {
        self.ended.cancel();
        self.available.close();
        lock(&self.parked).clear();
    }
}

/// Why a session is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOpened {
    #[error("this agent is being stopped")]
    Stopping,
    #[error("this agent has {MAX_SESSIONS} sessions already")]
    TooMany,
    #[error("another daemon has a session of this id")]
    AnothersSession,
    #[error("this agent has no memory left for another session: end one of the others")]
    Full,
}

/// Why a control call is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAttended {
    #[error("this session is attended already, or has ended")]
    AttendedOrEnded,
    #[error("another daemon has a session of this id")]
    AnothersSession,
}

/// All sessions, and what their routes amount to.
#[derive(Debug)]
pub(crate) struct Registry {
    ports: Vec<u16>,
    table: ArcSwap<Table>,
    /// What all sessions share.
    pub(crate) memory: Pool,
    outbound: Pool,
    /// Streams that were opened to laptops.
    pub(crate) streams: Arc<AtomicU64>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    held: Vec<Held>,
    stopping: bool,
}

#[derive(Debug)]
struct Held {
    session: Arc<Session>,
    attended: bool,
    routes: Vec<Arc<Entry>>,
    /// Room for the routes.
    _room: Hold,
}

impl Registry {
    /// `ports` are those that the agent listens on; `memory`, in bytes, and `outbound`, in pieces, are what sessions share.
    pub(crate) fn new(ports: Vec<u16>, memory: Pool, outbound: Pool) -> Self {
        let table = ArcSwap::from_pointee(Table::new(ports.len(), std::iter::empty()));
        Self { ports, table, memory, outbound, streams: Arc::default(), inner: Mutex::default() }
    }

    /// HTTP/2's window of a daemon's connection: what comes waits there until a call takes it.
    pub(crate) fn window(&self) -> u32 {
        let window = (self.memory.share() / 2).min(share::WINDOW);
        u32::try_from(window).unwrap_or(u32::MAX)
    }

    /// The routes in force now.
    pub(crate) fn routes(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// Takes a session in. Its control call is to follow.
    pub(crate) fn open(&self, mut session: Session) -> Result<Arc<Session>, NotOpened> {
        let mut inner = lock(&self.inner);
        if inner.stopping {
            return Err(NotOpened::Stopping);
        }
        if inner.held.len() >= MAX_SESSIONS {
            return Err(NotOpened::TooMany);
        }
        if inner.held.iter().any(|held| held.attended && held.session.is_anothers(&session)) {
            return Err(NotOpened::AnothersSession);
        }
        session.streams = self.streams.clone();
        session.budget = self.memory.budget();
        session.outbound = self.outbound.budget();
        session._window = Some(session.budget.begin(self.window().into()).ok_or(NotOpened::Full)?);
        let session = Arc::new(session);
        let room = session.budget.nothing();
        inner.held.push(Held { session: session.clone(), attended: false, routes: Vec::new(), _room: room });
        Ok(session)
    }

    /// The session that this token was given to.
    pub(crate) fn by_token(&self, token: &[u8]) -> Option<Arc<Session>> {
        let inner = lock(&self.inner);
        let held = inner.held.iter().find(|held| held.session.token.as_bytes().ct_eq(token).into())?;
        Some(held.session.clone())
    }

    /// Its control call has come. An earlier one of the same session, half dead perhaps, gives way; one that only has the
    /// same id does not.
    pub(crate) fn attend(&self, session: &Arc<Session>) -> Result<(), NotAttended> {
        let mut inner = lock(&self.inner);
        if inner.held.iter().any(|held| held.attended && held.session.is_anothers(session)) {
            return Err(NotAttended::AnothersSession);
        }
        let held = inner.held.iter_mut().find(|held| Arc::ptr_eq(&held.session, session) && !held.attended);
        held.ok_or(NotAttended::AttendedOrEnded)?.attended = true;
        let is_earlier = |held: &Held| {
            held.session.id == session.id && !Arc::ptr_eq(&held.session, session) && held.attended
        };
        for earlier in inner.held.extract_if(.., |held| is_earlier(held)) {
            earlier.session.end();
        }
        self.publish(&inner);
        Ok(())
    }

    /// Gives the session these routes instead of those it had. They are in force when this returns.
    pub(crate) fn set_routes(&self, session: &Arc<Session>, routes: &[v1::Route]) -> Result<(), Refusal> {
        let entries = routes::read(session, &self.ports, routes)?;
        let room = session.budget.begin(routes::size(&entries)).ok_or(Refusal::Full)?;
        let mut inner = lock(&self.inner);
        if inner.stopping {
            return Err(Refusal::Stopping);
        }
        let others = inner.held.iter().filter(|held| !Arc::ptr_eq(&held.session, session));
        for other in others.flat_map(|held| &held.routes) {
            let same =
                |entry: &&Arc<Entry>| entry.port == other.port && entry.matching.collides(&other.matching);
            if let Some(entry) = entries.iter().find(same) {
                return Err(Refusal::Taken {
                    holder: other.session.user.clone(),
                    port: self.ports[entry.port],
                });
            }
        }
        if let Some(held) = inner.held.iter_mut().find(|held| Arc::ptr_eq(&held.session, session)) {
            held.routes = entries;
            held._room = room;
        }
        self.publish(&inner);
        Ok(())
    }

    /// Forgets a session: its token, its routes, its parked calls; its streams are reset.
    pub(crate) fn end(&self, session: &Arc<Session>) {
        let mut inner = lock(&self.inner);
        inner.held.retain(|held| !Arc::ptr_eq(&held.session, session));
        self.publish(&inner);
        drop(inner);
        session.end();
    }

    /// Forgets a session whose control call did not come.
    pub(crate) fn end_unattended(&self, session: &Arc<Session>) {
        let attended =
            lock(&self.inner).held.iter().any(|held| held.attended && Arc::ptr_eq(&held.session, session));
        if !attended {
            self.end(session);
        }
    }

    /// Takes nothing new to a laptop from now on; what is under way goes on.
    pub(crate) fn stop(&self) {
        let mut inner = lock(&self.inner);
        inner.stopping = true;
        self.publish(&inner);
    }

    /// Ends all sessions.
    pub(crate) fn end_all(&self) {
        let mut inner = lock(&self.inner);
        inner.stopping = true;
        let held = std::mem::take(&mut inner.held);
        self.publish(&inner);
        drop(inner);
        for held in held {
            held.session.end();
        }
    }

    /// Sessions that are held now.
    pub(crate) fn sessions(&self) -> usize {
        lock(&self.inner).held.len()
    }

    fn publish(&self, inner: &Inner) {
        let routes = inner.held.iter().flat_map(|held| &held.routes).filter(|_| !inner.stopping);
        self.table.store(Arc::new(Table::new(self.ports.len(), routes.cloned())));
    }
}

/// No code that holds one of these locks can leave its data half changed, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
