//! What went where, and why: each request that the agent sees, from its head to the end of its answer.
//!
//! A connection begins a `Record` when it has decided on a request, tells it what becomes of it, and drops it at the
//! request's end. What is not routed request by request is recorded once, when that is clear.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::routes::head::RequestHead;
use crate::routes::{Decision, Entry};

/// The version of HTTP that a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    #[allow(dead_code, reason = "HTTP/2 is still opaque")]
    Http2,
}

/// Why a request that matched went to the origin all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FellBack {
    /// The laptop was not reached.
    LaptopAway,
    /// Nothing listens on its port, and the session wants the origin to answer then.
    NothingListens,
}

/// Why a connection, or what is left of it, is relayed unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opaque {
    Tls,
    /// The server spoke before the client did.
    ServerSpokeFirst,
    /// What the client sent is no HTTP.
    NotHttp,
    /// Two parsers could read a message differently.
    Ambiguous,
}

impl Opaque {
    /// Why the first bytes of a client are not for us to read.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        // A TLS connection begins with a record of type handshake (RFC 8446 section 5.1).
        if bytes.first() == Some(&22) { Opaque::Tls } else { Opaque::NotHttp }
    }
}

/// Which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination {
    Laptop,
    Origin,
}

/// All requests of an agent.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    to_laptop: AtomicU64,
    to_origin: AtomicU64,
    opaque: AtomicU64,
}

/// One request under way. Its end is when it is dropped.
#[derive(Debug)]
pub(crate) struct Record {
    requests: Arc<Requests>,
    begun: Instant,
    destination: Destination,
    /// 0: none yet.
    status: u16,
    ended: bool,
}

impl Requests {
    /// A request has come to the port with this index, and it is decided where it goes.
    pub(crate) fn begin(
        self: &Arc<Self>,
        _port: usize,
        _protocol: Protocol,
        head: &impl RequestHead,
        decision: &Decision<'_>,
    ) -> Record {
        let destination = match decision {
            Decision::Laptop(route, rule) => {
                tracing::trace!(
                    method = head.method(),
                    path = head.path(),
                    route.session.user,
                    rule,
                    "matched"
                );
                Destination::Laptop
            }
            Decision::Origin(miss) => {
                tracing::trace!(method = head.method(), path = head.path(), ?miss, "not matched");
                Destination::Origin
            }
        };
        Record { requests: self.clone(), begun: Instant::now(), destination, status: 0, ended: false }
    }

    /// A connection to the port with this index is relayed unread from here on: to the origin, or to the laptop that
    /// takes everything.
    pub(crate) fn opaque(&self, _port: usize, _why: Opaque, _laptop: Option<&Entry>) {
        self.opaque.fetch_add(1, Ordering::Relaxed);
    }
}

impl Record {
    /// It goes to the origin after all.
    pub(crate) fn fell_back(&mut self, _why: FellBack) {
        self.destination = Destination::Origin;
    }

    /// The status of the final answer.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// It has ended, though what carries it goes on (as a WebSocket, for example).
    pub(crate) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let counter = match self.destination {
            Destination::Laptop => &self.requests.to_laptop,
            Destination::Origin => &self.requests.to_origin,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tracing::trace!(status = self.status, took = ?self.begun.elapsed(), "a request has ended");
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end();
    }
}
