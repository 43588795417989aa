//! Several commands that share a session, and what stays when each of them ends.

use std::time::{Duration, Instant};

use bridge_tests::process::{Done, Running, USUAL};
use bridge_tests::{Laptop, World, eventually};
use serde_json::{Value, json};

#[test]
#[ignore = "needs a cluster: make test"]
fn a_session_combines_its_users_and_lives_as_long_as_one_of_them() {
    let world = World::with("users", &["orders", "web", "client"]);
    let before = world.objects();
    let alice = world.laptop("alice");
    // Each step begins and ends without a session.
    a_command_s_changes_end_with_it(&world, &alice);
    world.is_given_back(&before);
    the_first_that_ends_takes_nothing_from_the_other(&alice);
    an_environment_that_is_asked_for_takes_nothing_from_a_command(&alice);
    a_killed_command_leaves_nothing(&alice);
    world.is_given_back(&before);
}

#[test]
#[ignore = "needs a cluster: make test"]
fn sessions_end_and_refuse_each_other_in_plain_sight() {
    let world = World::with("sessions", &["orders", "web", "client"]);
    let before = world.objects();
    let alice = world.laptop("alice");
    // Each step begins and ends without a session.
    a_command_says_when_its_session_is_disconnected(&alice);
    another_name_is_another_session(&world, &alice);
    world.is_given_back(&before);
    nothing_leads_round_in_a_circle(&world, &alice);
    world.is_given_back(&before);
}

#[test]
#[ignore = "needs a cluster: make test"]
fn targets_do_not_wait_for_each_other() {
    let world = World::with("waits", &["orders", "prices"]);
    waiting_for_one_target_holds_up_no_other(&world.laptop("alice"));
}

/// A command of a session that goes on until [`Held::ends`].
struct Held<'a> {
    alice: &'a Laptop,
    name: String,
    running: Running,
}

impl<'a> Held<'a> {
    fn begins(alice: &'a Laptop, name: &str, options: &[&str]) -> Self {
        let script = format!(
            "touch $HOME/{name}.runs; while test ! -e $HOME/{name}.ends; do sleep 0.05; done; \
             curl -sS --max-time 10 http://web/whoami"
        );
        let running =
            alice.start_bridge(&[&["run", "orders"], options, &["--", "sh", "-c", &script]].concat());
        let runs = alice.path(&format!("{name}.runs"));
        eventually("the command runs", Duration::from_secs(40), || {
            runs.exists().then_some(()).ok_or_else(|| "not yet".to_owned())
        });
        Self { alice, name: name.to_owned(), running }
    }

    /// Ends it.
    fn let_go(self) -> Done {
        let _ = self.alice.start(std::path::Path::new("touch"), &[&self.file()]).ends(USUAL).succeeds();
        self.running.ends(USUAL)
    }

    /// Ends it, after it has asked the cluster for something; returns its output.
    fn ends(self) -> String {
        let done = self.let_go().succeeds();
        assert!(done.stdout.starts_with("web web-"), "expected the cluster's network to its end: {done}");
        done.stderr
    }

    fn file(&self) -> String {
        self.alice.path(&format!("{}.ends", self.name)).display().to_string()
    }
}

/// "x-tenant=7 → 3000" for each route of the only session.
fn routes(alice: &Laptop) -> Vec<String> {
    let sessions = alice.status()["sessions"].clone();
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "one session: {sessions}");
    let routes = sessions[0]["routes"].as_array().expect("routes").clone();
    routes
        .iter()
        .map(|route| format!("{} → {}", route["match"].as_str().unwrap(), route["localPort"]))
        .collect()
}

fn has_no_session(alice: &Laptop, within: Duration) {
    eventually("no session is left", within, || {
        let sessions = alice.status()["sessions"].clone();
        (sessions == json!([])).then_some(()).ok_or_else(|| sessions.to_string())
    });
}

fn a_command_s_changes_end_with_it(world: &World, alice: &Laptop) {
    // Given orders connected by a header,
    let orders = alice.runs("orders");
    let port = orders.for_port("http");
    let _ = alice.bridge(&["connect", "orders", "--header", "x-tenant=7", "--port", &port]).succeeds();
    let there = routes(alice);

    // when a command takes everything to a port where nothing listens,
    let nowhere = alice.free_port();
    let others = world.others();
    let everything = ["--everything", "--port", &format!("{nowhere}:http")];
    let held = Held::begins(alice, "everything", &everything);

    // then both are in force, and nobody else notices: the pods answer what the laptop cannot.
    assert_eq!(routes(alice), [there[0].clone(), format!("everything → {nowhere}")]);
    assert_eq!(world.who_answers(&["x-tenant=7"]), orders.name);
    assert!(world.who_answers(&[]).starts_with("orders-"), "the pods answer");
    others.goes_on(20);

    // When it ends, the session is as before, also in the cluster.
    let _ = held.ends();
    assert_eq!(routes(alice), there);
    assert_eq!(world.who_answers(&["x-tenant=7"]), orders.name);
    let claimed = alice.bridge(&["list", "-o", "json"]).succeeds().json()["services"][0]["sessions"].clone();
    assert!(!claimed.to_string().contains("everything"), "the claim follows: {claimed}");

    // When a command takes the same requests to another port, bridge warns, and only until that command ends.
    let other = ["--header", "x-tenant=7", "--port", &format!("{nowhere}:http"), "--fallback", "origin"];
    let held = Held::begins(alice, "other-port", &other);
    assert_eq!(routes(alice), [format!("x-tenant: 7 → {nowhere}")]);
    let said = held.ends();
    let expected = format!(
        "requests with x-tenant: 7 come to port {nowhere} until this command ends, not to port {}",
        orders.port
    );
    assert!(said.contains(&expected), "expected {expected:?}: {said}");
    assert_eq!(routes(alice), there);
    others.has_lost_nothing();
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}

fn the_first_that_ends_takes_nothing_from_the_other(alice: &Laptop) {
    for (turn, first_ends_first) in [("one", true), ("two", false)] {
        let first = Held::begins(alice, &format!("first-{turn}"), &[]);
        let second = Held::begins(alice, &format!("second-{turn}"), &[]);
        let there = routes(alice);
        let (one, other) = if first_ends_first { (first, second) } else { (second, first) };
        let _ = one.ends();
        assert_eq!(routes(alice), there, "the session goes on");
        let _ = other.ends();
        has_no_session(alice, Duration::ZERO);
    }
}

fn an_environment_that_is_asked_for_takes_nothing_from_a_command(alice: &Laptop) {
    // Given an environment that is requested just before a command runs,
    let environment = alice.start_bridge(&["env", "orders", "--format", "json"]);
    let held = Held::begins(alice, "beside-env", &[]);
    assert_eq!(environment.ends(USUAL).succeeds().json()["GREETING"], "Welcome to the shop");
    // then the command has the network, and takes requests, to its end.
    assert!(routes(alice)[0].starts_with("baggage or tracestate: bridge=alice"), "{:?}", routes(alice));
    let _ = held.ends();
    has_no_session(alice, Duration::ZERO);
}

fn a_killed_command_leaves_nothing(alice: &Laptop) {
    let held = Held::begins(alice, "killed", &[]);
    held.running.kill();
    has_no_session(alice, Duration::from_secs(5));
}

fn a_command_says_when_its_session_is_disconnected(alice: &Laptop) {
    let _ = alice.bridge(&["connect", "orders"]).succeeds();
    let held = Held::begins(alice, "disconnected", &[]);
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    has_no_session(alice, Duration::ZERO);
    let done = held.let_go();
    assert!(done.stderr.contains("the session with orders has ended"), "{done}");
}

fn another_name_is_another_session(world: &World, alice: &Laptop) {
    let orders = alice.runs("orders");
    let port = orders.for_port("http");
    let _ = alice.bridge(&["connect", "orders", "--port", &port]).succeeds();
    let bob = Held::begins(alice, "as-bob", &["--me", "bob"]);
    let users: Vec<Value> = alice.status()["sessions"]
        .as_array()
        .expect("sessions")
        .iter()
        .map(|session| session["user"].clone())
        .collect();
    assert_eq!(users, ["alice", "bob"]);
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    let said = bob.ends();
    assert!(said.contains("x-bridge: bob"), "bridge says whose requests come: {said}");
    assert_eq!(alice.session()["user"], "alice", "Alice's session goes on");
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}

fn nothing_leads_round_in_a_circle(world: &World, alice: &Laptop) {
    // Given orders connected to a port where nothing listens yet,
    let port = alice.free_port();
    let connect = ["connect", "orders", "--port", &format!("{port}:http")];
    let _ = alice.bridge(&connect).succeeds();

    // then no port is forwarded from there,
    let forward = ["forward", &format!("{port}:orders")];
    alice.bridge(&forward).fails(2, &format!("requests to Service orders go to port {port}"));

    // and the other way round, requests are not led to where one is.
    let _ = alice.bridge(&["connect", "web"]).succeeds();
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    let forwarded = alice.opens(&[&forward[..], &["--via", "web"]].concat());
    assert_eq!(forwarded.port, port);
    alice.bridge(&connect).fails(2, "bridge forward");
    assert!(world.who_answers(&["x-bridge=alice"]).starts_with("orders-"), "the pods answer");
    drop(forwarded);
    eventually("the port is free again", Duration::from_secs(5), || {
        let done = alice.bridge(&connect);
        (done.code == Some(0)).then_some(()).ok_or_else(|| done.to_string())
    });
    let _ = alice.bridge(&["disconnect", "--all"]).succeeds();
}

fn waiting_for_one_target_holds_up_no_other(alice: &Laptop) {
    // Given a command that waits for the agents of orders to go,
    let _ = alice.bridge(&["connect", "orders"]).succeeds();
    let waiting = alice.start_bridge(&["disconnect", "orders", "--wait"]);
    has_no_session(alice, Duration::from_secs(10));

    // when prices is connected, and orders again, both work at once.
    let begun = Instant::now();
    for target in ["prices", "orders"] {
        let _ = alice.bridge(&["connect", target]).succeeds();
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "expected no wait: {:?}", begun.elapsed());
    waiting.interrupt();
    let _ = waiting.ends(USUAL);
    let _ = alice.bridge(&["disconnect", "--all"]).succeeds();
}
