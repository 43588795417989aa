//! A Service's pods end for one developer, who gets everything (`--replace`).

use std::time::Duration;

use bridge_tests::{Laptop, Load, Local, World};
use serde_json::json;

use crate::sidecar::Before;

/// Pods end, or become ready.
const SOON: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs a cluster: make test"]
fn a_service_has_no_pods_while_one_developer_takes_their_place() {
    let world = World::with("replaced", &["orders", "client"]);
    let (alice, bob) = (world.laptop("alice"), world.laptop("bob"));
    let orders = alice.runs("orders");
    let before = Before::of(&world, "deployment/orders");
    is_refused_where_others_would_be_harmed(&world, &alice, &bob);

    let callers = anyone_answers(&world);
    let connected = replaces(&alice, &orders);
    for line in [
        "Deployment orders has no pods until you disconnect",
        "requests fail until someone runs `bridge clean",
    ] {
        assert!(connected.contains(line), "{connected}");
    }
    assert_eq!((pods(&world), world.who_answers(&[])), (Vec::new(), orders.name.clone()));
    bob.bridge(&["connect", "orders"]).fails(6, "alice is connected to orders, too");
    callers.goes_on(20);
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    assert!(world.who_answers(&[]).starts_with("orders-"), "the pods are back");
    callers.goes_on(20);
    callers.has_lost_nothing();
    before.is_again(&world);

    another_agent_needs_no_origin(&world, &alice, &orders);
    a_command_takes_their_place_until_it_ends(&world, &alice, &before);
    anyone_restores_what_a_lost_laptop_has_replaced(&world, &alice, &bob, &orders, &before);
}

fn is_refused_where_others_would_be_harmed(world: &World, alice: &Laptop, bob: &Laptop) {
    let refused = |why: &str, code| alice.bridge(&["connect", "orders", "--replace"]).fails(code, why);
    let _ = bob.bridge(&["connect", "orders"]).succeeds();
    refused("bob is connected to orders, too: who replaces deploy/orders has to be the only one", 6);
    let _ = bob.bridge(&["disconnect", "orders"]).succeeds();
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "orders"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "orders"}}}});
    let _ = world.apply(&budget.to_string());
    refused("PodDisruptionBudget orders demands pods of it", 3);
    let _ = world.kubectl(&["delete", "poddisruptionbudget", "orders"]).succeeds();
    let second = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "sales"},
        "spec": {"selector": {"app": "orders"}, "ports": [{"port": 80}]}});
    let _ = world.apply(&second.to_string());
    refused("it serves several Services (orders, sales)", 3);
    let _ = world.kubectl(&["delete", "service", "sales"]).succeeds();
}

/// Everyone else, whoever answers.
fn anyone_answers(world: &World) -> Load {
    let args = ["--url", "http://orders/whoami", "--rate", "20", "--workers", "4", "--expect", "^orders "];
    let args = args.map(str::to_owned).to_vec();
    world.callers("anyone", &[("new", args.clone()), ("keepalive", args)])
}

pub(crate) fn replaces(laptop: &Laptop, orders: &Local) -> String {
    let led = orders.for_port("http");
    laptop.bridge(&["connect", "orders", "--port", &led, "--replace"]).succeeds().to_string()
}

fn pods(world: &World) -> Vec<String> {
    let pods = world.kubectl(&["get", "pods", "-l", "app=orders", "-o", "name"]).succeeds();
    pods.stdout.lines().map(str::to_owned).collect()
}

/// An agent that starts while there is no origin is ready once it knows whose the requests are.
fn another_agent_needs_no_origin(world: &World, alice: &Laptop, orders: &Local) {
    let _ = replaces(alice, orders);
    let agents = ["delete", "pods", "-l", "bridge.dev/service=orders", "--grace-period=1"];
    let _ = world.kubectl(&agents).succeeds();
    let _ = world.comes_to("x-bridge=anyone", &orders.name, SOON);
    assert_eq!(pods(world), Vec::<String>::new());
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}

fn a_command_takes_their_place_until_it_ends(world: &World, alice: &Laptop, before: &Before) {
    let command = ["run", "orders", "--replace", "--", "sh", "-c", "echo in the place of $BRIDGE_TARGET"];
    let said = alice.bridge(&command).succeeds().stdout;
    assert_eq!(said.trim(), "in the place of orders");
    assert!(world.who_answers(&[]).starts_with("orders-"), "the pods are back");
    before.is_again(world);
}

fn anyone_restores_what_a_lost_laptop_has_replaced(
    world: &World,
    alice: &Laptop,
    bob: &Laptop,
    orders: &Local,
    before: &Before,
) {
    let _ = replaces(alice, orders);
    assert!(alice.kill_daemon(), "expected a daemon");
    let would = bob.bridge(&["clean", "orders", "--others", "--dry-run"]).succeeds().stdout;
    let expected = "deploy/orders: would restore its replicas (1), which alice had replaced";
    assert!(would.contains(expected), "{would}");
    assert_eq!(pods(world), Vec::<String>::new());
    let cleaned = bob.bridge(&["clean", "orders", "--others"]).succeeds().stdout;
    assert!(cleaned.contains("deploy/orders: restored its replicas (1)"), "{cleaned}");
    before.is_again(world);
}
