//! One client connection and everything that belongs to it.
//!
//! Below it: `sniff` judges first bytes, `origin` is its connection to the origin, `kept` a stream to a laptop that can
//! be used again. Above it: `next` waits for a request, `everything` begins a connection that goes to a laptop as a
//! whole, `serve` is a connection's life; `http1` and `http2` exchange its requests for answers.

mod everything;
pub(crate) mod kept;
mod next;
pub(crate) mod origin;
pub(crate) mod serve;
pub(crate) mod sniff;

use std::net::SocketAddr;
use std::sync::Arc;

use bridge_proto::tunnel::TunnelStream;
use tokio::net::TcpStream;

use self::kept::Kept;
use self::origin::Origin;
use crate::context::Data;
use crate::io::end::End;
use crate::port::Port;
use crate::requests::FellBack;
use crate::routes::Entry;

/// A client's connection and everything that belongs to it.
pub(crate) struct Connection {
    pub(crate) context: Arc<Data>,
    /// The port that it came to.
    pub(crate) port: Port,
    pub(crate) peer: SocketAddr,
    pub(crate) client: End<TcpStream>,
    pub(crate) origin: Origin,
    pub(crate) kept: Kept,
    /// It has spoken HTTP/1.
    http1: bool,
    /// Why it does not go, as a whole, to the laptop that takes everything.
    pub(crate) aside: Option<Aside>,
    /// The last answer did not come from the origin.
    pub(crate) served_by_laptop: bool,
}

/// Why a connection does not go to the laptop that takes everything.
#[derive(Debug)]
pub(crate) enum Aside {
    /// It goes to the origin, for this reason.
    Origin(FellBack, Arc<Entry>),
    /// Nothing listens on the laptop, and the origin may not step in: it goes nowhere.
    Nowhere(Arc<Entry>),
}

/// The next step after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request.
    Next,
    /// Client and origin go on, relayed unread.
    Opaque,
    /// The laptop was not reached and nothing was delivered: the same request goes to the origin.
    ToOrigin,
    /// The client's connection ends in order.
    Close,
    /// The client's connection ends with a reset, because its answer is incomplete.
    Abort,
}

/// A stream to a laptop that is already open, and its route.
pub(crate) type Opened = (Arc<Entry>, End<TunnelStream>);

impl Connection {
    pub(crate) fn new(context: Arc<Data>, port: Port, peer: SocketAddr, client: TcpStream) -> Self {
        let origin = Origin::new(context.origin(port));
        let client = End::new(client);
        let kept = Kept::default();
        Self { context, port, peer, client, origin, kept, http1: false, aside: None, served_by_laptop: false }
    }

    /// Whether only its requests are answered.
    fn goes_nowhere(&self) -> bool {
        let tried =
            |route| self.context.routes().everything(self.port).is_some_and(|now| Arc::ptr_eq(&now, route));
        matches!(&self.aside, Some(Aside::Nowhere(route)) if tried(route))
    }
}
