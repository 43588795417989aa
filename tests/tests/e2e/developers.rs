//! Several developers at one Service, and a laptop on which nothing listens.

use bridge_tests::{World, failures};

use crate::attached::ROUTED_AGAIN;

#[test]
#[ignore = "needs a cluster: make test"]
fn developers_share_a_service_and_see_when_nothing_listens() {
    let world = World::with("developers", &["orders", "client"]);
    let before = world.objects();
    two_share_a_service_and_none_takes_what_is_another_s(&world);
    world.is_given_back(&before);
    when_nothing_listens_callers_get_a_503_or_the_origin_answers(&world);
    world.is_given_back(&before);
}

fn two_share_a_service_and_none_takes_what_is_another_s(world: &World) {
    let (alice, bob) = (world.laptop("alice"), world.laptop("bob"));
    let (alices, bobs) = (alice.runs("orders"), bob.runs("orders"));

    // When both connect with their own headers, both are served, by one stand-in.
    let _ = alice.bridge(&["connect", "orders", "--port", &alices.for_port("http")]).succeeds();
    let _ = bob.bridge(&["connect", "orders", "--port", &bobs.for_port("http")]).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), alices.name);
    assert_eq!(world.who_answers(&["x-bridge=bob"]), bobs.name);
    assert_eq!(
        world.who_answers(&["x-bridge=alice", "x-bridge=bob"]),
        alices.name,
        "the oldest session first"
    );
    assert!(world.who_answers(&["x-bridge=carol"]).starts_with("orders-"));
    assert_eq!(alice.session()["standIn"], bob.session()["standIn"], "one stand-in");
    let listed = bob.bridge(&["list"]).succeeds();
    assert!(listed.stdout.contains("alice") && listed.stdout.contains("bob"), "{listed}");

    // When Carol asks for Alice's requests, bridge names Alice, and nothing changes.
    let carol = world.laptop("carol");
    let asked =
        carol.bridge(&["connect", "orders", "--header", "x-bridge=alice", "--port", &bobs.for_port("http")]);
    asked.fails(6, "alice");
    assert_eq!(world.who_answers(&["x-bridge=alice"]), alices.name);

    // When Alice goes, Bob's session goes on; when he goes too, nobody is connected.
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    assert!(world.who_answers(&["x-bridge=alice"]).starts_with("orders-"));
    assert_eq!(world.who_answers(&["x-bridge=bob"]), bobs.name, "Bob's session goes on");
    let _ = bob.bridge(&["disconnect", "orders"]).succeeds();
}

fn when_nothing_listens_callers_get_a_503_or_the_origin_answers(world: &World) {
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let port = orders.for_port("http");
    let (number, name) = (orders.port.to_string(), orders.name.clone());
    drop(orders);

    // When nothing listens on the local port, connect warns and works …
    let warned = alice.bridge(&["connect", "orders", "--port", &port]).succeeds();
    assert!(warned.stderr.contains(&number) && warned.stderr.contains("503"), "expected a warning: {warned}");
    // … and Alice's requests are answered with a message that names session, port and what to do.
    let others = world.others_by("others", &["new"]);
    let answer = world.client(&["http", "http://orders/whoami", "--header", "x-bridge=alice"]);
    answer.fails(1, "503");
    others.goes_on(20);
    failures::took("local process not listening", "503 that says so", answer.took, ROUTED_AGAIN, &others);
    others.has_lost_nothing();
    assert!(
        answer.stderr.contains(&number) && answer.stderr.contains("alice"),
        "expected who and where: {answer}"
    );
    assert!(world.who_answers(&[]).starts_with("orders-"), "others notice nothing");

    // When she prefers the origin then, it answers.
    let _ = alice.bridge(&["connect", "orders", "--port", &port, "--fallback", "origin"]).succeeds();
    let answerer = world.who_answers(&["x-bridge=alice"]);
    assert!(answerer.starts_with("orders-"), "expected the origin in place of {name}: {answerer}");
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}
