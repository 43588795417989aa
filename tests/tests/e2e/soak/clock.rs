//! The laptop's clock jumps.

use std::time::{Duration, Instant};

use bridge_tests::{Clock, World, eventually, failures};
use serde_json::Value;

use crate::attached::ROUTED_AGAIN;

const DAY: i64 = 24 * 3600;

#[test]
#[ignore = "needs a cluster: make soak"]
fn a_clock_that_jumps_costs_nobody_a_request() {
    let world = World::new("clock");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let before = world.objects();
    let others = world.others();
    let clock = Clock::of(&alice);
    let _daemon = clock.starts_daemon();
    eventually("the daemon runs", Duration::from_secs(10), || {
        alice.daemon().map(drop).ok_or_else(|| "it does not yet".to_owned())
    });

    // Given a session that was made with a clock a day ahead.
    clock.jumps(DAY);
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let since = |session: &Value| session["sinceMs"].as_i64().expect("a time");
    let ahead = since(&alice.session()) - now_ms();
    assert!((ahead - DAY * 1000).abs() < 60_000, "expected the daemon to have this clock: {ahead} ms ahead");

    // When it jumps, each of her requests reaches her laptop, well beyond the tunnels' keep-alive.
    let alices = world.requests_of("alice", &orders.name);
    for jump in [0, -7 * DAY, 400 * DAY, -1, 0] {
        clock.jumps(jump);
        let jumped = Instant::now();
        let answer = world.who_answers(&["x-bridge=alice"]);
        assert_eq!(answer, orders.name, "after a jump to {jump} s");
        failures::took("clock jumps", "still routed", jumped.elapsed(), ROUTED_AGAIN, &others);
        alices.goes_on(300);
        let session = alice.session();
        assert_eq!(session["state"], "routing", "after a jump to {jump} s: {session}");
    }
    alices.has_lost_nothing();

    // And the session ends as always.
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    others.goes_on(20);
    others.has_lost_nothing();
    world.is_given_back(&before);
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the end of time")
}
