//! Connecting and disconnecting again and again, under load that counts every failure.

use std::time::{Duration, Instant};

use bridge_tests::{Laptop, World, failures, soak};

use crate::attached::CONNECTED;

#[test]
#[ignore = "needs a cluster: make test"]
fn connecting_and_disconnecting_fails_no_request_and_leaves_nothing_behind() {
    // Given callers.
    let world = World::new("connecting");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let before = world.objects();
    let others = world.others();

    // When Alice connects and disconnects, several times in a row.
    let rounds = if soak() { 10 } else { 2 };
    let mut times = Vec::new();
    let mut late = None;
    for round in 0..rounds {
        let begun = Instant::now();
        let connected = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
        assert_eq!(
            world.who_answers(&["x-bridge=alice"]),
            orders.name,
            "round {round}: routed once connected"
        );
        let routed = begun.elapsed();
        others.goes_on(20);
        // Kept connections from before never reach an agent; these do, and see it go.
        late.get_or_insert_with(|| world.others_by("late", &["keepalive", "ws"]));
        let disconnected = match round + 1 == rounds {
            true => disconnect_and_wait(&world, &alice),
            false => alice.bridge(&["disconnect", "orders"]).succeeds().took,
        };
        times.push((connected.took, routed, disconnected));
        others.goes_on(20);
    }
    assert!(world.who_answers(&["x-bridge=alice"]).starts_with("orders-"), "disconnected, the pods answer");

    if let Some(late) = late {
        late.has_lost_nothing();
    }

    // Then everything is as it was within a minute, and no request has failed in all that time.
    let waited = times.last().map_or(Duration::ZERO, |(_, _, waited)| *waited);
    assert!(waited < Duration::from_secs(60), "expected to be as before within a minute, not {waited:.1?}");
    world.is_again(&before, Duration::from_secs(60).saturating_sub(waited));
    let median = |mut all: Vec<Duration>| {
        all.sort();
        all[all.len() / 2]
    };
    let connected = median(times.iter().map(|(connected, ..)| *connected).collect());
    failures::nodes_took("connect (median)", "connected", connected, CONNECTED, &others);
    let quick = &times[..times.len() - 1];
    let disconnected = median(quick.iter().map(|(.., disconnected)| *disconnected).collect());
    failures::took("disconnect (median)", "all → origin", disconnected, Duration::from_secs(1), &others);
    others.has_lost_nothing();
    print(times);
}

/// Disconnects, and returns when the last agent has gone.
fn disconnect_and_wait(world: &World, alice: &Laptop) -> Duration {
    let stand_in = alice.session()["standIn"].as_str().map(str::to_owned).expect("a stand-in");
    let disconnected = alice.bridge(&["disconnect", "orders", "--wait"]).succeeds();
    let pods = world.get(&format!("pods?labelSelector=bridge.dev%2Fstand-in%3D{stand_in}"));
    let left = pods["items"].as_array().map_or(0, Vec::len);
    assert_eq!(left, 0, "expected no pod of {stand_in} after `bridge disconnect --wait`: {pods}");
    disconnected.took
}

fn print(times: Vec<(Duration, Duration, Duration)>) {
    println!(
        "bridge connect, to the first routed answer (asked from a pod), bridge disconnect (the last with --wait):"
    );
    for (connect, routed, disconnect) in &times {
        println!("  {connect:>6.2?}  {routed:>6.2?}  {disconnect:>6.2?}");
    }
    let mut routed: Vec<Duration> = times.into_iter().map(|(_, routed, _)| routed).collect();
    routed.sort();
    println!("median to the first routed answer {:.2?}", routed[routed.len() / 2]);
}
