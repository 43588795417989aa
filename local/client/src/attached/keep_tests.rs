//! A session whose daemon dies, under simulated time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bridge_proto::v1::failure::Cause;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::via::Via;

/// A daemon that holds the session. It dies when dropped.
struct Daemon {
    events_tx: mpsc::Sender<v1::UseEvent>,
    /// The command has ended when this is dropped.
    _requests_rx: mpsc::Receiver<v1::UseRequest>,
}

fn daemon() -> (Daemon, Call) {
    let (events_tx, events_rx) = mpsc::channel(1);
    let (requests_tx, requests_rx) = mpsc::channel(1);
    let call = Call { requests_tx, events: ReceiverStream::new(events_rx).boxed() };
    (Daemon { events_tx, _requests_rx: requests_rx }, call)
}

impl Daemon {
    async fn tells(&self, kind: use_event::Kind) {
        self.events_tx.send(v1::UseEvent { kind: Some(kind), ..v1::UseEvent::default() }).await.unwrap();
        // Sent again once the previous one is taken.
        let _ = self.events_tx.reserve().await.unwrap();
    }
}

type Attempt = Result<(Call, v1::Using), ClientError>;

/// The outcomes of attempts to open the session again.
#[derive(Clone, Default)]
struct World {
    attempts: Arc<Mutex<VecDeque<Attempt>>>,
    lasting: Arc<Mutex<Vec<Option<v1::ConnectRequest>>>>,
    said: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn fails(&self, cause: Cause, why: &str) {
        let error = ClientError::new(cause, why, "");
        self.attempts.lock().unwrap().push_back(Err(error));
    }

    fn works(&self, session: &str) -> Daemon {
        let (daemon, call) = daemon();
        self.attempts.lock().unwrap().push_back(Ok((call, using(session, None))));
        daemon
    }

    fn keeps(&self, call: Call) -> (Keeper, Via) {
        let (sessions, via) = Via::to("a");
        let known = Known { sessions, routes_tx: watch::Sender::new(Vec::new()) };
        (Keeper::begin(self.clone(), Again::new("orders".to_owned(), None), known, call), via)
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.said.lock().unwrap())
    }

    fn says(&self, text: String) {
        self.said.lock().unwrap().push(text);
    }
}

impl Hands for World {
    async fn again(&self, lasting: Option<&v1::ConnectRequest>) -> Attempt {
        self.lasting.lock().unwrap().push(lasting.cloned());
        let outcome = self.attempts.lock().unwrap().pop_front();
        match outcome {
            Some(outcome) => outcome,
            None => std::future::pending().await,
        }
    }

    fn say(&self, said: &Said) {
        self.says(match said {
            Said::Step { text, .. } | Said::Note(text) => text.clone(),
            Said::Warning(text) => format!("warning: {text}"),
        });
    }

    fn say_routes(&self, routes: &[v1::RouteStatus]) {
        self.says(describe(routes));
    }
}

fn using(session: &str, lasting: Option<v1::ConnectRequest>) -> v1::Using {
    let session = v1::SessionStatus { id: session.to_owned(), ..v1::SessionStatus::default() };
    v1::Using { session: Some(session), lasting, ..v1::Using::default() }
}

fn lasting(local: u32) -> v1::ConnectRequest {
    let ports = vec![v1::PortMapping { local, remote: "http".to_owned() }];
    v1::ConnectRequest { target: "orders".to_owned(), ports, ..v1::ConnectRequest::default() }
}

async fn comes_to(via: &Via, session: &str) {
    let asked = via.ask(Duration::from_secs(60), |now| {
        let is_it = &*now == session;
        async move { is_it.then_some(()) }
    });
    asked.await.unwrap();
}

async fn is_away(via: &Via) {
    let asked = via.ask(Duration::from_secs(60), |_| std::future::ready(None::<()>));
    assert_eq!(asked.await, None);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_daemon_dies_is_made_again_with_what_lasted_of_it() {
    // Given a session that was connected with other ports since it began, and a cluster that is unreachable for a
    // while,
    let world = World::default();
    let (first, call) = daemon();
    let (keeper, via) = world.keeps(call);
    first.tells(use_event::Kind::Using(using("a", Some(lasting(8080))))).await;
    first.tells(use_event::Kind::Using(using("a", Some(lasting(3000))))).await;
    for _ in 0..3 {
        world.fails(Cause::Unreachable, "the cluster is away");
    }
    let _second = world.works("b");

    // when its daemon dies, the session is opened again,
    drop(first);
    comes_to(&via, "b").await;

    // as it was at the end; and the messages are printed once.
    assert_eq!(*world.lasting.lock().unwrap(), vec![Some(lasting(3000)); 4]);
    assert_eq!(
        world.said(),
        [
            "warning: the daemon is gone: reconnecting orders; open connections were reset, new ones wait",
            "warning: cannot reconnect orders: the cluster is away; retrying",
            "orders is connected again"
        ]
    );
    assert!(matches!(keeper.end().await.unwrap(), Kept::There(_)));
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_session_is_not_made_again_and_reported() {
    let world = World::default();
    let (first, call) = daemon();
    let (keeper, via) = world.keeps(call);
    first
        .events_tx
        .send(v1::UseEvent {
            kind: Some(use_event::Kind::Ended("it is over".into())),
            ..v1::UseEvent::default()
        })
        .await
        .unwrap();
    drop(first);
    is_away(&via).await;
    assert_eq!(world.said(), ["warning: it is over"]);
    assert_eq!(world.lasting.lock().unwrap().len(), 0, "attempts");
    assert!(matches!(keeper.end().await.unwrap(), Kept::Ended));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_no_daemon_can_make_again_is_lost_and_its_waiters_learn_that_at_once() {
    for lasts in [None, Some(lasting(8080))] {
        let world = World::default();
        let (first, call) = daemon();
        let (keeper, via) = world.keeps(call);
        first.tells(use_event::Kind::Using(using("a", lasts.clone()))).await;
        world.fails(Cause::Unreachable, "the cluster is away");
        world.fails(Cause::Forbidden, "alice may not get services");
        let began = Instant::now();
        drop(first);
        is_away(&via).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(
            world.said()[1..],
            [
                "warning: cannot reconnect orders: the cluster is away; retrying",
                "warning: cannot reconnect orders: alice may not get services"
            ]
        );
        // What is left in the cluster is the command's to restore, unless a connect had asked for it, too.
        let kept = keeper.end().await.unwrap();
        assert!(matches!(kept, Kept::Away { lasts: it_lasts } if it_lasts == lasts.is_some()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_follows_the_session_that_replaces_its_own_and_reports_its_routes() {
    let world = World::default();
    let (first, call) = daemon();
    let (_keeper, via) = world.keeps(call);
    let route = v1::RouteStatus {
        port: "http".into(),
        local_port: 5000,
        service_port: 80,
        r#match: "x: 1".into(),
        ..v1::RouteStatus::default()
    };
    let mut other = using("b", None);
    other.session.as_mut().unwrap().routes = vec![route];
    first.tells(use_event::Kind::Using(other.clone())).await;
    first.tells(use_event::Kind::Using(other)).await;
    comes_to(&via, "b").await;
    assert_eq!(world.said(), ["requests with x: 1 come to port 5000"], "once");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_ends_meanwhile_knows_that_its_session_is_away_and_whether_it_was_its_own() {
    for lasts in [None, Some(lasting(8080))] {
        let world = World::default();
        let (first, call) = daemon();
        let (keeper, via) = world.keeps(call);
        first.tells(use_event::Kind::Using(using("a", lasts.clone()))).await;
        drop(first);
        is_away(&via).await;
        let kept = keeper.end().await.unwrap();
        assert!(matches!(kept, Kept::Away { lasts: it_lasts } if it_lasts == lasts.is_some()));
    }
}
