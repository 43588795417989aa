//! The sessions of this daemon.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bridge_cluster::aside;
use bridge_cluster::client::Cluster;
use bridge_cluster::events;
use bridge_cluster::objects;
use bridge_cluster::state::Attachment;
use bridge_cluster::takeover::release::{Released, release};
use bridge_proto::v1;
use tokio::sync::watch;

use super::failure::Failure;
use super::replacing;
use super::session::Session;

/// How long a disconnect waits for the agents to remove the routes; an agent without a tunnel has none.
const UNROUTE_WITHIN: Duration = Duration::from_secs(1);
/// How long requests in flight may go on after a disconnect.
const FINISH_WITHIN: Duration = Duration::from_secs(30);

/// The number of ended sessions to remember.
const MOST_FORMER: usize = 256;

/// All sessions. A clone is a handle to the same ones.
#[derive(Clone)]
pub(crate) struct Registry {
    sessions: Arc<Mutex<Vec<Arc<Session>>>>,
    /// Ended sessions: their users continue with the next one at the same Service.
    former: Arc<Mutex<VecDeque<Former>>>,
    /// Sessions being connected: their claims are in the cluster before they are here.
    coming: Arc<Mutex<BTreeSet<String>>>,
    count_tx: Arc<watch::Sender<usize>>,
}

/// A session is being connected, until this is dropped.
pub(crate) struct Coming {
    id: String,
    all: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// A session that has ended.
#[derive(Clone)]
struct Former {
    id: String,
    cluster: Cluster,
    service: String,
    user: String,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            sessions: Arc::default(),
            former: Arc::default(),
            coming: Arc::default(),
            count_tx: Arc::new(watch::Sender::new(0)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Session>>> {
        // Code under this lock only adds or removes a handle.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of sessions, now and from now on.
    pub(crate) fn count(&self) -> watch::Receiver<usize> {
        self.count_tx.subscribe()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.lock().clone()
    }

    /// Notes that a session with this id is being connected.
    pub(crate) fn coming(&self, id: &str) -> Coming {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        Coming { id: id.to_owned(), all: self.coming.clone() }
    }

    /// The ids of the sessions whose claims this daemon answers for.
    pub(crate) fn alive(&self) -> BTreeSet<String> {
        // In this order: a session that has just been added is in both.
        let mut alive = self.coming.lock().unwrap_or_else(PoisonError::into_inner).clone();
        alive.extend(self.lock().iter().map(|session| session.facts.id.clone()));
        alive
    }

    /// The session of this name with a Service, if there is one.
    pub(crate) fn find(&self, cluster: &Cluster, service: &str, user: &str) -> Option<Arc<Session>> {
        let same = |session: &&Arc<Session>| {
            let facts = &session.facts;
            facts.service == service
                && facts.user == user
                && facts.cluster.namespace == cluster.namespace
                && facts.cluster.server == cluster.server
        };
        self.lock().iter().find(same).cloned()
    }

    /// The session with this id, or the one that has replaced it.
    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Session>> {
        let current = self.lock().iter().find(|session| session.facts.id == id).cloned();
        current.or_else(|| {
            let former = self.former().iter().find(|former| former.id == id).cloned()?;
            self.find(&former.cluster, &former.service, &former.user)
        })
    }

    fn former(&self) -> MutexGuard<'_, VecDeque<Former>> {
        self.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        let mut sessions = self.lock();
        sessions.push(session.clone());
        self.count_tx.send_replace(sessions.len());
        session
    }

    pub(crate) fn has(&self, session: &Arc<Session>) -> bool {
        self.lock().iter().any(|other| Arc::ptr_eq(other, session))
    }

    /// Replaces a session. Requests in flight may finish, in the background.
    pub(crate) async fn replace(&self, old: &Arc<Session>, new: Session) -> Arc<Session> {
        let new = self.add(new);
        self.retire(old).await;
        new
    }

    /// Ends a session whose claim is another's or nobody's by now, and returns whether it has. If that cannot be
    /// determined, the session stays.
    pub(crate) async fn retire_without_claim(&self, session: &Arc<Session>) -> bool {
        let facts = &session.facts;
        let gone = match objects::read(&facts.cluster, &facts.service).await {
            Ok(service) => Attachment::of(&service)
                .is_ok_and(|now| now.is_none_or(|now| now.sessions.iter().all(|claim| claim.id != facts.id))),
            Err(error) => error.is_not_found(),
        };
        if gone {
            self.retire(session).await;
        }
        gone
    }

    /// Removes a session's routes and forgets it. Requests in flight may finish, in the background.
    async fn retire(&self, session: &Arc<Session>) {
        self.remove(session);
        unroute(session).await;
        tokio::spawn(finish(session.clone()));
    }

    /// Forgets a session; it ends with the last handle to it.
    fn remove(&self, session: &Arc<Session>) {
        let facts = &session.facts;
        let mut former = self.former();
        former.push_front(Former {
            id: facts.id.clone(),
            cluster: facts.cluster.clone(),
            service: facts.service.clone(),
            user: facts.user.clone(),
        });
        former.truncate(MOST_FORMER);
        drop(former);
        let mut sessions = self.lock();
        sessions.retain(|other| !Arc::ptr_eq(other, session));
        self.count_tx.send_replace(sessions.len());
    }

    /// Ends a session: first its routes, then its claim; with the last claim, the Service is restored. One aside ends
    /// with its agent. A workload that the session replaces is restored before anything else. Requests in flight at the
    /// laptop may finish, in the background.
    pub(crate) async fn disconnect(&self, session: &Arc<Session>) -> Result<v1::Disconnected, Failure> {
        let facts = &session.facts;
        Box::pin(replacing::bring_back(session)).await?;
        unroute(session).await;
        let restored = match facts.mode {
            Some(_) => {
                let released = release(&facts.cluster, &facts.service, |claim| claim.id == facts.id).await?;
                !matches!(released, Released::Shared(_))
            }
            None => {
                aside::end(&facts.cluster, &facts.id, facts.replaces.as_ref(), &facts.agents).await?;
                true
            }
        };
        self.remove(session);
        if facts.mode.is_some() {
            let text = format!("{} disconnected", facts.user);
            events::record(&facts.cluster, &facts.service, "BridgeDisconnected", &text).await;
        }
        tokio::spawn(finish(session.clone()));
        Ok(v1::Disconnected {
            target: facts.service.clone(),
            namespace: facts.cluster.namespace.clone(),
            context: facts.cluster.context.clone(),
            restored,
            user: facts.user.clone(),
        })
    }
}

/// Removes the routes. An agent that does not answer has no tunnel, and so routes nothing.
pub(super) async fn unroute(session: &Session) {
    let _ = tokio::time::timeout(UNROUTE_WITHIN, session.unroute()).await;
}

/// Waits for requests in flight. Those that take too long are cut, and the agent answers 502.
async fn finish(session: Arc<Session>) {
    let _ = tokio::time::timeout(FINISH_WITHIN, session.idle()).await;
}
