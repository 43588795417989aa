//! Waits for what a client says next: a request of HTTP/1, or something that is not for us to read.
//!
//! Meanwhile the origin is heard: if it speaks or closes although no request is with it, that is for the client, and the
//! connection is opaque from there.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use super::Connection;
use super::origin::Unasked;
use super::sniff::{Sniff, begins_settings, sniff};
use crate::http1::head::{self, HeadScan, Request, Scan};
use crate::routes::Entry;

/// How long bytes are held before it is known that they are HTTP/1.
const SNIFF: Duration = Duration::from_secs(1);
/// How long the rest of a head is waited for before the connection goes to the origin unread.
const HEAD: Duration = Duration::from_secs(30);
/// How long a connection without one to the origin may be idle.
const IDLE: Duration = Duration::from_secs(600);

/// What a client wants.
#[derive(Debug)]
pub(super) enum Next {
    /// A request, and the route that it matches. It is at the front of the client's buffer.
    Request(Request, Option<Arc<Entry>>),
    /// HTTP/2: opaque for now.
    Http2,
    /// Not to be read by us, from here on.
    Opaque,
    /// Nothing is left to do.
    Close,
    /// To be ended as the origin ended: with a reset.
    Abort,
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// Anything at all.
    Bytes,
    /// That it becomes clear what the bytes are.
    Protocol,
    Head,
}

/// The wait for one request.
#[derive(Debug, Default)]
struct Wait {
    scan: HeadScan,
    http1: bool,
    /// The origin's SETTINGS frame is kept until the client has shown what it speaks.
    settings: bool,
    refused: bool,
    deadline: Option<(Awaited, Pin<Box<Sleep>>)>,
}

/// The next request of the client.
pub(super) async fn next(conn: &mut Connection) -> Next {
    let mut wait = Wait { http1: conn.http1, ..Wait::default() };
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
                Poll::Ready(Ok(0)) => return Poll::Ready(Next::Opaque),
                Poll::Ready(Ok(_)) => {}
            }
        }
        if let Some(next) = self.hear_origin(cx, conn) {
            return Poll::Ready(next);
        }
        self.poll_deadline(cx, conn)
    }

    /// Looks at the client's bytes so far.
    fn judge(&mut self, conn: &mut Connection) -> Option<Next> {
        let bytes = conn.client.read.filled();
        if bytes.is_empty() {
            return None;
        }
        if !self.http1 {
            match sniff(bytes) {
                Sniff::Undecided if conn.client.read.is_full() => return Some(Next::Opaque),
                Sniff::Undecided => return None,
                Sniff::Http1 if self.settings => return Some(Next::Opaque),
                Sniff::Http1 => self.http1 = true,
                Sniff::Http2 => return Some(Next::Http2),
                Sniff::Opaque => return Some(Next::Opaque),
            }
        }
        match self.scan.advance(bytes) {
            Ok(Scan::Partial) if conn.client.read.is_full() || sniff(bytes) == Sniff::Opaque => {
                Some(Next::Opaque)
            }
            Ok(Scan::Partial) => None,
            Ok(Scan::Complete(len)) => {
                conn.http1 = true;
                let (routes, port) = (conn.shared.routes(), conn.port);
                match head::parse_request(&bytes[..len], |headers| routes.find(port, headers)) {
                    Ok((request, route)) => Some(Next::Request(request, route)),
                    Err(flaw) => {
                        tracing::debug!(%flaw, "a request that is not for us to read");
                        Some(Next::Opaque)
                    }
                }
            }
            Err(flaw) => {
                tracing::debug!(%flaw, "a request that is not for us to read");
                Some(Next::Opaque)
            }
        }
    }

    fn hear_origin(&mut self, cx: &mut Context<'_>, conn: &mut Connection) -> Option<Next> {
        loop {
            if self.refused || self.settings {
                return None;
            }
            let Poll::Ready(unasked) = conn.origin.poll_unasked(cx) else { return None };
            if conn.served_by_laptop && unasked != Unasked::Failed {
                // It had nothing to do with the last request, and the client must not suffer for its time-out.
                conn.origin.drop_link();
                continue;
            }
            match unasked {
                // A matched request can still be answered.
                Unasked::Failed if conn.shared.routes().any(conn.port) => self.refused = true,
                Unasked::Failed | Unasked::Broke => return Some(Next::Abort),
                Unasked::Ended => return Some(Next::Opaque),
                Unasked::Spoke => {
                    let end = conn.origin.up()?;
                    match (!conn.http1).then(|| begins_settings(end.read.filled())).flatten() {
                        Some(true) => self.settings = true,
                        _ => return Some(Next::Opaque),
                    }
                }
            }
        }
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, conn: &Connection) -> Poll<Next> {
        let held = !conn.client.read.is_empty();
        let awaited = match (held, self.http1) {
            (true, true) => Some((Awaited::Head, HEAD)),
            (true, false) => Some((Awaited::Protocol, SNIFF)),
            (false, _) if self.settings => Some((Awaited::Protocol, SNIFF)),
            (false, _) if self.refused => Some((Awaited::Bytes, HEAD)),
            (false, _) if conn.origin.is_absent() => Some((Awaited::Bytes, IDLE)),
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
            true if awaited != Awaited::Bytes => Poll::Ready(Next::Opaque),
            true if self.refused => Poll::Ready(Next::Abort),
            true => Poll::Ready(Next::Close),
        }
    }
}
