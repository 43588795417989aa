//! One client connection, from accept to its end.
//!
//! `sniff` judges first bytes, `next` waits for a request, `http1` exchanges it for an answer, `opaque` relays what is not
//! for us to read, `everything` begins a connection that is a laptop's as a whole, `origin` is the connection to the
//! origin that belongs to this one, `kept` a stream to a laptop that can be used again, `end` and `buffer` are what both
//! sides consist of.

pub(crate) mod buffer;
pub(crate) mod end;
mod everything;
pub(crate) mod kept;
mod next;
pub(crate) mod opaque;
pub(crate) mod origin;
pub(crate) mod sniff;

use std::net::SocketAddr;
use std::sync::Arc;

use bridge_proto::tunnel::TunnelStream;
use tokio::net::TcpStream;

use self::end::{End, Side as _};
use self::everything::Begun;
use self::kept::Kept;
use self::next::Next;
use self::origin::Origin;
use crate::agent::Shared;
use crate::http1;
use crate::http1::head::Request;
use crate::http2;
use crate::requests::Record;
use crate::routes::Entry;

/// A client's connection and what belongs to it.
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    /// Index of the port that it came to.
    pub(crate) port: usize,
    pub(crate) peer: SocketAddr,
    pub(crate) client: End<TcpStream>,
    pub(crate) origin: Origin,
    pub(crate) kept: Kept,
    /// It has spoken HTTP/1.
    http1: bool,
    /// The last answer was not the origin's.
    pub(crate) served_by_laptop: bool,
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

/// Serves a connection until its end.
pub(crate) async fn serve(mut conn: Connection) {
    let everything = conn.shared.routes().everything(conn.port);
    let mut opened = match everything {
        None => {
            conn.origin.dial();
            None
        }
        Some(route) => match Box::pin(everything::begin(&mut conn, &route)).await {
            Begun::Laptop(end) => Some((route, end)),
            Begun::Origin => {
                conn.origin.dial();
                None
            }
            Begun::Over => return,
            Begun::Abort => return conn.abort(),
        },
    };
    loop {
        // Ends with the exchange, or with the connection if that goes on unread from there.
        let mut record = None;
        let after = match next::next(&mut conn).await {
            Next::Request(request, route, begun) => {
                let record = record.insert(begun);
                conn.exchange(&request, route, opened.take(), record).await
            }
            Next::Opaque(why) => {
                if let Some(why) = why {
                    let laptop = opened.as_ref().map(|(route, _)| &**route);
                    conn.shared.requests.opaque(conn.port, why, laptop);
                }
                After::Opaque
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
    pub(crate) fn new(shared: Arc<Shared>, port: usize, peer: SocketAddr, client: TcpStream) -> Self {
        let origin = Origin::new(shared.origin(port));
        let client = End::new(client);
        let kept = Kept::default();
        Self { shared, port, peer, client, origin, kept, http1: false, served_by_laptop: false }
    }

    /// One request and its answer, wherever it belongs.
    async fn exchange(
        &mut self,
        request: &Request,
        route: Option<Arc<Entry>>,
        opened: Option<Opened>,
        record: &mut Record,
    ) -> After {
        if let Some(route) = route {
            let opened = opened.filter(|(theirs, _)| Arc::ptr_eq(&theirs.session, &route.session));
            let opened = opened.map(|(_, end)| end);
            let after = Box::pin(http1::laptop::exchange(self, request, &route, opened, record)).await;
            if after != After::ToOrigin {
                return after;
            }
        }
        if std::mem::take(&mut self.served_by_laptop) {
            self.origin.drop_if_stale();
        }
        http1::origin::exchange(self, request, record).await
    }

    /// Goes on without reading what passes.
    async fn relay(mut self, opened: Option<Opened>) {
        self.kept.clear(&self.shared);
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
            (Ok(()), Some(origin)) => opaque::relay(&mut self.client, origin).await,
            (up, _) => up,
        };
        if relayed.is_err() {
            self.abort();
        }
    }

    /// Ends in order.
    async fn close(mut self) {
        self.kept.clear(&self.shared);
        drop(self.origin);
        self.client.close().await;
    }

    /// Ends both sides with a reset.
    fn abort(mut self) {
        self.kept.clear(&self.shared);
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
