//! Parts of Kubernetes hang, end and come back while a Service is connected.

use std::time::Duration;

use bridge_tests::{Away, eventually, failures, pause, place};

use crate::attached::{Attached, ROUTED_AGAIN, TO_ORIGIN};

/// An agent's pod starts, once Kubernetes schedules it again.
const AGENT_READY: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs a cluster: make soak"]
fn what_kubernetes_itself_suffers_costs_nobody_a_request() {
    let attached = Attached::new("node");
    the_api_server_hangs(&attached);
    for program in ["kube-apiserver", "kubelet", "containerd", "kube-proxy"] {
        is_killed(&attached, program);
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
    let back = world.comes_to("x-bridge=alice", &orders.name, AGENT_READY);
    failures::took("all agents evicted, node drained", "all → origin", to_origin, ROUTED_AGAIN, others);
    failures::took("node back", "routed again, once an agent is ready", back, AGENT_READY, others);

    attached.ends();
}

fn the_api_server_hangs(attached: &Attached) {
    let Attached { world, orders, others, .. } = attached;
    // Given requests of Alice, when the API server hangs for a while.
    let alices = world.requests_of("alice", "");
    let Some(away) = Away::of_node("kube-apiserver") else { return };
    pause(TO_ORIGIN * 2);
    away.comes_back();

    // Then her requests went to the origin in bounded time, and are routed to her laptop again.
    let back = world.comes_to("x-bridge=alice", &orders.name, ROUTED_AGAIN * 4);
    let report = alices.ends();
    let trouble = Duration::from_secs_f64(report.trouble_s());
    failures::took("API server hangs", "her requests → origin", trouble, TO_ORIGIN, others);
    failures::took("API server back", "routed again", back, ROUTED_AGAIN, others);
}

/// The node starts it again after a second.
fn is_killed(attached: &Attached, program: &str) {
    let Attached { world, alice, orders, others, .. } = attached;
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
    failures::took(&format!("{program} killed, and back"), "routed again", back, ROUTED_AGAIN, others);
    let session = alice.session();
    assert_eq!(session["state"], "routing", "after {program} was killed: {session}");
}
