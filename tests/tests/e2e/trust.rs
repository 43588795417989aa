//! A user with a single small right who tries to pass for a part of bridge.

use std::time::Duration;

use bridge_tests::place::shop_image;
use bridge_tests::{Laptop, World, eventually};
use serde_json::json;

#[test]
#[ignore = "needs a cluster: make test"]
fn labels_alone_make_nothing_a_part_of_a_stand_in() {
    // Given another user's Secret, and a Service that was created to have it deleted.
    let world = World::with("trust", &["orders", "client"]);
    let ours = json!({
        "app.kubernetes.io/managed-by": "bridge", "bridge.dev/service": "orders", "bridge.dev/stand-in": "zzzz",
    });
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "payments-key"}});
    let bait = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "payments-origin", "labels": ours},
        "spec": {"selector": {"app": "nothing"}, "ports": [{"port": 80}]},
    });
    let _ = world.apply(&format!("{secret}\n---\n{bait}"));
    let before = world.objects();

    // When Alice connects, and another user makes a pod with an agent's labels,
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    let stand_in = alice.session()["standIn"].as_str().expect("its id").to_owned();
    let _ = world.apply(&pod("fake", &stand_in));
    let _ = world.kubectl(&["wait", "--for=condition=Ready", "pod/fake", "--timeout=50s"]).succeeds();

    // then bridge leaves it alone and logs that once; her requests reach her laptop as before.
    is_left_alone(&alice, "fake");
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    let session = alice.session();
    let agents: Vec<_> =
        session["agents"].as_array().into_iter().flatten().map(|agent| &agent["pod"]).collect();
    assert!(
        !agents.is_empty() && agents.iter().all(|pod| **pod != json!("fake")),
        "expected only agents: {session}"
    );

    // When she is done, and cleans up, other people's objects are unchanged.
    let _ = world.kubectl(&["delete", "pod", "fake", "--grace-period=1"]).succeeds();
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    let _ = alice.bridge(&["clean"]).succeeds();
    world.is_given_back(&before);
}

fn is_left_alone(laptop: &Laptop, pod: &str) {
    let log = laptop.path("run/bridge/daemon.log");
    eventually("the daemon's log names the pod that is no agent", Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let said =
            text.lines().filter(|line| line.contains("leaving it alone") && line.contains(pod)).count();
        (said > 0).then_some(()).ok_or(text)
    });
}

/// A pod with an agent's labels.
fn pod(name: &str, stand_in: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {
            "app.kubernetes.io/managed-by": "bridge", "bridge.dev/service": "orders", "bridge.dev/stand-in": stand_in,
        }},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "fake", "image": shop_image(), "imagePullPolicy": "IfNotPresent", "args": ["stock"],
                "env": [{"name": "PORT", "value": "7390"}],
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 10001, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
            }],
        },
    })
    .to_string()
}
