//! Routing while orders, prices and stock are connected.

use bridge_tests::World;

#[test]
#[ignore = "needs a cluster: make test"]
fn the_developer_s_requests_reach_the_laptop_and_all_others_the_pods() {
    // Given shop as it is deployed, and orders on the laptop.
    let world = World::with("routing", &["stock", "prices", "orders", "web", "client"]);
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");

    // When Alice connects orders.
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();

    // Then her laptop answers her requests, whichever header marks them …
    for matched in [
        "baggage=bridge=alice",
        "baggage=tenant=7,bridge=alice;p=1,x=y",
        "tracestate=rojo=00f067aa0ba902b7,bridge=alice",
        "x-bridge=alice",
        "X-Bridge=alice",
    ] {
        assert_eq!(world.who_answers(&[matched]), orders.name, "expected the laptop to answer {matched}");
    }
    assert_eq!(
        world.who_answers(&["x-bridge=bob", "x-bridge=alice"]),
        orders.name,
        "one value of two matches"
    );
    // … and the pods answer everyone else's.
    for other in [
        "x-bridge=bob",
        "x-bridge=alice2",
        "x-bridge=",
        "baggage=bridge=bob",
        "baggage=notbridge=alice",
        "x-other=alice",
    ] {
        let answerer = world.who_answers(&[other]);
        assert!(answerer.starts_with("orders-"), "expected a pod to answer {other}, not {answerer}");
    }
    assert!(world.who_answers(&[]).starts_with("orders-"), "expected a pod to answer without a header");

    // Each of these steps only sends requests: orders is connected, and stays so.
    a_laptop_s_answer_says_so(&world, &orders.name);
    web_sockets_go_where_their_upgrade_goes(&world, &orders.name);
    the_header_is_handed_on_by_web(&world, &orders.name);

    // gRPC and TCP go to the pods as long as nobody has connected them …
    grpc_is_answered_by(&world, "x-bridge=alice", "prices-");
    tcp_is_answered_by_the_pods(&world);
    // … and once they are connected, gRPC calls go where their metadata says, and other bytes pass unchanged.
    let prices = alice.runs("prices");
    let stock = alice.runs("stock");
    let _ = alice.bridge(&["connect", "prices", "--port", &prices.port.to_string()]).succeeds();
    let _ = alice.bridge(&["connect", "stock", "--port", &stock.port.to_string()]).succeeds();
    grpc_is_answered_by(&world, "x-bridge=alice", &prices.name);
    grpc_is_answered_by(&world, "baggage=bridge=alice", &prices.name);
    grpc_is_answered_by(&world, "x-bridge=bob", "prices-");
    tcp_is_answered_by_the_pods(&world);
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "three sessions at a time");

    // With everything, the connections to stock go to Alice, too.
    let _ = alice.bridge(&["connect", "stock", "--everything", "--port", &stock.port.to_string()]).succeeds();
    let count = world.client(&["stock", "stock:7070", "COUNT", "coffee"]).succeeds().stdout;
    assert!(count.trim().ends_with(&stock.name), "expected the laptop's stock to answer: {count}");

    let _ = alice.bridge(&["disconnect", "--all"]).succeeds();
    assert!(world.who_answers(&["x-bridge=alice"]).starts_with("orders-"), "disconnected, the pods answer");
}

fn a_laptop_s_answer_says_so(world: &World, laptop: &str) {
    let head = |header: &str| {
        let args = ["http", "http://orders/whoami", "--head", "--header", header];
        world.client(&args).succeeds().stdout
    };
    let matched = head("x-bridge=alice");
    assert!(
        matched.contains(&format!("x-answered-by: {laptop}")),
        "expected the laptop's answer:\n{matched}"
    );
    assert!(matched.contains("x-bridge-served-by: "), "expected the session's name in:\n{matched}");
    assert!(
        matched.contains("cache-control: private"),
        "expected that shared caches leave it alone:\n{matched}"
    );
    let others = head("x-bridge=bob");
    assert!(
        !others.contains("bridge") && !others.contains("private"),
        "expected nothing of ours in:\n{others}"
    );
}

fn web_sockets_go_where_their_upgrade_goes(world: &World, laptop: &str) {
    let talk = |header: &str| {
        let args = ["ws", "ws://orders/ws", "--header", header, "--message", "one", "--message", "two"];
        world.client(&args).succeeds().stdout
    };
    assert_eq!(talk("x-bridge=alice"), format!("hello from {laptop}\n{laptop}: one\n{laptop}: two\n"));
    assert_eq!(talk("baggage=bridge=alice"), format!("hello from {laptop}\n{laptop}: one\n{laptop}: two\n"));
    let others = talk("x-bridge=bob");
    assert!(
        others.starts_with("hello from orders-") && others.ends_with(": two\n"),
        "expected a pod:\n{others}"
    );
}

fn the_header_is_handed_on_by_web(world: &World, laptop: &str) {
    let asked = |header: &str| {
        let order = world.client(&["http", "http://web/", "--header", header]).succeeds().json();
        let by = order["orders"]["answered_by"].as_str().unwrap_or_default().to_owned();
        assert!(order["answered_by"].as_str().is_some_and(|web| web.starts_with("web-")), "{order}");
        by
    };
    assert_eq!(asked("x-bridge=alice"), laptop, "web hands x-bridge on to orders");
    assert_eq!(asked("baggage=bridge=alice"), laptop, "web hands baggage on to orders");
    assert!(asked("x-bridge=bob").starts_with("orders-"));
}

/// All four kinds of call.
fn grpc_is_answered_by(world: &World, header: &str, answerer: &str) {
    for (kind, messages) in [("get", 1), ("watch", 3), ("sum", 1), ("chat", 2)] {
        let args = ["grpc", "prices:50051", kind, "coffee", "tea", "--count", "3", "--header", header];
        let said = world.client(&args).succeeds().stdout;
        let theirs = |line: &&str| line.contains(&format!("\"answered_by\":\"{answerer}"));
        let answers = said.lines().filter(theirs).count();
        assert_eq!(
            answers, messages,
            "expected {messages} answers of {answerer} to {kind} ({header}):\n{said}"
        );
        assert!(said.lines().any(|line| line.starts_with("{\"trailer\":")), "expected a trailer:\n{said}");
    }
}

fn tcp_is_answered_by_the_pods(world: &World) {
    let count = world.client(&["stock", "stock:7070", "COUNT", "coffee"]).succeeds().stdout;
    assert!(count.contains(" stock-"), "expected a pod to count: {count}");
}
