//! Every pair of steps of two daemons: one stops before its request `i`, the other before its request `j`; then the first
//! goes on to its end, and the second after it. And every step after which a daemon is killed.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::clean::{Whose, clean};
use super::*;

/// The time after which an act that waits for a stopped one is stuck.
const STUCK: Duration = Duration::from_secs(60);

fn carol_cleans(cluster: Cluster) -> BoxFuture<'static, Outcome> {
    let whose = Whose::Laptop { installation: "carol".to_owned(), alive: Arc::new(|_| false), others: false };
    async move { clean(&cluster, None, &whose).await.map(drop) }.boxed()
}

pub(super) fn carol_cleans_up_after_others(cluster: Cluster) -> BoxFuture<'static, Outcome> {
    let whose = Whose::Laptop { installation: "carol".to_owned(), alive: Arc::new(|_| false), others: true };
    async move { clean(&cluster, None, &whose).await.map(drop) }.boxed()
}

/// An act that has stopped before one of its requests.
struct Stopped {
    act: JoinHandle<Outcome>,
    go: oneshot::Sender<()>,
}

impl Stopped {
    /// Runs an act until it is about to make the request `at`; `None`: it has fewer.
    async fn before(server: &ApiServer, act: Act, at: usize) -> Option<Self> {
        let (reached_tx, mut reached_rx) = oneshot::channel();
        let (go, go_rx) = oneshot::channel::<()>();
        let gate = Mutex::new(Some((reached_tx, go_rx)));
        let cluster = server.cluster_before(move |number| {
            let gate = (number == at).then(|| gate.lock().unwrap().take()).flatten();
            async move {
                if let Some((reached, go)) = gate {
                    let _ = reached.send(());
                    let _ = go.await;
                }
            }
        });
        let mut act = tokio::spawn(act(cluster));
        tokio::select! {
            biased;
            reached = &mut reached_rx => reached.ok().map(|()| Self { act, go }),
            _ = &mut act => None,
        }
    }

    async fn goes_on(self, when: &str) -> Outcome {
        let _ = self.go.send(());
        let ended = tokio::time::timeout(STUCK, self.act).await;
        ended.unwrap_or_else(|_| panic!("{when}: it waits for the other one")).unwrap()
    }

    /// As by SIGKILL.
    async fn dies(self) {
        self.act.abort();
        let _ = self.act.await;
    }
}

/// Runs all pairs of steps of two acts, and checks the outcomes and what exists at the end of each.
pub(super) async fn at_each_pair<World: Future<Output = ApiServer>>(
    world: impl Fn() -> World,
    (first, second): (Act, Act),
    check: impl Fn(&ApiServer, &Outcome, &Outcome, &str),
) {
    let mut pairs = 0;
    for i in 0.. {
        let mut further = false;
        for j in 0.. {
            let server = world().await;
            let Some(one) = Stopped::before(&server, first, i).await else { break };
            further = true;
            let Some(other) = Stopped::before(&server, second, j).await else {
                one.dies().await;
                break;
            };
            let when = format!("stopped before the requests {i} and {j}");
            let outcome = one.goes_on(&when).await;
            let others = other.goes_on(&when).await;
            check(&server, &outcome, &others, &when);
            pairs += 1;
        }
        if !further {
            break;
        }
    }
    println!("{pairs} pairs");
    assert!(pairs > 3, "{pairs} pairs only");
}

#[tokio::test(start_paused = true)]
async fn two_connects_at_any_two_steps_share_one_stand_in() {
    at_each_pair(
        async || world(),
        (alice_connects, bob_connects),
        |server, alice, bob, when| {
            assert_eq!((alice, bob), (&Ok(()), &Ok(())), "{when}");
            assert_connected(server, &["alice", "bob"], when);
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_two_connects_for_the_same_requests_one_is_refused_at_any_two_steps() {
    at_each_pair(
        async || world(),
        (alice_connects, bob_connects_for_the_same),
        |server, alice, bob, when| match (alice, bob) {
            (Ok(()), Err(ClusterError::Held { .. })) => assert_connected(server, &["alice"], when),
            (Err(ClusterError::Held { .. }), Ok(())) => assert_connected(server, &["bob"], when),
            other => panic!("{when}: {other:?}"),
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_and_the_last_disconnect_at_any_two_steps_leave_the_one_who_connects() {
    let check = |server: &ApiServer, one: &Outcome, other: &Outcome, when: &str| {
        assert_eq!((one, other), (&Ok(()), &Ok(())), "{when}");
        assert_connected(server, &["alice"], when);
    };
    at_each_pair(with_bob, (alice_connects, bob_disconnects), check).await;
    at_each_pair(with_bob, (bob_disconnects, alice_connects), check).await;
}

#[tokio::test(start_paused = true)]
async fn two_disconnects_at_any_two_steps_leave_nothing() {
    let with_both = async || {
        let server = with_bob().await;
        alice_connects(server.cluster()).await.unwrap();
        server
    };
    at_each_pair(with_both, (alice_disconnects, bob_disconnects), |server, alice, bob, when| {
        assert_eq!((alice, bob), (&Ok(()), &Ok(())), "{when}");
        assert_restored(server, when);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clean_at_any_two_steps_takes_nothing_from_those_who_connect_and_disconnect() {
    at_each_pair(
        async || world(),
        (alice_connects, carol_cleans),
        |server, alice, carol, when| {
            assert_eq!((alice, carol), (&Ok(()), &Ok(())), "{when}");
            assert_connected(server, &["alice"], when);
        },
    )
    .await;
    at_each_pair(
        async || world(),
        (carol_cleans, alice_connects),
        |server, carol, alice, when| {
            assert_eq!((alice, carol), (&Ok(()), &Ok(())), "{when}");
            assert_connected(server, &["alice"], when);
        },
    )
    .await;
    at_each_pair(with_bob, (bob_disconnects, carol_cleans), |server, bob, carol, when| {
        assert_eq!((bob, carol), (&Ok(()), &Ok(())), "{when}");
        assert_restored(server, when);
    })
    .await;
}

/// Kills an act before each of its requests, and goes on with what exists then.
pub(super) async fn at_each_kill<World: Future<Output = ApiServer>, After: Future<Output = ()>>(
    world: impl Fn() -> World,
    act: Act,
    after: impl Fn(ApiServer, String) -> After,
) {
    let mut kills = 0;
    loop {
        let server = world().await;
        let Some(stopped) = Stopped::before(&server, act, kills).await else { break };
        stopped.dies().await;
        after(server, format!("killed before request {kills}")).await;
        kills += 1;
    }
    println!("{kills} kills");
    assert!(kills > 3, "it was killed {kills} times only");
}

/// The two connect, and leave again.
async fn both_come_and_go(server: ApiServer, when: String) {
    bob_connects(server.cluster()).await.unwrap_or_else(|error| panic!("{when}: Bob: {error}"));
    assert!(users(&server).contains(&"bob".to_owned()), "{when}: {:?}", users(&server));
    alice_connects(server.cluster()).await.unwrap_or_else(|error| panic!("{when}: Alice: {error}"));
    assert_connected(&server, &["alice", "bob"], &when);
    alice_disconnects(server.cluster()).await.unwrap_or_else(|error| panic!("{when}: Alice: {error}"));
    assert_connected(&server, &["bob"], &when);
    bob_disconnects(server.cluster()).await.unwrap_or_else(|error| panic!("{when}: Bob: {error}"));
    assert_restored(&server, &when);
}

/// Anyone cleans.
async fn is_cleaned(server: ApiServer, when: String) {
    carol_cleans_up_after_others(server.cluster()).await.unwrap_or_else(|error| panic!("{when}: {error}"));
    assert_restored(&server, &when);
}

async fn with_alice() -> ApiServer {
    let server = world();
    alice_connects(server.cluster()).await.unwrap();
    server
}

#[tokio::test(start_paused = true)]
async fn whenever_a_connect_is_killed_the_next_ones_succeed_and_leave_nothing() {
    at_each_kill(async || world(), alice_connects, both_come_and_go).await;
}

#[tokio::test(start_paused = true)]
async fn whenever_a_disconnect_is_killed_the_next_ones_succeed_and_leave_nothing() {
    at_each_kill(with_alice, alice_disconnects, both_come_and_go).await;
}

#[tokio::test(start_paused = true)]
async fn whenever_a_connect_or_a_disconnect_is_killed_clean_restores_everything() {
    at_each_kill(async || world(), alice_connects, is_cleaned).await;
    at_each_kill(with_alice, alice_disconnects, is_cleaned).await;
}
