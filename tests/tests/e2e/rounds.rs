//! Connecting and disconnecting again and again, under load that counts every failure.

use std::time::{Duration, Instant};

use bridge_tests::{World, soak};

#[test]
#[ignore = "needs a cluster: make test"]
fn connecting_and_disconnecting_fails_no_request_and_leaves_nothing_behind() {
    // Given callers with new connections and with kept ones, and Alice's.
    let world = World::new("rounds");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let before = world.objects();
    let expected = ["--expect", "^orders orders-", "--url", "http://orders/whoami"];
    let new =
        world.load("new", &[&["--mode", "new", "--rate", "100", "--workers", "4"][..], &expected].concat());
    let kept = world
        .load("kept", &[&["--mode", "keepalive", "--rate", "100", "--workers", "4"][..], &expected].concat());
    let ws = world.load("ws", &["--mode", "ws", "--rate", "20", "--workers", "2", "--url", "ws://orders/ws"]);

    // When Alice connects and disconnects, several times in a row.
    let rounds = if soak() { 10 } else { 3 };
    let mut times = Vec::new();
    for round in 0..rounds {
        let begun = Instant::now();
        let connected = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
        assert_eq!(
            world.who_answers(&["x-bridge=alice"]),
            orders.name,
            "round {round}: routed once connected"
        );
        let routed = begun.elapsed();
        for load in [&new, &kept, &ws] {
            load.goes_on(20);
        }
        let disconnected = alice.bridge(&["disconnect", "orders"]).succeeds();
        times.push((connected.took, routed, disconnected.took));
        new.goes_on(20);
    }
    assert!(world.who_answers(&["x-bridge=alice"]).starts_with("orders-"), "disconnected, the pods answer");

    // Then everything is as it was within a minute, and no request has failed in all that time.
    let begun = Instant::now();
    world.is_again(&before, Duration::from_secs(60));
    let tidy = begun.elapsed();
    new.ends().none_failed("callers with new connections");
    kept.ends().none_failed("callers with kept connections");
    ws.ends().none_failed("callers with WebSockets");

    println!(
        "connect → command back, → first routed answer (with 0.1 to 0.3 s of kubectl exec); disconnect:"
    );
    for (connect, routed, disconnect) in &times {
        println!(
            "  {:>5.2} s   {:>5.2} s   {:>5.2} s",
            connect.as_secs_f64(),
            routed.as_secs_f64(),
            disconnect.as_secs_f64()
        );
    }
    let mut routed: Vec<Duration> = times.iter().map(|(_, routed, _)| *routed).collect();
    routed.sort();
    println!(
        "median to the first routed answer: {:.2} s; as before after {:.1} s",
        routed[routed.len() / 2].as_secs_f64(),
        tidy.as_secs_f64()
    );
}
