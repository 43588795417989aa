//! Connecting and disconnecting again and again, under load that counts every failure.

use std::time::{Duration, Instant};

use bridge_tests::{World, soak};

#[test]
#[ignore = "needs a cluster: make test"]
fn connecting_and_disconnecting_fails_no_request_and_leaves_nothing_behind() {
    // Given callers.
    let world = World::new("rounds");
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
        // Kept connections from before never meet an agent; these do, and see it go.
        late.get_or_insert_with(|| world.others_by("late", &["keepalive", "ws"]));
        let disconnected = alice.bridge(&["disconnect", "orders"]).succeeds();
        times.push((connected.took, routed, disconnected.took));
        others.goes_on(20);
    }
    assert!(world.who_answers(&["x-bridge=alice"]).starts_with("orders-"), "disconnected, the pods answer");

    if let Some(late) = late {
        late.has_lost_nothing();
    }

    // Then everything is as it was within a minute, and no request has failed in all that time.
    let begun = Instant::now();
    world.is_again(&before, Duration::from_secs(60));
    let tidy = begun.elapsed();
    others.has_lost_nothing();
    print(times, tidy);
}

fn print(times: Vec<(Duration, Duration, Duration)>, tidy: Duration) {
    println!("bridge connect, to the first routed answer (asked from a pod), bridge disconnect:");
    for (connect, routed, disconnect) in &times {
        println!("  {connect:>6.2?}  {routed:>6.2?}  {disconnect:>6.2?}");
    }
    let mut routed: Vec<Duration> = times.into_iter().map(|(_, routed, _)| routed).collect();
    routed.sort();
    println!(
        "median to the first routed answer {:.2?}; as before after {tidy:.1?}",
        routed[routed.len() / 2]
    );
}
