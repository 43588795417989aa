//! The sessions of daemons, and the routes in force.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bridge_proto::tunnel::{Hold, Pool};
use bridge_proto::v1;
use tokio::time::Instant;

use crate::port::Port;
use crate::routes::{self, Entry, Refusal, Table};
use crate::session::{Session, share};

/// Sessions at a time.
const MAX_SESSIONS: usize = 256;

/// Why a session is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOpened {
    #[error("this agent is shutting down")]
    Stopping,
    #[error("this agent already has {MAX_SESSIONS} sessions")]
    TooMany,
    #[error("another daemon has a session of this id")]
    AnothersSession,
    #[error("this agent has no memory left for another session: end one of the others")]
    Full,
}

/// Why a control call is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAttended {
    #[error("this session is already attended, or has ended")]
    AttendedOrEnded,
    #[error("another daemon has a session of this id")]
    AnothersSession,
}

/// All sessions, and the table of their routes.
#[derive(Debug)]
pub(crate) struct Registry {
    ports: Vec<Port>,
    table: Arc<ArcSwap<Table>>,
    /// The budget that all sessions share.
    pub(crate) memory: Pool,
    outbound: Pool,
    /// The number of streams opened to laptops.
    pub(crate) streams: Arc<AtomicU64>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    held: Vec<Held>,
    stopping: bool,
    /// When the last session ended, or the agent began.
    alone_since: Instant,
}

#[derive(Debug)]
struct Held {
    session: Arc<Session>,
    attended: bool,
    routes: Vec<Arc<Entry>>,
    /// The memory of the routes.
    _room: Hold,
}

impl Inner {
    fn new() -> Self {
        Self { held: Vec::new(), stopping: false, alone_since: Instant::now() }
    }
}

impl Registry {
    /// `ports` are those that the agent listens on; `memory`, in bytes, and `outbound`, a number of connections, are
    /// shared by the sessions.
    pub(crate) fn new(ports: Vec<Port>, memory: Pool, outbound: Pool) -> Self {
        let table = Arc::new(ArcSwap::from_pointee(Table::new(ports.len(), std::iter::empty())));
        Self { ports, table, memory, outbound, streams: Arc::default(), inner: Mutex::new(Inner::new()) }
    }

    /// The HTTP/2 window of a daemon's connection: data waits there until a call takes it.
    pub(crate) fn window(&self) -> u32 {
        let window = (self.memory.share() / 2).min(share::WINDOW);
        u32::try_from(window).unwrap_or(u32::MAX)
    }

    /// The routes in force, as published.
    pub(crate) fn table(&self) -> Arc<ArcSwap<Table>> {
        self.table.clone()
    }

    /// Adds a session. Its control call must follow.
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
        if !session.hold_window(self.window().into()) {
            return Err(NotOpened::Full);
        }
        let session = Arc::new(session);
        let room = session.budget.nothing();
        inner.held.push(Held { session: session.clone(), attended: false, routes: Vec::new(), _room: room });
        Ok(session)
    }

    /// The session with this token.
    pub(crate) fn by_token(&self, token: &[u8]) -> Option<Arc<Session>> {
        let inner = lock(&self.inner);
        let held = inner.held.iter().find(|held| held.session.has_token(token))?;
        Some(held.session.clone())
    }

    /// Accepts a session's control call. An earlier one of the same session, half dead perhaps, gives way; another
    /// session with the same id does not.
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

    /// Replaces the session's routes. The new ones are in force when this returns.
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
                return Err(Refusal::Taken { holder: other.session.user.clone(), port: entry.port.number });
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
        if inner.held.is_empty() {
            inner.alone_since = Instant::now();
        }
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

    /// Opens no new streams to laptops from now on; open ones go on.
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

    /// The number of sessions.
    pub(crate) fn sessions(&self) -> usize {
        lock(&self.inner).held.len()
    }

    /// How long there has been no session; zero while there are any.
    pub(crate) fn alone_for(&self) -> Duration {
        let inner = lock(&self.inner);
        if inner.held.is_empty() { inner.alone_since.elapsed() } else { Duration::ZERO }
    }

    fn publish(&self, inner: &Inner) {
        let routes = inner.held.iter().flat_map(|held| &held.routes).filter(|_| !inner.stopping);
        self.table.store(Arc::new(Table::new(self.ports.len(), routes.cloned())));
    }
}

/// No code that holds one of these locks can leave its data half changed, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
