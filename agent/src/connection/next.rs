//! Waits for a client's next message: a request of HTTP/1, or something that the agent does not interpret.
//!
//! Meanwhile the origin is heard: if it sends or closes without a request, that is for the client, and the connection
//! is opaque from there.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use super::Connection;
use super::origin::Unasked;
use super::sniff::{HEAD, Sniff, begins_settings, may_be_request, patience, sniff};
use crate::http1::flaw::Flaw;
use crate::http1::head::{self, HeadScan, Request, Scan};
use crate::requests::{Opaque, Protocol, Record};
use crate::routes::Goes;
use crate::routes::head::Http1Head;

/// The time that a client has to show that it speaks HTTP/2, if its server seems to.
const PREFACE: Duration = Duration::from_secs(1);
/// The time that a connection without one to the origin may be idle.
const IDLE: Duration = Duration::from_secs(600);

/// A client's next message.
#[derive(Debug)]
pub(super) enum Next {
    /// A request, where it goes, and the record of it. It is at the front of the client's buffer.
    Request(Request, Goes, Record),
    /// The preface of HTTP/2.
    Http2,
    /// Relayed unread from here on. `None`: an end, with nothing before it that would have been read.
    Opaque(Option<Opaque>),
    /// Nothing is left to do.
    Close,
    /// To be ended like the origin's end: with a reset.
    Abort,
}

/// The purpose of a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// Anything at all.
    Bytes,
    /// Bytes that show the protocol,
    Protocol,
    /// or the rest of a possible head.
    Head,
}

/// The wait for one request.
#[derive(Debug, Default)]
struct Wait {
    scan: HeadScan,
    http1: bool,
    /// The origin's SETTINGS frame is kept until the client has shown its protocol.
    settings: bool,
    refused: bool,
    deadline: Option<(Awaited, Pin<Box<Sleep>>)>,
}

/// The next request of the client.
pub(super) async fn next(conn: &mut Connection) -> Next {
    // Nowhere is like an origin that refuses.
    let refused = !conn.http1 && conn.goes_nowhere();
    let mut wait = Wait { http1: conn.http1, refused, ..Wait::default() };
    std::future::poll_fn(|cx| wait.poll(cx, conn)).await
}

impl Wait {
    fn poll(&mut self, cx: &mut Context<'_>, conn: &mut Connection) -> Poll<Next> {
        loop {
            if let Some(next) = self.judge(conn) {
                return Poll::Ready(next);
            }
            match conn.client.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(Err(_)) => return Poll::Ready(Next::Abort),
                Poll::Ready(Ok(0)) if conn.client.read.is_empty() && conn.origin.is_absent() => {
                    return Poll::Ready(Next::Close);
                }
                Poll::Ready(Ok(0)) => {
                    let why = (!conn.client.read.is_empty()).then_some(Opaque::NotHttp);
                    return Poll::Ready(Next::Opaque(why));
                }
                Poll::Ready(Ok(_)) => {}
            }
        }
        if let Some(next) = self.hear_origin(cx, conn) {
            return Poll::Ready(next);
        }
        conn.kept.poll(cx, &conn.context.tasks);
        self.poll_deadline(cx, conn)
    }

    /// Judges the client's bytes so far.
    fn judge(&mut self, conn: &mut Connection) -> Option<Next> {
        let bytes = conn.client.read.filled();
        if bytes.is_empty() {
            return None;
        }
        if !self.http1 {
            match sniff(bytes) {
                Sniff::Undecided if conn.client.read.is_full() => {
                    return Some(Next::Opaque(Some(Opaque::NotHttp)));
                }
                Sniff::Undecided => return None,
                Sniff::Http1 if self.settings => {
                    return Some(Next::Opaque(Some(Opaque::ServerSpokeFirst)));
                }
                Sniff::Http1 => self.http1 = true,
                Sniff::Http2 => return Some(Next::Http2),
                Sniff::Opaque => return Some(Next::Opaque(Some(Opaque::of(bytes)))),
            }
        }
        match self.scan.advance(bytes) {
            Ok(Scan::Partial) if conn.client.read.is_full() || !may_be_request(bytes) => {
                Some(Next::Opaque(Some(Opaque::Ambiguous)))
            }
            Ok(Scan::Partial) => None,
            Ok(Scan::Complete(len)) => {
                conn.http1 = true;
                match head::parse_request(&bytes[..len], |head| decide(conn, head)) {
                    Ok((request, (goes, record))) => Some(Next::Request(request, goes, record)),
                    Err(flaw) => Some(unread(flaw)),
                }
            }
            Err(flaw) => Some(unread(flaw)),
        }
    }

    fn hear_origin(&mut self, cx: &mut Context<'_>, conn: &mut Connection) -> Option<Next> {
        loop {
            if self.refused || self.settings {
                return None;
            }
            let Poll::Ready(unasked) = conn.origin.poll_unasked(cx) else { return None };
            if conn.served_by_laptop && unasked != Unasked::Failed {
                // It had nothing to do with the last request, and the client must not suffer from its time-out.
                conn.origin.drop_link();
                continue;
            }
            match unasked {
                // A matched request can still be answered.
                Unasked::Failed if conn.context.routes().any(conn.port) => self.refused = true,
                Unasked::Failed | Unasked::Broke => return Some(Next::Abort),
                Unasked::Ended => return Some(Next::Opaque(None)),
                Unasked::Spoke => {
                    let end = conn.origin.up()?;
                    match (!conn.http1).then(|| begins_settings(end.read.filled())).flatten() {
                        Some(true) => self.settings = true,
                        _ => {
                            let why = (!conn.http1).then_some(Opaque::ServerSpokeFirst);
                            return Some(Next::Opaque(why));
                        }
                    }
                }
            }
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, conn: &Connection) -> Poll<Next> {
        let held = !conn.client.read.is_empty();
        let patience = patience(conn.client.read.filled());
        let awaited = match (held, self.http1) {
            (true, true) => Some((Awaited::Head, HEAD)),
            (true, false) if patience == HEAD => Some((Awaited::Head, HEAD)),
            (true, false) => Some((Awaited::Protocol, patience)),
            (false, _) if self.settings => Some((Awaited::Protocol, PREFACE)),
            (false, false) if self.refused => Some((Awaited::Bytes, HEAD)),
            (false, _) if self.refused || conn.origin.is_absent() => Some((Awaited::Bytes, IDLE)),
            (false, _) => None,
        };
        let Some((awaited, bound)) = awaited else {
            self.deadline = None;
            return Poll::Pending;
        };
        if self.deadline.as_ref().is_none_or(|(what, _)| *what != awaited) {
            self.deadline = Some((awaited, Box::pin(tokio::time::sleep(bound))));
        }
        let due = self.deadline.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready());
        match due {
            false => Poll::Pending,
            true if awaited != Awaited::Bytes => {
                let why = if held { Opaque::NotHttp } else { Opaque::ServerSpokeFirst };
                Poll::Ready(Next::Opaque(Some(why)))
            }
            true if self.refused && !self.http1 => Poll::Ready(Next::Abort),
            true => Poll::Ready(Next::Close),
        }
    }
}

/// Decides where a request goes; from here on it is recorded.
fn decide(conn: &Connection, head: &Http1Head<'_>) -> (Goes, Record) {
    let routes = conn.context.routes();
    let decision = routes.decide(conn.port, head);
    let record = conn.context.requests.begin(conn.port, Protocol::Http1, head, &decision);
    (decision.goes(), record)
}

fn unread(flaw: Flaw) -> Next {
    tracing::debug!(%flaw, "cannot interpret a request: relaying the connection");
    Next::Opaque(Some(Opaque::Ambiguous))
}
