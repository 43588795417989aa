//! The mode `sidecar`: agents in the origin's own pods.

use std::time::{Duration, Instant};

use bridge_tests::{Laptop, Local, World, eventually};
use serde_json::{Value, json};

/// How orders is deployed, for kubectl.
const DEPLOYMENT: &str = "deployment/orders";
/// The time for a roll-out of one pod.
pub(crate) const ROLLED_OUT: Duration = Duration::from_secs(60);

#[test]
#[ignore = "needs a cluster: make test"]
fn a_service_that_keeps_clients_at_one_pod_gets_sidecars() {
    // Given a Service with affinity and a targetPort by name, and callers.
    let world = World::new("sidecar");
    change(&world, &json!({"spec": {"sessionAffinity": "ClientIP"}}));
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let restarted = lost_in_a_restart(&world, DEPLOYMENT);
    let before = Before::of(&world, DEPLOYMENT);
    let others = world.others_by("others", &["new"]);

    // When Alice connects, she sees the mode and its reason, and her requests reach her laptop.
    let begun = Instant::now();
    let connected = connect(&alice, &orders, &[]);
    let took = begun.elapsed();
    assert!(connected.contains("mode sidecar") && connected.contains("ClientIP"), "{connected}");
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    assert!(world.who_answers(&[]).starts_with("orders-"), "others reach the pods");
    let session = alice.session();
    assert_eq!((&session["mode"], &session["state"]), (&json!("sidecar"), &json!("routing")), "{session}");
    a_second_developer_needs_no_roll_out(&world);
    others.goes_on(20);

    // When she disconnects, everything is as it was, and no more requests have failed than in two restarts.
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    before.is_again(&world);
    let report = others.ends();
    println!(
        "connected in {took:.1?}; failed of others: {} of {}, and {restarted} in one restart without bridge",
        report.failed(),
        report.requests()
    );
    assert!(
        report.failed() <= 2 * restarted,
        "expected no more than {restarted} for each roll-out: {report}"
    );
}

/// The requests of others that fail in `kubectl rollout restart`.
pub(crate) fn lost_in_a_restart(world: &World, workload: &str) -> u64 {
    let callers = world.others_by("restart", &["new"]);
    let again = format!("{:?}", std::time::SystemTime::now());
    let change = json!({"spec": {"template": {"metadata": {"annotations": {"again": again}}}}});
    let _ = world.kubectl(&["patch", workload, "--type=merge", "-p", &change.to_string()]).succeeds();
    is_rolled_out(world, workload);
    callers.goes_on(20);
    callers.ends().failed()
}

fn a_second_developer_needs_no_roll_out(world: &World) {
    let generation = || object(world, DEPLOYMENT)["metadata"]["generation"].clone();
    let before = generation();
    let bob = world.laptop("bob");
    let orders = bob.runs("orders");
    let _ = connect(&bob, &orders, &[]);
    assert_eq!(world.who_answers(&["x-bridge=bob"]), orders.name);
    bob.bridge(&["connect", "orders", "--mode", "stand-in"]).fails(3, "connected as sidecar");
    let _ = bob.bridge(&["disconnect", "orders"]).succeeds();
    assert_eq!(generation(), before, "the pods stay");
}

#[test]
#[ignore = "needs a cluster: make test"]
fn sidecars_are_undone_whoever_changes_what() {
    // Given a Service whose targetPort is a number.
    let world = World::with("sidecars", &["orders", "client"]);
    let numbered = json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}});
    change(&world, &numbered);
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    a_number_leads_to_the_sidecar_by_its_name(&world, &alice, &orders);
    applying_the_manifest_gives_the_traffic_to_the_pods(&world, &alice, &orders);
    change(&world, &numbered);
    another_laptop_cleans_up(&world, &alice, &orders);
    deleting_the_service_takes_the_sidecars_out(&world, &alice, &orders);
}

fn a_number_leads_to_the_sidecar_by_its_name(world: &World, alice: &Laptop, orders: &Local) {
    let before = Before::of(world, DEPLOYMENT);
    let _ = connect(alice, orders, &["--mode", "sidecar"]);
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    assert_eq!(world.service("orders")["spec"]["ports"][0]["targetPort"], "http");
    // Its environment and files are the pods'.
    let env = alice.bridge(&["env", "orders"]).succeeds().stdout;
    assert!(!env.contains("BRIDGE_POD"), "expected none of the agent's own variables: {env}");
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    before.is_again(world);
}

/// As a colleague does, or a pipeline.
fn applying_the_manifest_gives_the_traffic_to_the_pods(world: &World, alice: &Laptop, orders: &Local) {
    let _ = connect(alice, orders, &["--mode", "sidecar"]);
    let _ = world.apply(&world.manifest("orders"));
    eventually("status says that the template was changed", Duration::from_secs(10), || {
        let session = alice.session();
        let shown = session["detail"].as_str().is_some_and(|detail| detail.contains("Deployment orders"));
        (session["state"] == "reset" && shown).then_some(()).ok_or_else(|| session.to_string())
    });
    is_rolled_out(world, DEPLOYMENT);
    eventually("the pods answer", Duration::from_secs(10), || {
        let answers = world.who_answers(&["x-bridge=alice"]);
        if answers.starts_with("orders-") { Ok(()) } else { Err(answers) }
    });
    // Connecting again puts the sidecar back, and disconnecting takes it out.
    let _ = connect(alice, orders, &["--mode", "sidecar"]);
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    is_without(world, DEPLOYMENT);
}

fn another_laptop_cleans_up(world: &World, alice: &Laptop, orders: &Local) {
    let before = Before::of(world, DEPLOYMENT);
    let _ = connect(alice, orders, &["--mode", "sidecar"]);
    assert!(alice.kill_daemon(), "expected a daemon");
    let cleaned = world.laptop("bob").bridge(&["clean", "--others"]).succeeds();
    assert!(cleaned.to_string().contains("alice"), "{cleaned}");
    before.is_again(world);
}

fn deleting_the_service_takes_the_sidecars_out(world: &World, alice: &Laptop, orders: &Local) {
    let _ = connect(alice, orders, &["--mode", "sidecar"]);
    let _ = world.kubectl(&["delete", "service", "orders"]).succeeds();
    is_without(world, DEPLOYMENT);
}

pub(crate) fn connect(laptop: &Laptop, orders: &Local, more: &[&str]) -> String {
    let port = orders.for_port("http");
    let args = [&["connect", "orders", "--port", &port], more].concat();
    laptop.bridge(&args).succeeds().to_string()
}

fn change(world: &World, change: &Value) {
    let _ = world.kubectl(&["patch", "service", "orders", "-p", &change.to_string()]).succeeds();
}

fn object(world: &World, workload: &str) -> Value {
    world.kubectl(&["get", workload, "-o", "json"]).succeeds().json()
}

pub(crate) fn is_rolled_out(world: &World, workload: &str) {
    if workload.starts_with("rollout/") {
        return eventually("the Rollout is healthy", ROLLED_OUT, || {
            let rollout = object(world, workload);
            let (status, generation) = (&rollout["status"], rollout["metadata"]["generation"].to_string());
            let healthy = status["phase"] == "Healthy" && status["observedGeneration"] == generation.as_str();
            healthy.then_some(()).ok_or_else(|| status.to_string())
        });
    }
    if workload.starts_with("replicaset/") {
        return eventually("the ReplicaSet has its pods", ROLLED_OUT, || {
            let replicas = object(world, workload);
            let all = replicas["status"]["readyReplicas"] == replicas["spec"]["replicas"];
            all.then_some(()).ok_or_else(|| replicas["status"].to_string())
        });
    }
    let _ = world.kubectl(&["rollout", "status", workload, "--timeout=60s"]).succeeds();
}

/// Waits until the pods have no sidecar, and nothing that it needs is left.
pub(crate) fn is_without(world: &World, workload: &str) {
    is_rolled_out(world, workload);
    let ours = format!("{}-bridge-", service_of(workload));
    eventually("nothing of the sidecars is left", ROLLED_OUT, || {
        let pods = world.get("pods").to_string();
        let template = object(world, workload).to_string();
        let left = ["configmaps", "secrets"].map(|kind| world.get(kind).to_string());
        let all = [pods, template, left.concat()];
        let named = all.iter().position(|text| text.contains("bridge-agent") || text.contains(&ours));
        named.map_or(Ok(()), |at| Err(["the pods", "the template", "the objects"][at].to_owned()))
    });
}

/// "deployment/orders": the Service orders.
fn service_of(workload: &str) -> &str {
    workload.split_once('/').expect("KIND/NAME, and a Service of that name").1
}

/// The Service and the workload, as others have made them.
pub(crate) struct Before {
    workload: &'static str,
    objects: [Value; 2],
}

impl Before {
    pub(crate) fn of(world: &World, workload: &'static str) -> Self {
        let mut objects = [world.service(service_of(workload)), object(world, workload)];
        for object in &mut objects {
            object["status"].take();
            let metadata = object["metadata"].as_object_mut().expect("metadata");
            metadata.retain(|name, _| ["name", "labels", "annotations", "uid"].contains(&name.as_str()));
            // Controllers count roll-outs.
            for counted in [
                "deployment.kubernetes.io/revision",
                "deprecated.daemonset.template.generation",
                "rollout.argoproj.io/revision",
            ] {
                object["metadata"]["annotations"][counted].take();
            }
        }
        Self { workload, objects }
    }

    pub(crate) fn is_again(&self, world: &World) {
        is_without(world, self.workload);
        let now = Self::of(world, self.workload);
        assert_eq!(now.objects, self.objects, "expected the Service and the workload as they were");
    }
}
