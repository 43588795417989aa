//! The agent as a whole: its settings, its tasks, and its end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bridge_proto::tunnel::Pool;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::{Control, Data, Forward};
use crate::control;
use crate::drain::{self, Drain, DrainTimes, Drained};
use crate::http2::window;
use crate::limits::Limits;
use crate::listen::{self, Callers};
use crate::log::Seldom;
use crate::memory::{self, Memory};
use crate::metrics::{self, Sources};
use crate::outbound::{Outbound, Outward};
use crate::port;
use crate::readiness::{self, Ready};
use crate::registry::Registry;
use crate::requests::Requests;
use crate::restore::{self, Restore};

/// The number of arrivals that a listener may lag behind.
const ARRIVALS: usize = 1024;

/// An agent's settings. For a port of 0 the kernel chooses one.
#[derive(Debug, Clone)]
pub struct Config {
    pub forward: Vec<Forward>,
    /// Port for daemons, on loopback.
    pub control: u16,
    pub readiness: u16,
    /// Port for Prometheus, on loopback; `None`: no metrics.
    pub metrics: Option<u16>,
    /// Read whenever a daemon proves a key.
    pub key_file: PathBuf,
    /// The pod's name.
    pub name: String,
    /// The destinations that laptops may reach from here.
    pub outward: Outward,
    /// Set if it restores what it is part of when no session is left.
    pub restore: Option<Restore>,
    /// Its memory limit in bytes; `None`: that of its control group.
    pub memory: Option<u64>,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on port {port}")]
pub struct StartError {
    port: u16,
    source: io::Error,
}

/// A running agent. Dropped, it ends at once.
#[derive(Debug)]
pub struct Agent {
    /// Ports that it listens on, in the order of `Config::forward`.
    pub ports: Vec<u16>,
    pub control: u16,
    pub readiness: u16,
    /// 0 if there is none.
    pub metrics: u16,
    registry: Arc<Registry>,
    drain: Arc<Drain>,
    callers: Arc<Callers>,
    stop: CancellationToken,
    accepting: JoinSet<()>,
    others: JoinSet<()>,
}

/// The sockets that it listens on.
struct Listeners {
    callers: Vec<TcpListener>,
    daemons: TcpListener,
    kubelet: TcpListener,
    prometheus: Option<TcpListener>,
}

impl Agent {
    /// Listens on all ports, or on none.
    pub async fn start(mut config: Config) -> Result<Self, StartError> {
        let listeners = Listeners::bind(&mut config)?;
        let limits = Limits::raise();
        let memory = Memory::parted(config.memory.or_else(memory::limit));
        let ports: Vec<u16> = config.forward.iter().map(|port| port.listen).collect();
        let (sessions, outbound) = (Pool::new(memory.sessions), Pool::new(limits.outbound as u64));
        let registry = Arc::new(Registry::new(port::in_order(ports.clone()), sessions, outbound));
        let control = Arc::new(Control {
            name: config.name.clone(),
            key_file: config.key_file,
            wrong_keys: Seldom::default(),
            unread_keys: Seldom::default(),
            registry: registry.clone(),
            outbound: Outbound::new(config.outward),
            requests: Arc::new(Requests::new()),
            arrivals: broadcast::Sender::new(ARRIVALS),
            drain: Arc::new(Drain::new()),
            tasks: TaskTracker::new(),
            ready: Ready::default(),
        });
        let data = Arc::new(Data {
            name: config.name,
            ports: config.forward,
            routes: registry.table(),
            requests: control.requests.clone(),
            http2: Arc::new(window::Pool::new(memory.stalled)),
            drain: control.drain.clone(),
            tasks: control.tasks.clone(),
        });
        // Each waiting listener holds a place.
        let capacity = limits.callers + listeners.callers.len();
        let callers = Arc::new(Callers::new(data, capacity, control.arrivals.clone()));
        tracing::info!(
            ?ports,
            control = bound_port(&listeners.daemons),
            readiness = bound_port(&listeners.kubelet),
            metrics = listeners.prometheus.as_ref().map_or(0, bound_port),
            capacity,
            for_sessions = memory.sessions,
            "listening"
        );
        let mut agent = Self::serve(listeners, callers, control);
        if let Some(restore) = config.restore {
            agent.others.spawn(restore::run(restore, agent.registry.clone()));
        }
        Ok(agent)
    }

    /// Starts the tasks that run until the end.
    fn serve(listeners: Listeners, callers: Arc<Callers>, control: Arc<Control>) -> Self {
        let ports = &callers.context.ports;
        let origins = ports.iter().map(|port| port.origin).collect();
        let mut agent = Self {
            ports: ports.iter().map(|port| port.listen).collect(),
            control: bound_port(&listeners.daemons),
            readiness: bound_port(&listeners.kubelet),
            metrics: listeners.prometheus.as_ref().map_or(0, bound_port),
            registry: control.registry.clone(),
            drain: control.drain.clone(),
            callers,
            stop: CancellationToken::new(),
            accepting: JoinSet::new(),
            others: JoinSet::new(),
        };
        for (port, listener) in port::in_order(agent.ports.clone()).into_iter().zip(listeners.callers) {
            agent.accepting.spawn(listen::run(listener, agent.callers.clone(), port, agent.stop.clone()));
        }
        if let Some(listener) = listeners.prometheus {
            let (callers, registry) = (agent.callers.clone(), agent.registry.clone());
            let sources = Sources { callers, registry, requests: control.requests.clone() };
            agent.others.spawn(metrics::run(listener, sources));
        }
        let ready = control.ready.clone();
        agent.others.spawn(control::serve::run(listeners.daemons, control));
        agent.others.spawn(readiness::run(listeners.kubelet, ready.clone(), agent.registry.clone()));
        agent.others.spawn(readiness::find_origin(origins, ready));
        agent
    }

    /// The bytes that all sessions hold together, and their limit.
    pub fn memory(&self) -> (u64, u64) {
        let memory = &self.registry.memory;
        (memory.held(), memory.total())
    }

    /// Opens no new streams to laptops, accepts until no more connections arrive, and returns when the last connection
    /// has ended or the time is up.
    pub async fn drain(self, times: DrainTimes) -> Drained {
        tracing::info!("stopping: all requests go to the origin; accepting until no more connections arrive");
        let drain = self.drain.clone();
        self.drain_until(async move { drain.nobody_comes(times).await }, times.at_most).await
    }

    /// As [`Agent::drain`], beside an origin that stops at the same time: accepts as long as the origin does.
    pub async fn drain_with_origin(self, at_most: Duration) -> Drained {
        tracing::info!("stopping: all requests go to the origin; accepting until it does not");
        let origins = self.callers.context.ports.iter().map(|port| port.origin).collect();
        self.drain_until(drain::origin_gone(origins), at_most).await
    }

    async fn drain_until(mut self, accepted: impl Future<Output = ()>, at_most: Duration) -> Drained {
        self.registry.stop();
        self.drain.begin();
        let orderly = async {
            accepted.await;
            tracing::info!("accepting no more connections: waiting for open ones");
            self.stop.cancel();
            while self.accepting.join_next().await.is_some() {}
        };
        let cut = match tokio::time::timeout(at_most, orderly).await {
            Ok(()) => 0,
            Err(_) => self.open_connections(),
        };
        Drained { cut }
    }

    fn open_connections(&self) -> usize {
        let waiting = if self.stop.is_cancelled() { 0 } else { self.ports.len() };
        self.callers.places_taken().saturating_sub(waiting)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.registry.end_all();
        self.accepting.abort_all();
        self.others.abort_all();
    }
}

impl Listeners {
    /// If the kernel chose a port of the target, the configuration has it from here on.
    fn bind(config: &mut Config) -> Result<Self, StartError> {
        let mut callers = Vec::new();
        for port in &mut config.forward {
            let listener = listening(port.listen, listen::on_all_addresses)?;
            port.listen = bound_port(&listener);
            callers.push(listener);
        }
        Ok(Self {
            callers,
            daemons: listening(config.control, listen::on_loopback)?,
            kubelet: listening(config.readiness, listen::on_stdin_or_all_addresses)?,
            prometheus: config.metrics.map(|port| listening(port, listen::on_loopback)).transpose()?,
        })
    }
}

fn listening<T>(port: u16, bind: impl FnOnce(u16) -> io::Result<T>) -> Result<T, StartError> {
    bind(port).map_err(|source| StartError { port, source })
}

fn bound_port(listener: &TcpListener) -> u16 {
    // A listener that is bound has an address.
    listener.local_addr().map_or(0, |address| address.port())
}
