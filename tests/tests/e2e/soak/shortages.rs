//! The laptop has no descriptors or no disk left, and has them again.

use bridge_tests::{Laptop, Shortage, World, failures};

use crate::attached::{Attached, CONNECTED_ONCE, ROUTED_AGAIN};

#[test]
#[ignore = "needs a cluster: make soak"]
fn a_daemon_without_descriptors_says_so_and_recovers() {
    let attached = Attached::new("descriptors");
    let Attached { world, alice, orders, others, .. } = &attached;

    // When the daemon can open nothing more.
    let Some(shortage) = Shortage::of_descriptors(alice) else { return };
    let refused = world.client(&["http", "http://orders/whoami", "--header", "x-bridge=alice", "--head"]);
    let said = refused.to_string();
    assert!(said.contains("503 Service Unavailable"), "{said}");
    assert!(said.contains("alice's laptop takes no further connection (Too many open files"), "{said}");
    others.goes_on(20);

    // When it can again, nothing needs a command.
    shortage.ends();
    let back = world.comes_to("x-bridge=alice", &orders.name, ROUTED_AGAIN * 2);
    failures::took("no descriptors, and some again", "routed again", back, ROUTED_AGAIN, others);
    is_routing(alice);

    attached.ends();
}

#[test]
#[ignore = "needs a cluster: make soak"]
fn a_full_disk_costs_files_and_no_session() {
    let world = World::new("full-disk");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let before = world.objects();
    let others = world.others();

    // Given a full disk, a session begins, works and ends.
    let Some(shortage) = Shortage::of_disk(&alice) else { return };
    let connected = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "with a full disk");
    failures::took("disk full", "connect works", connected.took, CONNECTED_ONCE, &others);
    is_routing(&alice);
    // A command that needs files says which it could not write, and runs.
    let run = alice.bridge(&["run", "orders", "--", "true"]).succeeds();
    assert!(run.stderr.contains("No space left on device"), "{run}");
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    others.goes_on(20);
    others.has_lost_nothing();
    world.is_given_back(&before);
    shortage.ends();
}

fn is_routing(alice: &Laptop) {
    let session = alice.session();
    assert_eq!(session["state"], "routing", "{session}");
}
