//! Every mode at every kind of workload and port, under the load of others: a table, a row each.

use bridge_tests::{Laptop, Load, Local, World};

use crate::sidecar::{Before, is_rolled_out};
use crate::sidecar_kinds::{DAEMON_SET, DEPLOYMENT, Kind, STATEFUL_SET};

/// The line of the Service's manifest with the targetPort, and the same port by its number.
const NAMED: &str = "targetPort: http\n";
const NUMBERED: &str = "targetPort: 8080\n";

/// A mode, and what is typed for it.
struct Mode {
    name: &'static str,
    options: &'static [&'static str],
    /// Who answers Alice's requests.
    laptop_answers: bool,
    /// The pods roll out, once when she comes and once when she goes.
    rolls: bool,
}

const MODES: [Mode; 3] = [
    Mode { name: "stand-in", options: &["--mode", "stand-in"], laptop_answers: true, rolls: false },
    Mode { name: "copy", options: &["--mode", "stand-in", "--copy"], laptop_answers: false, rolls: false },
    Mode { name: "sidecar", options: &["--mode", "sidecar"], laptop_answers: true, rolls: true },
];

#[test]
#[ignore = "needs a cluster: make soak"]
fn each_mode_at_a_deployment() {
    rows("table-deploy", &DEPLOYMENT);
}

#[test]
#[ignore = "needs a cluster: make soak"]
fn each_mode_at_a_stateful_set() {
    rows("table-sts", &STATEFUL_SET);
}

#[test]
#[ignore = "needs a cluster: make soak"]
fn each_mode_at_a_daemon_set() {
    rows("table-ds", &DAEMON_SET);
}

fn rows(name: &str, kind: &Kind) {
    let world = World::with(name, &["client"]);
    world.allows_sidecars();
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    for (port, line) in [("by name", NAMED), ("by number", NUMBERED)] {
        let manifest = (kind.manifest)(&world);
        assert!(manifest.contains(NAMED), "{manifest}");
        let _ = world.apply(&manifest.replace(NAMED, line));
        is_rolled_out(&world, kind.workload);
        world.leads_to_its_pods("orders");
        let restarted = failed(&others(&world), || {
            let _ = world.kubectl(&["rollout", "restart", kind.workload]).succeeds();
            is_rolled_out(&world, kind.workload);
        });
        for mode in &MODES {
            row(&world, &alice, &orders, kind, port, mode, &restarted);
        }
        beside(&world, &alice, kind, port);
    }
}

/// Everyone else: by new connections, by kept ones, by WebSockets.
fn others(world: &World) -> Load {
    world.others_by("others", &["new", "keepalive", "ws"])
}

/// The failed requests of others meanwhile, by the kind of caller.
fn failed(others: &Load, meanwhile: impl FnOnce()) -> Vec<(String, u64)> {
    meanwhile();
    others.goes_on(20);
    others.so_far().into_iter().map(|(kind, report)| (kind, report.failed())).collect()
}

fn row(
    world: &World,
    alice: &Laptop,
    orders: &Local,
    kind: &Kind,
    port: &str,
    mode: &Mode,
    restarted: &[(String, u64)],
) {
    let before = Before::of(world, kind.workload);
    let others = others(world);
    let mut answered = (String::new(), String::new());
    let failed = failed(&others, || {
        let local = orders.for_port("http");
        let connect = [&["connect", "orders", "--port", &local], mode.options].concat();
        let _ = alice.bridge(&connect).succeeds();
        answered = (world.who_answers(&["x-bridge=alice"]), world.who_answers(&[]));
        others.goes_on(20);
        let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
        before.is_again(world);
    });
    let requests: u64 = others.so_far().iter().map(|(_, report)| report.requests()).sum();
    println!(
        "{:9} {:22} {port:9} failed {failed:?} of {requests} (one restart without bridge: {restarted:?}); alice: {}, \
         others: {}; Service and workload equal afterwards",
        mode.name, kind.title, answered.0, answered.1
    );
    assert_eq!(answered.0 == orders.name, mode.laptop_answers, "{}: {answered:?}", mode.name);
    assert!(answered.1.starts_with("orders-"), "{}: {answered:?}", mode.name);
    for ((caller, failed), (_, restarted)) in failed.iter().zip(restarted) {
        let allowed = if mode.rolls { 2 * restarted } else { 0 };
        assert!(*failed <= allowed, "{}, {caller}: {failed} failed, expected at most {allowed}", mode.name);
    }
}

/// The mode `aside`, which touches nothing of others.
fn beside(world: &World, alice: &Laptop, kind: &Kind, port: &str) {
    let before = Before::of(world, kind.workload);
    let others = others(world);
    let failed = failed(&others, || {
        let run = ["run", "orders", "--no-requests", "--", "sh", "-c", "echo $GREETING"];
        let said = alice.bridge(&run).succeeds().stdout;
        assert_eq!(said.trim(), "Welcome to the shop", "the environment of the pods");
        before.is_again(world);
    });
    println!("{:9} {:22} {port:9} failed {failed:?}; Service and workload equal", "aside", kind.title);
    assert!(failed.iter().all(|(_, failed)| *failed == 0), "{failed:?}");
}
