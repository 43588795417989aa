//! A session: keeps a tunnel to each agent of the stand-in, follows what happens to the Service, and knows its status.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge_cluster::client::Cluster;
use bridge_cluster::detach;
use bridge_cluster::standing::Standing;
use bridge_cluster::watch::{self as cluster_watch, AgentPod};
use bridge_proto::v1;
use futures::StreamExt;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::inbound::Counters;
use super::routes::{self, PortRoute};
use super::traffic;
use super::tunnel::{self, Attended, Purpose};

/// The longest pause between two attempts to reach an agent: whoever opens the laptop waits no longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What does not change while a session lives.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) cluster: Cluster,
    pub(crate) service: String,
    pub(crate) stand_in: String,
    pub(crate) control_port: u16,
    pub(crate) key: Arc<[u8]>,
    pub(crate) since_ms: u64,
    /// What was asked for, without the environment of who asked.
    pub(crate) request: v1::ConnectRequest,
}

/// One agent's pod, and the tunnel to it.
#[derive(Clone, Default)]
pub(crate) struct Agent {
    pub(crate) ready: bool,
    pub(crate) leaving: bool,
    pub(crate) attended: Option<Attended>,
    /// Why there is no tunnel.
    pub(crate) trouble: String,
}

/// What changes.
#[derive(Clone, Default)]
pub(crate) struct Live {
    pub(crate) agents: BTreeMap<String, Agent>,
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
    pub(crate) counters: Arc<Counters>,
    live_rx: watch::Receiver<Live>,
    live_tx: watch::Sender<Live>,
    /// What it is here for; the routes in force follow it until the session ends.
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
    pub(crate) fn start(facts: Facts, routes: Vec<PortRoute>) -> Self {
        let (live_tx, live_rx) = watch::channel(Live::default());
        let (routes_tx, in_force) = watch::channel(v1::Routes { revision: 1, routes: to_messages(&routes) });
        let counters = Arc::new(Counters::default());
        let purpose = Purpose {
            cluster: facts.cluster.clone(),
            control_port: facts.control_port,
            key: facts.key.clone(),
            session: v1::Session { id: facts.id.clone(), user: facts.user.clone(), since_ms: facts.since_ms },
            routes: in_force,
            counters: counters.clone(),
        };
        let stop = CancellationToken::new();
        let supervisor = Supervisor { facts: facts.clone(), purpose, live: live_tx.clone() };
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(supervisor.run()).await });
        Self { facts, counters, live_rx, live_tx, routes: Mutex::new(routes), routes_tx, stop }
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
            "the ports of Service {name} were changed: all requests go to the origin; it could not be taken over anew: {why}; \
             `bridge connect {name}` tries again, `bridge disconnect {name}` ends this session"
        );
        self.live_tx.send_modify(|live| live.reset = Some(text));
    }

    pub(crate) fn live(&self) -> Live {
        self.live_rx.borrow().clone()
    }

    pub(crate) fn routes(&self) -> Vec<PortRoute> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leads its requests to other local ports, from one request to the next; resolves when all agents that are reached
    /// know of it.
    pub(crate) async fn lead_to(&self, routes: Vec<PortRoute>) {
        let in_force = to_messages(&routes);
        *self.routes.lock().unwrap_or_else(PoisonError::into_inner) = routes;
        self.put_in_force(in_force).await;
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
        while self.counters.open.load(Ordering::Relaxed) > 0 {
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
            streams: count(&self.counters.streams),
            bytes_to_laptop: count(&self.counters.to_laptop),
            bytes_from_laptop: count(&self.counters.from_laptop),
            to_laptop: Some(to_laptop),
            to_origin: Some(to_origin),
            opaque,
        }
    }
}

fn to_messages(routes: &[PortRoute]) -> Vec<v1::Route> {
    routes.iter().map(|port| port.route.clone()).collect()
}

fn detail_of(agent: &Agent) -> String {
    match &agent.attended {
        _ if agent.leaving => "it is leaving; its requests go to the origin".to_owned(),
        Some(attended) if attended.draining => {
            "it was told to stop; its requests go to the origin".to_owned()
        }
        Some(_) => String::new(),
        None => agent.trouble.clone(),
    }
}

fn state(live: &Live, service: &str) -> (v1::State, String) {
    if live.disconnecting {
        return (v1::State::Disconnecting, String::new());
    }
    if let Some(reset) = &live.reset {
        return (v1::State::Reset, reset.clone());
    }
    if live.agents.values().any(|agent| agent.attended.as_ref().is_some_and(|attended| !attended.draining)) {
        return (v1::State::Routing, String::new());
    }
    let trouble = live.agents.values().map(|agent| &agent.trouble).find(|trouble| !trouble.is_empty());
    let why = trouble.or(live.blind.as_ref()).map(|why| format!(" ({why})")).unwrap_or_default();
    let detail =
        format!("no agent of {service} is reached just now{why}; requests go to the origin meanwhile");
    (v1::State::Reconnecting, detail)
}

/// Follows the cluster on behalf of a session.
struct Supervisor {
    facts: Facts,
    purpose: Purpose,
    live: watch::Sender<Live>,
}

impl Supervisor {
    async fn run(self) {
        let Facts { cluster, service, stand_in, .. } = &self.facts;
        let mut pods = std::pin::pin!(cluster_watch::agents(cluster, service, stand_in));
        let mut services = std::pin::pin!(cluster_watch::service(cluster, service, stand_in));
        let mut tunnels = JoinSet::new();
        let mut reached: BTreeMap<String, AbortHandle> = BTreeMap::new();
        let mut pause = Pause::new();
        loop {
            tokio::select! {
                Some(seen) = pods.next() => match seen {
                    Ok(pods) => {
                        pause = Pause::new();
                        self.follow(&pods, &mut reached, &mut tunnels);
                    }
                    Err(error) => self.blind(error.to_string(), &mut pause).await,
                },
                Some(seen) = services.next() => match seen {
                    Ok(standing) => {
                        self.note(&standing);
                        if standing == Standing::OtherPorts {
                            self.lead_back().await;
                            self.live.send_modify(|live| live.other_ports += u64::from(live.was_in_place));
                        }
                    }
                    Err(error) => self.blind(error.to_string(), &mut pause).await,
                },
                Some(_) = tunnels.join_next() => {}
                else => return,
            }
        }
    }

    /// The watch failed; the next poll tries again, so it must not come at once.
    async fn blind(&self, error: String, pause: &mut Pause) {
        tracing::warn!(session = %self.facts.id, %error, "cannot watch the cluster");
        self.live.send_modify(|live| live.blind = Some(error));
        pause.wait().await;
    }

    /// Keeps a tunnel to each pod that runs, until the pod is gone.
    fn follow(
        &self,
        pods: &[AgentPod],
        reached: &mut BTreeMap<String, AbortHandle>,
        tunnels: &mut JoinSet<()>,
    ) {
        self.live.send_modify(|live| {
            live.blind = None;
            live.agents.retain(|name, _| pods.iter().any(|pod| pod.name == *name));
            for pod in pods {
                let agent = live.agents.entry(pod.name.clone()).or_default();
                (agent.ready, agent.leaving) = (pod.ready, pod.leaving);
            }
        });
        reached.retain(|name, tunnel| {
            let there = pods.iter().any(|pod| pod.name == *name);
            if !there {
                tunnel.abort();
            }
            there
        });
        for pod in pods.iter().filter(|pod| pod.running && !pod.leaving) {
            if !reached.contains_key(&pod.name) {
                let kept = keep(self.purpose.clone(), pod.name.clone(), self.live.clone());
                reached.insert(pod.name.clone(), tunnels.spawn(kept));
            }
        }
    }

    /// No agent listens on the Service's new ports, so its requests must not come to them.
    async fn lead_back(&self) {
        let Facts { cluster, service, stand_in, .. } = &self.facts;
        if let Err(error) = detach::lead_back(cluster, service, stand_in).await {
            tracing::error!(%service, %error, "cannot lead the Service back to the origin");
        }
    }

    /// Notes whether the Service still leads to the stand-in.
    fn note(&self, standing: &Standing) {
        let reset = reset_text(standing, &self.facts.service);
        self.live.send_if_modified(|live| {
            live.was_in_place |= *standing == Standing::InPlace;
            // While it is taken over anew, by another stand-in, that is what there is to say.
            let moving = live.other_ports > 0 && matches!(standing, Standing::OtherPorts | Standing::Removed);
            let known = live.reset.is_some() && moving;
            // A session begins before its Service is switched, and ends after it is given back.
            if !live.was_in_place || live.disconnecting || live.reset == reset || known {
                return false;
            }
            if let Some(reset) = &reset {
                tracing::warn!(session = %self.facts.id, "{reset}");
            }
            live.reset = reset;
            true
        });
    }
}

/// What it means to the user that the Service does not lead to the stand-in.
fn reset_text(standing: &Standing, name: &str) -> Option<String> {
    let again =
        format!("`bridge connect {name}` takes it over again, `bridge disconnect {name}` ends this session");
    let to_origin = "all requests go to the origin";
    match standing {
        Standing::InPlace => None,
        Standing::Reset { by } => {
            let by = by.as_deref().unwrap_or("somebody");
            Some(format!("{by} has set the selector of Service {name}: {to_origin}; {again}"))
        }
        Standing::OtherPorts => {
            Some(format!("the ports of Service {name} were changed: {to_origin} until it is taken over anew"))
        }
        Standing::Removed => {
            Some(format!("the stand-in of Service {name} was removed: {to_origin}; {again}"))
        }
        Standing::Deleted => {
            Some(format!("Service {name} was deleted; `bridge disconnect {name}` ends this session"))
        }
        Standing::Unreadable(why) => Some(why.clone()),
    }
}

/// Keeps a tunnel to one agent, with a pause between attempts that grows while they fail.
async fn keep(purpose: Purpose, pod: String, live: watch::Sender<Live>) {
    let mut pause = Pause::new();
    loop {
        let reached = AtomicBool::new(false);
        let show = |attended: Attended| {
            reached.store(true, Ordering::Relaxed);
            set(&live, &pod, |agent| {
                agent.trouble.clear();
                agent.attended = Some(attended);
            });
        };
        let ended = tunnel::run(&purpose, &pod, show).await.to_string();
        set(&live, &pod, |agent| {
            agent.attended = None;
            agent.trouble.clone_from(&ended);
        });
        if live.borrow().agents.get(&pod).is_none_or(|agent| agent.leaving) {
            return;
        }
        tracing::info!(session = %purpose.session.id, %pod, reason = %ended, "the tunnel ended");
        if reached.into_inner() {
            pause = Pause::new();
        }
        pause.wait().await;
    }
}

fn set(live: &watch::Sender<Live>, pod: &str, change: impl FnOnce(&mut Agent)) {
    live.send_if_modified(|live| match live.agents.get_mut(pod) {
        Some(agent) => {
            change(agent);
            true
        }
        None => false,
    });
}

/// A pause that doubles, with jitter so that many laptops do not come back at once.
struct Pause {
    next: Option<Duration>,
}

impl Pause {
    /// The first is none.
    fn new() -> Self {
        Self { next: None }
    }

    async fn wait(&mut self) {
        let pause = self.next.unwrap_or_default();
        self.next = Some(self.next.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE)));
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..=1.0))).await;
    }
}
