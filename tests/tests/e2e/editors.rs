//! What editors, scripts and agents that write code build on: shims, requests that are waited for, failures as JSON.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bridge_tests::process::{Done, USUAL};
use bridge_tests::{Laptop, World, eventually, place};
use serde_json::json;

#[test]
#[ignore = "needs a cluster: make test"]
fn programs_start_and_read_bridge() {
    let world = World::with("editors", &["orders", "prices", "stock", "web", "client"]);
    let alice = world.laptop("alice");
    let before = world.objects();
    a_shim_is_the_program_in_the_place_of_the_service(&alice);
    world.is_given_back(&before);
    what_cannot_be_done_is_said_as_json(&alice);
    a_service_is_described_without_its_secrets(&alice);
    agents_that_write_code_have_tools(&alice);
    a_call_shows_who_answers_and_why(&alice);
    world.is_given_back(&before);
    requests_are_waited_for(&world, &alice);
    world.is_given_back(&before);
    a_command_goes_on_without_a_terminal(&alice);
    world.is_given_back(&before);
    what_has_a_time_or_an_editor_ends_with_it(&alice);
    world.is_given_back(&before);
}

fn a_shim_is_the_program_in_the_place_of_the_service(alice: &Laptop) {
    let file = alice.path("shim/sh").display().to_string();
    let write = ["shim", "orders", "--file", &file, "--", "sh"];
    assert_eq!(alice.bridge(&write).succeeds().stdout.trim(), file);
    let shell = |script: &str| alice.start(Path::new("sh"), &["-c", script, &file]).ends(USUAL);

    // It has the target's environment, and the program's exit code and arguments are its own.
    let done = shell(r#""$0" -c 'echo "$GREETING, $1"; exit 7' x 'a b'"#);
    assert_eq!((done.code, done.stdout.as_str()), (Some(7), "Welcome to the shop, a b\n"), "{done}");
    // So are its input and its descriptors.
    let done = shell(r#"{ echo in | "$0" -c 'cat; echo three >&3'; } 3>&1"#).succeeds();
    assert_eq!(done.stdout, "in\nthree\n", "{done}");
    // A launcher that starts itself again does not supervise twice.
    let done = shell(r#""$0" -c '"$0" -c "echo \$BRIDGE_TARGET"' "$0""#).succeeds();
    assert_eq!(done.stdout, "orders\n", "{done}");
}

fn what_cannot_be_done_is_said_as_json(alice: &Laptop) {
    let error = |done: &Done, code: i32| {
        done.fails(code, "");
        done.json()["error"].clone()
    };
    let unknown = error(&alice.bridge(&["connect", "nothing", "-o", "json"]), 3);
    assert_eq!((&unknown["code"], &unknown["object"]), (&json!("no-such-target"), &json!("svc/nothing")));
    assert!(unknown["message"].as_str().is_some_and(|text| text.contains("nothing")), "{unknown}");
    let bad = error(&alice.bridge(&["connect", "orders", "--bogus", "-o", "json"]), 2);
    assert_eq!(bad["code"], "usage", "{bad}");
    let none = alice.bridge(&["disconnect", "-o", "json"]).succeeds().json();
    assert_eq!(none, json!({"disconnected": []}));
}

fn a_service_is_described_without_its_secrets(alice: &Laptop) {
    let done = alice.bridge(&["describe", "deploy/orders", "-o", "json"]).succeeds();
    let orders = done.json();
    let said = (&orders["service"], &orders["mode"], &orders["ports"][0]["target"], &orders["container"]);
    assert_eq!(said, (&json!("orders"), &json!("stand-in"), &json!(8080), &json!("orders")), "{orders}");
    assert_eq!(orders["variablesOf"], json!(["ConfigMap orders-config", "Secret orders-secret"]), "{orders}");
    assert_eq!(orders["volumes"][0]["path"], "/etc/shop", "{orders}");
    assert_eq!(orders["header"], "baggage: bridge=alice", "{orders}");
    assert!(!done.stdout.contains("Welcome"), "no values: {done}");
    alice.bridge(&["describe", "nothing"]).fails(3, "nothing");
}

/// The Model Context Protocol, as a client writes it.
fn agents_that_write_code_have_tools(alice: &Laptop) {
    let call = |id: u32, tool: &str, arguments: serde_json::Value| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    let client = json!({"name": "test", "version": "1"});
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    let messages = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}),
        call(3, "describe_service", json!({"target": "orders"})),
        call(4, "describe_service", json!({"target": "nothing"})),
        call(5, "connect", json!({"target": "orders", "everything": true})),
        call(6, "list_services", json!({"namespace": "kube-system"})),
        call(7, "describe_service", json!({"target": "--kubeconfig=/x"})),
    ];
    let input: String = messages.iter().map(|message| format!("{message}\n")).collect();
    let served = alice.bridge_reads(&["mcp"], &input).succeeds();
    let answers: Vec<serde_json::Value> =
        served.stdout.lines().map(|line| serde_json::from_str(line).expect("one message a line")).collect();
    let answer = |id: u32| {
        let found = answers.iter().find(|answer| answer["id"] == id);
        found.unwrap_or_else(|| panic!("no answer to {id}: {served}"))
    };
    assert_eq!(answer(1)["result"]["serverInfo"]["name"], "bridge");
    assert!(answer(2)["result"]["tools"].as_array().is_some_and(|tools| tools.len() >= 12), "{}", answer(2));
    let described = &answer(3)["result"];
    assert_eq!(described["structuredContent"]["service"], "orders", "{described}");
    assert_eq!(described["isError"], false, "{described}");
    let unknown = &answer(4)["result"];
    assert_eq!(unknown["isError"], true, "{unknown}");
    assert_eq!(unknown["structuredContent"]["error"]["code"], "no-such-target", "{unknown}");
    for refused in [5, 6, 7] {
        assert_eq!(answer(refused)["error"]["code"], -32602, "{}", answer(refused));
    }
}

fn a_call_shows_who_answers_and_why(alice: &Laptop) {
    // Without a session, from an agent aside of the Service.
    let pod = alice.bridge(&["call", "orders", "/whoami", "--expect", "origin"]).succeeds();
    assert!(pod.stdout.starts_with("orders orders-"), "{pod}");

    let orders = alice.runs("orders");
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let mine = alice.bridge(&["call", "orders", "/whoami", "--expect", "laptop"]).succeeds();
    assert_eq!(mine.stdout.trim(), format!("orders {}", orders.name), "{mine}");
    assert!(mine.stderr.contains("orders: alice's laptop, matched baggage: bridge=alice"), "{mine}");

    // Two hops on: web hands on what marks it.
    let called = alice.bridge(&["call", "web", "/", "--expect", "laptop", "-o", "json"]).succeeds().json();
    let said = (&called["status"], &called["answeredBy"], &called["asExpected"]);
    assert_eq!(said, (&json!(200), &json!("laptop"), &json!(true)), "{called}");
    let hop = &called["hops"][0];
    assert_eq!(
        (&hop["target"], &hop["to"], &hop["reason"]),
        (&json!("orders"), &json!("laptop"), &json!("matched"))
    );
    assert!(called["body"].as_str().is_some_and(|body| body.contains(&orders.name)), "{called}");

    // Another mark leads elsewhere, and the reason is there.
    let not_mine =
        ["call", "web", "/", "-H", "baggage: bridge=bob", "-H", "x-bridge: bob", "--expect", "laptop"];
    let done = alice.bridge(&not_mine);
    done.fails(1, "expected the laptop, but it was 200 by the origin");
    done.fails(1, "orders: origin, baggage bridge differs: saw `bob`");
    alice.bridge(&["call", "orders", "/nowhere", "--expect", "200"]).fails(1, "expected 200, but it was 404");
    alice.bridge(&["call", "nothing"]).fails(3, "nothing");
    let _ = alice.bridge(&["disconnect"]).succeeds();
}

fn a_command_goes_on_without_a_terminal(alice: &Laptop) {
    let run = |target: &str, name: &str, script: &str| {
        alice.bridge(&["run", target, "--detach", name, "--", "sh", "-c", script])
    };
    let runs = || alice.bridge(&["ps", "-o", "json"]).succeeds().json()["runs"].clone();
    let started = run("orders", "greets", "echo $GREETING; exec sleep 600").succeeds();
    assert!(started.stdout.contains("bridge logs greets"), "{started}");
    let there = runs();
    let said = (&there[0]["name"], &there[0]["target"], &there[0]["running"], &there[0]["exitCode"]);
    assert_eq!(said, (&json!("greets"), &json!("orders"), &json!(true), &json!(null)), "{there}");
    run("orders", "greets", "true").fails(2, "greets runs already");
    eventually("its output is in its log", USUAL, || {
        let log = alice.bridge(&["logs", "greets"]).succeeds();
        if log.stdout.contains("Welcome to the shop") { Ok(()) } else { Err(log.to_string()) }
    });
    let _ = alice.bridge(&["stop", "greets"]).succeeds();
    assert_eq!(runs(), json!([]));

    // One that ends by itself leaves its exit code; one that cannot start says why.
    let _ = run("orders", "ends", "exit 7").succeeds();
    eventually("it has ended", USUAL, || {
        let ended = runs()[0].clone();
        if ended["running"] == false && ended["exitCode"] == 7 { Ok(()) } else { Err(ended.to_string()) }
    });
    run("nothing", "fails", "true").fails(3, "nothing");
    let _ = alice.bridge(&["stop", "--all"]).succeeds();
    assert_eq!(runs(), json!([]));
    alice.bridge(&["stop", "greets"]).fails(2, "bridge ps");
}

fn what_has_a_time_or_an_editor_ends_with_it(alice: &Laptop) {
    let ended = alice.bridge(&["run", "orders", "--for", "1s", "--", "sleep", "600"]);
    ended.fails(143, "its time of 1 s is over");
    let no_such = i32::MAX.to_string();
    let refused = alice.bridge(&["run", "orders", "--until-exit", &no_such, "--", "true"]);
    refused.fails(2, "there is no such process");
    let script = r#"sleep 600 & "$0" run orders --until-exit $! -- sh -c "kill $!; exec sleep 600""#;
    let bridge = place::bridge().display().to_string();
    let ended = alice.start(Path::new("sh"), &["-c", script, &bridge]).ends(USUAL);
    ended.fails(143, "has ended");

    let orders = alice.runs("orders");
    let connect = ["connect", "orders", "--port", &orders.for_port("http"), "--for", "3s", "-o", "json"];
    let connected = alice.bridge(&connect).succeeds().json();
    assert!(connected["endsMs"].is_u64(), "{connected}");
    eventually("the connect has ended", USUAL, || {
        let sessions = alice.status()["sessions"].clone();
        (sessions == json!([])).then_some(()).ok_or_else(|| sessions.to_string())
    });
}

fn requests_are_waited_for(world: &World, alice: &Laptop) {
    let orders = alice.runs("orders");
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let wait = |conditions: &str, more: &[&str]| {
        alice.bridge(&[&["requests", "--wait", conditions, "-o", "json"], more].concat())
    };
    let done = AtomicBool::new(false);
    let waited = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = (world.who_answers(&["x-bridge=alice"]), world.who_answers(&[]));
            }
        });
        let waited = wait("to=me,status=2xx,path=/who*", &["--count", "2"]);
        done.store(true, Ordering::Relaxed);
        waited.succeeds()
    });
    let lines: Vec<&str> = waited.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{waited}");
    assert!(lines.iter().all(|line| line.contains(r#""to":"laptop""#)), "{waited}");
    wait("status=5xx", &["--timeout", "1s"]).fails(1, "0 of 1 requests came within 1 s");
    let gone = alice.bridge(&["disconnect", "-o", "json"]).succeeds().json();
    let gone = &gone["disconnected"][0];
    assert_eq!((&gone["target"], &gone["restored"]), (&json!("orders"), &json!(true)), "{gone}");
}
