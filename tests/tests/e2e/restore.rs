//! Agents restore everything themselves when no laptop is left, where an admin has applied `deploy/rbac-restore.yaml`.

use std::time::{Duration, Instant};

use bridge_tests::objects::But;
use bridge_tests::{Laptop, Load, Local, Objects, World, eventually, failures};
use serde_json::json;

use crate::sidecar::{Before, ROLLED_OUT, connect};
use crate::{aside, replacing};

/// The time without a laptop, as an admin sets it for these stories; the usual one is ten minutes.
const AFTER: u64 = 4;
/// Twice that, as agents look twice, and the time to do it.
const RESTORED: Duration = Duration::from_secs(2 * AFTER + 8);
/// The objects that the admin applies.
const ACCOUNT: [&str; 4] = [
    "ServiceAccount/bridge-restore",
    "Secret/bridge-restore",
    "Role/bridge-restore",
    "RoleBinding/bridge-restore",
];

#[test]
#[ignore = "needs a cluster: make test"]
fn agents_without_a_laptop_restore_everything() {
    let world = World::with("restore", &["orders", "client"]);
    aside::has_a_worker_and_a_report(&world);
    let _ = world.kubectl(&["scale", "deployment", "worker", "--replicas=1"]).succeeds();
    let _ = world.kubectl(&["rollout", "status", "deployment/worker", "--timeout=60s"]).succeeds();
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let before = world.objects();
    says_that_they_stay_without_the_account(&alice, &orders);
    has_the_account(&world);
    let others = world.others();

    a_stand_in_goes_with_its_last_laptop(&world, &alice, &orders, &before, &others);
    others.has_lost_nothing();
    a_replaced_worker_gets_its_pods_back(&world, &alice, &before);
    a_replaced_service_gets_its_pods_back(&world, &alice, &orders);
    sidecars_are_taken_out(&world, &alice, &orders);
}

fn says_that_they_stay_without_the_account(alice: &Laptop, orders: &Local) {
    let connected = connect(alice, orders, &[]);
    assert!(
        connected.contains("if this laptop is lost: all requests → the pods; the agents stay until"),
        "{connected}"
    );
    assert_eq!(alice.session()["restoresAfterSeconds"], json!(null));
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}

/// As an admin does it, once.
fn has_the_account(world: &World) {
    let account = std::fs::read_to_string(bridge_tests::place::file("deploy/rbac-restore.yaml"));
    let _ = world.apply(&account.expect("the account and its Role"));
    let after = format!("bridge.dev/restore-after={AFTER}s");
    let _ = world.kubectl(&["annotate", "secret", "bridge-restore", &after]).succeeds();
    eventually("Kubernetes writes the token", Duration::from_secs(20), || {
        let secret = world.kubectl(&["get", "secret", "bridge-restore", "-o", "json"]).succeeds().json();
        secret["data"]["token"].is_string().then_some(()).ok_or_else(|| "there is none yet".to_owned())
    });
}

fn a_stand_in_goes_with_its_last_laptop(
    world: &World,
    alice: &Laptop,
    orders: &Local,
    before: &Objects,
    others: &Load,
) {
    // Given two developers, whose connect says what becomes of the agents.
    let connected = connect(alice, orders, &[]);
    assert!(connected.contains(&format!("after {AFTER} s, the agents go")), "{connected}");
    assert_eq!(alice.session()["restoresAfterSeconds"], json!(AFTER));
    let bob = world.laptop("bob");
    let bobs = bob.runs("orders");
    let _ = connect(&bob, &bobs, &[]);

    // When Alice's laptop is lost, nothing changes: Bob's is there.
    assert!(alice.kill_daemon(), "expected a daemon");
    let lost = Instant::now();
    while lost.elapsed() < RESTORED {
        assert_eq!(world.who_answers(&["x-bridge=bob"]), bobs.name);
        assert!(world.service("orders")["metadata"]["annotations"]["bridge.dev/attachment"].is_string());
    }

    // When Bob's is lost, too, everything is restored, with an Event that says so.
    assert!(bob.kill_daemon(), "expected a daemon");
    let lost = Instant::now();
    eventually("the Service is restored", RESTORED, || {
        let annotations = &world.service("orders")["metadata"]["annotations"];
        annotations["bridge.dev/attachment"].is_null().then_some(()).ok_or_else(|| annotations.to_string())
    });
    failures::took("both sides gone", "restored, after twice 4 s", lost.elapsed(), RESTORED, others);
    let expected = ["removed the session of alice", "removed the session of bob", "restored its selector"];
    eventually("an Event says so", Duration::from_secs(10), || {
        let selector = ["--field-selector", "reason=BridgeRestored", "-o", "json"];
        let events = world.kubectl(&[&["get", "events"], &selector[..]].concat()).succeeds().json();
        let message = events["items"][0]["message"].as_str().unwrap_or_default();
        expected.iter().all(|part| message.contains(part)).then_some(()).ok_or_else(|| events.to_string())
    });
    eventually("all objects of the namespace are what they were", Duration::from_secs(90), || {
        let now = ACCOUNT.iter().fold(world.objects(), |now, name| now.without(name));
        let differences = before.compare(&now, But::Nothing);
        differences.is_empty().then_some(()).ok_or_else(|| differences.join("\n"))
    });
}

fn a_replaced_worker_gets_its_pods_back(world: &World, alice: &Laptop, before: &Objects) {
    aside::lose(alice, "restored", &["deploy/worker", "--replace"]);
    assert_eq!(aside::pods_of_worker(world), Vec::<String>::new());
    let lost = Instant::now();
    eventually("the worker has its pod again, and the agent is gone", RESTORED, || {
        let (pods, agents) = (aside::pods_of_worker(world), aside::asides(world));
        (pods.len() == 1 && agents.is_empty()).then_some(()).ok_or_else(|| format!("{pods:?}, {agents:?}"))
    });
    println!("the worker had its pod {:.1?} after the laptop was lost", lost.elapsed());
    let worker = "Deployment/worker";
    let differences = || before.only(worker).compare(&world.objects().only(worker), But::Nothing);
    eventually("every field of it is as it was", Duration::from_secs(10), || {
        let differences = differences();
        differences.is_empty().then_some(()).ok_or_else(|| differences.join("\n"))
    });
}

fn a_replaced_service_gets_its_pods_back(world: &World, alice: &Laptop, orders: &Local) {
    let before = Before::of(world, "deployment/orders");
    let connected = replacing::replaces(alice, orders);
    assert!(connected.contains(&format!("after {AFTER} s, the agents bring the pods back")), "{connected}");
    assert_eq!(world.who_answers(&[]), orders.name);
    assert!(alice.kill_daemon(), "expected a daemon");
    let took = world.comes_to("x-bridge=anyone", "orders-", RESTORED + ROLLED_OUT);
    println!("a pod answered {took:.1?} after the laptop of who had replaced it was lost");
    before.is_again(world);
}

fn sidecars_are_taken_out(world: &World, alice: &Laptop, orders: &Local) {
    let before = Before::of(world, "deployment/orders");
    let _ = connect(alice, orders, &["--mode", "sidecar"]);
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    assert!(alice.kill_daemon(), "expected a daemon");
    eventually("the template has no agent", RESTORED, || {
        let names = world.kubectl(&[
            "get",
            "deployment",
            "orders",
            "-o",
            "jsonpath={.spec.template.spec.containers[*].name}",
        ]);
        let names = names.succeeds().stdout;
        (!names.contains("bridge-agent")).then_some(()).ok_or(names)
    });
    before.is_again(world);
    eventually("the key and the programs go with the last pod", ROLLED_OUT, || {
        let left =
            world.kubectl(&["get", "secrets,configmaps", "-l", "bridge.dev/service=orders", "-o", "name"]);
        let left = left.succeeds().stdout;
        left.trim().is_empty().then_some(()).ok_or(left)
    });
}
