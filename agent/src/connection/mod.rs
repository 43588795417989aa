//! One client connection, from accept to its end.
//!
//! `sniff` judges first bytes, `next` waits for a request, `http1` exchanges it for an answer, `everything` begins a
//! connection that is a laptop's as a whole, `origin` is the connection to the origin that belongs to this one, `kept` a
//! stream to a laptop that can be used again.

mod everything;
pub(crate) mod kept;
mod next;
pub(crate) mod origin;
pub(crate) mod sniff;

use std::net::SocketAddr;
use std::sync::Arc;

use bridge_proto::tunnel::TunnelStream;
use tokio::net::TcpStream;

use self::everything::Begun;
use self::kept::Kept;
use self::next::Next;
use self::origin::Origin;
use crate::context::Data;
use crate::http1;
use crate::http1::head::Request;
use crate::http2;
use crate::io::end::End;
use crate::io::relay;
use crate::io::side::Side as _;
use crate::requests::{FellBack, Record, To};
use crate::routes::{Entry, Way};

/// A client's connection and what belongs to it.
pub(crate) struct Connection {
    pub(crate) context: Arc<Data>,
    /// Index of the port that it came to.
    pub(crate) port: usize,
    pub(crate) peer: SocketAddr,
    pub(crate) client: End<TcpStream>,
    pub(crate) origin: Origin,
    pub(crate) kept: Kept,
    /// It has spoken HTTP/1.
    http1: bool,
    /// Why it is not, as a whole, the laptop's that takes everything.
    pub(crate) aside: Option<Aside>,
    /// The last answer was not the origin's.
    pub(crate) served_by_laptop: bool,
}

/// Why a connection does not go to the laptop that takes everything.
#[derive(Debug)]
pub(crate) enum Aside {
    /// For this reason it goes to the origin.
    Origin(FellBack, Arc<Entry>),
    /// Nothing listens on the laptop, and the origin is not to step in: it goes nowhere.
    Nowhere(Arc<Entry>),
}

/// What follows after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request.
    Next,
    /// Client and origin go on without us reading.
    Opaque,
    /// The laptop was not reached and nothing was delivered: the same request goes to the origin.
    ToOrigin,
    /// The client's connection ends in order.
    Close,
    /// The client's connection ends with a reset, because what it got is not whole.
    Abort,
}

/// A stream to a laptop that is open already, and the route it is for.
pub(crate) type Opened = (Arc<Entry>, End<TunnelStream>);

/// A session may take some requests to another port than the rest.
fn lead_to_one_place(one: &Entry, other: &Entry) -> bool {
    Arc::ptr_eq(&one.session, &other.session) && one.local_port == other.local_port
}

/// How a connection ended before a request came.
enum Broken {
    /// It was relayed until its end.
    Over,
    Abort,
}

/// Serves a connection until its end.
pub(crate) async fn serve(mut conn: Connection) {
    let everything = conn.context.routes().everything(conn.port);
    let mut opened = match everything {
        None => {
            conn.origin.dial();
            None
        }
        Some(route) => match Box::pin(conn.begin(route)).await {
            Ok(opened) => opened,
            Err(Broken::Over) => return,
            Err(Broken::Abort) => return conn.abort(),
        },
    };
    loop {
        // Ends with the exchange, or with the connection if that goes on unread from there.
        let mut record = None;
        let after = match next::next(&mut conn).await {
            Next::Request(request, way, begun) => {
                let record = record.insert(begun);
                conn.exchange(&request, way, opened.take(), record).await
            }
            Next::Opaque(why) => {
                if let Some(why) = why {
                    let to = opened.as_ref().map_or_else(|| conn.set_aside(), |(route, _)| To::Laptop(route));
                    conn.context.requests.opaque(conn.port, why, to);
                }
                if conn.goes_nowhere() { After::Abort } else { After::Opaque }
            }
            Next::Http2 => return Box::pin(http2::serve(conn, opened)).await,
            Next::Close => After::Close,
            Next::Abort => After::Abort,
        };
        match after {
            After::Next => {}
            After::Opaque | After::ToOrigin => return Box::pin(conn.relay(opened)).await,
            After::Close => {
                // The client may take its time to close.
                drop(record);
                return Box::pin(conn.close()).await;
            }
            After::Abort => return conn.abort(),
        }
    }
}

impl Connection {
    pub(crate) fn new(context: Arc<Data>, port: usize, peer: SocketAddr, client: TcpStream) -> Self {
        let origin = Origin::new(context.origin(port));
        let client = End::new(client);
        let kept = Kept::default();
        Self { context, port, peer, client, origin, kept, http1: false, aside: None, served_by_laptop: false }
    }

    /// On a port that is a laptop's as a whole.
    async fn begin(&mut self, route: Arc<Entry>) -> Result<Option<Opened>, Broken> {
        let begun = if self.is_from_this_pod() {
            Begun::Origin(FellBack::OwnPod)
        } else {
            everything::begin(self, &route).await
        };
        match begun {
            Begun::Laptop(end) => return Ok(Some((route, end))),
            Begun::Unopened => {}
            Begun::Origin(why) => {
                self.aside = Some(Aside::Origin(why, route));
                self.origin.dial();
            }
            Begun::Unanswered => self.aside = Some(Aside::Nowhere(route)),
            Begun::Over => return Err(Broken::Over),
            Begun::Abort => return Err(Broken::Abort),
        }
        Ok(None)
    }

    /// It has not come through a network: somebody's port-forward into this pod, or a dial from here to here. Behind it is
    /// perhaps the very laptop that it would go to, which cannot be seen in bytes that are not HTTP.
    fn is_from_this_pod(&self) -> bool {
        let to = self.client.side.local_addr();
        to.is_ok_and(|to| to.ip().to_canonical() == self.peer.ip())
    }

    /// Nothing but its requests is answered.
    fn goes_nowhere(&self) -> bool {
        let tried =
            |route| self.context.routes().everything(self.port).is_some_and(|now| Arc::ptr_eq(&now, route));
        matches!(&self.aside, Some(Aside::Nowhere(route)) if tried(route))
    }

    /// Where it goes if it is not read.
    fn set_aside(&self) -> To<'_> {
        match &self.aside {
            None => To::Origin,
            Some(Aside::Origin(why, route)) => To::OriginAfterAll(*why, route),
            Some(Aside::Nowhere(route)) => To::Nowhere(route),
        }
    }

    /// One request and its answer, wherever it belongs.
    async fn exchange(
        &mut self,
        request: &Request,
        way: Option<Way>,
        opened: Option<Opened>,
        record: &mut Record,
    ) -> After {
        if let Some(way) = way.filter(|way| !self.has_just_tried(&way.route, record)) {
            let opened =
                opened.filter(|(theirs, _)| lead_to_one_place(theirs, &way.route)).map(|(_, end)| end);
            let after = Box::pin(http1::laptop::exchange(self, request, &way, opened, record)).await;
            if after != After::ToOrigin {
                return after;
            }
        }
        if std::mem::take(&mut self.served_by_laptop) {
            self.origin.drop_if_stale();
        }
        http1::origin::exchange(self, request, record).await
    }

    /// That this laptop does not answer was seen a moment ago, when the connection began with this request.
    fn has_just_tried(&mut self, route: &Arc<Entry>, record: &mut Record) -> bool {
        match self.aside.take() {
            Some(Aside::Origin(why, tried)) if why != FellBack::OwnPod => {
                let same = Arc::ptr_eq(&tried, route);
                if same {
                    record.fell_back(why);
                }
                same
            }
            aside => {
                self.aside = aside;
                false
            }
        }
    }

    /// Goes on without reading what passes.
    async fn relay(mut self, opened: Option<Opened>) {
        self.kept.clear(&self.context.tasks);
        if let Some((_, mut laptop)) = opened {
            return everything::relay(self, &mut laptop).await;
        }
        if std::mem::take(&mut self.served_by_laptop) {
            if self.client.ended && self.client.read.is_empty() {
                // The origin has nothing to say to it.
                return self.close().await;
            }
            self.origin.drop_if_stale();
        }
        let up = std::future::poll_fn(|cx| self.origin.poll_up(cx).map(|up| up.map(drop))).await;
        let relayed = match (up, self.origin.up()) {
            (Ok(()), Some(origin)) => relay::both_ways(&mut self.client, origin).await,
            (up, _) => up,
        };
        if relayed.is_err() {
            self.abort();
        }
    }

    /// Ends in order.
    async fn close(mut self) {
        self.kept.clear(&self.context.tasks);
        drop(self.origin);
        self.client.close().await;
    }

    /// Ends both sides with a reset.
    fn abort(mut self) {
        self.kept.clear(&self.context.tasks);
        self.origin.abort();
        self.client.side.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        fn size_of_result<T>(_: impl FnOnce(Connection) -> T) -> usize {
            size_of::<T>()
        }
        let size = size_of_result(serve);
        assert!(size <= 1536, "each connection holds {size} bytes beside its buffers");
    }
}
