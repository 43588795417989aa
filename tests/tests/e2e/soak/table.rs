//! Every mode at every kind of workload and port, under the load of others: a table, a row each.

use bridge_tests::{Laptop, Load, Local, World, eventually};
use serde_json::Value;

use crate::sidecar::{Before, ROLLED_OUT, is_rolled_out};
use crate::sidecar_kinds::{DAEMON_SET, DEPLOYMENT, Kind, STATEFUL_SET};

/// What is connected.
struct Subject {
    name: &'static str,
    kind: &'static Kind,
    port: &'static str,
    /// The line of the Service's manifest with the targetPort, and the same port by its number.
    named: &'static str,
    numbered: &'static str,
    others: fn(&World) -> Load,
    /// The name of what answers a request, Alice's or that of others.
    who_answers: fn(&World, &[&str]) -> String,
    /// A variable of its containers, and how its value begins.
    variable: (&'static str, &'static str),
}

/// By HTTP: new connections, kept ones and WebSockets.
const fn orders(kind: &'static Kind) -> Subject {
    Subject {
        name: "orders",
        kind,
        port: "http",
        named: "targetPort: http\n",
        numbered: "targetPort: 8080\n",
        others: |world| world.others_by("others", &["new", "keepalive", "ws"]),
        who_answers: World::who_answers,
        variable: ("GREETING", "Welcome to the shop"),
    }
}

/// By gRPC.
const PRICES: Subject = Subject {
    name: "prices",
    kind: &Kind {
        workload: "deployment/prices",
        title: "Deployment prices",
        manifest: |world| world.manifest("prices"),
    },
    port: "grpc",
    named: "targetPort: grpc\n",
    numbered: "targetPort: 50051\n",
    others: |world| {
        let args =
            ["--url", "grpc://prices:50051", "--rate", "100", "--workers", "4", "--expect", "^prices-"];
        world.callers("others", &[("grpc", args.map(str::to_owned).to_vec())])
    },
    who_answers: |world, headers| {
        let headers = headers.iter().flat_map(|header| ["--header", header]);
        let args: Vec<&str> = ["grpc", "prices:50051", "get", "coffee"].into_iter().chain(headers).collect();
        let said = world.client(&args).succeeds().stdout;
        let answer: Value = serde_json::from_str(said.lines().next().unwrap_or_default()).expect("JSON");
        answer["answered_by"].as_str().expect("a name").to_owned()
    },
    variable: ("POD_NAME", "prices-"),
};

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
    rows("table-deploy", &orders(&DEPLOYMENT));
}

#[test]
#[ignore = "needs a cluster: make soak"]
fn each_mode_at_a_stateful_set() {
    rows("table-sts", &orders(&STATEFUL_SET));
}

#[test]
#[ignore = "needs a cluster: make soak"]
fn each_mode_at_a_daemon_set() {
    rows("table-ds", &orders(&DAEMON_SET));
}

#[test]
#[ignore = "needs a cluster: make soak"]
fn each_mode_with_grpc() {
    rows("table-grpc", &PRICES);
}

fn rows(name: &str, subject: &Subject) {
    let world = World::with(name, &["client"]);
    world.allows_sidecars();
    let alice = world.laptop("alice");
    let local = alice.runs(subject.name);
    let workload = subject.kind.workload;
    for (port, line) in [("by name", subject.named), ("by number", subject.numbered)] {
        let manifest = (subject.kind.manifest)(&world);
        assert!(manifest.contains(subject.named), "{manifest}");
        let _ = world.apply(&manifest.replace(subject.named, line));
        is_rolled_out(&world, workload);
        world.leads_to_its_pods(subject.name);
        let restarted = failed(&(subject.others)(&world), || {
            let old = pods(&world, subject.name);
            let _ = world.kubectl(&["rollout", "restart", workload]).succeeds();
            is_rolled_out(&world, workload);
            eventually("the old pods are gone", ROLLED_OUT, || {
                let left: Vec<String> =
                    pods(&world, subject.name).into_iter().filter(|pod| old.contains(pod)).collect();
                if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
            });
        });
        for mode in &MODES {
            row(&world, &alice, &local, subject, port, mode, &restarted);
        }
        beside(&world, &alice, subject, port);
    }
}

/// The uids of its pods: a StatefulSet's keep their names.
fn pods(world: &World, app: &str) -> Vec<String> {
    let listed = world.kubectl(&["get", "pods", "-l", &format!("app={app}"), "-o", "json"]).succeeds().json();
    let pods = listed["items"].as_array().expect("a list");
    pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned)).collect()
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
    local: &Local,
    subject: &Subject,
    port: &str,
    mode: &Mode,
    restarted: &[(String, u64)],
) {
    let before = Before::of(world, subject.kind.workload);
    let others = (subject.others)(world);
    let mut answered = (String::new(), String::new());
    let failed = failed(&others, || {
        let led = local.for_port(subject.port);
        let connect = [&["connect", subject.name, "--port", &led], mode.options].concat();
        let _ = alice.bridge(&connect).succeeds();
        answered = ((subject.who_answers)(world, &["x-bridge=alice"]), (subject.who_answers)(world, &[]));
        others.goes_on(20);
        let _ = alice.bridge(&["disconnect", subject.name]).succeeds();
        before.is_again(world);
    });
    let reports = others.so_far();
    let requests: u64 = reports.iter().map(|(_, report)| report.requests()).sum();
    println!(
        "{:9} {:22} {port:9} failed {failed:?} of {requests} (one restart without bridge: {restarted:?}); alice: {}, \
         others: {}; Service and workload equal afterwards",
        mode.name, subject.kind.title, answered.0, answered.1
    );
    assert_eq!(answered.0 == local.name, mode.laptop_answers, "{}: {answered:?}", mode.name);
    assert!(answered.1.starts_with(&format!("{}-", subject.name)), "{}: {answered:?}", mode.name);
    for ((caller, failed), (_, restarted)) in failed.iter().zip(restarted) {
        let allowed = if mode.rolls { 2 * restarted } else { 0 };
        assert!(
            *failed <= allowed,
            "{}, {caller}: {failed} failed, expected at most {allowed}: {reports:?}",
            mode.name
        );
    }
}

/// The mode `aside`, which touches nothing of others.
fn beside(world: &World, alice: &Laptop, subject: &Subject, port: &str) {
    let before = Before::of(world, subject.kind.workload);
    let others = (subject.others)(world);
    let (name, value) = subject.variable;
    let failed = failed(&others, || {
        let echo = format!("echo ${name}");
        let run = ["run", subject.name, "--no-requests", "--", "sh", "-c", &echo];
        let said = alice.bridge(&run).succeeds().stdout;
        assert!(said.starts_with(value), "{name} of the pods, expected {value}…: {said}");
        before.is_again(world);
    });
    println!(
        "{:9} {:22} {port:9} failed {failed:?}; Service and workload equal afterwards",
        "aside", subject.kind.title
    );
    assert!(failed.iter().all(|(_, failed)| *failed == 0), "{failed:?}");
}
