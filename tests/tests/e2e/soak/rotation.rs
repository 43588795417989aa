//! Files that the kubelet renews in a pod are renewed on the laptop.

use std::time::Duration;

use bridge_tests::{World, eventually};
use serde_json::{Value, json};

/// The limit on the time after the pod's change until a process of the laptop sees its new token.
const BOUND_S: i64 = 15;
/// The kubelet renews a token when a fifth of its life is left; ten minutes is the shortest possible life.
const RENEWED_WITHIN: Duration = Duration::from_secs(720);

#[test]
#[ignore = "needs a cluster: make soak"]
fn a_token_that_is_renewed_in_the_pod_is_renewed_here() {
    // Given orders with a token that is good for ten minutes.
    let world = World::with("rotation", &["orders"]);
    let mount = json!({"name": "token", "mountPath": "/var/run/short"});
    let token = json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 600}});
    let change = json!({"spec": {"template": {"spec": {
        "volumes": [{"name": "token", "projected": {"sources": [token]}}],
        "containers": [{"name": "orders", "volumeMounts": [mount]}]}}}});
    let _ = world.kubectl(&["patch", "deployment", "orders", "-p", &change.to_string()]).succeeds();
    let _ = world.kubectl(&["rollout", "status", "deployment", "orders", "--timeout=60s"]).succeeds();

    // When a process here reads it until it is another one,
    let alice = world.laptop("alice");
    let script = "token=$BRIDGE_ROOT/var/run/short/token; first=$(cat $token); touch $HOME/reads
        while another=$(cat $token) && test \"$another\" = \"$first\"; do sleep 0.2; done
        date +%s; echo $another | cut -d. -f2 | tr _- /+ | base64 -d 2>/dev/null";
    let reader = alice.start_bridge(&["run", "orders", "--files", "dir", "--", "sh", "-c", script]);
    eventually("the process reads", Duration::from_secs(60), || {
        alice.path("reads").exists().then_some(()).ok_or_else(|| "not yet".to_owned())
    });
    let ended = reader.ends(RENEWED_WITHIN);

    // then it sees the new one soon after it was issued to the pod's kubelet.
    let (seen, claims) = ended.stdout.split_once('\n').unwrap_or_else(|| panic!("two lines: {ended}"));
    let claims: Value = serde_json::from_str(claims).unwrap_or_else(|error| panic!("{error}: {ended}"));
    let issued = claims["iat"].as_i64().unwrap_or_else(|| panic!("a time of issue: {claims}"));
    let late = seen.parse::<i64>().unwrap_or_else(|error| panic!("{error}: {ended}")) - issued;
    println!("the new token was seen {late} s after it was issued");
    assert!((0..=BOUND_S).contains(&late), "expected within {BOUND_S} s, not {late}: {ended}");
}
