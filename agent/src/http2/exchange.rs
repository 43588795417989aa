//! One request and its answer, between the caller and the server (the origin or a laptop): heads, bodies, trailers,
//! resets.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::request::Parts;
use http::{Request, Response, Version};

use super::answers::{self, Wanted};
use super::caller::Caller;
use super::passage::{Broken, Onlooker, Passage};
use super::window::Waiting;
use crate::copies::pipe::Inlet;
use crate::requests::Record;
use crate::routes::Entry;

/// A stream that a caller has opened.
pub(super) struct Accepted {
    pub(super) head: Parts,
    pub(super) body: RecvStream,
    pub(super) respond: SendResponse<Bytes>,
    pub(super) record: Record,
    pub(super) copy: Option<Inlet>,
}

impl Accepted {
    /// The request's head as h2 sends it: with its authority, if it has one.
    pub(super) fn sendable(head: Parts) -> Request<()> {
        let mut request = Request::from_parts(head, ());
        if request.uri().authority().is_none() {
            *request.version_mut() = Version::HTTP_11;
        }
        request
    }
}

/// How an exchange ended.
pub(super) enum Exchanged {
    /// The caller has got all of it, or went away itself.
    Over,
    /// The server reset the stream. The caller gets the reset after what was sent before it.
    Reset(Caller, Reason),
    /// Its session has no more room for it.
    NoRoom(Caller),
    /// The server is gone.
    Failed(Caller, h2::Error),
}

/// Counts the waiting bytes of request and answer.
pub(super) struct Holds {
    pub(super) up: Waiting,
    pub(super) down: Waiting,
}

/// A request in flight.
pub(super) struct Exchange {
    up: Up,
    /// Of the request, until it has passed.
    copy: Option<Inlet>,
    server: SendStream<Bytes>,
    down: Down,
    caller: Option<Caller>,
    record: Record,
    /// For the answer, until it begins.
    down_waits: Option<Waiting>,
    /// The route of the laptop that serves it.
    route: Option<Arc<Entry>>,
    wanted: Wanted,
}

enum Up {
    Passing(Passage),
    Over,
    /// The server takes no more of it.
    Stopped,
}

enum Down {
    Head(ResponseFuture),
    Body(Passage),
    Over,
}

impl Exchange {
    /// `body` follows the request's head, and goes into the pipe of its copy as well, if there is one; `route` is the
    /// laptop's, if one serves it.
    pub(super) fn new(
        (body, copy): (Option<RecvStream>, Option<Inlet>),
        respond: SendResponse<Bytes>,
        (answer, server): (ResponseFuture, SendStream<Bytes>),
        record: Record,
        holds: Holds,
        (route, wanted): (Option<Arc<Entry>>, Wanted),
    ) -> Self {
        let up = body.map_or(Up::Over, |body| Up::Passing(Passage::new(body, holds.up)));
        Self {
            up,
            copy,
            server,
            down: Down::Head(answer),
            caller: Some(Caller::Waits(respond)),
            record,
            down_waits: Some(holds.down),
            route,
            wanted,
        }
    }

    /// The form of answer that the caller understands.
    pub(super) fn wanted(&self) -> Wanted {
        self.wanted
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Exchanged> {
        let Some(mut caller) = self.caller.take() else { return Poll::Ready(Exchanged::Over) };
        if let Poll::Ready(gone) = caller.poll_gone(cx) {
            self.server.send_reset(gone.unwrap_or(Reason::CANCEL));
            return Poll::Ready(Exchanged::Over);
        }
        if let Up::Passing(passage) = &mut self.up {
            match passage.poll(cx, &mut self.server, Onlooker::Copy(&mut self.copy)) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.up = Up::Over,
                Poll::Ready(Err(Broken::Sink)) => self.up = Up::Stopped,
                Poll::Ready(Err(Broken::Source(error))) => {
                    self.server.send_reset(error.reason().unwrap_or(Reason::CANCEL));
                    return Poll::Ready(Exchanged::Over);
                }
                Poll::Ready(Err(Broken::NoRoom)) => {
                    self.server.send_reset(Reason::CANCEL);
                    return Poll::Ready(Exchanged::NoRoom(caller));
                }
            }
        }
        match self.go_down(cx, caller) {
            Ok(polled) => polled,
            Err(caller) => {
                self.caller = Some(caller);
                Poll::Pending
            }
        }
    }

    /// Notes that the caller got another answer than the server's.
    pub(super) fn answered_instead(&mut self, status: u16) {
        self.record.answered(status);
    }

    /// Passes the answer down. `Err`: there is more to come.
    fn go_down(&mut self, cx: &mut Context<'_>, mut caller: Caller) -> Result<Poll<Exchanged>, Caller> {
        loop {
            match (&mut self.down, &mut caller) {
                (Down::Head(answer), Caller::Waits(respond)) => {
                    let head = match poll_head(cx, answer, respond) {
                        Poll::Pending => return Err(caller),
                        Poll::Ready(Ok(head)) => head,
                        Poll::Ready(Err(error)) => return Ok(Poll::Ready(failed(caller, error))),
                    };
                    match self.begin_answer(respond, head) {
                        Some(stream) => caller = Caller::Hears(stream),
                        None => return Ok(Poll::Ready(Exchanged::Over)),
                    }
                }
                (Down::Body(passage), Caller::Hears(stream)) => {
                    match passage.poll(cx, stream, Onlooker::Record(&mut self.record)) {
                        Poll::Pending => return Err(caller),
                        Poll::Ready(Ok(())) => self.down = Down::Over,
                        Poll::Ready(Err(Broken::Source(error))) => {
                            return Ok(Poll::Ready(failed(caller, error)));
                        }
                        Poll::Ready(Err(Broken::Sink | Broken::NoRoom)) => {
                            self.server.send_reset(Reason::CANCEL);
                            return Ok(Poll::Ready(Exchanged::Over));
                        }
                    }
                }
                _ => return self.answered(cx, caller),
            }
        }
    }

    /// Passes the head of the final answer on. `None`: the caller does not take it.
    fn begin_answer(
        &mut self,
        respond: &mut SendResponse<Bytes>,
        head: Response<RecvStream>,
    ) -> Option<SendStream<Bytes>> {
        let (mut parts, body) = head.into_parts();
        self.record.answered(parts.status.as_u16());
        self.record.grpc_status_of(&parts.headers);
        if let Some(route) = &self.route {
            answers::mark(&mut parts.headers, route);
        }
        let waits = self.down_waits.take().filter(|_| !body.is_end_stream());
        match respond.send_response(Response::from_parts(parts, ()), waits.is_none()) {
            Ok(stream) => {
                self.down = waits.map_or(Down::Over, |waits| {
                    let mut passage = Passage::new(body, waits);
                    if self.route.as_ref().is_some_and(|route| !route.keep_cache_headers) {
                        passage.keeps_private();
                    }
                    Down::Body(passage)
                });
                Some(stream)
            }
            Err(error) => {
                tracing::debug!(%error, "cannot send an answer to the caller");
                self.server.send_reset(Reason::CANCEL);
                None
            }
        }
    }

    /// The answer has passed; perhaps the request has not.
    fn answered(&mut self, cx: &mut Context<'_>, caller: Caller) -> Result<Poll<Exchanged>, Caller> {
        if matches!(self.up, Up::Over) {
            return Ok(Poll::Ready(Exchanged::Over));
        }
        match self.server.poll_reset(cx) {
            // Dropping the stream cancels the rest of the request with NO_ERROR, after the answer (RFC 9113 section
            // 8.1).
            Poll::Ready(Ok(Reason::NO_ERROR) | Err(_)) => Ok(Poll::Ready(Exchanged::Over)),
            Poll::Ready(Ok(reason)) => Ok(Poll::Ready(Exchanged::Reset(caller, reason))),
            Poll::Pending if matches!(self.up, Up::Stopped) => Ok(Poll::Ready(Exchanged::Over)),
            Poll::Pending => Err(caller),
        }
    }
}

/// Passes interim answers on, and returns the final one's head.
fn poll_head(
    cx: &mut Context<'_>,
    answer: &mut ResponseFuture,
    respond: &mut SendResponse<Bytes>,
) -> Poll<Result<Response<RecvStream>, h2::Error>> {
    while let Some(interim) = ready!(answer.poll_informational(cx)) {
        // A caller that does not take it does not take the final one either.
        let _ = respond.send_informational(interim?);
    }
    Pin::new(answer).poll(cx)
}

fn failed(caller: Caller, error: h2::Error) -> Exchanged {
    match error.reason() {
        Some(reason) if error.is_reset() => Exchanged::Reset(caller, reason),
        // Beyond the last stream that a GOAWAY names: it was not processed.
        Some(_) if error.is_go_away() && error.is_remote() => {
            Exchanged::Reset(caller, Reason::REFUSED_STREAM)
        }
        _ => Exchanged::Failed(caller, error),
    }
}
