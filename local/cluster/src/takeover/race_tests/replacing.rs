//! The same where Alice replaces the pods of orders: they end once everything goes to her, and are back before she goes.

use super::pairs::{at_each_kill, at_each_pair, carol_cleans_up_after_others};
use super::*;
use crate::app::{App, AppKind};
use crate::replace::{replace, restore, until_back};

fn orders() -> App {
    App { kind: AppKind::Deployment, name: "orders".into(), uid: "d".into() }
}

/// As the daemon does it.
fn alice_replaces(cluster: Cluster) -> BoxFuture<'static, Outcome> {
    let claim = Claim {
        id: "alice".into(),
        user: "alice".into(),
        installation: "alice".into(),
        routes: vec![ClaimedRoute { port: 80, ..ClaimedRoute::default() }],
        replaces: Some(orders().typed()),
        ..Claim::default()
    };
    async move {
        connect_with(cluster.clone(), claim.clone()).await?;
        replace(&cluster, &orders(), &claim, &Patient).await
    }
    .boxed()
}

fn alice_goes(cluster: Cluster) -> BoxFuture<'static, Outcome> {
    async move {
        restore(&cluster, &orders(), "alice").await?;
        until_back(&cluster, &orders()).await?;
        disconnect(cluster, "alice").await
    }
    .boxed()
}

fn replicas(server: &ApiServer) -> Value {
    server.get("deployments/orders").unwrap()["spec"]["replicas"].clone()
}

async fn with_alice() -> ApiServer {
    let server = world();
    alice_replaces(server.cluster()).await.unwrap();
    server
}

#[tokio::test(start_paused = true)]
async fn of_one_who_replaces_the_pods_and_another_only_one_is_there_at_any_two_steps() {
    let check = |server: &ApiServer, alice: &Outcome, bob: &Outcome, when: &str| {
        let (user, pods) = match (alice, bob) {
            // Whoever has read the Service before she is there finds it without pods.
            (Ok(()), Err(ClusterError::NotAlone { .. } | ClusterError::Obstacles { .. })) => ("alice", 0),
            (Err(ClusterError::NotAlone { .. }), Ok(())) => ("bob", 1),
            other => panic!("{when}: {other:?}"),
        };
        assert_connected(server, &[user], when);
        assert_eq!(replicas(server), pods, "{when}");
    };
    at_each_pair(async || world(), (alice_replaces, bob_connects), check).await;
    let check_in_turn =
        |server: &ApiServer, bob: &Outcome, alice: &Outcome, when: &str| check(server, alice, bob, when);
    at_each_pair(async || world(), (bob_connects, alice_replaces), check_in_turn).await;
}

#[tokio::test(start_paused = true)]
async fn who_connects_while_the_pods_come_back_is_refused_or_finds_them_at_any_two_steps() {
    at_each_pair(with_alice, (alice_goes, bob_connects), |server, alice, bob, when| {
        assert_eq!(alice, &Ok(()), "{when}");
        assert_eq!(replicas(server), 1, "{when}");
        match bob {
            Ok(()) => assert_connected(server, &["bob"], when),
            Err(ClusterError::NotAlone { .. } | ClusterError::Obstacles { .. }) => {
                assert_restored(server, when)
            }
            other => panic!("{when}: {other:?}"),
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whenever_one_who_replaces_the_pods_is_killed_clean_brings_them_back() {
    let is_cleaned = async |server: ApiServer, when: String| {
        carol_cleans_up_after_others(server.cluster())
            .await
            .unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_restored(&server, &when);
        assert_eq!(replicas(&server), 1, "{when}");
        let annotations = server.get("deployments/orders").unwrap()["metadata"]["annotations"].clone();
        assert_eq!(annotations["bridge.dev/replaced"], Value::Null, "{when}");
    };
    at_each_kill(async || world(), alice_replaces, is_cleaned).await;
    at_each_kill(with_alice, alice_goes, is_cleaned).await;
}
