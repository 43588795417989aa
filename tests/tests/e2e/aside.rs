//! The mode `aside`: workloads without a Service, commands that take no requests, and those that take the place of a worker.

use std::path::Path;
use std::time::Duration;

use bridge_tests::objects::But;
use bridge_tests::process::{Running, USUAL};
use bridge_tests::{Laptop, Objects, World, eventually};
use serde_json::{Value, json};

/// The agent's pod has two seconds to end.
const GONE_WITHIN: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs a cluster: make test"]
fn workloads_without_a_service_have_commands_beside_them() {
    let world = World::with("aside", &["orders", "prices", "client"]);
    has_a_worker_and_a_report(&world);
    let alice = world.laptop("alice");
    // The policy that limits developers to bridge's own objects allows all of it.
    let _policy = world.holds_the_developer();
    let before = world.objects();
    a_command_has_their_environment_files_and_network(&world, &alice);
    world.is_again(&before, GONE_WITHIN);
    who_takes_no_requests_leaves_a_connected_service_alone(&world, &alice);
    it_outlives_the_daemon_with_one_agent(&world, &alice);
    what_a_lost_laptop_leaves_is_cleaned_by_another(&world, &alice);
    world.is_given_back(&before);
}

#[test]
#[ignore = "needs a cluster: make test"]
fn a_worker_has_no_pods_while_a_command_takes_its_place() {
    let world = World::with("replace", &["orders", "client"]);
    has_a_worker_and_a_report(&world);
    let _ = world.kubectl(&["scale", "deployment", "worker", "--replicas=2"]).succeeds();
    let _ = world.kubectl(&["rollout", "status", "deployment/worker", "--timeout=60s"]).succeeds();
    let (alice, bob) = (world.laptop("alice"), world.laptop("bob"));
    let before = world.objects();
    let replace = ["deploy/worker", "--replace"];

    // The command begins once the last pod is gone; they come back when it ends.
    let held = holds(&alice, "first", &replace);
    assert_eq!(pods_of_worker(&world), Vec::<String>::new());
    assert_eq!(alice.session()["replaces"], "Deployment worker");
    bob.bridge(&["run", "deploy/worker", "--replace", "true"]).fails(6, "alice already replaces");
    // The command outlives the daemon, and so does the place that it has.
    assert!(alice.kill_daemon(), "expected a daemon");
    eventually("the next daemon has a session", Duration::from_secs(40), || {
        let status = alice.status();
        let replaces = &status["sessions"][0]["replaces"];
        (replaces == "Deployment worker").then_some(()).ok_or_else(|| status.to_string())
    });
    assert_eq!(pods_of_worker(&world), Vec::<String>::new());
    ends(&alice, "first", held);
    worker_is_again(&world, &before);

    // From the records in the cluster alone.
    lose(&alice, "lost", &replace);
    let would = bob.bridge(&["clean", "--others", "--dry-run"]).succeeds().stdout;
    assert!(
        would.contains("deploy/worker: would restore its replicas (2), which alice had replaced"),
        "{would}"
    );
    assert_eq!(pods_of_worker(&world), Vec::<String>::new());
    let cleaned = bob.bridge(&["clean", "deploy/worker", "--others"]).succeeds().stdout;
    assert!(cleaned.contains("deploy/worker: restored its replicas (2)"), "{cleaned}");
    worker_is_again(&world, &before);
}

/// It has its pods and every field back, and nothing of bridge is left.
fn worker_is_again(world: &World, before: &Objects) {
    const WORKER: &str = "Deployment/worker";
    eventually("the worker is as it was", GONE_WITHIN, || {
        let mut differences = before.only(WORKER).compare(&world.objects().only(WORKER), But::Nothing);
        differences.extend(asides(world));
        let pods = pods_of_worker(world);
        let is_again = differences.is_empty() && pods.len() == 2;
        is_again.then_some(()).ok_or_else(|| format!("{pods:?}, {differences:?}"))
    });
}

pub(crate) fn pods_of_worker(world: &World) -> Vec<String> {
    let pods = world.kubectl(&["get", "pods", "-l", "app=worker", "-o", "name"]).succeeds();
    pods.stdout.lines().map(str::to_owned).collect()
}

/// Orders without its Service: as a Deployment without pods, and as a CronJob that never runs.
pub(crate) fn has_a_worker_and_a_report(world: &World) {
    let orders = world.kubectl(&["get", "deployment", "orders", "-o", "json"]).succeeds().json();
    let mut spec = orders["spec"].clone();
    let labels = json!({"app": "worker"});
    spec["replicas"] = json!(0);
    spec["selector"] = json!({"matchLabels": labels});
    spec["template"]["metadata"] = json!({"labels": labels});
    let mut pod = spec["template"].clone();
    pod["spec"]["restartPolicy"] = json!("Never");
    let report = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "report"},
        "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": pod}}}});
    let worker =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "worker"}, "spec": spec});
    for object in [worker, report] {
        let _ = world.apply(&object.to_string());
    }
    eventually("the Deployment is seen", Duration::from_secs(20), || {
        let worker = world.kubectl(&["get", "deployment", "worker", "-o", "json"]).succeeds().json();
        let seen = worker["status"]["observedGeneration"] == worker["metadata"]["generation"];
        seen.then_some(()).ok_or_else(|| worker["status"].to_string())
    });
}

fn a_command_has_their_environment_files_and_network(world: &World, alice: &Laptop) {
    let no_service = "no Service in namespace";
    alice.bridge(&["run", "cronjob/weekly", "true"]).fails(3, "CronJob \"weekly\" not found in namespace");
    alice.bridge(&["connect", "deploy/worker"]).fails(3, no_service);
    alice.bridge(&["run", "deploy/worker", "--header", "x=1", "true"]).fails(3, no_service);
    let script = format!(
        "echo $GREETING; cat $BRIDGE_ROOT/etc/shop/menu.txt; {} client http http://orders/whoami",
        bridge_tests::place::shop().display()
    );
    for target in ["deploy/worker", "cronjob/report"] {
        let done = alice.bridge(&["run", target, "--", "sh", "-c", &script]).succeeds();
        let lines: Vec<&str> = done.stdout.lines().collect();
        assert_eq!(lines[..2], ["Welcome to the shop", "coffee, tea and cake"], "{done}");
        assert!(lines[2].starts_with("orders orders-"), "by its name in the cluster, from a pod: {done}");
        assert!(done.stderr.contains("no requests come here"), "{done}");
    }
    let named = alice.bridge(&["dns", "prices", "--target", "deploy/worker", "-o", "json"]).succeeds().json();
    assert_eq!(named["records"][0]["data"], world.service("prices")["spec"]["clusterIP"], "{named}");
    let environment = alice.bridge(&["env", "cronjob/report", "--format", "json"]).succeeds().json();
    assert_eq!(environment["GREETING"], "Welcome to the shop");
    assert_eq!(alice.status()["sessions"], json!([]));
}

fn who_takes_no_requests_leaves_a_connected_service_alone(world: &World, alice: &Laptop) {
    let bob = world.laptop("bob");
    let orders = bob.runs("orders");
    let _ = bob.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let connected = world.service("orders");

    let held = holds(alice, "no-requests", &["orders", "--no-requests"]);
    let session = alice.session();
    assert_eq!((&session["mode"], &session["target"]), (&json!("aside"), &json!("svc/orders")), "{session}");
    assert_eq!((&session["state"], &session["routes"]), (&json!("routing"), &json!([])), "{session}");
    let listed = alice.bridge(&["list"]).succeeds().stdout;
    assert!(listed.contains("beside svc/orders, without requests: alice"), "{listed}");
    let _ = alice.bridge(&["logs", "orders", "--tail", "1"]).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=bob"]), orders.name);
    assert!(world.who_answers(&["x-bridge=alice"]).starts_with("orders-"), "her requests go to the pods");
    ends(alice, "no-requests", held);

    let spec = |service: &Value| (service["spec"].clone(), service["metadata"]["annotations"].clone());
    assert_eq!(spec(&world.service("orders")), spec(&connected));
    assert_eq!(world.who_answers(&["x-bridge=bob"]), orders.name);
    let _ = bob.bridge(&["disconnect", "orders"]).succeeds();
}

fn it_outlives_the_daemon_with_one_agent(world: &World, alice: &Laptop) {
    let held = holds(alice, "killed", &["deploy/worker"]);
    let before = asides(world);
    assert!(alice.kill_daemon(), "expected a daemon");
    eventually("another agent has taken its place", Duration::from_secs(40), || {
        let now: Vec<String> =
            asides(world).into_iter().filter(|name| name.starts_with("deployment")).collect();
        let is_new = now.len() == 1 && !before.contains(&now[0]);
        is_new.then_some(()).ok_or_else(|| now.join(", "))
    });
    ends(alice, "killed", held);
}

fn what_a_lost_laptop_leaves_is_cleaned_by_another(world: &World, alice: &Laptop) {
    lose(alice, "lost", &["deploy/worker"]);
    let bob = world.laptop("bob");
    let kept = bob.bridge(&["clean"]).succeeds().stdout;
    assert!(kept.contains("kept: the session of alice") && kept.contains("deploy/worker"), "{kept}");
    let would = bob.bridge(&["clean", "--others", "--dry-run"]).succeeds().stdout;
    assert!(would.contains("deploy/worker: would remove the agent of alice"), "{would}");
    let cleaned = bob.bridge(&["clean", "deploy/worker", "--others"]).succeeds().stdout;
    assert!(cleaned.contains("deploy/worker: removed the agent of alice"), "{cleaned}");
    eventually("its objects are gone", GONE_WITHIN, || {
        let left = asides(world);
        left.is_empty().then_some(()).ok_or_else(|| left.join(", "))
    });
}

/// The names of agents' Deployments.
pub(crate) fn asides(world: &World) -> Vec<String> {
    let found = world.kubectl(&[
        "get",
        "deployments,pods,secrets,configmaps",
        "-l",
        "bridge.dev/aside",
        "-o",
        "name",
    ]);
    found.succeeds().stdout.lines().map(str::to_owned).collect()
}

/// A command of `bridge run` that goes on until the file NAME.ends exists; returns once it runs.
fn holds(alice: &Laptop, name: &str, options: &[&str]) -> Running {
    let script = format!(
        "echo $PPID > $HOME/{name}.pid; touch $HOME/{name}.runs; while test ! -e $HOME/{name}.ends; do sleep 0.05; done"
    );
    let running = alice.start_bridge(&[&["run"], options, &["--", "sh", "-c", &script]].concat());
    let runs = alice.path(&format!("{name}.runs"));
    eventually("the command runs", Duration::from_secs(40), || {
        runs.exists().then_some(()).ok_or_else(|| "not yet".to_owned())
    });
    running
}

/// Lets a command end that holds.
fn ends(alice: &Laptop, name: &str, held: Running) {
    let file = alice.path(&format!("{name}.ends")).display().to_string();
    let _ = alice.start(Path::new("touch"), &[&file]).ends(USUAL);
    let _ = held.ends(USUAL).succeeds();
}

/// Loses the laptop while a command runs: daemon and command at once. Alone, the command would start another daemon, and
/// the daemon would end the session.
pub(crate) fn lose(alice: &Laptop, name: &str, options: &[&str]) {
    let held = holds(alice, name, options);
    let stop = format!("kill -STOP $(cat $HOME/{name}.pid)");
    let _ = alice.start(Path::new("sh"), &["-c", &stop]).ends(USUAL).succeeds();
    assert!(alice.kill_daemon(), "expected a daemon");
    held.kill();
}
