//! Parts of Kubernetes hang, end and come back while a Service is connected.

use std::time::Duration;

use bridge_tests::{Away, Laptop, Local, World, eventually, pause, place};

use crate::attached::{Attached, ROUTED_AGAIN, TO_ORIGIN};

#[test]
#[ignore = "needs a cluster: make soak"]
fn what_kubernetes_itself_suffers_costs_nobody_a_request() {
    let attached = Attached::new("node");
    let Attached { world, alice, orders, .. } = &attached;

    the_api_server_hangs(world, orders);
    for program in ["kube-apiserver", "kubelet", "containerd", "kube-proxy"] {
        is_killed(world, alice, orders, program);
    }

    attached.ends();
}

#[test]
#[ignore = "needs a cluster: make soak"]
fn when_the_agents_node_is_drained_the_pods_answer_and_afterwards_the_laptop() {
    let attached = Attached::new("drained");
    let Attached { world, orders, others, .. } = &attached;

    // When all agents are evicted, and no other node takes new ones.
    let pods = world.get("pods?labelSelector=bridge.dev/stand-in");
    let node = pods["items"][0]["spec"]["nodeName"].as_str().expect("a node");
    let Some(drained) = Away::drained(node, "bridge.dev/stand-in") else { return };
    let to_origin = world.comes_to("x-bridge=alice", "orders-", TO_ORIGIN * 2);
    others.goes_on(40);

    // Then her requests are answered by the pods, and by her laptop once agents can run.
    drained.comes_back();
    let back = world.comes_to("x-bridge=alice", &orders.name, Duration::from_secs(30));
    println!(
        "drained: the origin answered {:.2} s after the last agent went; routed {:.2} s after the node was back",
        to_origin.as_secs_f64(),
        back.as_secs_f64()
    );
    assert!(to_origin <= ROUTED_AGAIN, "expected the origin within {ROUTED_AGAIN:?}: {to_origin:?}");

    attached.ends();
}

fn the_api_server_hangs(world: &World, orders: &Local) {
    // Given requests of Alice, when the API server hangs for a while.
    let alices = world.requests_of("alice", "");
    let Some(away) = Away::of_node("kube-apiserver") else { return };
    pause(TO_ORIGIN * 2);
    away.comes_back();

    // Then her requests went to the origin in bounded time, and are routed to her laptop again.
    let back = world.comes_to("x-bridge=alice", &orders.name, ROUTED_AGAIN * 4);
    let report = alices.ends();
    println!(
        "the API server hung for {:?}: {} of her requests failed within {:.2} s, the slowest took {:.2} s; routed {:.2} s \
         after it was back",
        TO_ORIGIN * 2,
        report.failed(),
        report.trouble_s(),
        report.slowest_ms() / 1e3,
        back.as_secs_f64()
    );
    assert!(back <= ROUTED_AGAIN, "expected routing within {ROUTED_AGAIN:?}: {back:?}");
    assert!(
        report.trouble_s() <= TO_ORIGIN.as_secs_f64(),
        "expected at most {TO_ORIGIN:?} of trouble: {report}"
    );
}

/// The node starts it again after a second.
fn is_killed(world: &World, alice: &Laptop, orders: &Local, program: &str) {
    let Some(killed) = place::in_node(&format!("pkill -KILL -x {program}")) else { return };
    let _ = killed.succeeds();
    eventually(&format!("{program} is there again"), Duration::from_secs(30), || {
        let there = place::in_node(&format!("pgrep -x {program}")).ok_or("no node")?;
        if there.code == Some(0) { Ok(()) } else { Err(there.to_string()) }
    });
    eventually("a pod can be entered", Duration::from_secs(30), || {
        let entered = world.kubectl(&["exec", "deploy/client", "--", "shop", "client", "-"]);
        if entered.code == Some(0) { Ok(()) } else { Err(entered.to_string()) }
    });
    world.enters_the_client_again();
    let back = world.comes_to("x-bridge=alice", &orders.name, Duration::from_secs(30));
    println!("{program} was killed: routed {:.2} s after it was back", back.as_secs_f64());
    let session = alice.session();
    assert_eq!(session["state"], "routing", "after {program} was killed: {session}");
}
