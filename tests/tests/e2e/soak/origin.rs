//! The origin crashes, is scaled to nothing, deleted, and comes back, while its Service is connected.

use std::time::Duration;

use bridge_tests::objects::But;
use bridge_tests::{Local, World, eventually, failures};
use serde_json::{Value, json};

/// An origin that is back answers others after this time: kube-proxy learns of its pods.
const SERVED_AGAIN: Duration = Duration::from_secs(3);

#[test]
#[ignore = "needs a cluster: make soak"]
fn whatever_happens_to_the_origin_the_developer_is_served_and_others_fare_as_without_us() {
    let world = World::new("origin");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let before = world.objects();
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let alices = world.requests_of("alice", &format!("^orders {}", orders.name));

    a_new_version_crashes(&world);
    it_has_no_pods_for_a_while(&world, &orders);
    it_is_deleted_and_made_again(&world, &orders);

    alices.has_lost_nothing();
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    let service = "Service/orders";
    let differences = before.only(service).compare(&world.objects().only(service), But::Nothing);
    assert!(differences.is_empty(), "expected {service} as it was: {}", differences.join("\n"));
}

fn a_new_version_crashes(world: &World) {
    // Given others' requests, when the next version of the origin crashes at its start.
    let others = world.others_by("others", &["new", "keepalive"]);
    let crash = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": ["no-such-role"]}]);
    let _ =
        world.kubectl(&["patch", "deployment", "orders", "--type=json", "-p", &crash.to_string()]).succeeds();
    eventually("the new version crashes", Duration::from_secs(60), || {
        let pods = world.get("pods");
        let crashes = |pod: &Value| {
            let containers = pod["status"]["containerStatuses"].as_array();
            containers.is_some_and(|all| all.iter().any(|one| one["restartCount"].as_u64() > Some(0)))
        };
        let any = pods["items"].as_array().is_some_and(|pods| pods.iter().any(crashes));
        any.then_some(()).ok_or_else(|| pods.to_string())
    });
    others.goes_on(40);

    // Then nobody loses a request, then or when it is rolled back.
    let _ = world.kubectl(&["rollout", "undo", "deployment", "orders"]).succeeds();
    is_rolled_out(world);
    others.goes_on(40);
    others.has_lost_nothing();
}

fn it_has_no_pods_for_a_while(world: &World, orders: &Local) {
    // When it is scaled to nothing, Alice's requests are answered.
    let origin = world.kubectl(&["get", "deployment", "orders", "-o", "json"]).succeeds().json();
    let replicas = origin["spec"]["replicas"].to_string();
    let scale = |to: &str| {
        let _ = world.kubectl(&["scale", "deployment", "orders", &format!("--replicas={to}")]).succeeds();
    };
    scale("0");
    eventually("no pod of the origin", Duration::from_secs(60), || {
        let pods = world.get("pods?labelSelector=app=orders");
        let none = pods["items"].as_array().is_some_and(Vec::is_empty);
        none.then_some(()).ok_or_else(|| pods.to_string())
    });
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "while the origin has no pods");

    // When it has pods again, others are served.
    scale(&replicas);
    serves_others(world, "scaled to 0 and back");
}

fn it_is_deleted_and_made_again(world: &World, orders: &Local) {
    // When it is deleted, Alice's requests are answered.
    let manifest = world.manifest("orders");
    let is_the_deployment = |document: &&str| document.contains("\nkind: Deployment\n");
    let deployment = manifest.split("---\n").find(is_the_deployment).expect("a Deployment");
    let _ = world.kubectl(&["delete", "deployment", "orders", "--cascade=foreground", "--wait"]).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "while there is no origin");

    // When it is there again, others are served.
    let _ = world.apply(deployment);
    serves_others(world, "deleted and made again");
}

fn serves_others(world: &World, what: &str) {
    is_rolled_out(world);
    let after = world.comes_to("x-other=1", "orders-", SERVED_AGAIN);
    let others = world.others_by("served", &["new"]);
    others.goes_on(20);
    failures::took(
        &format!("origin {what}"),
        "others served, once it is available",
        after,
        SERVED_AGAIN,
        &others,
    );
}

fn is_rolled_out(world: &World) {
    let _ = world.kubectl(&["rollout", "status", "deployment", "orders", "--timeout=60s"]).succeeds();
}
