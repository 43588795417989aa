//! Callers that keep their connections: a restart of the origin, or of the caller, brings them to the laptop.

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

#[test]
#[ignore = "needs a cluster: make test"]
fn callers_are_restarted_by_name() {
    let world = World::with("callers", &["orders", "web", "client"]);
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let asks_web = || world.client(&["http", "http://web/", "--header", "x-bridge=alice"]).succeeds().json();
    let before = asks_web()["answered_by"].clone();

    // When Alice names a caller to restart, it is rolled out, and its requests reach her.
    let connect = ["connect", "orders", "--port", &orders.for_port("http")];
    let restarts = [&connect[..], &["--restart-callers", "deploy/web"]].concat();
    let connected = alice.bridge(&restarts).succeeds();
    assert!(connected.stderr.contains("restarting Deployment web by a roll-out"), "{connected}");
    eventually("another pod of web asks the laptop", Duration::from_secs(60), || {
        let answer = asks_web();
        let is_new =
            answer["answered_by"] != before && answer["orders"]["answered_by"] == orders.name.as_str();
        is_new.then_some(()).ok_or_else(|| answer.to_string())
    });

    // A caller that is not there costs nothing but a warning.
    let missing = alice.bridge(&[&connect[..], &["--restart-callers", "deploy/wbe"]].concat()).succeeds();
    assert!(missing.stderr.contains("cannot restart Deployment wbe: "), "{missing}");
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}
