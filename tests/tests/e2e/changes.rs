//! Other people change the Service, or roll the origin out, while it is connected.

use std::time::{Duration, Instant};

use bridge_tests::objects::But;
use bridge_tests::place::kubectl_with;
use bridge_tests::{Laptop, Load, Local, World, eventually, failures};

use crate::attached::{CONNECTED_ONCE, ROUTED_AGAIN};

#[test]
#[ignore = "needs a cluster: make test"]
fn resetting_or_rolling_out_a_connected_service_fails_no_request() {
    let world = World::new("changes");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let others = world.others();
    applying_the_original_manifest_gives_the_traffic_to_the_origin(&world, &alice, &orders, &others);
    others.goes_on(20);
    others.has_lost_nothing();
    a_port_that_is_added_is_followed(&world, &alice, &orders);
    rolling_the_origin_out_keeps_it_routed(&world, &alice, &orders);
    a_port_that_is_taken_away_is_reported(&world, &alice, &orders);
}

fn applying_the_original_manifest_gives_the_traffic_to_the_origin(
    world: &World,
    alice: &Laptop,
    orders: &Local,
    others: &Load,
) {
    // Given orders connected.
    let before = world.objects();
    let connect = ["connect", "orders", "--port", &orders.for_port("http")];
    let _ = alice.bridge(&connect).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);

    // When a colleague applies the Service's original manifest as kubectl does by default,
    // then all traffic goes to the origin, and status shows what happened.
    let _ = world.apply(&manifest(world));
    let reset = Instant::now();
    let detail = the_origin_has_it_all(world, alice);
    let within = Duration::from_secs(1);
    failures::nodes_took(
        "Service reset by kubectl apply",
        "all → origin, status says who",
        reset.elapsed(),
        within,
        others,
    );
    assert!(detail.contains("kubectl"), "expected who did it in: {detail}");

    // When Alice connects again, her laptop answers again; after disconnecting, the Service is as before.
    let _ = alice.bridge(&connect).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "connecting again takes it over again");
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    world.is_given_back(&before);

    // When tools apply it on the server while Alice is connected, as Helm 4 does too, it is the same: they force
    // nothing, whether they have applied it before or not, and find no conflict.
    for manager in ["helm", "helm", "gitops"] {
        let _ = alice.bridge(&connect).succeeds();
        assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
        apply_server_side(world, manager);
        let detail = the_origin_has_it_all(world, alice);
        assert!(detail.contains(manager), "expected who did it in: {detail}");
        let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    }

    // When Alice connects and disconnects without others, the owners of its fields are as before.
    let its = world.objects().only("Service/orders");
    let _ = alice.bridge(&connect).succeeds();
    assert!(!owns_the_selector(world, "bridge"), "while connected, the selector should not be bridge's");
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    assert!(owns_the_selector(world, "gitops"), "given back, it should be the tool's");

    // Then the Service is as that tool had left it, nothing else has changed, and no request has failed.
    let after = world.objects();
    let differences = its.compare(&after.only("Service/orders"), But::Nothing);
    assert!(differences.is_empty(), "expected the tool's Service:\n{}", differences.join("\n"));
    let differences =
        before.without("Service/orders").compare(&after.without("Service/orders"), But::Draining);
    assert!(differences.is_empty(), "expected that nothing else has changed:\n{}", differences.join("\n"));
}

/// The Service alone.
fn manifest(world: &World) -> String {
    let all = world.manifest("orders");
    all.split("---\n").find(|document| document.contains("kind: Service\n")).expect("a Service").to_owned()
}

fn apply_server_side(world: &World, manager: &str) {
    let (namespace, manager) =
        (format!("--namespace={}", world.namespace), format!("--field-manager={manager}"));
    let unforced = ["apply", &namespace, "--server-side", &manager, "-f", "-"];
    let _ = kubectl_with(&unforced, &manifest(world)).succeeds();
}

fn owns_the_selector(world: &World, manager: &str) -> bool {
    let service = world.service("orders");
    let owners = service["metadata"]["managedFields"].as_array().into_iter().flatten();
    owners
        .filter(|owner| owner["manager"] == manager)
        .any(|owner| owner.pointer("/fieldsV1/f:spec/f:selector").is_some())
}

/// Waits until the origin has all traffic, and returns status' detail.
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

fn a_port_that_is_added_is_followed(world: &World, alice: &Laptop, orders: &Local) {
    // Given orders connected, and callers through the agents.
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let stand_in = alice.session()["standIn"].clone();
    let others = world.others_by("ports", &["new", "keepalive", "ws"]);

    // When its Service gets another port.
    let begun = Instant::now();
    let more = r#"[{"op": "add", "path": "/spec/ports/-", "value": {"name": "more", "port": 81, "targetPort": "http"}}]"#;
    let _ = world.kubectl(&["patch", "service", "orders", "--type=json", "-p", more]).succeeds();

    // Then it is attached again, without a command, by a stand-in that has that port …
    eventually("the session is routing by another stand-in", Duration::from_secs(20), || {
        let session = alice.session();
        let moved = session["state"] == "routing" && session["standIn"] != stand_in;
        moved.then_some(()).ok_or_else(|| session.to_string())
    });
    failures::took("Service gets a port", "routed by new agents", begun.elapsed(), CONNECTED_ONCE, &others);
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "what was routed is routed again");
    let by_other_port = world.client(&["http", "http://orders:81/whoami"]).succeeds().stdout;
    assert!(by_other_port.starts_with("orders orders-"), "the new port is the pods': {by_other_port}");
    // … and nobody has lost a request.
    others.goes_on(20);
    others.has_lost_nothing();
}

fn a_port_that_is_taken_away_is_reported(world: &World, alice: &Laptop, orders: &Local) {
    // Given orders connected.
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();

    // When its port is removed, status shows it, and all requests go to the origin.
    let other = r#"[{"op": "replace", "path": "/spec/ports/0", "value": {"name": "web", "port": 82, "targetPort": "http"}}]"#;
    let _ = world.kubectl(&["patch", "service", "orders", "--type=json", "-p", other]).succeeds();
    eventually("status says that the port is gone", Duration::from_secs(10), || {
        let session = alice.session();
        let shown = session["detail"].as_str().is_some_and(|detail| detail.contains("\"http\""));
        (session["state"] == "reset" && shown).then_some(()).ok_or_else(|| session.to_string())
    });
    let as_alice = ["http", "http://orders:82/whoami", "--header", "x-bridge=alice"];
    eventually("her requests are answered by the pods", Duration::from_secs(5), || {
        let answer = world.client(&as_alice).stdout;
        answer.starts_with("orders orders-").then_some(()).ok_or(answer)
    });
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}

fn rolling_the_origin_out_keeps_it_routed(world: &World, alice: &Laptop, orders: &Local) {
    // Given orders connected, and callers through the agents (WebSockets end with the pod that they are at, as they would
    // without us).
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let late = world.others_by("late", &["new", "keepalive"]);
    let alices = world.requests_of("alice", &format!("^orders {}", orders.name));

    // When the origin is rolled out.
    let _ = world.kubectl(&["rollout", "restart", "deploy/orders"]).succeeds();
    let _ = world.kubectl(&["rollout", "status", "deploy/orders", "--timeout=55s"]).succeeds();
    late.goes_on(20);

    // Then no request has failed, and the laptop has answered all of Alice's.
    let (_, hers) = alices.so_far().swap_remove(0);
    let slowest = Duration::from_secs_f64(hers.slowest_ms() / 1e3);
    failures::took("origin rolled out", "routed throughout (slowest answer)", slowest, ROUTED_AGAIN, &late);
    late.has_lost_nothing();
    alices.has_lost_nothing();
    let session = alice.session();
    assert_eq!(session["state"], "routing", "{session}");
}
