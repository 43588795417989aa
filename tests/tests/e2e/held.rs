//! A developer who is restricted to bridge's own objects (`deploy/policy.yaml`): all of bridge works, and nothing else
//! that the Role would permit.

use bridge_tests::World;
use serde_json::json;

#[test]
#[ignore = "needs a cluster: make test"]
fn a_developer_held_to_bridge_s_own_objects_can_connect_and_touch_nothing_else() {
    let world = World::with("held", &["orders", "client"]);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "payments-key"},
        "stringData": {"key": "not bridge's"}});
    let _ = world.apply(&secret.to_string());
    let policy = world.holds_the_developer();
    let before = world.objects();

    connecting_works(&world);
    world.is_given_back(&before);
    nothing_else_may_be_touched(&world);
    world.is_given_back(&before);

    // The cluster's admin is not restricted.
    let _ = world.kubectl(&["patch", "service", "orders", "--dry-run=server", "-p", OTHER_PORTS]).succeeds();
    drop(policy);
}

fn connecting_works(world: &World) {
    // Given a developer who is connected.
    let alice = world.laptop("alice");
    let orders = alice.runs("orders");
    let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);

    // When she points the selector elsewhere, or removes the record of the original, the cluster refuses.
    let elsewhere = json!({"spec": {"selector": {"app": "client"}}}).to_string();
    let refused = world.kubectl_as_developer(&["patch", "service", "orders", "-p", &elsewhere]);
    refused.fails(1, "or back to the original in the annotation bridge.dev/attachment");
    let forgotten = ["annotate", "service", "orders", "bridge.dev/attachment-"];
    world.kubectl_as_developer(&forgotten).fails(1, "must stay while the selector leads to a stand-in");
    let note = world.service("orders")["metadata"]["annotations"]["bridge.dev/attachment"].clone();
    let rewritten = note.as_str().expect("an attachment").replace("\"app\":\"orders\"", "\"app\":\"client\"");
    let rewritten = format!("bridge.dev/attachment={rewritten}");
    let rewrite = ["annotate", "--overwrite", "service", "orders", &rewritten];
    world.kubectl_as_developer(&rewrite).fails(1, "must record the Service's own selector");

    // Then the session still routes, and ends as usual.
    assert_eq!(world.who_answers(&["x-bridge=alice"]), orders.name);
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
}

const OTHER_PORTS: &str = r#"{"spec": {"ports": [{"port": 80, "targetPort": 1}]}}"#;

/// Needs the policy and the Secret `payments-key` of the story; connects nothing.
fn nothing_else_may_be_touched(world: &World) {
    let foreign = "may change only objects that bridge created";
    let labelled = ["app.kubernetes.io/managed-by=bridge", "bridge.dev/stand-in=key"];
    let outside = r#"{"spec": {"type": "NodePort"}}"#;
    for (args, words) in [
        (&["delete", "deployment", "orders", "--wait=false"][..], foreign),
        (&["delete", "service", "orders", "--wait=false"], foreign),
        (&["delete", "secret", "payments-key", "--wait=false"], foreign),
        (&["label", "secret", "payments-key", labelled[0], labelled[1]], foreign),
        (&["create", "configmap", "mine"], foreign),
        (&["create", "deployment", "mine", "--image=shop:dev"], foreign),
        (&["create", "service", "clusterip", "mine", "--tcp=80"], foreign),
        (&["patch", "service", "orders", "-p", OTHER_PORTS], "only the selector may change"),
        (&["patch", "service", "orders", "-p", outside], "only the selector may change"),
        (&["annotate", "service", "orders", "a=b"], "only the annotation bridge.dev/attachment may change"),
        (
            &["patch", "service", "orders", "-p", r#"{"spec": {"selector": {"app": "client"}}}"#],
            "may change only to a stand-in",
        ),
    ] {
        world.kubectl_as_developer(args).fails(1, words);
    }
}
