//! A session whose daemon dies, under simulated time.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::cli::error::Exit;
use crate::network::Via;

/// A daemon that tells how a session is made. Dropped, it dies.
type Daemon = mpsc::Sender<v1::FollowedSession>;

/// Daemons of which each but the first comes after an attempt, or does not.
#[derive(Clone, Default)]
struct World {
    daemons: Arc<Mutex<VecDeque<mpsc::Receiver<v1::FollowedSession>>>>,
    attempts: Arc<Mutex<VecDeque<Result<Made, Failed>>>>,
    made_by: Arc<Mutex<Vec<v1::ConnectRequest>>>,
    said: Arc<Mutex<Vec<String>>>,
}

impl World {
    /// Of a daemon to come.
    fn daemon(&self) -> Daemon {
        let (told_tx, told_rx) = mpsc::channel(1);
        self.daemons.lock().unwrap().push_back(told_rx);
        told_tx
    }

    fn attempt(&self, outcome: Result<&str, &str>) {
        let outcome = outcome.map(|id| Made { id: id.to_owned(), found: id == "a" });
        let outcome = outcome.map_err(|why| Failed::new(Exit::Unreachable, why, ""));
        self.attempts.lock().unwrap().push_back(outcome);
    }

    fn keeps(&self, ours: bool) -> (Keeper, Via) {
        let (sessions, via) = Via::to("a");
        (Keeper::begin(self.clone(), Again::new("orders".to_owned(), ours), sessions), via)
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.said.lock().unwrap())
    }
}

impl Hands for World {
    async fn follow(&self, _: &str) -> BoxStream<'static, v1::FollowedSession> {
        let daemon = self.daemons.lock().unwrap().pop_front();
        daemon.map_or_else(|| futures::stream::pending().boxed(), |told| ReceiverStream::new(told).boxed())
    }

    async fn make(&self, made_by: &v1::ConnectRequest) -> Result<Made, Failed> {
        self.made_by.lock().unwrap().push(made_by.clone());
        let outcome = self.attempts.lock().unwrap().pop_front();
        match outcome {
            Some(outcome) => outcome,
            None => std::future::pending().await,
        }
    }

    fn warn(&self, text: &str) {
        self.said.lock().unwrap().push(format!("warning: {text}"));
    }

    fn note(&self, text: &str) {
        self.said.lock().unwrap().push(text.to_owned());
    }
}

fn made_with_port(local: u32) -> v1::ConnectRequest {
    let ports = vec![v1::PortMapping { local, remote: "http".to_owned() }];
    v1::ConnectRequest { target: "orders".to_owned(), ports, ..v1::ConnectRequest::default() }
}

async fn tells(daemon: &Daemon, made_by: Option<v1::ConnectRequest>) {
    daemon.send(v1::FollowedSession { made_by }).await.unwrap();
    // Sent again once the one before is taken.
    let _ = daemon.reserve().await.unwrap();
}

async fn comes_to(via: &Via, session: &str) {
    let asked = via.ask(Duration::from_secs(60), |now| {
        let is_it = &*now == session;
        async move { is_it.then_some(()) }
    });
    asked.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_daemon_dies_is_made_again_as_it_was_last() {
    // Given a session whose local port has changed since it was made, and a cluster that is away for a while,
    let world = World::default();
    let (first, _second) = (world.daemon(), world.daemon());
    let (keeper, via) = world.keeps(true);
    tells(&first, Some(made_with_port(8080))).await;
    tells(&first, Some(made_with_port(3000))).await;
    for _ in 0..3 {
        world.attempt(Err("the cluster is away"));
    }
    world.attempt(Ok("b"));

    // when its daemon dies, the session is made again,
    drop(first);
    comes_to(&via, "b").await;

    // as it was at the end; and it is said what happens, once.
    assert_eq!(*world.made_by.lock().unwrap(), vec![made_with_port(3000); 4]);
    assert_eq!(
        world.said(),
        [
            "warning: the daemon is gone: orders is being connected again; open connections were reset, and new ones wait",
            "warning: orders cannot be connected again: the cluster is away; this is tried on and on",
            "orders is connected again"
        ]
    );
    let kept = keeper.end().await.unwrap();
    assert_eq!((kept.ours, kept.state), (true, State::There));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_has_disconnected_is_not_made_again_by_the_death_of_the_daemon() {
    let world = World::default();
    let first = world.daemon();
    let (keeper, via) = world.keeps(true);
    tells(&first, Some(made_with_port(8080))).await;
    tells(&first, None).await;
    drop(first);
    let asked = via.ask(Duration::from_secs(60), |_| std::future::ready(None::<()>));
    assert_eq!(asked.await, None, "there is nothing to wait for");
    assert_eq!((world.said(), world.made_by.lock().unwrap().len()), (Vec::new(), 0));
    assert_eq!(keeper.end().await.unwrap().state, State::Ended);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_there_all_along_stays_the_command_s() {
    let world = World::default();
    let (first, second) = (world.daemon(), world.daemon());
    let (keeper, _via) = world.keeps(true);
    tells(&first, Some(made_with_port(8080))).await;
    world.attempt(Ok("a"));
    drop(first);
    tells(&second, Some(made_with_port(8080))).await;
    assert_eq!(world.said()[1..], ["orders is connected still"]);
    let kept = keeper.end().await.unwrap();
    assert_eq!((kept.ours, kept.state), (true, State::There));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_ends_meanwhile_knows_that_its_session_is_away_and_how_it_was_made() {
    let world = World::default();
    let first = world.daemon();
    let (keeper, via) = world.keeps(true);
    tells(&first, Some(made_with_port(8080))).await;
    drop(first);
    let asked = via.ask(Duration::from_secs(1), |_| std::future::ready(None::<()>));
    assert_eq!(asked.await, None);
    let kept = keeper.end().await.unwrap();
    assert_eq!((kept.ours, kept.state), (true, State::Away));
    assert_eq!(kept.made_by, Some(made_with_port(8080)));
}
