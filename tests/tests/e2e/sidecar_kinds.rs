//! The mode `sidecar` where the pods belong to a StatefulSet or a DaemonSet.

use std::time::Duration;

use bridge_tests::{Laptop, Local, World, eventually};
use serde_json::json;

use super::sidecar::{Before, ROLLED_OUT, connect, is_rolled_out, is_without, lost_in_a_restart};

/// How orders is deployed.
pub(crate) struct Kind {
    /// For kubectl.
    pub(crate) workload: &'static str,
    /// As messages name it.
    pub(crate) title: &'static str,
    pub(crate) manifest: fn(&World) -> String,
}

pub(crate) const DEPLOYMENT: Kind = Kind {
    workload: "deployment/orders",
    title: "Deployment orders",
    manifest: |world| world.manifest("orders"),
};
pub(crate) const STATEFUL_SET: Kind =
    Kind { workload: "statefulset/orders", title: "StatefulSet orders", manifest: stateful_set };
pub(crate) const DAEMON_SET: Kind =
    Kind { workload: "daemonset/orders", title: "DaemonSet orders", manifest: daemon_set };
/// One that no Deployment controls: its pods do not roll out.
pub(crate) const REPLICA_SET: Kind = Kind {
    workload: "replicaset/orders",
    title: "ReplicaSet orders",
    manifest: |world| {
        world.manifest("orders").replace("kind: Deployment\n", "kind: ReplicaSet\n").replace(STRATEGY, "")
    },
};

/// The strategy of the Deployment in the manifest of orders.
pub(crate) const STRATEGY: &str =
    "  strategy:\n    type: RollingUpdate\n    rollingUpdate:\n      maxUnavailable: 0\n      maxSurge: 1\n";

/// Two pods, replaced one after the other.
fn stateful_set(world: &World) -> String {
    let manifest = world.manifest("orders").replace("kind: Deployment\n", "kind: StatefulSet\n");
    manifest.replace(STRATEGY, "  serviceName: orders-pods\n").replace("replicas: 1\n", "replicas: 2\n")
}

/// A pod on each node, replaced by one beside it.
fn daemon_set(world: &World) -> String {
    let manifest = world.manifest("orders").replace("kind: Deployment\n", "kind: DaemonSet\n");
    manifest.replace(STRATEGY, &STRATEGY.replace("strategy", "updateStrategy")).replace("  replicas: 1\n", "")
}

#[test]
#[ignore = "needs a cluster: make test"]
fn a_stateful_set_gets_sidecars() {
    let (world, alice, orders) = begun("stateful", &STATEFUL_SET);
    sidecars_come_and_go_under_load(&world, &alice, &orders, &STATEFUL_SET);
    applying_the_manifest_gives_the_traffic_to_the_pods(&world, &alice, &orders, &STATEFUL_SET);
}

#[test]
#[ignore = "needs a cluster: make test"]
fn a_stateful_set_goes_back_after_a_roll_out_that_failed() {
    let (world, alice, _orders) = begun("stateful-failed", &STATEFUL_SET);
    refused_pods_are_undone(&world, &alice, &STATEFUL_SET);
    a_pod_that_never_becomes_ready_does_not_stay(&world, &alice);
    without_the_right_to_delete_it_the_command_is_said(&world, &alice);
}

#[test]
#[ignore = "needs a cluster: make test"]
fn a_daemon_set_gets_sidecars() {
    let (world, alice, orders) = begun("daemons", &DAEMON_SET);
    sidecars_come_and_go_under_load(&world, &alice, &orders, &DAEMON_SET);
    refused_pods_are_undone(&world, &alice, &DAEMON_SET);
}

/// A developer who first learns which right is missing.
fn begun(name: &str, kind: &Kind) -> (World, Laptop, Local) {
    let world = World::with(name, &["client"]);
    let _ = world.apply(&(kind.manifest)(&world));
    is_rolled_out(&world, kind.workload);
    world.leads_to_its_pods("orders");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let before = Before::of(&world, kind.workload);
    alice.bridge(&["connect", "orders", "--mode", "sidecar"]).fails(3, "deploy/rbac-sidecar.yaml");
    before.is_again(&world);
    world.allows_sidecars();
    (world, alice, orders)
}

pub(crate) fn sidecars_come_and_go_under_load(world: &World, alice: &Laptop, orders: &Local, kind: &Kind) {
    let restarted = lost_in_a_restart(world, kind.workload);
    let before = Before::of(world, kind.workload);
    let others = world.others_by("others", &["new"]);

    let connected = connect(alice, orders, &["--mode", "sidecar"]);
    assert!(connected.contains(kind.title), "{connected}");
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    assert!(world.who_answers(&[]).starts_with("orders-"), "others reach the pods");
    let session = alice.session();
    assert_eq!((&session["mode"], &session["state"]), (&json!("sidecar"), &json!("routing")), "{session}");
    let listed = alice.bridge(&["list"]).succeeds().stdout;
    assert!(listed.contains(kind.title) && listed.contains("alice"), "{listed}");
    let menu = alice.bridge(&["run", "orders", "--", "sh", "-c", "cat $BRIDGE_ROOT/etc/shop/menu.txt"]);
    assert!(menu.succeeds().stdout.contains("coffee"), "the files of its volumes");
    let _ = alice.bridge(&["logs", "orders", "--tail", "1"]).succeeds();
    let _ = alice.bridge(&["doctor"]).succeeds();
    others.goes_on(20);

    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    before.is_again(world);
    let report = others.ends();
    println!(
        "{}: failed of others in two roll-outs: {} of {}, and {restarted} in one restart without bridge",
        kind.title,
        report.failed(),
        report.requests()
    );
    assert!(
        report.failed() <= 2 * restarted,
        "expected no more than {restarted} for each roll-out: {report}"
    );
}

fn applying_the_manifest_gives_the_traffic_to_the_pods(
    world: &World,
    alice: &Laptop,
    orders: &Local,
    kind: &Kind,
) {
    let _ = connect(alice, orders, &["--mode", "sidecar"]);
    let _ = world.apply(&(kind.manifest)(world));
    eventually("status says that the template was changed", Duration::from_secs(10), || {
        let session = alice.session();
        let shown = session["detail"].as_str().is_some_and(|detail| detail.contains(kind.title));
        (session["state"] == "reset" && shown).then_some(()).ok_or_else(|| session.to_string())
    });
    // Another laptop cleans up.
    assert!(alice.kill_daemon(), "expected a daemon");
    let _ = world.laptop("bob").bridge(&["clean", "--others"]).succeeds();
    is_without(world, kind.workload);
}

/// As by a quota, or by admission.
fn refused_pods_are_undone(world: &World, alice: &Laptop, kind: &Kind) {
    let before = Before::of(world, kind.workload);
    let policy = world.refuses_pods("!(c.name in ['tried', 'bridge-agent'])", "no agents here");
    let refused = alice.bridge(&["connect", "orders", "--mode", "sidecar"]);
    refused.fails(7, &format!("{} did not roll out", kind.title));
    refused.fails(7, "no agents here");
    drop(policy);
    before.is_again(world);
}

/// Kubernetes waits for such a pod of a StatefulSet even when the template is what it was.
fn a_pod_that_never_becomes_ready_does_not_stay(world: &World, alice: &Laptop) {
    let before = Before::of(world, STATEFUL_SET.workload);
    interrupted_at_a_pod_without_an_image(world, alice);
    before.is_again(world);
}

fn without_the_right_to_delete_it_the_command_is_said(world: &World, alice: &Laptop) {
    let before = Before::of(world, STATEFUL_SET.workload);
    let mut rules =
        world.kubectl(&["get", "role", "bridge-sidecar", "-o", "json"]).succeeds().json()["rules"].take();
    rules.as_array_mut().expect("rules").retain(|rule| rule["resources"] != json!(["pods"]));
    let without = json!({"rules": rules}).to_string();
    let _ = world.kubectl(&["patch", "role", "bridge-sidecar", "--type=merge", "-p", &without]).succeeds();
    interrupted_at_a_pod_without_an_image(world, alice);
    let command = format!("kubectl -n {} delete pod orders-1", world.namespace);
    eventually("the log of the daemon says so", Duration::from_secs(20), || {
        let said = alice.bridge(&["logs", "--daemon"]).succeeds().to_string();
        if said.contains(&command) { Ok(()) } else { Err(said) }
    });
    // Kubernetes does not replace it.
    world.kubectl(&["rollout", "status", STATEFUL_SET.workload, "--timeout=5s"]).fails(1, "timed out");
    let _ = world.kubectl(&["delete", "pod", "orders-1"]).succeeds();
    before.is_again(world);
}

/// A connect that the developer gives up there.
fn interrupted_at_a_pod_without_an_image(world: &World, alice: &Laptop) {
    let args = ["connect", "orders", "--mode", "sidecar", "--agent-image", "registry.invalid/agent:1"];
    let connecting = alice.start_bridge(&args);
    eventually("the pod waits for its image", ROLLED_OUT, || {
        let pods = world.get("pods").to_string();
        if pods.contains("ErrImage") || pods.contains("ImagePullBackOff") { Ok(()) } else { Err(pods) }
    });
    connecting.interrupt();
    connecting.ends(Duration::from_secs(30)).fails(130, "undoing");
}
