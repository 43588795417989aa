use serde_json::{Value, json};

use super::*;
use crate::pretended::ApiServer;
use crate::state::ATTACHMENT;

const SERVICES: &str = "/api/v1/namespaces/shop/services";
const SECRETS: &str = "/api/v1/namespaces/shop/secrets";
const CONFIG_MAPS: &str = "/api/v1/namespaces/shop/configmaps";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";

fn service(name: &str, annotation: Option<Value>) -> (&'static str, Value) {
    let annotations = annotation.map(|annotation| match annotation {
        Value::String(text) => json!({ATTACHMENT: text}),
        other => json!({ATTACHMENT: other.to_string()}),
    });
    let metadata = json!({"name": name, "uid": format!("{name}-uid"), "annotations": annotations});
    (SERVICES, json!({"metadata": metadata, "spec": {"selector": {"app": name}}}))
}

/// An object with the labels of `orders`' stand-in.
fn labelled(name: &str, id: &str, owners: Value) -> Value {
    json!({
        "metadata": {
            "name": name,
            "labels": {MANAGED_BY_LABEL: "bridge", "bridge.dev/service": "orders", STAND_IN_LABEL: id},
            "ownerReferences": owners,
        },
        "spec": {"selector": {"app": "nothing"}},
    })
}

fn owned(name: &str) -> Value {
    labelled(
        name,
        "7f3a",
        json!([{"apiVersion": "v1", "kind": "Service", "name": "orders", "uid": "orders-uid"}]),
    )
}

fn attachment(stand_in: &str, sessions: Value) -> Value {
    json!({
        "version": 1, "standIn": stand_in, "original": {"app": "orders"}, "attached": {"app": "orders-bridge-7f3a"},
        "control": 1, "ports": {}, "sessions": sessions,
    })
}

/// A user at a laptop without sessions.
fn whose(others: bool) -> Whose {
    Whose::Laptop { installation: "here".to_owned(), alive: Arc::new(|_| false), others }
}

fn sentences(cleaned: &Cleaned) -> Vec<String> {
    cleaned.done.iter().map(Done::sentence).collect()
}

async fn clean_all(server: &ApiServer) -> Cleaned {
    let whose = whose(true);
    clean(&server.cluster(), None, &whose).await.unwrap()
}

#[tokio::test]
async fn remains_of_an_interrupted_disconnect_are_removed_by_uid() {
    let server = ApiServer::with([
        service("orders", None),
        (DEPLOYMENTS, owned("orders-bridge-7f3a")),
        (SERVICES, owned("orders-bridge-7f3a-origin")),
        (SECRETS, owned("orders-bridge-7f3a-key")),
        (CONFIG_MAPS, owned("orders-bridge-7f3a-program-0")),
    ]);
    let cleaned = clean_all(&server).await;
    assert_eq!(sentences(&cleaned), ["orders: removed the unused stand-in 7f3a"]);
    assert_eq!(
        server.changes(),
        [
            "DELETE services/orders-bridge-7f3a-origin",
            "DELETE configmaps/orders-bridge-7f3a-program-0",
            "DELETE secrets/orders-bridge-7f3a-key",
            "DELETE deployments/orders-bridge-7f3a",
        ]
    );
    assert!(server.get("services/orders").is_some());
}

#[tokio::test]
async fn no_labels_names_or_owners_make_us_touch_foreign_objects() {
    let ours = json!([{"apiVersion": "v1", "kind": "Service", "name": "orders", "uid": "orders-uid"}]);
    let before = json!([{"apiVersion": "v1", "kind": "Service", "name": "orders", "uid": "before"}]);
    let payments = |name: &str| json!({"metadata": {"name": name, "labels": {"app": "payments"}}});
    for (what, path, bait) in [
        ("a Service with our labels", SERVICES, labelled("payments-origin", "zzzz", json!([]))),
        ("a Deployment with our labels", DEPLOYMENTS, labelled("payments", "zzzz", json!([]))),
        ("a ConfigMap with our labels", CONFIG_MAPS, labelled("payments-program-0", "zzzz", json!([]))),
        ("a forged owner", SERVICES, labelled("payments-origin", "zzzz", ours.clone())),
        ("a forged owner on a Deployment", DEPLOYMENTS, labelled("payments", "zzzz", ours.clone())),
        (
            "an owner that was deleted and made again",
            DEPLOYMENTS,
            labelled("orders-bridge-zzzz", "zzzz", before),
        ),
        (
            "an id that is another name",
            SERVICES,
            labelled("orders-bridge-payments-origin", "payments-key", ours),
        ),
        (
            "a name that is derived, with labels alone",
            SERVICES,
            labelled("orders-bridge-zzzz-origin", "zzzz", json!([])),
        ),
    ] {
        // Given other people's objects, and one that is made to have them deleted.
        let others = [
            (SECRETS, payments("payments-key")),
            (SECRETS, payments("orders-bridge-zzzz-key")),
            (SECRETS, payments("orders-bridge-payments-key")),
            (DEPLOYMENTS, payments("payments-bridge-zzzz")),
            (CONFIG_MAPS, payments("payments-program-1")),
            (PODS, payments("payments-1")),
        ];
        let server = ApiServer::with(others.into_iter().chain([service("orders", None), (path, bait)]));
        // When the namespace is cleaned, then nothing is touched.
        let cleaned = clean_all(&server).await;
        assert_eq!(server.changes(), Vec::<String>::new(), "{what}");
        assert_eq!(cleaned, Cleaned::default(), "{what}");
    }
}

#[tokio::test]
async fn an_annotation_that_names_another_id_touches_only_what_the_service_owns() {
    for id in ["zzzz", "payments-key", "../secrets/payments-key"] {
        let payments = json!({"metadata": {"name": "orders-bridge-zzzz-key", "labels": {"app": "payments"}}});
        let server = ApiServer::with([
            service("orders", Some(attachment(id, json!([])))),
            (SECRETS, payments),
            (DEPLOYMENTS, labelled("orders-bridge-zzzz", "zzzz", json!([]))),
        ]);
        let cleaned = clean_all(&server).await;
        let others = server.changes().into_iter().filter(|change| change != "PATCH services/orders");
        assert_eq!(others.collect::<Vec<_>>(), Vec::<String>::new(), "{id}");
        assert_eq!(cleaned.unreadable.len(), usize::from(id != "zzzz"), "{id}: {:?}", cleaned.unreadable);
    }
}

#[tokio::test]
async fn objects_that_draining_pods_need_are_handed_to_them_and_to_no_others() {
    let pod = |name: &str, owner: &str| {
        let owners = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": "r", "controller": true}]);
        let mut pod = labelled(name, "7f3a", owners);
        pod["metadata"]["labels"]["pod-template-hash"] = json!("5d8");
        (PODS, pod)
    };
    let server = ApiServer::with([
        service("orders", None),
        (DEPLOYMENTS, owned("orders-bridge-7f3a")),
        (SERVICES, owned("orders-bridge-7f3a-origin")),
        (SECRETS, owned("orders-bridge-7f3a-key")),
        pod("agent", "orders-bridge-7f3a-5d8"),
        pod("fake", "mallory-5d8"),
    ]);
    let _ = clean_all(&server).await;
    let agent = server.get("pods/agent").unwrap()["metadata"]["uid"].clone();
    for what in ["services/orders-bridge-7f3a-origin", "secrets/orders-bridge-7f3a-key"] {
        let owners = server.get(what).unwrap()["metadata"]["ownerReferences"].clone();
        assert_eq!(
            owners,
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "agent", "uid": agent}]),
            "{what}"
        );
    }
    assert!(server.get("deployments/orders-bridge-7f3a").is_none());
}

#[tokio::test]
async fn one_annotation_that_cannot_be_read_does_not_keep_the_others_from_being_cleaned() {
    let claim = json!([{"id": "1", "user": "gone", "installation": "i", "since": 1, "routes": []}]);
    let server = ApiServer::with([
        service("a-spoilt", Some(json!("{"))),
        service("b-newer", Some(json!({"version": 9}))),
        service("orders", Some(attachment("7f3a", claim))),
        // These may be in use: that cannot be known.
        (DEPLOYMENTS, {
            let mut object = owned("b-newer-bridge-7f3a");
            object["metadata"]["labels"]["bridge.dev/service"] = json!("b-newer");
            object["metadata"]["ownerReferences"][0]["name"] = json!("b-newer");
            object["metadata"]["ownerReferences"][0]["uid"] = json!("b-newer-uid");
            object
        }),
    ]);
    let cleaned = clean_all(&server).await;
    assert_eq!(sentences(&cleaned), ["orders: removed the session of gone", "orders: restored its selector"]);
    let named: Vec<String> = cleaned.unreadable.iter().map(ToString::to_string).collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(
        named[0].contains("cannot read the annotation bridge.dev/attachment of Service a-spoilt"),
        "{}",
        named[0]
    );
    assert_eq!(named[1], "the attachment of Service b-newer was written by a newer bridge (version 9)");
    let touched = server.changes().into_iter().filter(|change| change != "PATCH services/orders");
    assert_eq!(touched.collect::<Vec<_>>(), Vec::<String>::new(), "what was not read is left alone");
}

#[tokio::test]
async fn a_switch_that_was_cut_off_before_the_selector_was_left_is_finished() {
    let claim = json!([{"id": "1", "user": "alice", "installation": "another", "since": 1, "routes": []}]);
    let (path, mut switched) = service("orders", Some(attachment("7f3a", claim)));
    switched["spec"]["selector"] = json!({"app": "orders-bridge-7f3a"});
    switched["metadata"]["managedFields"] = json!([{
        "manager": "bridge", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {}, "f:spec": {"f:selector": {}}},
    }]);
    let server = ApiServer::with([(path, switched)]);
    let cleaned = clean(&server.cluster(), None, &whose(false)).await.unwrap();
    assert_eq!(cleaned.kept.len(), 1, "Alice's session is on another laptop");
    let fields = server.get("services/orders").unwrap()["metadata"]["managedFields"][0]["fieldsV1"].clone();
    assert_eq!(fields, json!({"f:metadata": {}}), "the selector should be nobody's");
}

#[tokio::test]
async fn a_rehearsal_names_every_change_and_makes_none() {
    let claim = json!([{"id": "1", "user": "gone", "installation": "i", "since": 1, "routes": []}]);
    let world = || {
        let (path, mut switched) = service("orders", Some(attachment("7f3a", claim.clone())));
        switched["spec"]["selector"] = json!({"app": "orders-bridge-7f3a"});
        ApiServer::with([
            (path, switched),
            (DEPLOYMENTS, owned("orders-bridge-7f3a")),
            (SERVICES, owned("orders-bridge-7f3a-origin")),
            (SECRETS, owned("orders-bridge-7f3a-key")),
            // The remains of another one.
            (CONFIG_MAPS, {
                let mut unused = owned("orders-bridge-9b9b-program-0");
                unused["metadata"]["labels"][STAND_IN_LABEL] = json!("9b9b");
                unused
            }),
        ])
    };
    // Given what a rehearsal says,
    let server = world();
    let before = server.all(SERVICES);
    let (rehearsed, changes) = rehearse(&server.cluster(), None, &whose(true)).await.unwrap();
    assert_eq!(server.changes(), Vec::<String>::new());
    assert_eq!(server.all(SERVICES), before);
    let intentions: Vec<_> = rehearsed.done.iter().map(Done::intention).collect();
    assert_eq!(
        intentions,
        [
            "orders: would remove the session of gone",
            "orders: would restore its selector",
            "orders: would remove the unused stand-in 9b9b",
        ]
    );

    // when the same is cleaned, then that is what changes.
    let server = world();
    let cleaned = clean_all(&server).await;
    assert_eq!(cleaned, rehearsed);
    let mut made = server.changes();
    made.dedup();
    let named =
        |change: Change| format!("{} {}/{}", change.verb.to_ascii_uppercase(), change.resource, change.name);
    assert_eq!(made, changes.into_iter().map(named).collect::<Vec<_>>());
}

#[test]
fn a_selector_that_leads_to_a_stand_in_without_an_annotation_goes_back() {
    let original = Labels::from([("app".into(), "orders".into())]);
    let service = |selector: Value| -> Service {
        serde_json::from_value(json!({"spec": {"selector": selector}})).unwrap()
    };
    let back = Decision::Write(json!({"spec": {"selector": {"app": "orders"}}}), ());
    for (selector, expected) in [
        (json!({"app": "orders-bridge-7f3a"}), back),
        (json!({"app": "orders"}), Decision::Leave(())),
        (json!({"app": "orders-bridge-7f3a", "tier": "web"}), Decision::Leave(())),
        (json!({"tier": "orders-bridge-7f3a"}), Decision::Leave(())),
        (json!(null), Decision::Leave(())),
    ] {
        let decision = away_from(&service(selector.clone()), "orders-bridge-7f3a", &original);
        assert_eq!(decision, expected, "{selector}");
    }
}
