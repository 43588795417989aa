//! Callers that keep their connections: a restart of the origin brings them to the laptop.

use std::time::Duration;

use bridge_tests::{World, eventually};

#[test]
#[ignore = "needs a cluster: make test"]
fn a_restart_of_the_origin_brings_kept_connections_to_the_laptop() {
    let world = World::with("restart", &["orders", "client"]);
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");

    // Given a caller that keeps its connections to the pods, Alice's header is no use to it …
    let url = ["--url", "http://orders/whoami", "--rate", "20", "--header", "x-bridge=alice"];
    let kept = world.callers("kept", &[("keepalive", url.map(str::to_owned).to_vec())]);
    let connect = ["connect", "orders", "--port", &orders.for_port("http")];
    let _ = alice.bridge(&connect).succeeds();
    kept.goes_on(20);
    let report = kept.so_far().swap_remove(0).1;
    assert_eq!(report.answered_by(&orders.name), 0, "it keeps its connections: {report}");

    // … until she has the pods restarted: its next connections reach her, and no request fails.
    let _ = alice.bridge(&[&connect[..], &["--restart-origin"]].concat()).succeeds();
    eventually("the caller reaches the laptop", Duration::from_secs(60), || {
        let report = kept.so_far().swap_remove(0).1;
        (report.answered_by(&orders.name) > 0).then_some(()).ok_or_else(|| report.to_string())
    });
    kept.has_lost_nothing();
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}
