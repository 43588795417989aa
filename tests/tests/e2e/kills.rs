//! The daemon is killed: others notice nothing, and the next command finishes or undoes the rest.

use std::time::{Duration, Instant};

use bridge_tests::{Laptop, Load, Local, World, eventually, failures, pause, soak};
use serde_json::Value;

use crate::attached::CONNECTED_ONCE;

#[test]
#[ignore = "needs a cluster: make test"]
fn whatever_is_killed_costs_nobody_a_request_and_is_mended() {
    let world = World::with("kills", &["orders", "client"]);
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let before = world.objects();
    let others = world.others();
    a_killed_daemon_leaves_all_to_the_origin(&world, &alice, &orders, &others);
    work_interrupted_by_a_kill_is_finished(&world, &alice, &orders);
    world.is_given_back(&before);
    an_interrupted_connect_is_undone(&world, &alice);
    world.is_given_back(&before);
    others.has_lost_nothing();
}

fn a_killed_daemon_leaves_all_to_the_origin(world: &World, alice: &Laptop, orders: &Local, others: &Load) {
    // Given orders connected.
    let connect = ["connect", "orders", "--port", &orders.for_port("http")];
    let _ = alice.bridge(&connect).succeeds();
    let alices = world.requests_of("alice", "");
    let (_, routed) = alices.so_far().swap_remove(0);
    assert!(routed.answered_by(&orders.name) > 0, "expected the laptop to answer: {routed}");

    // When the daemon is killed.
    assert!(alice.kill_daemon(), "expected a daemon");
    alices.goes_on(40);

    // Then Alice's requests go to the origin within a second.
    let report = alices.ends();
    let (trouble, slowest) = (report.trouble_s(), report.slowest_ms() / 1e3);
    let worst = Duration::from_secs_f64(trouble.max(slowest));
    let bound = Duration::from_secs(1);
    failures::took("daemon killed", "her requests → origin", worst, bound, others);
    assert!(worst <= bound, "expected the origin's answers within {bound:?}: {report}");
    assert!(world.who_answers(&["x-bridge=alice"]).starts_with("orders-"), "the origin answers");

    // And the next connect works at once, on the stand-in that is there.
    let again = alice.bridge(&connect).succeeds();
    failures::took("daemon killed, and connect again", "connected", again.took, CONNECTED_ONCE, others);
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "connected again");

    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}

/// Each round connects for itself, and leaves nothing connected.
fn work_interrupted_by_a_kill_is_finished(world: &World, alice: &Laptop, orders: &Local) {
    // When the daemon is killed at any moment of a connect or a disconnect,
    // then clean, from the annotation alone, or the next connect puts things right.
    let moments: &[u64] =
        if soak() { &[0, 50, 100, 200, 300, 500, 700, 900, 1200, 1600] } else { &[300, 1200] };
    for (turn, moment) in moments.iter().map(|ms| Duration::from_millis(*ms)).enumerate() {
        killed_while_connecting(alice, orders, moment);
        mend(world, alice, orders, turn % 2 == 0);
        killed_while_disconnecting(alice, orders, moment / 4);
        mend(world, alice, orders, turn % 2 == 1);
    }
}

fn an_interrupted_connect_is_undone(world: &World, alice: &Laptop) {
    // Given no stand-in, and a connect that waits for an image that never comes.
    let connecting = alice.start_bridge(&["connect", "orders", "--agent-image", "registry.invalid/agent:1"]);
    eventually("the stand-in is being made", Duration::from_secs(10), || {
        let agents = world.agents();
        (!agents.is_empty()).then_some(()).ok_or("it has no pods".to_owned())
    });

    // When Alice presses Ctrl-C, bridge reports that it undoes the connect, and does.
    connecting.interrupt();
    connecting.ends(Duration::from_secs(10)).fails(130, "undoing");
}

fn killed_while_connecting(alice: &Laptop, orders: &Local, moment: Duration) {
    let connecting = alice.start_bridge(&["connect", "orders", "--port", &orders.for_port("http")]);
    let begun = Instant::now();
    eventually("the command starts a daemon", Duration::from_secs(5), || {
        alice.daemon().map(drop).ok_or("there is none".to_owned())
    });
    pause(moment.saturating_sub(begun.elapsed()));
    alice.kill_daemon();
    // It was done before, or reports that the daemon is gone, or had not yet reached it and has started another.
    let _ = connecting.ends(Duration::from_secs(20));
    alice.kill_daemon();
}

fn killed_while_disconnecting(alice: &Laptop, orders: &Local, moment: Duration) {
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let disconnecting = alice.start_bridge(&["disconnect", "orders"]);
    pause(moment);
    alice.kill_daemon();
    let _ = disconnecting.ends(Duration::from_secs(20));
}

fn mend(world: &World, alice: &Laptop, orders: &Local, by_clean: bool) {
    if by_clean {
        let before = world.service("orders");
        let planned = alice.bridge(&["clean", "--dry-run", "-o", "json"]).succeeds().json();
        assert_eq!(world.service("orders"), before, "a dry run changes nothing");
        let cleaned = alice.bridge(&["clean", "-o", "json"]).succeeds().json();
        let actions = |of: &Value| of["actions"].as_array().map(Vec::len);
        assert_eq!(actions(&cleaned), actions(&planned), "{planned}\n{cleaned}");
    } else {
        let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
        assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "the next connect works");
        let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    }
    let service = world.service("orders");
    assert_eq!(service["spec"]["selector"]["app"], "orders", "mended, the Service has its own selector");
    // If the switch arrives late, a request still reaches an agent, which may need a moment until it learns of the
    // kill.
    eventually("a second after the kill the origin answers her requests", Duration::from_secs(1), || {
        let answer = world.client(&["http", "http://orders/whoami", "--header", "x-bridge=alice"]);
        answer.stdout.starts_with("orders orders-").then_some(()).ok_or(answer.stderr)
    });
}
