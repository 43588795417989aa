//! The command itself: what it prints, connecting again, its other name, and the daemon's life.

use std::os::unix::fs::symlink;
use std::path::Path;

use bridge_tests::process::USUAL;
use bridge_tests::{World, place};

#[test]
#[ignore = "needs a cluster: make test"]
fn the_command_says_what_is_connected_and_the_daemon_outlives_the_terminal() {
    let world = World::new("command");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let port = orders.for_port("http");

    // Given nothing connected, list and status say so.
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

    // Then the session goes on, and everything that is printed knows it.
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "the daemon outlives the terminal");
    let session = alice.session();
    assert_eq!((&session["user"], &session["state"]), (&"alice".into(), &"routing".into()), "{session}");
    assert_eq!(session["routes"][0]["localPort"], orders.port, "{session}");
    assert!(session["agents"].as_array().is_some_and(|agents| agents.len() == 2), "one for one: {session}");
    assert_eq!(listed()["sessions"][0]["user"], "alice");
    let text = alice.bridge(&["status"]).succeeds();
    assert!(text.stdout.contains("routing") && text.stdout.contains("tunnel up"), "{text}");

    // When it is connected once more, nothing changes; with another header, that is the one.
    let stand_in = session["standIn"].clone();
    let _ = alice.bridge(&["connect", "orders", "--port", &port]).succeeds();
    assert_eq!(alice.status()["sessions"].as_array().map(Vec::len), Some(1), "one session, not two");
    assert_eq!(alice.session()["standIn"], stand_in, "the same stand-in");
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    let _ = alice.bridge(&["connect", "orders", "--port", &port, "--header", "x-tenant=7"]).succeeds();
    assert_eq!(world.who_answers(&["x-tenant=7"]), orders.name, "the header that was given");
    assert!(world.who_answers(&["x-bridge=alice"]).starts_with("orders-"), "it replaces the default");

    // When it is called as kubectl's plugin, it speaks of itself so.
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
}
