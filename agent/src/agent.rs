//! The agent as a whole: what it is started with, what its parts share, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::Guard;
use bridge_proto::tunnel::Pool;
use bridge_proto::v1::Arrival;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::drain::{Drain, DrainTimes, Drained};
use crate::limits::Limits;
use crate::log::Seldom;
use crate::memory::{self, Memory};
use crate::outbound::{Outbound, Outward};
use crate::readiness::{self, Ready};
use crate::registry::Registry;
use crate::requests::Requests;
use crate::routes::Table;
use crate::{control, http2, listen, metrics};

/// Arrivals that one who listens may lag behind.
const ARRIVALS: usize = 1024;

/// What an agent is started with. A port of 0 is chosen by the kernel.
#[derive(Debug, Clone)]
pub struct Config {
    pub forward: Vec<Forward>,
    /// Port for daemons, on loopback.
    pub control: u16,
    pub readiness: u16,
    /// Port for Prometheus, on loopback; without one, none.
    pub metrics: Option<u16>,
    /// Read whenever a daemon shows a key.
    pub key_file: PathBuf,
    /// The pod's name.
    pub name: String,
    /// What laptops may reach from here.
    pub outward: Outward,
    /// Bytes of memory that it may have; `None`: as its control group says.
    pub memory: Option<u64>,
}

/// A port of the target, and where its traffic belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    pub listen: u16,
    pub origin: SocketAddr,
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
    /// 0: none.
    pub metrics: u16,
    shared: Arc<Shared>,
    /// What `Shared::room` was at first.
    capacity: usize,
    stop: CancellationToken,
    accepting: JoinSet<()>,
    others: JoinSet<()>,
}

/// What the parts of an agent share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) key_file: PathBuf,
    /// Daemons that could not prove the key.
    pub(crate) wrong_keys: Seldom,
    pub(crate) unread_keys: Seldom,
    pub(crate) registry: Registry,
    pub(crate) outbound: Outbound,
    pub(crate) requests: Arc<Requests>,
    /// What stalled streams of HTTP/2 may hold.
    pub(crate) http2: Arc<http2::Pool>,
    pub(crate) arrivals: broadcast::Sender<Arrival>,
    pub(crate) drain: Drain,
    /// Room for callers' connections.
    pub(crate) room: Arc<Semaphore>,
    /// Short-lived tasks that end by themselves.
    pub(crate) tasks: TaskTracker,
    /// Connections that a panic ended.
    pub(crate) defects: AtomicU64,
    /// Connections that callers made,
    pub(crate) accepted: AtomicU64,
    /// and those of them that are over.
    pub(crate) ended: AtomicU64,
    ports: Vec<Forward>,
}

impl Shared {
    pub(crate) fn routes(&self) -> Guard<Arc<Table>> {
        self.registry.routes()
    }

    /// The port with this index.
    pub(crate) fn port(&self, index: usize) -> u16 {
        self.ports[index].listen
    }

    pub(crate) fn origin(&self, index: usize) -> SocketAddr {
        self.ports[index].origin
    }
}

impl Agent {
    /// Listens on all ports, or on none.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let mut listeners = Vec::new();
        let mut forward = config.forward;
        for port in &mut forward {
            let listener = listening(port.listen, listen::on_all_addresses)?;
            port.listen = bound_port(&listener);
            listeners.push(listener);
        }
        let for_daemons = listening(config.control, listen::on_loopback)?;
        let for_kubelet = listening(config.readiness, listen::on_stdin_or_all_addresses)?;
        let for_prometheus = config.metrics.map(|port| listening(port, listen::on_loopback)).transpose()?;
        let ports: Vec<u16> = forward.iter().map(|port| port.listen).collect();
        let origins = forward.iter().map(|port| port.origin).collect();
        // Each listener holds a place while it waits.
        let limits = Limits::raise();
        let capacity = limits.callers + listeners.len();
        let memory = Memory::parted(config.memory.or_else(memory::limit));
        let shared = Arc::new(Shared {
            name: config.name,
            key_file: config.key_file,
            wrong_keys: Seldom::default(),
            unread_keys: Seldom::default(),
            registry: Registry::new(
                ports.clone(),
                Pool::new(memory.sessions),
                Pool::new(limits.outbound as u64),
            ),
            outbound: Outbound::new(config.outward),
            requests: Arc::new(Requests::new(ports.clone())),
            http2: Arc::new(http2::Pool::new(memory.stalled)),
            arrivals: broadcast::Sender::new(ARRIVALS),
            drain: Drain::new(),
            room: Arc::new(Semaphore::new(capacity)),
            tasks: TaskTracker::new(),
            defects: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            ports: forward,
        });
        let stop = CancellationToken::new();
        let ready = Ready::default();
        let (control, readiness) = (bound_port(&for_daemons), bound_port(&for_kubelet));
        let mut accepting = JoinSet::new();
        for (index, listener) in listeners.into_iter().enumerate() {
            accepting.spawn(listen::run(listener, shared.clone(), index, stop.clone()));
        }
        let mut others = JoinSet::new();
        others.spawn(control::run(for_daemons, shared.clone()));
        let metrics = for_prometheus.as_ref().map_or(0, bound_port);
        if let Some(listener) = for_prometheus {
            others.spawn(metrics::run(listener, shared.clone()));
        }
        others.spawn(readiness::run(for_kubelet, ready.clone()));
        others.spawn(readiness::find_origin(origins, ready));
        let for_sessions = memory.sessions;
        tracing::info!(?ports, control, readiness, metrics, capacity, for_sessions, "listening");
        Ok(Self { ports, control, readiness, metrics, shared, capacity, stop, accepting, others })
    }

    /// What all sessions hold together, and what they may, in bytes.
    pub fn memory(&self) -> (u64, u64) {
        let memory = &self.shared.registry.memory;
        (memory.held(), memory.total())
    }

    /// Takes nothing new to a laptop, accepts until nobody comes any more, and returns when the last connection has
    /// ended or the time is up.
    pub async fn drain(mut self, times: DrainTimes) -> Drained {
        tracing::info!("told to stop: everything goes to the origin, until nobody comes any more");
        self.shared.registry.stop();
        self.shared.drain.begin();
        let orderly = async {
            self.shared.drain.nobody_comes(times).await;
            tracing::info!("nobody comes any more: waiting for what is open");
            self.stop.cancel();
            while self.accepting.join_next().await.is_some() {}
        };
        let cut = match tokio::time::timeout(times.at_most, orderly).await {
            Ok(()) => 0,
            Err(_) => self.open_connections(),
        };
        Drained { cut }
    }

    fn open_connections(&self) -> usize {
        let waiting = if self.stop.is_cancelled() { 0 } else { self.ports.len() };
        self.capacity.saturating_sub(self.shared.room.available_permits() + waiting)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shared.registry.end_all();
        self.accepting.abort_all();
        self.others.abort_all();
    }
}

fn listening<T>(port: u16, bind: impl FnOnce(u16) -> io::Result<T>) -> Result<T, StartError> {
    bind(port).map_err(|source| StartError { port, source })
}

fn bound_port(listener: &tokio::net::TcpListener) -> u16 {
    // A listener that is bound has an address.
    listener.local_addr().map_or(0, |address| address.port())
}
