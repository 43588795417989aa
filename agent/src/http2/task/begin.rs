//! Decides where a caller's new stream goes: to the origin or to a laptop.

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{HeaderValue, Method, Request};

use super::super::answers::{self, Wanted};
use super::super::caller::Caller;
use super::super::copy;
use super::super::exchange::{Accepted, Exchange, Holds};
use super::super::laptop;
use super::super::link::Link;
use super::super::wakes::Part;
use super::super::window::Waiting;
use super::super::work::{With, Work};
use super::Task;
use crate::copies;
use crate::copies::pipe::Inlet;
use crate::hops::HOPS;
use crate::http1::answers::Failure;
use crate::requests::{FellBack, Protocol};
use crate::routes::{CopyWay, Goes, Way};

/// Limit on the heads of all requests in progress on one connection, in bytes; more are refused.
const MAX_HEADS: usize = 8 << 20;

impl Task {
    /// Decides where a stream goes; from here on it is recorded.
    pub(super) fn route(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (head, body) = request.into_parts();
        if self.load.heads + size_of_head(&head) > MAX_HEADS {
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        let (record, goes) = {
            let routes = self.context.routes();
            let decision = routes.decide(self.port, &head);
            let record = self.context.requests.begin(self.port, Protocol::Http2, &head, &decision);
            (record, decision.goes())
        };
        let mut accepted = Accepted { head, body, respond, record, copy: None };
        match goes {
            Goes::Laptop(way) => self.hand_to_laptop(accepted, &way),
            Goes::Copied(way) => {
                accepted.copy = self.copy(&mut accepted, &way);
                self.hand_to_origin(accepted);
            }
            Goes::Origin => self.hand_to_origin(accepted),
        }
    }

    /// Decides once more, because the way to the laptop was lost.
    pub(super) fn route_again(&mut self, mut accepted: Accepted) {
        let goes = self.context.routes().decide(self.port, &accepted.head).goes();
        match goes {
            Goes::Laptop(way) => self.hand_to_laptop(accepted, &way),
            Goes::Copied(_) | Goes::Origin => {
                accepted.record.fell_back(FellBack::LaptopAway);
                self.hand_to_origin(accepted);
            }
        }
    }

    /// Begins to copy a stream. `None`: it is not copied, which is recorded.
    fn copy(&mut self, accepted: &mut Accepted, way: &CopyWay) -> Option<Inlet> {
        if accepted.head.method == Method::CONNECT {
            accepted.record.not_copied();
            return None;
        }
        let (inlet, ticket) = copies::begin(&accepted.record, &way.route, 0)?;
        let mut head = accepted.head.clone();
        head.headers.insert(HOPS, header_of(&way.hops));
        let lane = self.lanes.lane(&way.route, &self.start);
        self.context.tasks.spawn(copy::carry(head, accepted.body.is_end_stream(), lane, ticket));
        Some(inlet)
    }

    fn hand_to_laptop(&mut self, mut accepted: Accepted, way: &Way) {
        let route = &way.route;
        let hops = match &way.hops {
            Ok(hops) => header_of(hops),
            Err(why) => {
                let failure = Failure::of_loop(&self.context.name, route, why);
                accepted.record.answered(failure.status());
                let wanted = Wanted::of(&accepted.head);
                return answers::give(Caller::Waits(accepted.respond), wanted, &failure);
            }
        };
        let lane = self.lanes.lane(route, &self.start);
        let size = size_of_head(&accepted.head);
        let up = Waiting::for_laptop(self.from_caller.held(), self.account.clone(), &route.session.budget);
        self.load.at_laptop += 1;
        self.begin(With::Laptop(Box::pin(laptop::exchange(accepted, lane, hops, up))), size);
    }

    pub(super) fn hand_to_origin(&mut self, accepted: Accepted) {
        let up = match &mut self.link {
            Link::Up(up) => up,
            Link::Over => return self.lose(Caller::Waits(accepted.respond), None),
            Link::Absent(_) | Link::Opening(_) => {
                self.link.open();
                self.load.heads += size_of_head(&accepted.head);
                self.waiting.push(accepted);
                return self.wakes.set(Part::Origin);
            }
        };
        if up.is_full() {
            up.send = up.send.clone();
        }
        let Accepted { head, body, mut respond, record, copy } = accepted;
        let (size, ends, wanted) = (size_of_head(&head), body.is_end_stream(), Wanted::of(&head));
        match up.send.send_request(Accepted::sendable(head), ends) {
            Ok(sent) => {
                let holds = Holds {
                    up: Waiting::new(self.from_caller.held(), self.account.clone()),
                    down: Waiting::new(self.from_origin.held(), up.account.clone()),
                };
                let up = if ends {
                    if let Some(copy) = copy {
                        copy.whole(None);
                    }
                    (None, None)
                } else {
                    (Some(body), copy)
                };
                let exchange = Exchange::new(up, respond, sent, record, holds, (None, wanted));
                self.begin(With::Origin(exchange), size);
            }
            Err(error) => {
                // Not one byte of it was sent.
                tracing::debug!(%error, "cannot open a stream on the origin's connection");
                respond.send_reset(Reason::REFUSED_STREAM);
            }
        }
    }

    /// The streams that waited for the origin.
    pub(super) fn no_longer_waiting(&mut self) -> Vec<Accepted> {
        let waited = std::mem::take(&mut self.waiting);
        self.load.heads -= waited.iter().map(|accepted| size_of_head(&accepted.head)).sum::<usize>();
        waited
    }

    fn begin(&mut self, with: With, head: usize) {
        self.load.heads += head;
        self.streams.push(Work { with, head });
        self.wakes.set(Part::Streams);
    }

    /// Ends a stream whose origin is gone; `None`: it was not there. It goes with the connection, unless others still
    /// need that.
    pub(super) fn lose(&mut self, mut caller: Caller, at_origin: Option<Wanted>) {
        // Streams begun after the origin's GOAWAY are on another connection.
        let alone = self.load.at_laptop == 0 && matches!(self.link, Link::Over | Link::Absent(_));
        match at_origin {
            _ if alone => self.lost.push(caller),
            Some(wanted) => answers::lose(caller, wanted),
            None => caller.reset(Reason::REFUSED_STREAM),
        }
        if self.leaving.is_none() && matches!(self.link, Link::Over) {
            self.leave(None);
        }
    }
}

/// Hops have only characters that a value may have.
fn header_of(hops: &str) -> HeaderValue {
    HeaderValue::from_str(hops).unwrap_or(HeaderValue::from_static(""))
}

/// As RFC 9113 section 6.5.2 counts it, except for the pseudo-headers, of which only the path can be large.
fn size_of_head(head: &Parts) -> usize {
    let headers: usize =
        head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    headers + head.uri.path_and_query().map_or(0, |path| path.as_str().len())
}
