//! A developer who looks without taking part: the pods answer, and the laptop gets copies.

use std::time::Duration;

use bridge_tests::laptop::Laptop;
use bridge_tests::{World, eventually};
use serde_json::{Value, json};

use crate::requests::is_listed;

#[test]
#[ignore = "needs a cluster: make test"]
fn the_pods_answer_the_developer_s_requests_and_the_laptop_gets_copies() {
    // Given a process on Alice's laptop that answers every request with 500, connected for copies.
    let world = World::with("copies", &["prices", "orders", "client"]);
    let before = world.objects();
    let alice = world.laptop("alice");
    let orders = alice.runs_script("orders", include_str!("copies.py"));
    let connected =
        alice.bridge(&["connect", "orders", "--copy", "--port", &orders.for_port("http")]).succeeds();
    assert!(connected.stdout.contains("the pods, and a copy → localhost"), "{connected}");
    assert_eq!(alice.session()["routes"][0]["copy"], true);
    let listed = alice.bridge(&["list", "-o", "json"]).succeeds().json();
    let matches = &listed["services"][0]["sessions"][0]["matches"][0];
    assert!(matches.as_str().is_some_and(|matches| matches.ends_with(" (copies)")), "{listed}");

    // When her requests and others' come, then the pods answer all of them, and their answers are unchanged …
    let url = "http://orders/echo?card=4711";
    let alices = ["http", url, "--method", "POST", "--data", "hello", "--header", "x-bridge=alice", "--head"];
    let answer = world.client(&alices).succeeds().stdout;
    assert!(answer.contains("x-answered-by: orders-") && answer.ends_with("hello"), "{answer}");
    assert!(!answer.contains("bridge"), "expected nothing of ours in:\n{answer}");
    assert!(world.who_answers(&["x-bridge=bob"]).starts_with("orders-"));
    // … her process gets copies of her own, complete,
    let seen = sees(&alice, "POST");
    let what = [&seen["target"], &seen["body"], &seen["headers"]["x-bridge"]];
    assert_eq!(what, [&json!("/echo?card=4711"), &json!("hello"), &json!("alice")], "{seen}");
    assert!(seen["headers"]["x-bridge-hops"].is_string(), "{seen}");
    // and no others.
    assert!(world.who_answers(&["x-bridge=alice"]).starts_with("orders-"));
    let next = sees(&alice, "GET");
    assert_eq!(next["headers"]["x-bridge"], "alice", "{next}");

    // Each is listed twice: as the pods' and as a copy, with the status of both.
    let copied = is_listed(&alice, "copied", |seen| seen["method"] == "POST");
    assert_eq!((&copied["to"], &copied["status"]), (&json!("origin"), &json!(200)), "{copied}");
    let copy = is_listed(&alice, "copy", |seen| seen["method"] == "POST");
    assert_eq!((&copy["to"], &copy["status"]), (&json!("copy"), &json!(500)), "{copy}");
    web_sockets_are_not_copied(&world, &alice);
    calls_of_grpc_are_copied(&world, &alice);

    // When her process stops, as at a breakpoint, then her requests go on as before,
    let load = world.requests_of("alice", "^orders orders-");
    orders.stops();
    let sink = ["http", "http://orders/sink", "--method", "PUT", "--send", "33554432,7"];
    let up = world.client(&[&sink[..], &["--header", "x-bridge=alice"]].concat()).succeeds().json();
    assert!(up["answered_by"].as_str().is_some_and(|by| by.starts_with("orders-")), "{up}");
    load.goes_on(100);
    // and the copies that it did not take are named and counted.
    let given_up = is_listed(&alice, "copy-too-slow", |seen| seen["path"] == "/sink");
    assert_eq!((&given_up["to"], &given_up["status"]), (&json!("copy"), &json!(null)), "{given_up}");
    let _ = is_listed(&alice, "copy-no-room", |seen| seen["path"] == "/whoami");
    orders.goes_on();
    load.has_lost_nothing();
    eventually("status counts copies of both kinds", Duration::from_secs(10), || {
        let requests = alice.session()["requests"].clone();
        let counted = requests["copied"]["count"].as_u64() >= Some(2)
            && requests["copiesGivenUp"].as_u64() >= Some(2)
            && requests["toLaptop"]["count"] == 0;
        counted.then_some(()).ok_or_else(|| requests.to_string())
    });
    let _ = alice.bridge(&["disconnect", "--all"]).succeeds();
    world.is_given_back(&before);
}

/// The first request with this method that the process has seen.
fn sees(alice: &Laptop, method: &str) -> Value {
    eventually(&format!("the process sees a {method}"), Duration::from_secs(5), || {
        let seen = std::fs::read_to_string(alice.path("seen")).unwrap_or_default();
        let mut lines = seen.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|seen| seen["method"] == method).ok_or(seen)
    })
}

fn web_sockets_are_not_copied(world: &World, alice: &Laptop) {
    let talk = ["ws", "ws://orders/ws", "--header", "x-bridge=alice", "--message", "one"];
    let said = world.client(&talk).succeeds().stdout;
    assert!(said.starts_with("hello from orders-"), "expected a pod:\n{said}");
    let listed = is_listed(alice, "not-copied", |seen| seen["path"] == "/ws");
    assert_eq!((&listed["to"], &listed["user"]), (&json!("origin"), &json!("alice")), "{listed}");
}

fn calls_of_grpc_are_copied(world: &World, alice: &Laptop) {
    let prices = alice.runs("prices");
    let port = prices.port.to_string();
    let _ = alice.bridge(&["connect", "prices", "--copy", "--port", &port]).succeeds();
    for (kind, messages) in [("get", 1), ("sum", 1), ("chat", 2)] {
        let args = ["grpc", "prices:50051", kind, "coffee", "tea", "--header", "x-bridge=alice"];
        let said = world.client(&args).succeeds().stdout;
        let answers = said.lines().filter(|line| line.contains("\"answered_by\":\"prices-")).count();
        assert_eq!(answers, messages, "expected the pods to answer {kind}:\n{said}");
        let method = |seen: &Value| seen["path"].as_str().map(str::to_ascii_lowercase);
        let copy = is_listed(alice, "copy", |seen| {
            method(seen).is_some_and(|path| path.ends_with(&format!("/{kind}")))
        });
        assert_eq!((&copy["to"], &copy["grpcStatus"]), (&json!("copy"), &json!(0)), "{copy}");
    }
    let _ = alice.bridge(&["disconnect", "prices"]).succeeds();
}
