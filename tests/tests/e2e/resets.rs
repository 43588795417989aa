//! Somebody else writes the Service, or rolls the origin out, while it is connected.

use std::time::Duration;

use bridge_tests::place::kubectl_with;
use bridge_tests::{Laptop, Local, World, eventually};

#[test]
#[ignore = "needs a cluster: make test"]
fn applying_the_original_manifest_gives_the_traffic_to_the_origin_and_status_says_so() {
    // Given callers, and orders connected.
    let world = World::new("resets");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let before = world.objects();
    let load = |name: &str, mode: &str| {
        let args = ["--mode", mode, "--rate", "80", "--workers", "4", "--expect", "^orders orders-", "--url"];
        world.load(name, &[&args[..], &["http://orders/whoami"]].concat())
    };
    let (new, kept) = (load("new", "new"), load("kept", "keepalive"));
    let connect = ["connect", "orders", "--port", &orders.for_port("http")];

    // When somebody applies the Service's original manifest as kubectl does by default.
    let _ = alice.bridge(&connect).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    let _ = world.apply(&world.manifest("orders"));

    // Then all traffic is the origin's, and status says what happened.
    let detail = the_origin_has_it_all(&world, &alice);
    assert!(detail.contains("kubectl"), "expected who did it in: {detail}");

    // When Alice connects again, it is hers once more; and when a GitOps tool forces its own, it is the origin's again.
    let _ = alice.bridge(&connect).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "connecting again takes it over again");
    apply_server_side(&world);
    let detail = the_origin_has_it_all(&world, &alice);
    assert!(detail.contains("gitops"), "expected who did it in: {detail}");

    // Then disconnecting leaves the manifest's Service, and no request has failed.
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    new.goes_on(50);
    new.ends().none_failed("callers with new connections");
    kept.ends().none_failed("callers with kept connections");
    // Who owns which field is what the appliers have made it; all else is what it was.
    world.is_again_but_for(&before, "Service/orders.metadata", Duration::from_secs(60));
    let annotations = world.service("orders")["metadata"]["annotations"].clone();
    assert!(!annotations.to_string().contains("bridge.dev"), "expected no annotation of ours: {annotations}");
}

fn apply_server_side(world: &World) {
    let namespace = format!("--namespace={}", world.namespace);
    let forced =
        ["apply", &namespace, "--server-side", "--force-conflicts", "--field-manager=gitops", "-f", "-"];
    let _ = kubectl_with(&forced, &world.manifest("orders")).succeeds();
}

/// Waits for what has happened to arrive, and returns what status says of it.
fn the_origin_has_it_all(world: &World, alice: &Laptop) -> String {
    let detail = eventually("status says that the Service was reset", Duration::from_secs(5), || {
        let session = alice.session();
        let detail = session["detail"].as_str().unwrap_or_default().to_owned();
        (session["state"] == "reset").then_some(detail).ok_or_else(|| session.to_string())
    });
    eventually("Alice's requests are answered by the pods", Duration::from_secs(5), || {
        let answerer = world.who_answers(&["x-bridge=alice"]);
        answerer.starts_with("orders-").then_some(()).ok_or(answerer)
    });
    detail
}

#[test]
#[ignore = "needs a cluster: make test"]
fn rolling_the_origin_out_fails_no_request_and_stays_routed() {
    // Given callers, and orders connected.
    let world = World::new("rollout");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let new = world
        .load("new", &["--mode", "new", "--rate", "80", "--workers", "4", "--url", "http://orders/whoami"]);
    let kept = world.load("kept", &["--rate", "80", "--workers", "4", "--url", "http://orders/whoami"]);
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let hers = the_developer_s_load(&world, &orders);

    // When the origin is rolled out.
    let _ = world.kubectl(&["rollout", "restart", "deploy/orders"]).succeeds();
    let _ = world.kubectl(&["rollout", "status", "deploy/orders", "--timeout=55s"]).succeeds();
    new.goes_on(50);

    // Then no request has failed, and hers were all answered by the laptop.
    new.ends().none_failed("callers with new connections");
    kept.ends().none_failed("callers with kept connections");
    hers.ends().none_failed("Alice's requests");
    let session = alice.session();
    assert_eq!(session["state"], "routing", "{session}");
}

fn the_developer_s_load(world: &World, orders: &Local) -> bridge_tests::Load {
    let answered = format!("^orders {}", orders.name);
    let args =
        ["--mode", "new", "--rate", "20", "--header", "x-bridge=alice", "--expect", &answered, "--url"];
    world.load("hers", &[&args[..], &["http://orders/whoami"]].concat())
}
