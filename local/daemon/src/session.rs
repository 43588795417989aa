//! A session: what it is here for, how it stands, and its routes. What keeps it going is in `upkeep`.

mod lead;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge_cluster::client::Cluster;
use bridge_cluster::workload::Labels;
use bridge_deploy::ListenPort;
use bridge_proto::v1;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::lead::Lead;
use self::upkeep::Upkeep;
use super::inbound::Inbound;
use super::routes::{self, PortRoute};
use super::traffic;
use super::tunnel::{Attended, Purpose};
use super::users::Users;

/// What does not change while a session lives.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) cluster: Cluster,
    pub(crate) service: String,
    pub(crate) stand_in: String,
    /// The uid of the stand-in's Deployment: only its pods are agents.
    pub(crate) deployment: String,
    pub(crate) control_port: u16,
    /// The Service's own selector.
    pub(crate) original: Labels,
    pub(crate) key: Arc<[u8]>,
    pub(crate) since_ms: u64,
    /// The Service's ports that the stand-in knows.
    pub(crate) ports: Vec<ListenPort>,
    /// Empty: the origin's own.
    pub(crate) agent_image: String,
}

/// One agent's pod, and the tunnel to it.
#[derive(Clone, Default)]
pub(crate) struct Agent {
    pub(crate) ready: bool,
    pub(crate) leaving: bool,
    pub(crate) attended: Option<Attended>,
    /// Why there is no tunnel.
    pub(crate) trouble: String,
    /// There will be none: its program and this one are too far apart.
    pub(crate) other_version: bool,
    /// Why it is not ready.
    pub(crate) waits_for: Option<String>,
}

/// What changes.
#[derive(Clone, Default)]
pub(crate) struct Live {
    pub(crate) agents: BTreeMap<String, Agent>,
    /// They were seen; before that, none says nothing.
    pub(crate) agents_known: bool,
    /// The Service leads to the stand-in just now.
    pub(crate) in_place: bool,
    /// It leads to the origin, as no agent was ready, until some are.
    pub(crate) led_back: bool,
    /// Why Kubernetes makes no pods of agents.
    pub(crate) refused: Option<String>,
    /// The agents are of an earlier template of the origin: what becomes of that.
    pub(crate) stale: Option<String>,
    /// The Service has led to the stand-in.
    pub(crate) was_in_place: bool,
    /// It does no more: who changed it, what to do.
    pub(crate) reset: Option<String>,
    pub(crate) disconnecting: bool,
    /// How often the Service was seen with ports that the stand-in does not know.
    pub(crate) other_ports: u64,
    /// The cluster cannot be watched.
    pub(crate) blind: Option<String>,
}

/// A running session. Dropped, it ends at once and leaves the cluster as it is.
pub(crate) struct Session {
    pub(crate) facts: Facts,
    pub(crate) inbound: Arc<Inbound>,
    live_rx: watch::Receiver<Live>,
    live_tx: watch::Sender<Live>,
    /// Who uses it,
    users_tx: watch::Sender<Users>,
    /// and what it therefore does; the routes in force follow it until the session ends.
    routes: Mutex<Vec<PortRoute>>,
    routes_tx: watch::Sender<v1::Routes>,
    stop: CancellationToken,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Session {
    /// Begins to reach the agents; the routes are in force at each as soon as it is reached.
    pub(crate) fn start(facts: Facts, users: Users, routes: Vec<PortRoute>, inbound: Arc<Inbound>) -> Self {
        let (live_tx, live_rx) = watch::channel(Live::default());
        let (routes_tx, in_force) = watch::channel(v1::Routes { revision: 1, routes: to_messages(&routes) });
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
        tokio::spawn(async move {
            stopped.run_until_cancelled(async { tokio::join!(upkeep.run(), lead.run()) }).await
        });
        let (users_tx, routes) = (watch::Sender::new(users), Mutex::new(routes));
        Self { facts, inbound, live_rx, live_tx, users_tx, routes, routes_tx, stop }
    }

    /// Has something happen to its agents or its Service.
    #[cfg(test)]
    pub(crate) fn lives(&self, change: impl FnOnce(&mut Live)) {
        self.live_tx.send_modify(change);
    }

    /// What is known of a session of `user` with a Service.
    #[cfg(test)]
    pub(crate) fn facts_of(cluster: Cluster, service: &str, user: &str) -> Facts {
        Facts {
            id: format!("{user}-at-{service}"),
            user: user.into(),
            cluster,
            service: service.into(),
            stand_in: "7f3a".into(),
            deployment: "uid".into(),
            control_port: 7390,
            key: Arc::from([].as_slice()),
            since_ms: 1,
            original: BTreeMap::from([("app".into(), service.into())]),
            agent_image: String::new(),
            ports: vec![ListenPort { service_port: 80, name: Some("http".into()), listen: 8080 }],
        }
    }

    /// A session with one agent, which takes all routes at once.
    #[cfg(test)]
    pub(crate) fn pretended(facts: Facts, users: Users, routes: Vec<PortRoute>) -> Self {
        let attended = Some(Attended::pretended());
        let agent = Agent { ready: true, attended, ..Agent::default() };
        let agents = BTreeMap::from([("agent-1".to_owned(), agent)]);
        let (live_tx, live_rx) = watch::channel(Live { agents, was_in_place: true, ..Live::default() });
        let (routes_tx, mut in_force) =
            watch::channel(v1::Routes { revision: 1, routes: to_messages(&routes) });
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
        Self { facts, inbound, live_rx, live_tx, users_tx, routes, routes_tx, stop }
    }

    /// Waits for a state of affairs.
    pub(crate) async fn until(&self, mut reached: impl FnMut(&Live) -> bool) {
        // The sender lives as long as this session.
        let _ = self.live_rx.clone().wait_for(|live| reached(live)).await;
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Live> {
        self.live_rx.clone()
    }

    /// Changes whenever its requests are led elsewhere.
    pub(crate) fn watch_routes(&self) -> watch::Receiver<v1::Routes> {
        self.routes_tx.subscribe()
    }

    /// Notes that there is no stand-in for the Service's new ports, and why.
    pub(crate) fn cannot_attach_anew(&self, why: &str) {
        let name = &self.facts.service;
        let text = format!(
            "the ports of Service {name} changed: all requests go to the origin, and bridge cannot connect it \
             again: {why}; `bridge connect {name}` retries, `bridge disconnect {name}` ends this session"
        );
        self.live_tx.send_modify(|live| live.reset = Some(text));
    }

    pub(crate) fn live(&self) -> Live {
        self.live_rx.borrow().clone()
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

    /// Notes who uses it, where that changes nothing of what it does.
    pub(crate) fn note_users(&self, users: Users) {
        self.users_tx.send_replace(users);
    }

    /// Does what these users ask for, from one request to the next; resolves when all agents that are reached know of it.
    pub(crate) async fn become_what(&self, users: Users, routes: Vec<PortRoute>) {
        self.note_users(users);
        let in_force = to_messages(&routes);
        let before =
            std::mem::replace(&mut *self.routes.lock().unwrap_or_else(PoisonError::into_inner), routes);
        if to_messages(&before) != in_force {
            self.put_in_force(in_force).await;
        }
    }

    /// Marks it as ending and takes the routes away; resolves when all agents that are reached have done so.
    pub(crate) async fn unroute(&self) {
        self.live_tx.send_modify(|live| live.disconnecting = true);
        self.put_in_force(Vec::new()).await;
    }

    async fn put_in_force(&self, routes: Vec<v1::Route>) {
        let mut revision = 0;
        self.routes_tx.send_modify(|current| {
            revision = current.revision + 1;
            *current = v1::Routes { revision, routes };
        });
        let attended = |live: &Live| {
            live.agents.values().filter_map(|agent| agent.attended.as_ref()).all(|a| a.routed >= revision)
        };
        self.until(attended).await;
    }

    /// Waits until no request is under way.
    pub(crate) async fn idle(&self) {
        let mut check = tokio::time::interval(Duration::from_millis(100));
        while self.inbound.counters.open.load(Ordering::Relaxed) > 0 {
            check.tick().await;
        }
    }

    pub(crate) fn status(&self) -> v1::SessionStatus {
        let live = self.live();
        let (state, detail) = state(&live, &self.facts.service);
        let agents = live.agents.iter().map(|(pod, agent)| v1::AgentStatus {
            pod: pod.clone(),
            attended: agent.attended.is_some(),
            detail: detail_of(agent),
        });
        let counts = live.agents.values().filter_map(|agent| agent.attended.as_ref()).map(|a| &a.counts);
        let (to_laptop, to_origin, opaque) = traffic::of(counts);
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
            streams: count(&self.inbound.counters.streams),
            bytes_to_laptop: count(&self.inbound.counters.to_laptop),
            bytes_from_laptop: count(&self.inbound.counters.from_laptop),
            to_laptop: Some(to_laptop),
            to_origin: Some(to_origin),
            opaque,
        }
    }
}

fn to_messages(routes: &[PortRoute]) -> Vec<v1::Route> {
    routes.iter().map(PortRoute::to_message).collect()
}

fn detail_of(agent: &Agent) -> String {
    match &agent.attended {
        _ if agent.leaving => "it is terminating; its requests go to the origin".to_owned(),
        Some(attended) if attended.draining => {
            "it is shutting down; its requests go to the origin".to_owned()
        }
        Some(_) => String::new(),
        None => agent.waits_for.clone().unwrap_or_else(|| agent.trouble.clone()),
    }
}

fn state(live: &Live, service: &str) -> (v1::State, String) {
    if live.disconnecting {
        return (v1::State::Disconnecting, String::new());
    }
    if let Some(reset) = &live.reset {
        return (v1::State::Reset, reset.clone());
    }
    if live.led_back {
        let why = why_not_ready(live);
        return (
            v1::State::LedBack,
            format!("no agent of {service} is ready{why}: all requests go to the origin until one is"),
        );
    }
    if live.agents.values().any(|agent| agent.attended.as_ref().is_some_and(|attended| !attended.draining)) {
        return (v1::State::Routing, live.stale.clone().unwrap_or_default());
    }
    let serve = live.agents.values().any(|agent| agent.ready);
    if live.in_place && live.agents_known && !serve {
        let why = why_not_ready(live);
        return (
            v1::State::Reconnecting,
            format!(
                "no agent of {service} is ready{why}: requests fail (for 3 s at most, if a pod of the origin \
                 is ready)"
            ),
        );
    }
    let trouble = live.agents.values().map(|agent| &agent.trouble).find(|trouble| !trouble.is_empty());
    let why = trouble.or(live.blind.as_ref()).map(|why| format!(" ({why})")).unwrap_or_default();
    let meanwhile = if serve || !live.in_place { "; until then, requests go to the origin" } else { "" };
    (v1::State::Reconnecting, format!("cannot reach an agent of {service}{why}; retrying{meanwhile}"))
}

/// In parentheses, what Kubernetes says.
fn why_not_ready(live: &Live) -> String {
    let of_pods = || live.agents.values().find_map(|agent| agent.waits_for.as_ref());
    live.refused.as_ref().or_else(of_pods).map(|why| format!(" ({why})")).unwrap_or_default()
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
