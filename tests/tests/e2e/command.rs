//! The command itself: what it prints, connecting again, its other name, and the daemon's life.

use std::os::unix::fs::symlink;
use std::path::Path;

use bridge_tests::process::USUAL;
use bridge_tests::{Laptop, Local, World, place};

#[test]
#[ignore = "needs a cluster: make test"]
fn the_command_says_what_is_connected_and_the_daemon_outlives_the_terminal() {
    let world = World::new("command");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let port = orders.for_port("http");

    let before = world.objects();

    // Given nothing connected, list and status show that.
    let listed = || alice.bridge(&["list", "-o", "json"]).succeeds().json()["services"][0].clone();
    let service = listed();
    assert_eq!((&service["name"], &service["mode"]), (&"orders".into(), &"stand-in".into()), "{service}");
    assert_eq!(alice.status()["sessions"], serde_json::json!([]));
    let nothing = alice.bridge(&["disconnect", "orders"]).succeeds();
    assert!(
        nothing.stdout.contains("not connected") || nothing.stdout.contains("nothing is connected"),
        "{nothing}"
    );

    // When connect is run in a terminal that is closed afterwards.
    let line = format!("{} connect deploy/orders --port {port}", place::bridge().display());
    let connected = alice.start(Path::new("script"), &["-qec", &line, "/dev/null"]).ends(USUAL).succeeds();
    for said in
        ["Service orders in namespace", "x-bridge: alice", "→ the pods", "stop: bridge disconnect orders"]
    {
        assert!(connected.stdout.contains(said), "expected {said:?}: {connected}");
    }

    // Then the session goes on, and list and status show it.
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "the daemon outlives the terminal");
    let session = alice.session();
    assert_eq!((&session["user"], &session["state"]), (&"alice".into(), &"routing".into()), "{session}");
    assert_eq!(session["routes"][0]["localPort"], orders.port, "{session}");
    assert!(session["agents"].as_array().is_some_and(|agents| agents.len() == 2), "one for one: {session}");
    assert_eq!(listed()["sessions"][0]["user"], "alice");
    let text = alice.bridge(&["status"]).succeeds();
    assert!(text.stdout.contains("routing") && text.stdout.contains("tunnel up"), "{text}");

    // When it is connected once more, nothing changes; with another header, that one applies.
    let stand_in = session["standIn"].clone();
    let _ = alice.bridge(&["connect", "orders", "--port", &port]).succeeds();
    assert_eq!(alice.status()["sessions"].as_array().map(Vec::len), Some(1), "one session, not two");
    assert_eq!(alice.session()["standIn"], stand_in, "the same stand-in");
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    connecting_with_other_options_replaces_the_session(&world, &alice, &orders);

    // When it runs as kubectl's plugin, its hints say `kubectl bridge`.
    symlink(place::bridge(), alice.path("kubectl-bridge")).expect("a link");
    let plugin = alice.path("kubectl-bridge");
    let again = alice.start(&plugin, &["connect", "orders", "--port", &port]).ends(USUAL).succeeds();
    assert!(again.stdout.contains("stop: kubectl bridge disconnect orders"), "{again}");
    let logs = alice.bridge(&["logs", "--daemon"]).succeeds();
    assert!(!logs.stdout.is_empty(), "the daemon's log");
    let _ = alice.bridge(&["logs", "orders"]).succeeds();
    let _ = alice.bridge(&["doctor"]).succeeds();

    let gone = alice.bridge(&["disconnect"]).succeeds();
    assert!(gone.stdout.contains("all requests go to the pods"), "{gone}");
    assert_eq!(alice.status()["sessions"], serde_json::json!([]));
    world.is_given_back(&before);
}

/// Leaves orders connected with another header.
fn connecting_with_other_options_replaces_the_session(world: &World, alice: &Laptop, orders: &Local) {
    // Given orders connected.
    let port = orders.for_port("http");
    let _ = alice.bridge(&["connect", "orders", "--port", &port]).succeeds();

    // When Alice connects with other options, none of her requests fails; a pod may answer some meanwhile.
    let alices = world.requests_of("alice", &format!("^orders (orders-|{})", orders.name));
    let _ = alice.bridge(&["connect", "orders", "--port", &port, "--fallback", "origin"]).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "as soon as it is connected");
    alices.goes_on(20);
    alices.has_lost_nothing();

    // When she asks for a port that does not exist, her session stays.
    let there = alice.session()["id"].clone();
    alice.bridge(&["connect", "orders", "--port", &format!("{}:nosuch", orders.port)]).fails(3, "nosuch");
    assert_eq!(alice.session()["id"], there, "the session that was there");
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "it goes on");

    // When she connects with another header, it replaces the first one as soon as connect returns.
    let _ = alice.bridge(&["connect", "orders", "--port", &port, "--header", "x-tenant=7"]).succeeds();
    assert!(world.who_answers(&["x-bridge=alice"]).starts_with("orders-"), "it replaces the default");
    assert_eq!(world.who_answers(&["x-tenant=7"]), orders.name, "the header that was given");

    // When she connects under another name, that is another session, and the first is unchanged.
    let _ = alice.bridge(&["connect", "orders", "--port", &port, "--me", "carol"]).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=carol"]), orders.name);
    assert_eq!(world.who_answers(&["x-tenant=7"]), orders.name);
    let sessions = alice.bridge(&["list", "-o", "json"]).succeeds().json()["services"][0]["sessions"].clone();
    assert_eq!(sessions.as_array().map(Vec::len), Some(2), "two claims: {sessions}");
    alice.bridge(&["disconnect", "orders"]).fails(2, "--me carol");
    let _ = alice.bridge(&["disconnect", "orders", "--me", "carol"]).succeeds();
    assert!(world.who_answers(&["x-bridge=carol"]).starts_with("orders-"));
}
