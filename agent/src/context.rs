//! The state that connections share: `Data` for those of callers, `Control` for those of daemons. `agent` creates both.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use bridge_proto::v1::Arrival;
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use crate::drain::Drain;
use crate::http2::window::Pool;
use crate::log::Seldom;
use crate::outbound::Outbound;
use crate::port::Port;
use crate::readiness::Ready;
use crate::registry::Registry;
use crate::requests::Requests;
use crate::routes::Table;

/// A port of the target, and the destination of its traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    pub listen: u16,
    pub origin: SocketAddr,
}

/// The state that callers' connections share.
#[derive(Debug)]
pub(crate) struct Data {
    /// The pod's name.
    pub(crate) name: String,
    pub(crate) ports: Vec<Forward>,
    pub(crate) routes: Arc<ArcSwap<Table>>,
    pub(crate) requests: Arc<Requests>,
    /// The memory that stalled streams of HTTP/2 may hold.
    pub(crate) http2: Arc<Pool>,
    pub(crate) drain: Arc<Drain>,
    /// Short-lived tasks that end without help.
    pub(crate) tasks: TaskTracker,
}

/// The state that daemons' connections share.
#[derive(Debug)]
pub(crate) struct Control {
    /// The pod's name.
    pub(crate) name: String,
    pub(crate) key_file: PathBuf,
    /// Limits log lines about daemons with a wrong key.
    pub(crate) wrong_keys: Seldom,
    pub(crate) unread_keys: Seldom,
    pub(crate) registry: Arc<Registry>,
    pub(crate) outbound: Outbound,
    pub(crate) requests: Arc<Requests>,
    pub(crate) arrivals: broadcast::Sender<Arrival>,
    pub(crate) drain: Arc<Drain>,
    /// Short-lived tasks that end without help.
    pub(crate) tasks: TaskTracker,
    pub(crate) ready: Ready,
}

impl Data {
    /// The routes in force now.
    pub(crate) fn routes(&self) -> Guard<Arc<Table>> {
        self.routes.load()
    }

    pub(crate) fn origin(&self, port: Port) -> SocketAddr {
        self.ports[usize::from(port.place)].origin
    }
}
