//! Every mode at every kind of workload and port, under the load of others: a table, a row each. Where a mode is not
//! possible, the row is its refusal.

use bridge_tests::{Laptop, Load, Local, World, eventually};
use serde_json::Value;

use crate::sidecar::{Before, ROLLED_OUT, is_rolled_out};
use crate::sidecar_kinds::{DAEMON_SET, DEPLOYMENT, Kind, REPLICA_SET, STATEFUL_SET};

/// Of each kind of caller.
const WORKERS: u64 = 4;

/// What is connected.
struct Subject {
    name: &'static str,
    kind: &'static Kind,
    port: &'static str,
    by: &'static [By],
    /// Everyone else, whom only those may answer whose names match.
    others: fn(&World, &str) -> Load,
    /// The name of what answers a request with these headers.
    who_answers: fn(&World, &[&str]) -> Result<String, String>,
    /// A variable of its containers, and how its value begins.
    variable: (&'static str, &'static str),
}

/// How a Service leads to its port.
struct By {
    name: &'static str,
    /// The difference from the manifest of shop, which leads to it by name.
    changes: &'static [(&'static str, &'static str)],
}

const NAMED: By = By { name: "by name", changes: &[] };
const TO_8080: (&str, &str) = ("targetPort: http\n", "targetPort: 8080\n");
/// The container's port has no name at all.
const UNNAMED: By = By {
    name: "unnamed",
    changes: &[
        TO_8080,
        ("- name: http\n              containerPort: 8080\n", "- containerPort: 8080\n"),
        ("port: http\n            periodSeconds", "port: 8080\n            periodSeconds"),
    ],
};

impl By {
    fn of(&self, manifest: &str) -> String {
        self.changes.iter().fold(manifest.to_owned(), |manifest, (from, to)| {
            assert!(manifest.contains(from), "expected {from:?} in {manifest}");
            manifest.replace(from, to)
        })
    }
}

/// By HTTP: new connections, kept ones and WebSockets.
const fn orders(kind: &'static Kind) -> Subject {
    Subject {
        name: "orders",
        kind,
        port: "http",
        by: &[NAMED, By { name: "by number", changes: &[TO_8080] }, UNNAMED],
        others: |world, by| {
            let (http, answer) = ("http://orders/whoami", format!("^orders {by}"));
            let modes = [
                ("new", callers(http, &answer)),
                ("keepalive", callers(http, &answer)),
                ("ws", callers("ws://orders/ws", &format!("^{by}"))),
            ];
            world.callers("others", &modes)
        },
        who_answers: |world, headers| {
            let said = asked(world, &["http", "http://orders/whoami"], headers)?;
            said.trim().strip_prefix("orders ").map(str::to_owned).ok_or(said)
        },
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
    by: &[NAMED, By { name: "by number", changes: &[("targetPort: grpc\n", "targetPort: 50051\n")] }],
    others: |world, by| {
        world.callers("others", &[("grpc", callers("grpc://prices:50051", &format!("answered_by:\"{by}")))])
    },
    who_answers: |world, headers| {
        let said = asked(world, &["grpc", "prices:50051", "get", "coffee"], headers)?;
        let answer: Value = serde_json::from_str(said.lines().next().unwrap_or_default()).unwrap_or_default();
        answer["answered_by"].as_str().map(str::to_owned).ok_or(said)
    },
    variable: ("POD_NAME", "prices-"),
};

fn callers(url: &str, expected: &str) -> Vec<String> {
    let workers = WORKERS.to_string();
    let args = ["--url", url, "--rate", "100", "--workers", &workers, "--expect", expected];
    args.map(str::to_owned).to_vec()
}

/// What `shop client` hears.
fn asked(world: &World, request: &[&str], headers: &[&str]) -> Result<String, String> {
    let headers = headers.iter().flat_map(|header| ["--header", header]);
    let said = world.client(&request.iter().copied().chain(headers).collect::<Vec<_>>());
    if said.code == Some(0) { Ok(said.stdout) } else { Err(said.to_string()) }
}

/// A mode, and what is typed for it.
struct Mode {
    name: &'static str,
    options: &'static [&'static str],
    /// Who answers Alice's requests,
    laptop_answers: bool,
    /// and those of others.
    laptop_answers_others: bool,
    /// The pods end, once when she comes and once when she goes.
    pods_end: bool,
}

impl Mode {
    /// The reason why it is not possible.
    fn refused(&self, workload: &str, by: &By) -> Option<&'static str> {
        let kind = workload.split_once('/').map_or("", |(kind, _)| kind);
        match (self.name, kind) {
            ("sidecar", "replicaset") => Some("its pods belong to ReplicaSet orders"),
            ("sidecar", _) if by.name == UNNAMED.name => Some("has no name"),
            ("replace", "replicaset") => Some("no ReplicaSet"),
            ("replace", "daemonset") => Some("no DaemonSet"),
            _ => None,
        }
    }
}

const fn mode(name: &'static str, options: &'static [&'static str]) -> Mode {
    Mode { name, options, laptop_answers: true, laptop_answers_others: false, pods_end: false }
}

const MODES: [Mode; 4] = [
    mode("stand-in", &["--mode", "stand-in"]),
    Mode { laptop_answers: false, ..mode("copy", &["--mode", "stand-in", "--copy"]) },
    Mode { pods_end: true, ..mode("sidecar", &["--mode", "sidecar"]) },
    Mode { laptop_answers_others: true, pods_end: true, ..mode("replace", &["--replace"]) },
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
fn each_mode_at_a_replica_set() {
    rows("table-rs", &orders(&REPLICA_SET));
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
    for by in subject.by {
        let _ = world.apply(&by.of(&(subject.kind.manifest)(&world)));
        is_rolled_out(&world, workload);
        let pods_of_it = format!("{}-", subject.name);
        eventually("the Service leads to its pods", ROLLED_OUT, || {
            let by = (subject.who_answers)(&world, &[])?;
            if by.starts_with(&pods_of_it) { Ok(()) } else { Err(by) }
        });
        let restarted = restarted(&world, subject, &pods_of_it);
        for mode in &MODES {
            match mode.refused(workload, by) {
                Some(why) => refusal(&world, &alice, subject, by, mode, why),
                None => row(&world, &alice, &local, subject, by, mode, &restarted),
            }
        }
        beside(&world, &alice, subject, by);
    }
}

/// The failed requests of others in one roll-out without bridge. A ReplicaSet has none, and no mode ends its pods.
fn restarted(world: &World, subject: &Subject, by: &str) -> Vec<(String, u64)> {
    let workload = subject.kind.workload;
    failed(&(subject.others)(world, by), || {
        if workload.starts_with("replicaset/") {
            return;
        }
        let old = pods(world, subject.name);
        let _ = world.kubectl(&["rollout", "restart", workload]).succeeds();
        is_rolled_out(world, workload);
        eventually("the old pods are gone", ROLLED_OUT, || {
            let left: Vec<String> =
                pods(world, subject.name).into_iter().filter(|pod| old.contains(pod)).collect();
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        });
    })
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
    by: &By,
    mode: &Mode,
    restarted: &[(String, u64)],
) {
    let before = Before::of(world, subject.kind.workload);
    let pods = format!("{}-", subject.name);
    let anyone = format!("({pods}|{})", local.name);
    let others = (subject.others)(world, if mode.laptop_answers_others { &anyone } else { &pods });
    let (mut answered, mut session) = ((String::new(), String::new()), Value::Null);
    let failed = failed(&others, || {
        let led = local.for_port(subject.port);
        let connect = [&["connect", subject.name, "--port", &led], mode.options].concat();
        let _ = alice.bridge(&connect).succeeds();
        let answers = |headers: &[&str]| (subject.who_answers)(world, headers).expect("an answer");
        answered = (answers(&["x-bridge=alice"]), answers(&[]));
        session = alice.session();
        others.goes_on(20);
        let _ = alice.bridge(&["disconnect", subject.name]).succeeds();
        before.is_again(world);
    });
    let reports = others.so_far();
    let requests: u64 = reports.iter().map(|(_, report)| report.requests()).sum();
    println!(
        "{:9} {:22} {:9} failed {failed:?} of {requests} (one restart without bridge: {restarted:?}); alice: {}, \
         others: {}; Service and workload equal afterwards",
        mode.name, subject.kind.title, by.name, answered.0, answered.1
    );
    let laptop_answered = (answered.0 == local.name, answered.1 == local.name);
    let expected = (mode.laptop_answers, mode.laptop_answers_others);
    assert_eq!(laptop_answered, expected, "{}: {answered:?}: {session}", mode.name);
    for ((caller, failed), (_, restarted)) in failed.iter().zip(restarted) {
        // A WebSocket that is at the laptop ends with it; there is one for each worker.
        let at_the_laptop = if mode.laptop_answers_others && caller == "ws" { WORKERS } else { 0 };
        let allowed = at_the_laptop + if mode.pods_end { 2 * restarted } else { 0 };
        assert!(
            *failed <= allowed,
            "{}, {caller}: {failed} failed, expected at most {allowed}: {reports:?}",
            mode.name
        );
    }
}

/// A mode that is not possible: refused in one sentence, and nothing is touched.
fn refusal(world: &World, alice: &Laptop, subject: &Subject, by: &By, mode: &Mode, why: &str) {
    let before = Before::of(world, subject.kind.workload);
    let others = (subject.others)(world, &format!("{}-", subject.name));
    let failed = failed(&others, || {
        let connect = [&["connect", subject.name], mode.options].concat();
        alice.bridge(&connect).fails(3, why);
        before.is_again(world);
    });
    println!(
        "{:9} {:22} {:9} failed {failed:?}; refused (… {why} …); Service and workload equal afterwards",
        mode.name, subject.kind.title, by.name
    );
    assert!(failed.iter().all(|(_, failed)| *failed == 0), "{failed:?}");
}

/// The mode `aside`, which touches nothing of others.
fn beside(world: &World, alice: &Laptop, subject: &Subject, by: &By) {
    let before = Before::of(world, subject.kind.workload);
    let others = (subject.others)(world, &format!("{}-", subject.name));
    let (name, value) = subject.variable;
    let failed = failed(&others, || {
        let echo = format!("echo ${name}");
        let run = ["run", subject.name, "--no-requests", "--", "sh", "-c", &echo];
        let said = alice.bridge(&run).succeeds().stdout;
        assert!(said.starts_with(value), "{name} of the pods, expected {value}…: {said}");
        before.is_again(world);
    });
    println!(
        "{:9} {:22} {:9} failed {failed:?}; Service and workload equal afterwards",
        "aside", subject.kind.title, by.name
    );
    assert!(failed.iter().all(|(_, failed)| *failed == 0), "{failed:?}");
}
