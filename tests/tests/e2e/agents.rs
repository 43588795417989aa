//! Pods of agents come and go while a Service is connected.

use std::time::{Duration, Instant};

use bridge_tests::{Laptop, World, eventually, failures};

/// A pod starts, and three seconds.
const ANOTHER: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs a cluster: make test"]
fn when_an_agent_goes_the_next_one_takes_over() {
    // Given callers, and orders connected.
    let world = World::new("agents");
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let before = world.objects();
    let others = world.others();
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();

    // When an agent's pod is evicted, as by a node's drain.
    let leaving = world.agents().first().expect("an agent").clone();
    let _ = world.kubectl(&["delete", "pod", &leaving, "--wait=false"]).succeeds();
    let evicted = Instant::now();
    attended_by_others(&world, &alice, &leaving);
    failures::took("agent evicted", "routed by another", evicted.elapsed(), ANOTHER, &others);

    // Then no request has failed, and Alice's are routed.
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name, "routed by the agents that are left");
    others.goes_on(40);
    others.has_lost_nothing();
    let others = world.others_by("meanwhile", &["new"]);

    // When one dies at once, as any pod may.
    let dying = world.agents().first().expect("an agent").clone();
    let _ = world.kubectl(&["delete", "pod", &dying, "--grace-period=0", "--force"]).succeeds();

    // Then routing comes back, and nothing is left behind at the end.
    let died = Instant::now();
    attended_by_others(&world, &alice, &dying);
    eventually("Alice's requests are routed again", Duration::from_secs(10), || {
        let answer =
            world.client(&["http", "http://orders/whoami", "--header", "x-bridge=alice", "--timeout", "2s"]);
        answer.stdout.contains(&orders.name).then_some(()).ok_or_else(|| answer.to_string())
    });
    // Others may fail as they do when any pod of the Service dies at once.
    failures::took("agent's pod deleted at once", "routed by another", died.elapsed(), ANOTHER, &others);
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    world.is_given_back(&before);
}

/// Waits until all staying agents have a tunnel, and the leaving one is no longer counted.
fn attended_by_others(world: &World, alice: &Laptop, gone: &str) {
    eventually("tunnels to all agents that stay", Duration::from_secs(20), || {
        let staying = world.agents();
        let session = alice.session();
        let attended = |pod: &String| {
            let agents = session["agents"].as_array().into_iter().flatten();
            agents.into_iter().any(|agent| agent["pod"] == pod.as_str() && agent["attended"] == true)
        };
        let enough = staying.len() >= 2 && !staying.iter().any(|pod| pod == gone);
        (enough && staying.iter().all(attended))
            .then_some(())
            .ok_or_else(|| format!("{staying:?}: {session}"))
    });
}
