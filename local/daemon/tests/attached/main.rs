//! Sessions from connect to disconnect, in one process: real daemons, real agents, and a pretended API server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod commands;
mod replacing;
mod world;

use std::time::Duration;

use bridge_proto::v1::{self, failure::Cause, logs_event};

use self::world::{Laptop, World};

const ALICE: &str = "x-bridge: alice";
const BOB: &str = "x-bridge: bob";
const NOBODY: &str = "accept: */*";

#[tokio::test]
async fn a_connect_leads_the_developer_s_requests_to_the_laptop_and_a_disconnect_gives_back() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    assert_eq!(world.asks(ALICE).await, "a pod");

    let session = alice.connects().await.unwrap();
    assert_eq!((session.state(), session.agents.len()), (v1::State::Routing, 1));
    assert_eq!(world.asks(ALICE).await, "alice's laptop");
    assert_eq!(world.asks(NOBODY).await, "a pod");

    let done = alice.disconnects().await.unwrap();
    assert!(done.restored);
    assert_eq!(world.asks(ALICE).await, "a pod");
    world.is_given_back();
}

#[tokio::test]
async fn with_copies_the_pods_answer_and_the_laptop_gets_the_same() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    let session = alice.connects_with(v1::ConnectRequest { copy: true, ..alice.request() }).await.unwrap();
    assert!(session.routes[0].copy, "{session:?}");
    assert_eq!(world.asks(ALICE).await, "a pod");
    assert_eq!(world.asks(NOBODY).await, "a pod");
    let one_copy = |sessions: &[v1::SessionStatus]| {
        let copied = |session: &v1::SessionStatus| session.copied.is_some_and(|copied| copied.requests == 1);
        let taken = |session: &v1::SessionStatus| session.to_laptop.is_some_and(|taken| taken.requests > 0);
        sessions.iter().any(|session| copied(session) && !taken(session))
    };
    alice.comes_to_have("one copy, and no request", one_copy).await;

    // The same session takes them as soon as she asks for that, and copies them again.
    alice.connects().await.unwrap();
    assert_eq!(world.asks(ALICE).await, "alice's laptop");
    alice.connects_with(v1::ConnectRequest { copy: true, ..alice.request() }).await.unwrap();
    assert_eq!(world.asks(ALICE).await, "a pod");
    alice.disconnects().await.unwrap();
    world.is_given_back();
}

#[tokio::test]
async fn developers_share_the_agents_and_each_has_their_own_requests() {
    let world = World::new().await;
    let (alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
    let (of_alice, of_bob) = (alice.connects().await.unwrap(), bob.connects().await.unwrap());
    assert_eq!(of_alice.stand_in, of_bob.stand_in);
    assert_eq!(
        (world.asks(ALICE).await, world.asks(BOB).await),
        ("alice's laptop".into(), "bob's laptop".into())
    );

    // The one who began it leaves; the other one's requests are still routed.
    assert!(!alice.disconnects().await.unwrap().restored, "Bob is there");
    assert_eq!((world.asks(ALICE).await, world.asks(BOB).await), ("a pod".into(), "bob's laptop".into()));
    assert!(bob.disconnects().await.unwrap().restored);
    world.is_given_back();
}

#[tokio::test]
async fn requests_of_another_developer_are_refused_and_nothing_changes() {
    let world = World::new().await;
    let (alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
    alice.connects().await.unwrap();
    let the_same = v1::ConnectRequest { user: "alice".into(), ..bob.request() };
    let refused = bob.connects_with(the_same).await.unwrap_err();
    assert_eq!(refused.cause(), Cause::Held, "{refused}");
    assert!(refused.message().contains("alice"), "who has it: {refused}");
    assert_eq!((world.claims(), world.asks(ALICE).await), (vec!["alice".into()], "alice's laptop".into()));
}

#[tokio::test]
async fn two_that_connect_at_once_help_each_other() {
    for _ in 0..5 {
        let world = World::new().await;
        let (alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
        let (of_alice, of_bob) = tokio::join!(alice.connects(), bob.connects());
        assert_eq!(of_alice.unwrap().stand_in, of_bob.unwrap().stand_in, "one stand-in for both");
        assert_eq!(world.stand_ins().len(), 1);
        assert_eq!(
            (world.asks(ALICE).await, world.asks(BOB).await),
            ("alice's laptop".into(), "bob's laptop".into())
        );
        let (alice, bob) = tokio::join!(alice.disconnects(), bob.disconnects());
        // The last one out restores it.
        assert!(alice.unwrap().restored | bob.unwrap().restored);
        world.is_given_back();
    }
}

#[tokio::test]
async fn of_two_that_want_the_same_at_once_one_is_refused() {
    let world = World::new().await;
    let (alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
    let the_same = v1::ConnectRequest { user: "alice".into(), ..bob.request() };
    let (first, second) = tokio::join!(alice.connects(), bob.connects_with(the_same));
    let refused = match (first, second) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        both => panic!("expected one to be refused: {both:?}"),
    };
    assert_eq!(refused.cause(), Cause::Held, "{refused}");
    assert_eq!(world.claims(), ["alice"]);
}

#[tokio::test]
async fn one_comes_while_the_last_one_goes() {
    for _ in 0..5 {
        let world = World::new().await;
        let (alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
        alice.connects().await.unwrap();
        let (gone, come) = tokio::join!(alice.disconnects(), bob.connects());
        let _ = (gone.unwrap(), come.unwrap());
        assert_eq!((world.claims(), world.stand_ins().len()), (vec!["bob".into()], 1));
        assert_eq!((world.asks(ALICE).await, world.asks(BOB).await), ("a pod".into(), "bob's laptop".into()));
        bob.disconnects().await.unwrap();
        world.is_given_back();
    }
}

#[tokio::test]
async fn another_agent_takes_the_place_of_one_that_is_lost() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    alice.connects().await.unwrap();
    // If none can start, requests go to the pods as soon as the Service leads there again.
    world.node.hold(true);
    world.node.kill_agents();
    alice.comes_to_be(v1::State::LedBack, "no agent of orders is ready").await;
    world.comes_to(ALICE, "a pod").await;
    world.comes_to(NOBODY, "a pod").await;
    // When there is one again, nothing needs to be done.
    world.node.hold(false);
    world.comes_to(ALICE, "alice's laptop").await;
    alice.disconnects().await.unwrap();
    world.is_given_back();
}

#[tokio::test]
async fn a_daemon_that_dies_leaves_the_requests_to_the_pods_and_the_next_one_takes_its_claim_over() {
    let world = World::new().await;
    let mut alice = world.laptop("alice").await;
    alice.connects().await.unwrap();
    alice.kill_daemon();
    world.comes_to(ALICE, "a pod").await;
    assert_eq!(world.claims(), ["alice"], "what is written stays");

    alice.start_daemon().await;
    let _ = world.served.asked();
    alice.connects().await.unwrap();
    let asked = world.served.asked();
    assert_eq!((world.claims(), world.stand_ins().len()), (vec!["alice".into()], 1));
    // It has written its claim and created nothing, and read the Service when it joined and when it switched.
    let count = |wanted: &str| asked.iter().filter(|asked| asked.starts_with(wanted)).count();
    let made = |asked: &&String| !asked.ends_with("/events") && !asked.ends_with("/portforward");
    assert_eq!(asked.iter().filter(|asked| asked.starts_with("POST")).find(made), None, "{asked:?}");
    let of_service =
        ["GET", "PATCH"].map(|verb| count(&format!("{verb} /api/v1/namespaces/shop/services/orders")));
    assert_eq!(
        (of_service, count("DELETE")),
        ([3, 1], 0),
        "with the Service in front of the origin: {asked:?}"
    );
    assert_eq!(world.asks(ALICE).await, "alice's laptop");
    alice.disconnects().await.unwrap();
    world.is_given_back();
}

#[tokio::test]
async fn credentials_that_expire_end_nothing_and_those_that_come_back_restore_it() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    alice.connects().await.unwrap();
    world.served.expire("alice");
    alice.comes_to_be(v1::State::Reconnecting, "rejected your credentials").await;
    world.comes_to(ALICE, "a pod").await;
    world.served.accept("alice");
    world.comes_to(ALICE, "alice's laptop").await;

    // A disconnect that fails reports the reason, and can be repeated.
    world.served.expire("alice");
    assert_eq!(alice.disconnects().await.unwrap_err().cause(), Cause::Credentials);
    assert_eq!(world.claims(), ["alice"]);
    world.served.accept("alice");
    alice.disconnects().await.unwrap();
    world.is_given_back();
}

#[tokio::test]
async fn while_the_api_server_is_away_requests_go_to_the_pods() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    alice.connects().await.unwrap();
    world.served.away(true);
    alice.comes_to_be(v1::State::Reconnecting, "cannot reach an agent of orders").await;
    world.comes_to(ALICE, "a pod").await;
    world.served.away(false);
    world.comes_to(ALICE, "alice's laptop").await;
    alice.comes_to_be(v1::State::Routing, "").await;
}

#[tokio::test]
async fn an_attachment_of_an_unknown_mode_is_named_and_left_alone() {
    let world = World::new().await;
    let (alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
    bob.connects().await.unwrap();
    world.attachment_becomes(|attachment| attachment["mode"] = "mirror".into());
    let (before, changes) = (world.server.get("services/orders"), world.server.changes());
    let refused = alice.connects().await.unwrap_err();
    assert_eq!(refused.cause(), Cause::NewerAttachment, "{refused}");
    assert!(refused.message().contains("mode \"mirror\""), "{refused}");
    assert_eq!((world.server.get("services/orders"), world.server.changes()), (before, changes));
}

#[tokio::test]
async fn following_logs_keeps_the_daemon_and_it_ends_afterwards() {
    const IDLE: Duration = Duration::from_secs(1);
    let world = World::new().await;
    let bob = world.laptop("bob").await;
    let pod = bob.connects().await.unwrap().agents.remove(0).pod;
    // Alice's daemon has no session.
    let alice = world.laptop_with("alice", IDLE).await;
    let mut lines = alice.follows_logs().await;
    let mut next = async || match lines.message().await.unwrap().unwrap().kind {
        Some(logs_event::Kind::Line(line)) => line.text,
        other => panic!("{other:?}"),
    };
    world.server.says(&pod, "listening");
    assert_eq!(next().await, "listening");
    tokio::time::sleep(3 * IDLE).await;
    world.server.says(&pod, "a request");
    assert_eq!(next().await, "a request", "the daemon is there");
    drop(lines);
    alice.daemon_ends().await;
}

#[tokio::test]
async fn a_connect_that_is_given_up_leaves_nothing_behind() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    gives_up(&world, &alice).await;
    world.comes_to_be_given_back().await;
}

#[tokio::test]
async fn a_session_whose_service_was_reset_is_connected_again_in_its_place() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    let before = alice.connects().await.unwrap();
    world.is_reset();
    alice.comes_to_be(v1::State::Reset, "changed the selector").await;
    assert_eq!(world.asks(ALICE).await, "a pod");

    let again = alice.connects().await.unwrap();
    assert_eq!(again.state(), v1::State::Routing);
    assert!(again.id != before.id && again.stand_in == before.stand_in, "{again:?}");
    assert_eq!((world.claims(), world.asks(ALICE).await), (vec!["alice".into()], "alice's laptop".into()));
    alice.disconnects().await.unwrap();
    world.is_given_back();
}

#[tokio::test]
async fn a_session_without_remains_ends_with_the_connect_that_fails_to_replace_it() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    alice.connects().await.unwrap();
    world.loses_its_attachment();
    alice.comes_to_be(v1::State::Reset, "were removed").await;
    gives_up(&world, &alice).await;
    alice.comes_to_have_no_session().await;
    // Its stand-in is unused now, and the next clean removes it.
    let (done, _) = alice.cleans(false).await;
    assert!(done.iter().all(|done| done.contains("removed the unused stand-in")), "{done:?}");
    world.is_given_back();
}

#[tokio::test]
async fn cleaning_leaves_the_sessions_of_others_unless_asked_to_end_them() {
    let world = World::new().await;
    let (mut alice, bob) = (world.laptop("alice").await, world.laptop("bob").await);
    alice.connects().await.unwrap();
    // Its own session is alive, and another laptop's may be.
    assert_eq!(alice.cleans(false).await, (vec![], vec!["alice".into()]));
    assert_eq!(bob.cleans(false).await, (vec![], vec!["alice".into()]));
    assert_eq!(world.asks(ALICE).await, "alice's laptop");

    // A daemon that has died holds none.
    alice.kill_daemon();
    alice.start_daemon().await;
    // A dry run says what would be done, and does nothing;
    let (intended, changes) = alice.rehearses_cleaning().await;
    assert_eq!(intended, ["orders: would remove the session of alice", "orders: would restore its selector"]);
    assert_eq!(changes.first().map(String::as_str), Some("patch services/orders"));
    assert!(
        changes.iter().any(|change| change.starts_with("delete deployments/orders-bridge-")),
        "{changes:?}"
    );
    assert_eq!((world.claims(), world.stand_ins().len()), (vec!["alice".to_owned()], 1));
    // then it is done.
    let (done, kept) = alice.cleans(false).await;
    assert_eq!(done, ["orders: removed the session of alice", "orders: restored its selector"]);
    assert_eq!(kept, Vec::<String>::new());
    world.is_given_back();

    // A laptop that never comes back can be cleaned up after with `--others`.
    alice.connects().await.unwrap();
    alice.kill_daemon();
    assert_eq!(bob.cleans(true).await.0.len(), 2);
    world.is_given_back();
}

#[tokio::test]
async fn a_daemon_stops_on_request_unless_it_holds_a_session() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    alice.connects().await.unwrap();
    assert!(!alice.stops().await);
    let refused = alice.disconnects_from("prices").await.unwrap_err();
    assert_eq!(refused.cause(), Cause::NoSession);
    assert_eq!(refused.advice(), "available: orders in namespace shop (dev)");
    alice.disconnects_from("deploy/orders").await.unwrap();
    assert!(alice.stops().await);
    alice.daemon_ends().await;
}

#[tokio::test]
async fn a_service_that_gets_another_port_is_taken_over_anew() {
    let world = World::new().await;
    let alice = world.laptop("alice").await;
    let before = alice.connects().await.unwrap().stand_in;
    world.moves_to_another_port();
    // It reconnects at a stand-in that listens there; the previous one goes.
    alice.comes_to_be(v1::State::Routing, "").await;
    world.comes_to(ALICE, "alice's laptop").await;
    assert_eq!(world.asks(NOBODY).await, "a pod");
    let mut changes = world.server.watch();
    let moved = async {
        while world.stand_ins().len() != 1 || world.stand_ins()[0].ends_with(&before) {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(world::SOON, moved).await.expect("another stand-in is there alone");
    assert_eq!(world.claims(), ["alice"]);
    alice.disconnects().await.unwrap();
    world.is_given_back();
}

/// No agent starts, so a connect waits; then its caller gives up.
async fn gives_up(world: &World, laptop: &Laptop) {
    world.node.hold(true);
    let mut daemon = laptop.daemon().await;
    let (waiting_tx, mut waiting) = tokio::sync::watch::channel(false);
    let connecting = bridge_client::connect(&mut daemon, laptop.request(), |said| {
        if let bridge_client::Said::Step { kind: v1::StepKind::WaitingForAgents, .. } = said {
            let _ = waiting_tx.send(true);
        }
    });
    tokio::select! {
        done = connecting => panic!("expected it to wait for agents: {done:?}"),
        _ = waiting.wait_for(|waiting| *waiting) => {}
    }
}
