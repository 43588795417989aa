//! Two daemons at one Service: each interrupted by the other before each of its requests, at every pair of their requests
//! (`pairs`), and both at once in many orders.

mod pairs;
mod replacing;

use std::sync::{Arc, Mutex};

use bridge_deploy::AgentSource;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::release::{Released, release};
use super::*;
use crate::client::Cluster;
use crate::obstacle::Warning;
use crate::pretended::ApiServer;
use crate::snapshot;
use crate::state::{ATTACHMENT, Attachment, Claim, ClaimedRoute};

type Outcome = Result<(), ClusterError>;

/// `orders`: a Service, its Deployment, and one ready pod.
pub(super) fn world() -> ApiServer {
    let labels = json!({"app": "orders"});
    let container = json!({"name": "main", "image": "orders:1", "ports": [{"containerPort": 8080}]});
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "orders-uid"},
        "spec": {
            "clusterIP": "10.0.0.1", "selector": labels,
            "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    });
    let deployment = json!({
        "metadata": {"name": "orders", "uid": "d"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    });
    let owner = |kind: &str, name: &str, uid: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let replica_set = json!({
        "metadata": {"name": "orders-1", "uid": "r", "ownerReferences": owner("Deployment", "orders", "d")},
        "spec": {"selector": {"matchLabels": labels}, "template": deployment["spec"]["template"]},
    });
    let pod = json!({
        "metadata": {"name": "orders-1-a", "labels": labels, "ownerReferences": owner("ReplicaSet", "orders-1", "r")},
        "spec": {"containers": [container]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    });
    ApiServer::with([
        ("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})),
        ("/api/v1/namespaces/shop/services", service),
        ("/apis/apps/v1/namespaces/shop/deployments", deployment),
        ("/apis/apps/v1/namespaces/shop/replicasets", replica_set),
        ("/api/v1/namespaces/shop/pods", pod),
    ])
    .with_controllers()
}

/// A waiter that waits forever and ignores the steps.
pub(super) struct Patient;

impl Waiter for Patient {
    type Error = ClusterError;

    async fn step(&self, _: Step) -> Outcome {
        Ok(())
    }

    fn hint(&self, _: Step) {}

    async fn warn(&self, _: Warning) -> Outcome {
        Ok(())
    }

    async fn given_up(&self) -> ClusterError {
        std::future::pending().await
    }
}

/// A daemon's connect for a user who takes the requests with this header.
pub(super) async fn connect(cluster: Cluster, user: &'static str, header: &'static str) -> Outcome {
    let route = ClaimedRoute { port: 80, any_of: vec![header.to_owned()], ..ClaimedRoute::default() };
    let claim = Claim {
        id: user.to_owned(),
        user: user.to_owned(),
        installation: user.to_owned(),
        routes: vec![route],
        ..Claim::default()
    };
    connect_with(cluster, claim).await
}

async fn connect_with(cluster: Cluster, claim: Claim) -> Outcome {
    let snapshot = snapshot::read(&cluster, "orders").await?;
    let (service, agent) = ("orders".to_owned(), AgentSource::Image("agent".to_owned()));
    let wanted = Wanted { cluster, service, snapshot, claim, agent, replicas: Some(1) };
    let takeover = Takeover::new(Mode::StandIn, wanted);
    let connected = async {
        let prepared = takeover.prepare(&Patient).await?;
        takeover.until_ready(&prepared, &Patient).await?;
        let switched = takeover.switch(&prepared).await?;
        takeover.confirm(switched).await?;
        clean::retire_others(&takeover.wanted().cluster, "orders", &prepared.stand_in).await
    };
    match connected.await {
        Ok(()) => Ok(()),
        Err(error) => takeover.undo().await.and(Err(error)),
    }
}

async fn disconnect(cluster: Cluster, user: &'static str) -> Outcome {
    release(&cluster, "orders", |claim| claim.user == user).await.map(drop)
}

/// One daemon's act, with a client of its own.
type Act = fn(Cluster) -> BoxFuture<'static, Outcome>;

fn alice_connects(cluster: Cluster) -> BoxFuture<'static, Outcome> {
    connect(cluster, "alice", "x: alice").boxed()
}

fn bob_connects(cluster: Cluster) -> BoxFuture<'static, Outcome> {
    connect(cluster, "bob", "x: bob").boxed()
}

fn bob_connects_for_the_same(cluster: Cluster) -> BoxFuture<'static, Outcome> {
    connect(cluster, "bob", "x: alice").boxed()
}

fn bob_disconnects(cluster: Cluster) -> BoxFuture<'static, Outcome> {
    disconnect(cluster, "bob").boxed()
}

fn alice_disconnects(cluster: Cluster) -> BoxFuture<'static, Outcome> {
    disconnect(cluster, "alice").boxed()
}

/// The outcome of an act that another one interrupts before the request `at`; `None`: it has fewer requests.
async fn interrupted(server: &ApiServer, act: Act, at: usize, by: Act) -> Option<(Outcome, Outcome)> {
    let other = by(server.cluster());
    interrupted_by(server, act, at, other).await
}

async fn interrupted_by(
    server: &ApiServer,
    act: Act,
    at: usize,
    other: BoxFuture<'static, Outcome>,
) -> Option<(Outcome, Outcome)> {
    let (other, came_of_it) = (Mutex::new(Some(other)), Arc::new(Mutex::new(None)));
    let noted = came_of_it.clone();
    let cluster = server.cluster_before(move |number| {
        let other = (number == at).then(|| other.lock().unwrap().take()).flatten();
        let noted = noted.clone();
        async move {
            if let Some(other) = other {
                let outcome = tokio::spawn(other).await.unwrap();
                *noted.lock().unwrap() = Some(outcome);
            }
        }
    });
    let outcome = tokio::spawn(act(cluster)).await.unwrap();
    let other = came_of_it.lock().unwrap().take();
    other.map(|other| (outcome, other))
}

fn attachment(server: &ApiServer) -> Option<Attachment> {
    let service = server.get("services/orders").unwrap();
    Attachment::of(&serde_json::from_value(service).unwrap()).unwrap()
}

fn users(server: &ApiServer) -> Vec<String> {
    let mut users: Vec<String> =
        attachment(server).into_iter().flat_map(|there| there.sessions).map(|claim| claim.user).collect();
    users.sort();
    users
}

/// The successive values of the Service's selector.
fn selectors(server: &ApiServer) -> Vec<Value> {
    let mut selectors: Vec<Value> = server
        .versions_of("services/orders")
        .iter()
        .map(|version| version["spec"]["selector"].clone())
        .collect();
    selectors.dedup();
    selectors
}

fn stand_ins(server: &ApiServer) -> Vec<String> {
    server.names("deployments").into_iter().filter(|name| name != "orders").collect()
}

/// Asserts that these users are connected, through one complete stand-in.
fn assert_connected(server: &ApiServer, expected: &[&str], when: &str) {
    assert_eq!(users(server), expected, "{when}");
    let there = attachment(server).unwrap();
    let stand_in = bridge_deploy::names("orders", &there.stand_in).stand_in;
    assert_eq!(server.get("services/orders").unwrap()["spec"]["selector"], json!(there.attached), "{when}");
    assert_eq!(stand_ins(server), std::slice::from_ref(&stand_in), "{when}");
    for what in [format!("services/{stand_in}-origin"), format!("secrets/{stand_in}-key")] {
        assert!(server.get(&what).is_some(), "{when}: {what} is missing");
    }
    let deployment = server.get(&format!("deployments/{stand_in}")).unwrap()["metadata"]["uid"].clone();
    assert_eq!(json!(there.deployment), deployment, "{when}");
}

/// Asserts that no one has left anything.
fn assert_restored(server: &ApiServer, when: &str) {
    let service = server.get("services/orders").unwrap();
    assert_eq!(service["metadata"]["annotations"].get(ATTACHMENT), None, "{when}");
    assert_eq!(service["spec"]["selector"], json!({"app": "orders"}), "{when}");
    let left = [stand_ins(server), server.names("secrets")].concat();
    assert_eq!(left, Vec::<String>::new(), "{when}");
    assert_eq!(
        (server.names("services"), server.names("pods").len()),
        (vec!["orders".to_owned()], 1),
        "{when}"
    );
}

/// Interrupts an act before each of its requests, and returns what exists then, and both outcomes.
async fn at_each_request<World: Future<Output = ApiServer>>(
    world: impl Fn() -> World,
    act: Act,
    by: Act,
    check: impl Fn(&ApiServer, &Outcome, &Outcome, &str),
) {
    let mut requests = 0;
    loop {
        let server = world().await;
        let Some((outcome, other)) = interrupted(&server, act, requests, by).await else { break };
        check(&server, &outcome, &other, &format!("interrupted before request {requests}"));
        requests += 1;
    }
    assert!(requests > 1, "it was interrupted {requests} times only");
}

async fn with_bob() -> ApiServer {
    let server = world();
    bob_connects(server.cluster()).await.unwrap();
    server
}

#[tokio::test(start_paused = true)]
async fn two_who_connect_at_once_share_one_stand_in_and_switch_once() {
    at_each_request(
        async || world(),
        alice_connects,
        bob_connects,
        |server, alice, bob, when| {
            assert_eq!((alice, bob), (&Ok(()), &Ok(())), "{when}");
            assert_connected(server, &["alice", "bob"], when);
            assert_eq!(
                selectors(server).len(),
                2,
                "{when}: the original, and the stand-in's: {:?}",
                selectors(server)
            );
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn of_two_who_want_the_same_requests_one_gets_them_and_the_other_learns_who_has() {
    at_each_request(
        async || world(),
        alice_connects,
        bob_connects_for_the_same,
        |server, alice, bob, when| {
            let winner = match (alice, bob) {
                (Ok(()), Err(ClusterError::Held { holder, .. })) if holder == "alice (x: alice)" => "alice",
                (Err(ClusterError::Held { holder, .. }), Ok(())) if holder == "bob (x: alice)" => "bob",
                other => panic!("{when}: {other:?}"),
            };
            assert_connected(server, &[winner], when);
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_while_the_last_one_leaves_succeeds() {
    at_each_request(with_bob, alice_connects, bob_disconnects, |server, alice, bob, when| {
        assert_eq!((alice, bob), (&Ok(()), &Ok(())), "{when}");
        assert_connected(server, &["alice"], when);
    })
    .await;
    at_each_request(with_bob, bob_disconnects, alice_connects, |server, bob, alice, when| {
        assert_eq!((alice, bob), (&Ok(()), &Ok(())), "{when}");
        assert_connected(server, &["alice"], when);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn two_who_leave_at_once_leave_nothing() {
    let with_both = async || {
        let server = with_bob().await;
        alice_connects(server.cluster()).await.unwrap();
        server
    };
    at_each_request(with_both, alice_disconnects, bob_disconnects, |server, alice, bob, when| {
        assert_eq!((alice, bob), (&Ok(()), &Ok(())), "{when}");
        assert_restored(server, when);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_is_set_during_a_connect_stays_and_nothing_else_does() {
    let mut refused = 0;
    for at in 0.. {
        let server = world();
        let others = server.clone();
        let reset = async move {
            others
                .change("services/orders", |orders| orders["spec"]["selector"] = json!({"app": "orders-v2"}));
            Ok(())
        };
        let reset = interrupted_by(&server, alice_connects, at, reset.boxed()).await;
        let Some((outcome, _)) = reset else { break };
        let when = format!("before request {at}");
        let selector = server.get("services/orders").unwrap()["spec"]["selector"].clone();
        match outcome {
            // Before anything was read, no pods match; afterwards, the error names the reason.
            Err(
                ClusterError::SelectorChanged { .. }
                | ClusterError::Obstacles { .. }
                | ClusterError::Deploy(_),
            ) => {
                assert_eq!(selector, json!({"app": "orders-v2"}), "{when}");
                assert_eq!(users(&server), Vec::<String>::new(), "{when}");
                assert_eq!(stand_ins(&server), Vec::<String>::new(), "{when}");
                refused += 1;
            }
            // It was switched before.
            Ok(()) => assert_eq!(selector, json!({"app": "orders-v2"}), "{when}"),
            Err(error) => panic!("{when}: {error}"),
        }
    }
    assert!(refused > 3, "refused {refused} times only");
}

#[tokio::test(start_paused = true)]
async fn a_stand_in_that_listens_elsewhere_than_the_origin_does_by_now_makes_way() {
    let server = with_bob().await;
    let bobs = stand_ins(&server);
    server.change("services/orders", |orders| orders["spec"]["ports"][0]["targetPort"] = json!(9090));
    alice_connects(server.cluster()).await.unwrap();
    assert_connected(&server, &["alice"], "Bob's daemon reconnects");
    assert_eq!(attachment(&server).unwrap().ports, [(80, 9090)].into());
    assert!(!stand_ins(&server).contains(&bobs[0]), "Bob's stand-in is nobody's");
    let through: Vec<Value> = selectors(&server);
    assert_eq!(through.len(), 4, "to Bob's, back, and to the new one: {through:?}");
}

#[tokio::test(start_paused = true)]
async fn in_any_order_of_requests_no_session_is_lost_and_nothing_is_left() {
    for seed in 0..8 {
        let server = with_bob().await;
        // Given clients whose requests wait for some turns of the others,
        let shuffled = |of: u64| {
            server.cluster_before(move |number| {
                let mut turns = number_of(seed, of, number) % 7;
                async move {
                    while turns > 0 {
                        tokio::task::yield_now().await;
                        turns -= 1;
                    }
                }
            })
        };
        let when = format!("seed {seed}");

        // when three connect and one disconnects, then the three are there.
        let came = all_at_once([
            connect(shuffled(0), "alice", "x: alice").boxed(),
            connect(shuffled(1), "carol", "x: carol").boxed(),
            connect(shuffled(2), "dave", "x: dave").boxed(),
            disconnect(shuffled(3), "bob").boxed(),
        ]);
        assert_eq!(came.await, vec![Ok(()); 4], "{when}");
        assert_connected(&server, &["alice", "carol", "dave"], &when);

        // When all disconnect, then nothing is left.
        let left = all_at_once([
            disconnect(shuffled(4), "alice").boxed(),
            disconnect(shuffled(5), "carol").boxed(),
            disconnect(shuffled(6), "dave").boxed(),
        ]);
        assert_eq!(left.await, vec![Ok(()); 3], "{when}");
        assert_restored(&server, &when);
        let again = release(&server.cluster(), "orders", |_| true).await;
        assert_eq!(again, Ok(Released::NotAttached), "{when}");
    }
}

async fn all_at_once(acts: impl IntoIterator<Item = BoxFuture<'static, Outcome>>) -> Vec<Outcome> {
    let tasks: Vec<_> = acts.into_iter().map(tokio::spawn).collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

/// A different number for each of these.
fn number_of(seed: u64, of: u64, number: usize) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (seed, of, number).hash(&mut hasher);
    hasher.finish()
}
