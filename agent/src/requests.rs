//! Records where each request went, and why: every request that the agent sees, from its head to the end of its answer.
//!
//! A connection opens a `Record` when it has decided on a request, adds to it as the request proceeds, and drops it at
//! the end. A copy of a request has a record of its own. A connection that is relayed unread is recorded once. All
//! requests are counted (`tally`); the last ones are kept for `bridge requests` (`kept`), as many per second as cost
//! nothing. `why` are the causes of what is unusual.

mod kept;
mod why;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bridge_proto::matching::RequestHead;
use bridge_proto::v1::{Reason, SeenRequest};
use http::HeaderMap;

pub(crate) use self::kept::Followed;
use self::kept::{Kept, Weight};
pub(crate) use self::why::{FellBack, GivenUp, Opaque};
use crate::port::Port;
use crate::routes::{CopyWay, Decision, Entry, Way};
use crate::session::Session;
use crate::tally::{Tally, micros};

/// Limit on a path, a method and a rule to keep, in bytes.
const MAX_TEXT: usize = 256;
/// Limit on a value to show, in bytes.
const MAX_SAW: usize = 64;

/// The version of HTTP of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// The destination of a connection that is relayed unread.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To<'a> {
    Origin,
    Laptop(&'a Entry),
    /// The origin, although this route takes everything.
    OriginAfterAll(FellBack, &'a Entry),
    /// It is reset, because nothing listens on the laptop.
    Nowhere(&'a Entry),
}

/// All requests of an agent.
#[derive(Debug)]
pub(crate) struct Requests {
    to_laptops: Tally,
    to_origin: Tally,
    copied: Tally,
    /// By `Reason`.
    reasons: [AtomicU64; REASONS],
    /// Connections that were relayed unread.
    opaque: AtomicU64,
    kept: Arc<Kept>,
}

/// The number of `Reason`s.
const REASONS: usize = 22;

/// A request in flight. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Record {
    requests: Arc<Requests>,
    begun: Instant,
    /// The session whose laptop has it; `None`: the origin has it.
    laptop: Option<Arc<Session>>,
    /// It is a copy for that laptop.
    copy: bool,
    reason: Reason,
    /// 0 if there is none yet.
    status: u16,
    ended: bool,
    /// The record to keep, if any.
    seen: Option<Box<SeenRequest>>,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self {
            to_laptops: Tally::default(),
            to_origin: Tally::default(),
            copied: Tally::default(),
            reasons: Default::default(),
            opaque: AtomicU64::new(0),
            kept: Arc::new(Kept::new()),
        }
    }

    /// Records a request to the port with this index, after the decision on it.
    pub(crate) fn begin(
        self: &Arc<Self>,
        port: Port,
        protocol: Protocol,
        head: &impl RequestHead,
        decision: &Decision<'_>,
    ) -> Record {
        let begun = Instant::now();
        let (laptop, reason, weight) = match decision {
            Decision::Laptop(way) => {
                let reason = if way.hops.is_ok() { Reason::Matched } else { Reason::Loop };
                (Some(way.route.session.clone()), reason, Weight::Near)
            }
            Decision::Copied(_) => (None, Reason::Copied, Weight::Near),
            Decision::Origin(None) => (None, Reason::NoRoute, Weight::Plain),
            Decision::Origin(Some(miss)) if miss.is_near() => (None, Reason::Differs, Weight::Near),
            Decision::Origin(Some(_)) => (None, Reason::Absent, Weight::Plain),
        };
        let seen = self.kept.has_room(weight, begun).then(|| {
            let (user, about, saw) = words(decision);
            Box::new(SeenRequest {
                begun_us: now_us(),
                target_port: port.number.into(),
                protocol: protocol.to_string(),
                method: cut(head.method(), MAX_TEXT),
                path: cut(head.path(), MAX_TEXT),
                user,
                about: cut(&about, MAX_TEXT),
                saw,
                trace: trace_of(head).unwrap_or_default(),
                ..SeenRequest::default()
            })
        });
        Record { requests: self.clone(), begun, laptop, copy: false, reason, status: 0, ended: false, seen }
    }

    /// A connection to this port is not read from here on.
    pub(crate) fn opaque(&self, port: Port, why: Opaque, to: To<'_>) {
        let (reason, route) = match to {
            To::Origin => (why.reason(), None),
            To::Laptop(route) => (why.reason(), Some(route)),
            To::OriginAfterAll(why, route) => (why.reason(), Some(route)),
            To::Nowhere(route) => (Reason::NothingListens, Some(route)),
        };
        self.count(reason);
        self.opaque.fetch_add(1, Ordering::Relaxed);
        if self.kept.has_room(Weight::Plain, Instant::now()) {
            let begun_us = now_us();
            let seen = SeenRequest {
                begun_us,
                target_port: port.number.into(),
                to_laptop: matches!(to, To::Laptop(_) | To::Nowhere(_)),
                user: route.map(|route| route.session.user.clone()).unwrap_or_default(),
                about: route.map(|route| route.matching.rule(0)).unwrap_or_default(),
                reason: reason.into(),
                ..SeenRequest::default()
            };
            self.kept.keep(Weight::Plain, seen, begun_us);
        }
    }

    /// Follows new records, after the kept ones of requests that ended after this time (in us since the epoch).
    pub(crate) fn follow(&self, after_us: u64) -> Followed {
        Followed::new(self.kept.clone(), after_us)
    }

    pub(crate) fn to_origin(&self) -> &Tally {
        &self.to_origin
    }

    pub(crate) fn to_laptops(&self) -> &Tally {
        &self.to_laptops
    }

    /// Copies that laptops have answered.
    pub(crate) fn copied(&self) -> &Tally {
        &self.copied
    }

    /// Connections that were relayed unread.
    pub(crate) fn opaque_so_far(&self) -> u64 {
        self.opaque.load(Ordering::Relaxed)
    }

    fn count(&self, reason: Reason) {
        if let Some(counter) = self.reasons.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The number of requests and connections with this reason.
    pub(crate) fn counted(&self, reason: Reason) -> u64 {
        self.reasons.get(reason as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

impl Record {
    /// Notes that it goes to the origin after all.
    pub(crate) fn fell_back(&mut self, why: FellBack) {
        self.laptop = None;
        self.reason = why.reason();
    }

    /// Notes that it is not copied, because it asks for another protocol.
    pub(crate) fn not_copied(&mut self) {
        self.reason = Reason::NotCopied;
    }

    /// Records the copy of it that goes to this session's laptop.
    pub(crate) fn copy(&self, session: &Arc<Session>) -> Record {
        let begun = Instant::now();
        let kept = &self.requests.kept;
        let seen = self.seen.as_ref().filter(|_| kept.has_room(Weight::Near, begun));
        Record {
            requests: self.requests.clone(),
            begun,
            laptop: Some(session.clone()),
            copy: true,
            reason: Reason::Copy,
            status: 0,
            ended: false,
            seen: seen.map(|seen| Box::new(SeenRequest { begun_us: now_us(), ..(**seen).clone() })),
        }
    }

    /// Notes that this copy is given up.
    pub(crate) fn given_up(&mut self, why: GivenUp) {
        self.reason = why.reason();
    }

    /// Notes the status of the final answer.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// Notes the gRPC status, if there is one among an answer's trailers, or in its head if there are none.
    pub(crate) fn grpc_status_of(&mut self, fields: &HeaderMap) {
        if let Some(seen) = &mut self.seen
            && let Some(status) = fields.get("grpc-status")
        {
            seen.grpc_status = status.to_str().ok().and_then(|status| status.parse().ok());
        }
    }

    /// Ends the record, even if the connection goes on (as a WebSocket, for example).
    pub(crate) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let took = self.begun.elapsed();
        self.requests.count(self.reason);
        match &self.laptop {
            Some(session) if !self.copy => {
                session.tally.add(self.status, took);
                self.requests.to_laptops.add(self.status, took);
            }
            Some(session) if self.reason == Reason::Copy => {
                session.copied.add(self.status, took);
                self.requests.copied.add(self.status, took);
            }
            Some(session) => {
                session.given_up.fetch_add(1, Ordering::Relaxed);
            }
            None => self.requests.to_origin.add(self.status, took),
        }
        if let Some(mut seen) = self.seen.take() {
            seen.took_us = micros(took);
            seen.status = self.status.into();
            seen.to_laptop = self.laptop.is_some();
            seen.reason = self.reason.into();
            let weight = match self.reason {
                Reason::NoRoute | Reason::Absent => Weight::Plain,
                _ => Weight::Near,
            };
            let ended_us = seen.begun_us + seen.took_us;
            self.requests.kept.keep(weight, *seen, ended_us);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Http1 => "HTTP/1",
            Protocol::Http2 => "HTTP/2",
        })
    }
}

/// The route's user, the subject of the reason, and the value seen.
fn words(decision: &Decision<'_>) -> (String, String, String) {
    match decision {
        Decision::Laptop(Way { route, rule, .. }) => {
            (route.session.user.clone(), route.matching.rule(*rule), String::new())
        }
        Decision::Copied(CopyWay { route, rule, .. }) => {
            (route.session.user.clone(), route.matching.rule(*rule), String::new())
        }
        Decision::Origin(None) => Default::default(),
        Decision::Origin(Some(miss)) => {
            let subject = miss.condition.subject();
            // The path and the method are shown anyway.
            let shown = miss.saw.filter(|_| miss.condition.is_of_headers() && !may_be_secret(&subject));
            (String::new(), subject, shown.map(shortened).unwrap_or_default())
        }
    }
}

/// Headers that could carry credentials. Routes may name them; users see only their own values.
fn may_be_secret(name: &str) -> bool {
    const PARTS: [&str; 12] = [
        "auth",
        "cookie",
        "token",
        "secret",
        "passw",
        "key",
        "credential",
        "session",
        "jwt",
        "signature",
        "cert",
        "bearer",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

/// The trace that a request belongs to: of "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", the second part.
fn trace_of(head: &impl RequestHead) -> Option<String> {
    let traceparent = head.values("traceparent").next()?;
    let trace = traceparent.split(|byte| *byte == b'-').nth(1)?;
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let trace = Some(trace).filter(|trace| trace.len() == 32 && trace.iter().all(is_hex))?;
    std::str::from_utf8(trace).ok().map(str::to_owned)
}

fn shortened(value: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&value[..value.len().min(MAX_SAW)]).into_owned();
    if value.len() > MAX_SAW {
        text.push('\u{2026}');
    }
    text
}

fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

fn now_us() -> u64 {
    // A clock before 1970 is no reason to fail.
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests;
