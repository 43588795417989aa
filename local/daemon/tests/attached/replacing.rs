//! Stories of `--replace`: a worker's pods, and a Service's, end for one developer and come back.

use bridge_proto::v1::{self, use_event};

use crate::world::{Laptop, SERVICE, World};

#[tokio::test]
async fn a_worker_is_replaced_while_a_command_runs_and_by_one_developer_only() {
    let world = World::new().await;
    let (mut alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
    world.has_a_worker();
    let replacing =
        |target: &str, request| v1::ConnectRequest { target: target.into(), replace: true, ..request };
    let refused = async |laptop: &Laptop, target: &str| {
        let request = replacing(target, laptop.request());
        match laptop.uses_with(v1::WishKind::Network, request).await.next().await {
            use_event::Kind::Failed(why) => why.cause(),
            other => panic!("{other:?}"),
        }
    };
    let request = replacing("deploy/worker", alice.request());
    let mut command = alice.uses_with(v1::WishKind::Network, request.clone()).await;
    let session = command.using().await.session.unwrap();
    assert_eq!((session.replaces.as_str(), world.replicas_of_worker()), ("Deployment worker", 0.into()));
    assert_eq!(refused(&bob, "deploy/worker").await, v1::failure::Cause::Held);

    // After the daemon's death, the next one goes on where it was.
    alice.kill_daemon();
    alice.start_daemon().await;
    let mut command = alice.uses_with(v1::WishKind::Network, request.clone()).await;
    command.using().await;
    assert_eq!((world.replicas_of_worker(), world.agents_aside().len()), (0.into(), 1));
    // A second command without --replace uses the same session.
    let plain = v1::ConnectRequest { target: "deploy/worker".into(), ..alice.request() };
    let mut second = alice.uses_with(v1::WishKind::Network, plain.clone()).await;
    assert!(second.using().await.found);
    second.leaves().await;
    assert!(matches!(command.ends().await, use_event::Kind::Disconnected(_)));
    assert_eq!((world.replicas_of_worker(), world.agents_aside().len()), (1.into(), 0));

    // Replicas that someone sets meanwhile are reported, and stay.
    let mut command = alice.uses_with(v1::WishKind::Network, request).await;
    command.using().await;
    world.server.change("deployments/worker", |worker| worker["spec"]["replicas"] = 2.into());
    alice.comes_to_be(v1::State::Routing, "someone has scaled Deployment worker to 2").await;
    assert!(matches!(command.ends().await, use_event::Kind::Disconnected(_)));
    assert_eq!(world.replicas_of_worker(), 2);

    // Beside a command that leaves the pods alone, another cannot replace them.
    let mut beside = alice.uses_with(v1::WishKind::Network, plain).await;
    beside.using().await;
    assert_eq!(refused(&alice, "deploy/worker").await, v1::failure::Cause::Obstacles);
    assert_eq!(world.replicas_of_worker(), 2);
}

#[tokio::test]
async fn a_service_has_its_pods_back_before_the_developer_who_replaces_them_goes() {
    let world = World::new().await;
    let (mut alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
    let replacing = v1::ConnectRequest { everything: true, replace: true, ..alice.request() };
    let replaces = async |alice: &Laptop| {
        let mut command = alice.uses_with(v1::WishKind::Network, replacing.clone()).await;
        let session = command.using().await.session.unwrap();
        assert_eq!((session.replaces.as_str(), world.replicas_of(SERVICE)), ("Deployment orders", 0.into()));
        assert_eq!(world.asks("").await, "alice's laptop");
        command
    };
    let is_refused = async |laptop: &Laptop, request| {
        let refused = laptop.connects_with(request).await.unwrap_err();
        assert_eq!(refused.cause(), v1::failure::Cause::Held, "{refused}");
    };
    // Nobody is connected beside her, nor is she beside anyone.
    bob.connects().await.unwrap();
    is_refused(&alice, replacing.clone()).await;
    bob.disconnects().await.unwrap();
    let first = replaces(&alice).await;
    is_refused(&bob, bob.request()).await;
    assert!(matches!(first.ends().await, use_event::Kind::Disconnected(_)));
    assert_eq!((world.asks("").await, world.replicas_of(SERVICE)), ("a pod".to_owned(), 1.into()));
    world.is_given_back();

    // Of several commands, one takes everything. With its end, the Service has pods again, and the others go on.
    let first = replaces(&alice).await;
    let mut second = alice.uses_with(v1::WishKind::Named, alice.request()).await;
    second.using().await;
    first.leaves().await;
    assert_eq!((world.asks("").await, world.replicas_of(SERVICE)), ("a pod".to_owned(), 1.into()));
    assert_eq!(world.asks("x-bridge: alice").await, "alice's laptop");
    alice
        .comes_to_have("a session beside pods", |all| matches!(all, [session] if session.replaces.is_empty()))
        .await;
    bob.connects().await.unwrap();
    bob.disconnects().await.unwrap();
    second.ends().await;
    world.is_given_back();

    // After the daemon's death, the next one goes on where it was, or restores the pods before it connects.
    let _lost = replaces(&alice).await;
    alice.kill_daemon();
    alice.start_daemon().await;
    let _lost = replaces(&alice).await;
    alice.kill_daemon();
    alice.start_daemon().await;
    alice.connects().await.unwrap();
    assert_eq!((world.asks("").await, world.replicas_of(SERVICE)), ("a pod".to_owned(), 1.into()));
    alice.disconnects().await.unwrap();

    // And so does anyone who cleans up.
    let _lost = replaces(&alice).await;
    alice.kill_daemon();
    let (done, _) = bob.cleans(true).await;
    let expected = "deploy/orders: restored its replicas (1), which alice had replaced";
    assert_eq!(done.first().map(String::as_str), Some(expected), "{done:?}");
    world.comes_to_be_given_back().await;
    assert_eq!(world.replicas_of(SERVICE), 1);
}
