//! The stand-in follows the origin, and never keeps a Service down.

use std::time::{Duration, Instant};

use bridge_tests::place::{next_shop_image, shop_image};
use bridge_tests::{Laptop, Load, Local, Report, World, eventually};
use serde_json::{Value, json};

#[test]
#[ignore = "needs a cluster: make soak"]
fn a_stand_in_follows_the_origin_and_never_keeps_it_down() {
    let world = World::new("follows");
    let (alice, bob) = (world.laptop("alice"), world.laptop("bob"));
    let orders = alice.runs("orders");

    // The cost without bridge, for comparison.
    let without = deleted_at_once(&world, "without", "app=orders", || Ok(()));

    a_roll_out_is_followed_whatever_is_pruned(&world, &alice, &orders);
    all_agents_at_once_cost_no_more_than_all_pods(&world, &alice, &orders, without);
    agents_that_cannot_start_leave_the_service_to_the_origin(&world, &alice, &orders);
    connecting_again_brings_a_stale_stand_in_up_to_date(&world, &alice, &orders);
    clean_gives_back_a_service_whose_laptop_is_gone(&world, &alice, &bob);
}

/// The origin of this image, with a greeting and with ConfigMaps and a Secret of this generation; those of another are
/// pruned.
fn rolled_out(world: &World, generation: &str, image: &str, pruned: Option<&str>) {
    let named = |generation: &str| {
        ["orders-config", "orders-secret", "orders-menu"].map(|name| format!("{name}-{generation}"))
    };
    // Applying the Service as well would set its selector: that is another story.
    let all = world.manifest("orders");
    let documents: Vec<&str> = all.split("---\n").filter(|one| !one.contains("kind: Service\n")).collect();
    let mut manifest = documents
        .join("---\n")
        .replace("Welcome to the shop", generation)
        .replace(&format!("image: {}\n", shop_image()), &format!("image: {image}\n"));
    for name in ["orders-config", "orders-secret", "orders-menu"] {
        manifest = manifest.replace(&format!("name: {name}\n"), &format!("name: {name}-{generation}\n"));
    }
    let _ = world.apply(&manifest);
    let [config, secret, menu] =
        pruned.map_or_else(|| ["orders-config", "orders-secret", "orders-menu"].map(str::to_owned), named);
    let _ = world.kubectl(&["delete", "configmap", &config, &menu]).succeeds();
    let _ = world.kubectl(&["delete", "secret", &secret]).succeeds();
    let _ = world.kubectl(&["rollout", "status", "deploy/orders", "--timeout=55s"]).succeeds();
}

fn a_roll_out_is_followed_whatever_is_pruned(world: &World, alice: &Laptop, orders: &Local) {
    // Given orders connected, and others' requests.
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let others = world.others_by("rolled", &["new", "keepalive"]);

    // When the origin is rolled out with another image, other ConfigMaps and Secrets, and the old ones are deleted.
    let begun = Instant::now();
    let image = next_shop_image();
    rolled_out(world, "h2", &image, None);

    // Then the agents have the new template, in one roll, and nobody has lost a request.
    follows(world, alice, "h2");
    assert_eq!(image_of(&stand_in(world)), image.as_str());
    println!("followed a roll-out within {:.1?} of its begin", begun.elapsed());
    let env = alice.bridge(&["env", "orders"]).succeeds().stdout;
    assert!(env.contains("h2"), "expected the environment of the new template: {env}");
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    assert_eq!(stand_in(world)["metadata"]["generation"], 2, "expected one change of the stand-in");
    others.goes_on(20);
    others.has_lost_nothing();
}

/// Waits until all agents have this generation of the origin.
fn follows(world: &World, alice: &Laptop, generation: &str) {
    eventually("the stand-in has followed", Duration::from_secs(40), || {
        let session = alice.session();
        let stand_in = stand_in(world);
        let made_of = stand_in["spec"]["template"].to_string();
        let current = session["state"] == "routing" && session["detail"] == "";
        (current && made_of.contains(&format!("orders-config-{generation}")))
            .then_some(())
            .ok_or_else(|| format!("{session}\n{stand_in}"))
    });
}

fn image_of(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]["image"]
}

fn stand_in(world: &World) -> Value {
    let deployments = world.kubectl(&["get", "deployments", "-l", "bridge.dev/stand-in", "-o", "json"]);
    deployments.succeeds().json()["items"][0].clone()
}

/// Other callers that wait only for half a second, enough for 100 requests per second meanwhile. A Service without pods
/// refuses six connections, and then one each second, as ICMP has a limit: other callers would wait, and succeed in the
/// end.
fn impatient_others(world: &World, name: &str) -> Load {
    let (url, pods) = ("http://orders/whoami", "^orders orders-");
    let args = ["--url", url, "--rate", "100", "--workers", "60", "--timeout", "500ms", "--expect", pods];
    world.callers(name, &[("new", args.map(str::to_owned).to_vec())])
}

/// Deletes all of these pods at once under others' load; returns the number of seconds in which others failed.
fn deleted_at_once(world: &World, name: &str, labels: &str, also: impl Fn() -> Result<(), String>) -> f64 {
    let others = impatient_others(world, name);
    let before = names(&pods_of(world, labels));
    let _ = world.kubectl(&["delete", "pods", "-l", labels, "--grace-period=0", "--force"]).succeeds();
    // For a moment the old ones still answer.
    eventually("as many others are ready", Duration::from_secs(30), || {
        let now = pods_of(world, labels);
        let new = names(&now).iter().all(|name| !before.contains(name));
        let ready = now.iter().filter(|pod| is_ready(pod)).count();
        (new && ready >= before.len()).then_some(()).ok_or_else(|| json!(now).to_string())
    });
    eventually("others are answered again", Duration::from_secs(30), || {
        let answer = world.client(&["http", "http://orders/whoami", "--timeout", "1s"]);
        if answer.stdout.starts_with("orders ") { Ok(()) } else { Err(answer.to_string()) }
    });
    eventually("what else is to come true", Duration::from_secs(30), also);
    others.goes_on(40);
    let report: Report = others.ends();
    let trouble_s = report.trouble_s();
    println!(
        "all of {labels} deleted at once: others failed for {trouble_s:.1} s ({} of {} requests)",
        report.failed(),
        report.requests()
    );
    trouble_s
}

/// Pods that are not terminating.
fn pods_of(world: &World, labels: &str) -> Vec<Value> {
    let pods = world.kubectl(&["get", "pods", "-l", labels, "-o", "json"]).succeeds().json();
    let pods = pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect()
}

fn names(pods: &[Value]) -> Vec<String> {
    pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn all_agents_at_once_cost_no_more_than_all_pods(
    world: &World,
    alice: &Laptop,
    orders: &Local,
    without: f64,
) {
    // Given orders connected, as the step before leaves it.
    let begun = Instant::now();
    let with = deleted_at_once(world, "with", "bridge.dev/stand-in", || {
        let request = ["http", "http://orders/whoami", "--header", "x-bridge=alice", "--timeout", "1s"];
        let answer = world.client(&request);
        answer.stdout.contains(&orders.name).then_some(()).ok_or_else(|| answer.to_string())
    });
    println!(
        "without bridge {without:.1} s, with {with:.1} s; Alice's requests routed again within {:.1?}",
        begun.elapsed()
    );
    assert!(with <= without, "expected no more than without bridge: {with:.1} s, {without:.1} s");
    routing_again(alice);
}

fn routing_again(alice: &Laptop) {
    eventually("the session routes again, with no command", Duration::from_secs(60), || {
        let session = alice.session();
        (session["state"] == "routing").then_some(()).ok_or_else(|| session.to_string())
    });
}

fn agents_that_cannot_start_leave_the_service_to_the_origin(world: &World, alice: &Laptop, orders: &Local) {
    // Given orders connected, as the step before leaves it, and no room for further pods.
    let others = impatient_others(world, "quota");
    let quota = world.no_more_pods();

    // When all agents are deleted.
    let agents = ["delete", "pods", "-l", "bridge.dev/stand-in", "--grace-period=0", "--force"];
    let _ = world.kubectl(&agents).succeeds();

    // Then the Service leads to its pods, and every command shows it.
    let detail = eventually("the Service is led back", Duration::from_secs(10), || {
        let session = alice.session();
        let detail = session["detail"].as_str().unwrap_or_default().to_owned();
        (session["state"] == "led-back").then_some(detail).ok_or_else(|| session.to_string())
    });
    assert!(detail.contains("all requests go to the origin"), "{detail}");
    eventually("status says why", Duration::from_secs(10), || {
        let session = alice.session();
        let shown = session["detail"].as_str().is_some_and(|detail| detail.contains("exceeded quota"));
        shown.then_some(()).ok_or_else(|| session.to_string())
    });
    // The node learns of it a moment later.
    eventually("Alice's requests are answered by the pods", Duration::from_secs(10), || {
        let answer = world.client(&["http", "http://orders/whoami", "--header", "x-bridge=alice"]);
        answer.stdout.starts_with("orders orders-").then_some(()).ok_or_else(|| answer.to_string())
    });
    let listed = alice.bridge(&["list"]).succeeds();
    assert!(listed.stdout.contains("led back"), "{listed}");
    let doctor = alice.bridge(&["doctor"]);
    assert!(doctor.stdout.contains("lead to their pods for now: orders"), "{doctor}");
    let events = world.kubectl(&["get", "events", "--field-selector", "reason=BridgeLedBack"]).succeeds();
    assert!(events.stdout.contains("service/orders"), "{events}");
    others.goes_on(20);
    let report = others.ends();
    let trouble_s = report.trouble_s();
    println!("no agent could start: others failed for {trouble_s:.1} s ({} requests)", report.failed());
    assert!(trouble_s <= 3.0, "expected at most 3 s: {report}");

    // When there is room again, her session takes its requests again, without a command.
    let _ = world.kubectl(&["delete", "resourcequota", quota]).succeeds();
    try_again(world);
    routing_again(alice);
    // Here, too, the node learns of it a moment later.
    eventually("Alice's requests come to her again", Duration::from_secs(10), || {
        let answerer = world.who_answers(&["x-bridge=alice"]);
        (answerer == orders.name).then_some(()).ok_or(answerer)
    });
}

/// A ReplicaSet whose pods were refused tries again in ever longer intervals, or when it is changed.
fn try_again(world: &World) {
    let touch = ["annotate", "replicasets", "-l", "bridge.dev/stand-in", "touched=yes", "--overwrite"];
    let _ = world.kubectl(&touch).succeeds();
}

fn connecting_again_brings_a_stale_stand_in_up_to_date(world: &World, alice: &Laptop, orders: &Local) {
    // Given the stand-in that the steps before leave, without a daemon, while the origin is rolled out once more and its
    // old ConfigMaps are pruned.
    let others = world.others_by("stale", &["new", "keepalive"]);
    assert!(alice.kill_daemon(), "expected a daemon");
    rolled_out(world, "h3", &shop_image(), Some("h2"));

    // When Alice connects again, then the agents have the new template, and nobody has lost a request.
    let connected = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    println!("connecting to a stale stand-in took {:.1?}", connected.took);
    let stand_in = stand_in(world);
    let made_of = stand_in["spec"]["template"].to_string();
    assert!(made_of.contains("orders-config-h3"), "expected an up-to-date stand-in: {made_of}");
    assert_eq!(image_of(&stand_in), shop_image().as_str());
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    follows(world, alice, "h3");
    others.goes_on(20);
    others.has_lost_nothing();
}

fn clean_gives_back_a_service_whose_laptop_is_gone(world: &World, alice: &Laptop, bob: &Laptop) {
    // Given the stand-in that the steps before leave; its only laptop is gone, and its agents are gone and cannot
    // start.
    assert!(alice.kill_daemon(), "expected a daemon");
    let quota = world.no_more_pods();
    let agents = ["delete", "pods", "-l", "bridge.dev/stand-in", "--grace-period=0", "--force"];
    let _ = world.kubectl(&agents).succeeds();

    // Then Bob's `doctor` reports that the Service is down, and `clean` restores it, although the session was Alice's.
    let doctor = bob.bridge(&["doctor"]);
    doctor.fails(7, "checks failed");
    assert!(doctor.stdout.contains("requests fail at: orders"), "{doctor}");
    let listed = bob.bridge(&["list"]).succeeds();
    assert!(listed.stdout.contains("down, no agent is ready"), "{listed}");
    let cleaned = bob.bridge(&["clean"]).succeeds();
    println!("cleaning took {:.1?}: {cleaned}", cleaned.took);
    assert!(world.who_answers(&[]).starts_with("orders-"), "the pods answer");
    assert!(world.service("orders")["metadata"]["annotations"]["bridge.dev/attachment"].is_null());
    let _ = world.kubectl(&["delete", "resourcequota", quota]).succeeds();
}
