//! The laptop sleeps, or loses its network without an error, and comes back.

use std::time::Duration;

use bridge_tests::{Away, Laptop, World, failures};

use crate::attached::{Attached, ROUTED_AGAIN, TO_ORIGIN};

#[test]
#[ignore = "needs a cluster: make soak"]
fn a_laptop_that_is_away_costs_others_nothing_and_is_routed_again_when_it_is_back() {
    let attached = Attached::new("away");
    let Attached { world, alice, .. } = &attached;

    is_away(&attached, "laptop asleep (SIGSTOP)", || Some(Away::daemon_of(alice)));
    is_away(&attached, "network cut (dropped)", Away::network);
    is_connected_with_both_agents(world, alice);

    attached.ends();
}

/// Alice's requests go to the origin while she is away, in bounded time, and to her afterwards, without a command.
fn is_away(attached: &Attached, what: &str, goes: impl FnOnce() -> Option<Away>) {
    let Attached { world, orders, others, .. } = attached;
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "routed before");
    let alices = world.requests_of("alice", "");
    let Some(away) = goes() else {
        println!("{what}: skipped, the cluster is not ours");
        return;
    };
    // A wait of its own, as a request that was in flight has one, too.
    let to_origin = world.comes_to("x-bridge=alice", "orders-", TO_ORIGIN * 2);
    alices.goes_on(20);
    away.comes_back();
    let back = world.comes_to("x-bridge=alice", &orders.name, ROUTED_AGAIN * 2);
    let report = alices.ends();
    let worst = Duration::from_secs_f64(report.trouble_s().max(report.slowest_ms() / 1e3));
    failures::took(what, "her requests → origin", to_origin.max(worst), TO_ORIGIN, others);
    failures::took(&format!("{what}, and back"), "routed again", back, ROUTED_AGAIN, others);
}

/// Both agents have the session's routes.
fn is_connected_with_both_agents(world: &World, alice: &Laptop) {
    bridge_tests::eventually("tunnels to both agents", Duration::from_secs(10), || {
        let session = alice.session();
        let agents = session["agents"]
            .as_array()
            .map_or(0, |agents| agents.iter().filter(|agent| agent["attended"] == true).count());
        (agents == world.agents().len()).then_some(()).ok_or_else(|| session.to_string())
    });
}
