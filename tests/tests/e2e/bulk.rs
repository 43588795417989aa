//! Large bodies, up and down, through requests and through opaque connections: nothing is lost, and memory has a limit.

use std::time::Duration;

use bridge_tests::{World, soak};

/// More than any agent or daemon may ever hold.
const BOUND: u64 = 128 << 20;

#[test]
#[ignore = "needs a cluster: make test"]
fn bulk_arrives_whole_and_memory_is_bounded() {
    let bytes = if soak() { "1073741824" } else { "33554432" };
    let patience = "280s";
    let world = World::with("bulk", &["stock", "orders", "client"]);
    // A gigabyte takes its time on a busy machine.
    let client = |args: &[&str]| world.start_client(args).ends(Duration::from_secs(300)).succeeds();
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let stock = alice.runs("stock");

    // Given the hash of a pod's bytes, without a session.
    let url = format!("http://orders/bytes?n={bytes}&seed=7");
    let hash = client(&["http", &url, "--sha", "--timeout", patience]).stdout;
    let (hash, _) = hash.trim().split_once(' ').expect("HASH BYTES");

    // When the same goes down and up through a routed request, it is the same.
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let as_alice = ["--header", "x-bridge=alice", "--timeout", patience];
    let down = client(&[&["http", &url, "--sha"][..], &as_alice].concat());
    assert_eq!(down.stdout.trim(), format!("{hash} {bytes}"), "down through a routed request");
    let send = format!("{bytes},7");
    let sink = ["http", "http://orders/sink", "--method", "PUT", "--send", &send];
    let up = client(&[&sink[..], &as_alice].concat());
    assert_eq!(up.json()["sha256"], hash, "up through a routed request: {up}");
    assert_eq!(up.json()["answered_by"], orders.name.as_str(), "it was the laptop's");
    // And so it is for everyone else, past the laptop.
    let others = client(&[&sink[..], &["--timeout", patience]].concat());
    assert_eq!(others.json()["sha256"], hash, "up to the pods, through an agent: {others}");

    // When it goes through an opaque connection, to the pods and to the laptop, it is the same.
    let opaque = |place: &str, name: &str| {
        let transfer = |command: &str| {
            let args = ["stock", "stock:7070", command, bytes, "7", "--timeout", patience];
            client(&args)
        };
        let (down, up) = (transfer("SEND"), transfer("SINK"));
        assert_eq!(
            down.stdout.trim(),
            format!("{hash} {bytes}"),
            "down through an opaque connection, {place}"
        );
        assert!(
            up.stdout.starts_with(&format!("{hash} {bytes} {name}")),
            "up through an opaque connection, {place}: {up}"
        );
        (down.took, up.took)
    };
    let port = stock.port.to_string();
    let _ = alice.bridge(&["connect", "stock", "--port", &port]).succeeds();
    let to_pods = opaque("to the pods", "stock-");
    let _ = alice.bridge(&["connect", "stock", "--everything", "--port", &port]).succeeds();
    let to_laptop = opaque("to the laptop", &stock.name);

    // Then agents and daemon have never held more than their bound.
    let daemon = alice.daemon_peak();
    let agents = world.agents();
    let peaks: Vec<u64> = agents.iter().filter_map(|pod| world.agent_peak(pod)).collect();
    let mebibytes = |bytes: &u64| format!("{:.1} MiB", *bytes as f64 / f64::from(1 << 20));
    println!(
        "{bytes} bytes; down, up (with its hash): routed {:.2?}, {:.2?}; opaque to pods {:.2?}, {:.2?}; opaque to the laptop {:.2?}, {:.2?}",
        down.took, up.took, to_pods.0, to_pods.1, to_laptop.0, to_laptop.1
    );
    println!(
        "most memory: daemon {}, agents {:?}",
        mebibytes(&daemon),
        peaks.iter().map(mebibytes).collect::<Vec<_>>()
    );
    assert!(daemon <= BOUND, "the daemon held {daemon} bytes");
    assert!(peaks.iter().all(|peak| *peak <= BOUND), "the agents held {peaks:?} bytes");
    assert!(peaks.len() == agents.len() || bridge_tests::place::context().is_some(), "{agents:?}: {peaks:?}");
    let _ = alice.bridge(&["disconnect", "--all"]).succeeds();
}
