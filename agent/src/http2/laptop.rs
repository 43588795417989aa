//! A matched stream and its answer, between the caller and a laptop.
//!
//! All streams of a caller's connection that one route takes share a lane: one inbound stream with HTTP/2 on it. It is
//! opened when first needed, and replaced when it is gone.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bridge_proto::tunnel::TunnelStream;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::Shared as SharedFuture;
use h2::Reason;
use h2::client::SendRequest;
use http::HeaderValue;
use tokio_util::task::TaskTracker;

use super::answers::{self, Wanted};
use super::caller::Caller;
use super::exchange::{Accepted, Exchange, Exchanged, Holds};
use super::frames::Account;
use super::io::Io;
use super::settings;
use super::window::{Held, Waiting, Window};
use super::work::Ended;
use crate::hops::HOPS;
use crate::http1::answers::Failure;
use crate::inbound::{self, Unreached};
use crate::instead::{Instead, instead};
use crate::io::end::End;
use crate::routes::Entry;
use crate::session::share;

/// Why a laptop was not reached, and what it said of it. Nothing was delivered.
pub(super) type NotReached = (Unreached, String);

pub(super) type Opening = Pin<Box<dyn Future<Output = Result<SendRequest<Bytes>, NotReached>> + Send>>;

/// HTTP/2 to a process on a laptop, perhaps not open yet.
#[derive(Clone)]
pub(super) struct Lane {
    pub(super) route: Arc<Entry>,
    pub(super) opening: SharedFuture<Opening>,
    /// The bytes that wait on it.
    held: Arc<Held>,
}

/// The lanes of one caller's connection.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
}

/// The resources that a new lane needs.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) target_port: u16,
    pub(super) peer: SocketAddr,
    pub(super) tasks: TaskTracker,
}

impl Lanes {
    /// The lane for this route: the existing one, or a new one.
    pub(super) fn lane(&mut self, route: &Arc<Entry>, start: &Start) -> Lane {
        self.lanes.retain(Lane::is_good);
        if let Some(lane) = self.lanes.iter().find(|lane| lane.route.leads_where(route)) {
            return lane.clone();
        }
        let window = Window::of_lane(&route.session.budget);
        let held = window.held();
        let opening: Opening = Box::pin(open(route.clone(), window, start.clone()));
        self.add(route.clone(), held, opening)
    }

    /// Adds a lane on a stream that is already open.
    pub(super) fn opened(&mut self, route: Arc<Entry>, end: End<TunnelStream>, start: &Start) {
        let (tasks, window) = (start.tasks.clone(), Window::of_lane(&route.session.budget));
        let held = window.held();
        self.add(route, held, Box::pin(speak(end, window, tasks)));
    }

    fn add(&mut self, route: Arc<Entry>, held: Arc<Held>, opening: Opening) -> Lane {
        let lane = Lane { route, opening: opening.shared(), held };
        self.lanes.push(lane.clone());
        lane
    }
}

impl Lane {
    /// Whether it is opening, or takes streams.
    fn is_good(&self) -> bool {
        match self.opening.peek() {
            None => true,
            Some(Err(_)) => false,
            Some(Ok(send)) => {
                let mut cx = Context::from_waker(Waker::noop());
                !matches!(send.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
            }
        }
    }
}

async fn open(route: Arc<Entry>, window: Window, start: Start) -> Result<SendRequest<Bytes>, NotReached> {
    let mut stream = inbound::open(&route, start.target_port, start.peer)
        .await
        .map_err(|why| (Unreached::from(why), String::new()))?;
    match stream.opened().await {
        Ok(()) => speak(End::new(stream), window, start.tasks).await,
        Err(refused) => Err(match Unreached::from(&refused) {
            // Not even a preface was sent.
            Unreached::Unknown => (Unreached::Laptop, String::new()),
            why => (why, inbound::words(refused)),
        }),
    }
}

async fn speak(
    end: End<TunnelStream>,
    mut window: Window,
    tasks: TaskTracker,
) -> Result<SendRequest<Bytes>, NotReached> {
    let (io, home_rx) = Io::new(end);
    let (send, mut connection) = settings::towards_laptop(window.size())
        .handshake(io)
        .await
        .map_err(|_| (Unreached::Laptop, String::new()))?;
    // Ends when nobody holds the lane any more.
    tasks.spawn(async move {
        let held = window.held();
        let driven = std::future::poll_fn(|cx| {
            held.register(cx.waker());
            if let Some(size) = window.grow() {
                connection.set_target_window_size(size);
            }
            Pin::new(&mut connection).poll(cx)
        });
        if let Err(error) = driven.await {
            tracing::debug!(%error, "HTTP/2 with a laptop ended");
        }
        drop(connection);
        if let Ok(stream) = home_rx.await {
            inbound::farewell(End::new(stream)).await;
        }
    });
    Ok(send)
}

/// Takes a stream with these hops to the laptop, and the answer back.
pub(super) async fn exchange(mut accepted: Accepted, lane: Lane, hops: HeaderValue, up: Waiting) -> Ended {
    let route = &lane.route;
    let budget = &route.session.budget;
    let room = budget.begin(share::EXCHANGE);
    let opening = async {
        if room.is_some() { lane.opening.clone().await } else { Err((Unreached::Full, String::new())) }
    };
    let reached = tokio::select! {
        reached = opening => reached,
        _ = std::future::poll_fn(|cx| accepted.respond.poll_reset(cx)) => return Ended::Over,
    };
    let wanted = Wanted::of(&accepted.head);
    let full = || Failure::Full { user: route.session.user.clone() };
    let mut send = match reached {
        Ok(send) => send,
        Err((why, detail)) => match instead(route, why, detail) {
            Instead::Origin(why) => return Ended::ToOrigin(accepted, why),
            Instead::Answer(failure) | Instead::LastAnswer(failure) => {
                accepted.record.answered(failure.status());
                answers::give(Caller::Waits(accepted.respond), wanted, &failure);
                return Ended::Over;
            }
        },
    };
    if std::future::poll_fn(|cx| send.poll_ready(cx)).await.is_err() {
        // It was lost before this stream was on it.
        return Ended::Again(accepted);
    }
    let Accepted { mut head, body, mut respond, record, copy: _ } = accepted;
    head.headers.insert(HOPS, hops);
    let ends = body.is_end_stream();
    let sent = match send.send_request(Accepted::sendable(head), ends) {
        Ok(sent) => sent,
        Err(error) => {
            tracing::debug!(%error, "cannot express a request in HTTP/2");
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Ended::Over;
        }
    };
    drop(send);
    let body = (!ends).then_some(body);
    // Nobody else's streams end with a lane.
    let holds = Holds { up, down: Waiting::new(lane.held.clone(), Account::default()) };
    let mut exchange =
        Exchange::new((body, None), respond, sent, record, holds, (Some(route.clone()), wanted));
    match std::future::poll_fn(|cx| exchange.poll(cx)).await {
        Exchanged::Over => Ended::Over,
        Exchanged::Reset(caller, reason) => Ended::Reset(caller, reason),
        Exchanged::NoRoom(caller) => {
            if matches!(caller, Caller::Waits(_)) {
                exchange.answered_instead(full().status());
            }
            answers::give(caller, wanted, &full());
            Ended::Over
        }
        Exchanged::Failed(caller, error) => {
            let failure = failure(route, &error, matches!(caller, Caller::Hears(_)));
            if matches!(caller, Caller::Waits(_)) {
                exchange.answered_instead(failure.status());
            }
            answers::give(caller, wanted, &failure);
            Ended::Over
        }
    }
}

/// The failure of a request, whose answer may have begun, on a broken lane.
fn failure(route: &Entry, error: &h2::Error, begun: bool) -> Failure {
    let (user, port) = (route.session.user.clone(), route.local_port);
    match error.get_io().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionAborted) => Failure::Lost { user },
        Some(_) => Failure::Ended { user, port, begun },
        None => Failure::NotHttp2 { user, port, flaw: error.to_string() },
    }
}
