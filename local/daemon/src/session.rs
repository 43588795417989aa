//! A session: its users and routes, and its operations. `live` is its state, `upkeep` keeps it going, `lead` keeps its
//! stand-in from harming others, and `vacancy` watches the workload that it replaces.

mod lead;
mod live;
mod upkeep;
mod vacancy;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge_cluster::mode::Mode;
use bridge_proto::v1;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::lead::Lead;
pub(crate) use self::live::{Agent, Facts, Live};
use self::upkeep::Upkeep;
use self::vacancy::Vacancy;
use super::failure::Failure;
use super::inbound::Inbound;
use super::routes::{self, PortRoute};
use super::traffic;
use super::tunnel::{self, Purpose};
use super::users::Users;

/// The mode of a session without a Service, as the others have their names.
const ASIDE: &str = "aside";

/// A running session. Dropped, it ends at once and leaves the cluster as it is.
pub(crate) struct Session {
    pub(crate) facts: Facts,
    pub(crate) inbound: Arc<Inbound>,
    live_rx: watch::Receiver<Live>,
    live_tx: watch::Sender<Live>,
    /// Its users,
    users_tx: watch::Sender<Users>,
    /// and the routes that they result in; the routes in force follow these until the session ends.
    routes: Mutex<Vec<PortRoute>>,
    routes_tx: watch::Sender<v1::Routes>,
    stop: CancellationToken,
    began: Instant,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Session {
    /// Begins to open tunnels to the agents; the routes are in force at each as soon as its tunnel is open.
    pub(crate) fn start(facts: Facts, users: Users, routes: Vec<PortRoute>, inbound: Arc<Inbound>) -> Self {
        let without_origin = facts.mode.is_some() && facts.replaces.is_some();
        let (live_tx, live_rx) = watch::channel(Live { without_origin, ..Live::default() });
        let first = v1::Routes { revision: 1, routes: to_messages(&routes), without_origin };
        let (routes_tx, in_force) = watch::channel(first);
        let purpose = Purpose {
            cluster: facts.cluster.clone(),
            control_port: facts.control_port,
            key: facts.key.clone(),
            session: v1::Session { id: facts.id.clone(), user: facts.user.clone(), since_ms: facts.since_ms },
            secret: Arc::new(rand::random()),
            routes: in_force,
            inbound: inbound.clone(),
        };
        let stop = CancellationToken::new();
        let upkeep = Upkeep { facts: facts.clone(), purpose, live: live_tx.clone() };
        let stopped = stop.clone();
        let lead = Lead { facts: facts.clone(), live: live_tx.clone() };
        let vacancy = Vacancy { facts: facts.clone(), live: live_tx.clone() };
        tokio::spawn(async move {
            let lead = async {
                // Sidecars follow their pods, and no Service leads to an agent aside.
                if lead.facts.mode == Some(Mode::StandIn) {
                    lead.run().await;
                }
            };
            stopped.run_until_cancelled(async { tokio::join!(upkeep.run(), lead, vacancy.run()) }).await
        });
        let (users_tx, routes) = (watch::Sender::new(users), Mutex::new(routes));
        Self { facts, inbound, live_rx, live_tx, users_tx, routes, routes_tx, stop, began: Instant::now() }
    }

    /// Changes the state of its agents or its Service.
    #[cfg(test)]
    pub(crate) fn lives(&self, change: impl FnOnce(&mut Live)) {
        self.live_tx.send_modify(change);
    }

    /// A session with one agent, which accepts all routes at once.
    #[cfg(test)]
    pub(crate) fn pretended(facts: Facts, users: Users, routes: Vec<PortRoute>) -> Self {
        let (live_tx, live_rx) = watch::channel(Live::pretended());
        let first = v1::Routes { revision: 1, routes: to_messages(&routes), without_origin: false };
        let (routes_tx, mut in_force) = watch::channel(first);
        let live = live_tx.clone();
        tokio::spawn(async move {
            while in_force.changed().await.is_ok() {
                let revision = in_force.borrow_and_update().revision;
                live.send_modify(|live| {
                    let attended = live.agents.values_mut().filter_map(|agent| agent.attended.as_mut());
                    attended.for_each(|attended| attended.routed = revision);
                });
            }
        });
        let (users_tx, routes) = (watch::Sender::new(users), Mutex::new(routes));
        let (inbound, stop) = (Arc::default(), CancellationToken::new());
        Self { facts, inbound, live_rx, live_tx, users_tx, routes, routes_tx, stop, began: Instant::now() }
    }

    /// Waits for a state.
    pub(crate) async fn until(&self, mut reached: impl FnMut(&Live) -> bool) {
        // The sender lives as long as this session.
        let _ = self.live_rx.clone().wait_for(|live| reached(live)).await;
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Live> {
        self.live_rx.clone()
    }

    /// Changes whenever requests are routed differently.
    pub(crate) fn watch_routes(&self) -> watch::Receiver<v1::Routes> {
        self.routes_tx.subscribe()
    }

    /// Notes that there is no stand-in for the Service's new ports, and why.
    pub(crate) fn cannot_attach_again(&self, why: &str) {
        let name = &self.facts.service;
        let text = format!(
            "the ports of Service {name} changed: all requests go to the origin, and bridge cannot connect it \
             again: {why}; `bridge connect {name}` retries, `bridge disconnect {name}` ends this session"
        );
        self.live_tx.send_modify(|live| live.reset = Some(text));
    }

    /// Notes that the workload that it replaces is scaled back.
    pub(crate) fn gets_pods_back(&self) {
        self.live_tx.send_modify(|live| (live.without_origin, live.taken) = (false, None));
    }

    pub(crate) fn live(&self) -> Live {
        self.live_rx.borrow().clone()
    }

    /// Refuses routes that an agent of an earlier version would take for others.
    pub(crate) fn agents_know(&self, routes: &[PortRoute]) -> Result<(), Failure> {
        let live = self.live_rx.borrow();
        let mut attended = live.agents.values().filter_map(|agent| agent.attended.as_ref());
        attended.try_for_each(|attended| tunnel::knows(attended.revision, &to_messages(routes))).map_err(
            |error| {
                let (service, reason) = (self.facts.service.clone(), error.to_string());
                Failure::OtherVersion { service, reason }
            },
        )
    }

    pub(crate) fn routes(&self) -> Vec<PortRoute> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn users(&self) -> Users {
        self.users_tx.borrow().clone()
    }

    pub(crate) fn watch_users(&self) -> watch::Receiver<Users> {
        self.users_tx.subscribe()
    }

    /// Notes the users, if their routes stay the same.
    pub(crate) fn note_users(&self, users: Users) {
        self.users_tx.send_replace(users);
    }

    /// Changes to these users and routes without a gap between requests; resolves when all agents with a tunnel have
    /// them.
    pub(crate) async fn become_what(&self, users: Users, routes: Vec<PortRoute>) {
        self.note_users(users);
        let in_force = to_messages(&routes);
        let before =
            std::mem::replace(&mut *self.routes.lock().unwrap_or_else(PoisonError::into_inner), routes);
        if to_messages(&before) != in_force {
            self.put_in_force(in_force).await;
        }
    }

    /// Marks the session as ending and removes the routes; resolves when all agents with a tunnel have done so.
    pub(crate) async fn unroute(&self) {
        self.live_tx.send_modify(|live| live.disconnecting = true);
        self.put_in_force(Vec::new()).await;
    }

    async fn put_in_force(&self, routes: Vec<v1::Route>) {
        let mut revision = 0;
        self.routes_tx.send_modify(|current| {
            revision = current.revision + 1;
            (current.revision, current.routes) = (revision, routes);
        });
        let attended = |live: &Live| {
            live.agents.values().filter_map(|agent| agent.attended.as_ref()).all(|a| a.routed >= revision)
        };
        self.until(attended).await;
    }

    /// Waits until no request is in flight.
    pub(crate) async fn idle(&self) {
        let mut check = tokio::time::interval(Duration::from_millis(100));
        while self.inbound.counters.open.load(Ordering::Relaxed) > 0 {
            check.tick().await;
        }
    }

    pub(crate) fn status(&self) -> v1::SessionStatus {
        let live = self.live();
        let replaces = self.facts.replaces.as_ref();
        let replaces = replaces.filter(|_| self.facts.mode.is_none() || live.without_origin);
        let (state, detail) = match self.facts.mode {
            Some(_) => live.state(&self.facts.service),
            None => live.state_aside(&self.facts.service),
        };
        let agents = live.agents.iter().map(|(pod, agent)| v1::AgentStatus {
            pod: pod.clone(),
            attended: agent.attended.is_some(),
            detail: agent.detail(),
        });
        let counts = live.agents.values().filter_map(|agent| agent.attended.as_ref()).map(|a| &a.counts);
        let sum: traffic::Sum = counts.collect();
        let detail = match state {
            v1::State::Routing if detail.is_empty() && self.facts.mode.is_some() => {
                traffic::nothing_comes(&sum, self.began.elapsed()).unwrap_or_default().to_owned()
            }
            _ => detail,
        };
        let traffic::Sum { to_laptop, to_origin, copied, copies_given_up, opaque } = sum;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        v1::SessionStatus {
            id: self.facts.id.clone(),
            user: self.facts.user.clone(),
            target: self.facts.service.clone(),
            namespace: self.facts.cluster.namespace.clone(),
            context: self.facts.cluster.context.clone(),
            since_ms: self.facts.since_ms,
            routes: routes::status(&self.routes()),
            agents: agents.collect(),
            state: state.into(),
            detail,
            stand_in: self.facts.stand_in.clone(),
            mode: self.facts.mode.map_or_else(|| ASIDE.to_owned(), |mode| mode.to_string()),
            streams: count(&self.inbound.counters.streams),
            bytes_to_laptop: count(&self.inbound.counters.to_laptop),
            bytes_from_laptop: count(&self.inbound.counters.from_laptop),
            to_laptop: Some(to_laptop),
            to_origin: Some(to_origin),
            opaque,
            copied: Some(copied),
            copies_given_up,
            replaces: replaces.map(ToString::to_string).unwrap_or_default(),
            ends_ms: self.users().lease().map_or(0, |(_, ends_ms)| ends_ms),
            restores_after_seconds: self.facts.restore.map_or(0, |restore| restore.after.as_secs()),
        }
    }
}

fn to_messages(routes: &[PortRoute]) -> Vec<v1::Route> {
    routes.iter().map(PortRoute::to_message).collect()
}
