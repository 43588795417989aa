//! One developer's mistakes cost the others nothing: no request, no restart of an agent, and no more than half of an
//! agent's memory. Loops, a local port on which nothing listens, bodies that nobody reads. The same holds for strangers
//! at the agents.

use std::path::Path;
use std::time::Duration;

use bridge_tests::place::file;
use bridge_tests::process::USUAL;
use bridge_tests::{Laptop, Load, Local, World};
use serde_json::Value;

/// Half of the memory that a stand-in's agents may hold.
const HALF: u64 = 256 << 20;
/// The number of requests that are sent at a time into each loop.
const LOOPED: usize = 20;

#[test]
#[ignore = "needs a cluster: make soak"]
fn a_developer_s_mistakes_cost_others_nothing() {
    let world = World::with("harm", &["stock", "prices", "orders", "client"]);
    let (alice, bob) = (world.laptop("alice"), world.laptop("bob"));
    let others = everybody_else(&world);

    a_port_forward_that_leads_back_ends_with_508(&world, &alice, &bob);
    two_laptops_that_lead_to_each_other_end_with_508(&world, &alice, &bob);
    opaque_connections_that_lead_back_reach_the_pods(&world, &alice);
    where_nothing_listens_the_pods_answer_all(&world, &alice);
    bodies_that_nobody_reads_hold_up_nobody(&world, &alice, &bob);
    strangers_at_the_agents_keep_nobody_out(&world, &alice, &bob);

    others.has_lost_nothing();
}

/// 50 requests per second of each kind, which pods must all answer.
fn everybody_else(world: &World) -> Load {
    let to = |url: &str, expected: &str| {
        ["--url", url, "--rate", "50", "--workers", "4", "--expect", expected].map(str::to_owned).to_vec()
    };
    let (http, pods) = ("http://orders/whoami", "^orders orders-");
    world.callers(
        "others",
        &[
            ("new", to(http, pods)),
            ("keepalive", to(http, pods)),
            ("ws", to("ws://orders/ws", "^orders-")),
            ("grpc", to("grpc://prices:50051", "")),
            ("tcp", to("tcp://stock:7070", "")),
        ],
    )
}

fn a_port_forward_that_leads_back_ends_with_508(world: &World, alice: &Laptop, bob: &Laptop) {
    // Given a session whose local port is a port-forward to the same Service: of kubectl, and of another's bridge.
    let port = alice.free_port();
    let _ = alice.bridge(&["connect", "orders", "--port", &format!("{port}:http")]).succeeds();
    // Only now the Service leads to agents.
    let kubectl = world.port_forward("service/orders", &format!("{port}:80"));
    loops(world, "orders", "x-bridge=alice");
    drop(kubectl);

    let of_bob = forwards(bob, "orders");
    let _ = alice.bridge(&["connect", "orders", "--port", &of_bob.for_port("http")]).succeeds();
    loops(world, "orders", "x-bridge=alice");
    agents_are_well(world);
    of_bob.ends();

    // The same by gRPC.
    let port = alice.free_port();
    let _ = alice.bridge(&["connect", "prices", "--port", &port.to_string()]).succeeds();
    let kubectl = world.port_forward("service/prices", &format!("{port}:50051"));
    calls_fail(world, &["x-bridge=alice"]);
    agents_are_well(world);
    drop(kubectl);
    for laptop in [alice, bob] {
        let _ = laptop.bridge(&["disconnect", "--all"]).succeeds();
    }
}

/// Sends gRPC calls at once into a loop, each of which must end.
fn calls_fail(world: &World, headers: &[&str]) {
    let headers: Vec<&str> = headers.iter().flat_map(|header| ["--header", header]).collect();
    let asked: Vec<_> = (0..LOOPED)
        .map(|_| world.start_client(&[&["grpc", "prices:50051", "get", "coffee"][..], &headers].concat()))
        .collect();
    for call in asked {
        let ended = call.ends(Duration::from_secs(20));
        assert!(ended.code == Some(1), "expected a call that leads back to fail: {ended}");
    }
}

fn two_laptops_that_lead_to_each_other_end_with_508(world: &World, alice: &Laptop, bob: &Laptop) {
    // Given Alice's orders at a forward of Bob's to prices, and Bob's prices at a forward of Alice's to orders.
    let of_bob = forwards(bob, "prices");
    let _ = alice.bridge(&["connect", "orders", "--port", &of_bob.for_port("http")]).succeeds();
    let of_alice = alice.opens(&["forward", "orders", "--via", "orders"]);
    let _ = bob.bridge(&["connect", "prices", "--port", &of_alice.port.to_string()]).succeeds();

    // When a call carries the headers of both, then it ends.
    calls_fail(world, &["x-bridge=alice", "x-bridge=bob"]);
    agents_are_well(world);
    of_alice.ends();
    of_bob.ends();
    for laptop in [alice, bob] {
        let _ = laptop.bridge(&["disconnect", "--all"]).succeeds();
    }
}

/// No header travels with them.
fn opaque_connections_that_lead_back_reach_the_pods(world: &World, alice: &Laptop) {
    let port = alice.free_port();
    let _ = alice.bridge(&["connect", "stock", "--everything", "--port", &port.to_string()]).succeeds();
    let kubectl = world.port_forward("service/stock", &format!("{port}:7070"));
    for _ in 0..LOOPED {
        let count = world.client(&["stock", "stock:7070", "COUNT", "coffee"]).succeeds().stdout;
        assert!(count.contains(" stock-"), "expected a pod to count: {count}");
    }
    agents_are_well(world);
    drop(kubectl);
    let _ = alice.bridge(&["disconnect", "--all"]).succeeds();
}

fn where_nothing_listens_the_pods_answer_all(world: &World, alice: &Laptop) {
    let nobody = format!("{}:http", alice.free_port());
    let _ = alice.bridge(&["connect", "orders", "--everything", "--port", &nobody]).succeeds();
    for headers in [&[][..], &["x-bridge=alice"]] {
        let answerer = world.who_answers(headers);
        assert!(answerer.starts_with("orders-"), "expected the pods for {headers:?}: {answerer}");
    }
    let _ = alice.bridge(&["disconnect", "--all"]).succeeds();
}

fn bodies_that_nobody_reads_hold_up_nobody(world: &World, alice: &Laptop, bob: &Laptop) {
    // Given Alice's program that reads nothing, and Bob's that works.
    let stalled = reads_nothing(alice);
    let works = bob.runs("orders");
    let _ = alice.bridge(&["connect", "orders", "--port", &stalled.for_port("http")]).succeeds();
    let _ = bob.bridge(&["connect", "orders", "--port", &works.for_port("http")]).succeeds();
    let his = world.requests_of("bob", &format!("^orders {}", works.name));

    // When 200 bodies of 64 MiB are on their way to Alice's.
    let body = ["http", "http://orders/sink", "--method", "PUT", "--send", "67108864", "--timeout", "20s"];
    let bodies: Vec<_> = (0..200)
        .map(|_| world.start_client(&[&body[..], &["--header", "x-bridge=alice"]].concat()))
        .collect();

    // Then Bob's requests are answered meanwhile,
    his.goes_on(100);
    agents_are_well(world);
    // and after her session is over, with all the data that she never read.
    let _ = alice.bridge(&["disconnect", "--all"]).succeeds();
    drop(bodies);
    his.goes_on(20);
    his.has_lost_nothing();
    let _ = bob.bridge(&["disconnect", "--all"]).succeeds();
}

/// Users who may port-forward to pods but do not know the key.
fn strangers_at_the_agents_keep_nobody_out(world: &World, alice: &Laptop, bob: &Laptop) {
    // Given Alice's session.
    let orders = alice.runs("orders");
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let of_alice = world.requests_of("alice", &format!("^orders {}", orders.name));

    // When each kind of flood comes to each agent's control port, three times over,
    for kind in ["unfinished", "head", "reset", "pings", "settings", "silent"] {
        for _ in 0..3 {
            floods(world, alice, kind, || ());
        }
    }
    // then another daemon is served meanwhile,
    let his = bob.runs("orders");
    floods(world, alice, "silent", || {
        let connected = bob.bridge(&["connect", "orders", "--port", &his.for_port("http")]).succeeds();
        println!("connecting beside strangers took {:.1?}", connected.took);
        assert_eq!(world.who_answers(&["x-bridge=bob"]), his.name);
    });
    // and she has lost nothing.
    of_alice.goes_on(20);
    of_alice.has_lost_nothing();
    for laptop in [alice, bob] {
        let _ = laptop.bridge(&["disconnect", "--all"]).succeeds();
    }
}

/// Floods the control port of all agents of orders while `meanwhile` runs.
fn floods(world: &World, laptop: &Laptop, kind: &str, meanwhile: impl FnOnce()) {
    let attachment = &world.service("orders")["metadata"]["annotations"]["bridge.dev/attachment"];
    let attachment: Value = serde_json::from_str(attachment.as_str().expect("attached")).expect("JSON");
    let program = file("tests/src/flood.py");
    let floods = world.agents().into_iter().map(|agent| {
        // kubectl ends when the agent cuts a connection, so that each flood needs one of its own.
        let forward = world.port_forward(&format!("pod/{agent}"), &format!(":{}", attachment["control"]));
        let args = [program.to_str().expect("UTF-8"), &forward.port.to_string(), kind];
        let flood = laptop.start(Path::new("python3"), &args);
        (forward, flood)
    });
    let floods: Vec<_> = floods.collect();
    meanwhile();
    for (_forward, flood) in floods {
        print!("{}", flood.ends(USUAL).succeeds().stdout);
    }
    agents_are_well(world);
}

/// A port of the laptop that leads to a Service, through orders' agents.
fn forwards(laptop: &Laptop, service: &str) -> Local {
    let nobody = format!("{}:http", laptop.free_port());
    let _ = laptop.bridge(&["connect", "orders", "--port", &nobody]).succeeds();
    laptop.opens(&["forward", service, "--via", "orders"])
}

/// Sends requests of each kind at once into a loop, each of which must end with 508.
fn loops(world: &World, service: &str, header: &str) {
    let (http, ws) = (format!("http://{service}/whoami"), format!("ws://{service}/ws"));
    let kinds = [["http", &http], ["ws", &ws]];
    let asked: Vec<_> = (0..LOOPED)
        .flat_map(|_| kinds.map(|kind| world.start_client(&[&kind[..], &["--header", header]].concat())))
        .collect();
    for request in asked {
        request.ends(Duration::from_secs(20)).fails(1, "508");
    }
}

/// No agent has restarted, or has held more than half of its memory.
fn agents_are_well(world: &World) {
    for agent in world.agents() {
        let status = world.get(&format!("pods/{agent}"))["status"].take();
        assert_eq!(
            status["containerStatuses"][0]["restartCount"], 0,
            "expected no restart of {agent}: {status}"
        );
        if let Some(peak) = world.agent_peak(&agent) {
            println!("{agent} has held {:.1} MiB at most", peak as f64 / f64::from(1 << 20));
            assert!(peak <= HALF, "{agent} held {peak} bytes, expected at most {HALF}");
        }
    }
}

/// A program that accepts connections and reads nothing.
fn reads_nothing(laptop: &Laptop) -> Local {
    let script = "import socket; s = socket.create_server(('127.0.0.1', 0), backlog=512)
print('listens on 127.0.0.1:%d' % s.getsockname()[1], flush=True); kept = []
while True: kept.append(s.accept())";
    laptop.runs_script("reads nothing", script)
}
