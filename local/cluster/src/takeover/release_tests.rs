use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tower::service_fn;

use super::super::claim::claim;
use super::super::selector::{disown, lead_back, switch, switch_again};
use super::*;
use crate::merge::merge;
use crate::objects::read;
use crate::ownership::MANAGER;
use crate::pretended::{answer, failure};
use crate::spec::selector;
use crate::state::VERSION;

/// An API server with one Service, which goes away after some patches: to a release, as if it were killed then.
#[derive(Clone)]
struct ApiServer {
    service: Arc<Mutex<Value>>,
    patches_left: Arc<Mutex<usize>>,
}

impl ApiServer {
    fn new(service: Value) -> Self {
        Self { service: Arc::new(Mutex::new(service)), patches_left: Arc::default() }
    }

    fn service(&self) -> Value {
        self.service.lock().unwrap().clone()
    }

    fn cluster(&self, patches: usize) -> Cluster {
        *self.patches_left.lock().unwrap() = patches;
        let server = self.clone();
        let answer = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        Cluster {
            client: Client::new(answer, "shop"),
            context: "dev".into(),
            namespace: "shop".into(),
            server: "https://dev.example".into(),
        }
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let of_the_service = request.uri().path() == "/api/v1/namespaces/shop/services/orders";
        let method = request.method().clone();
        let body = request.into_body().collect_bytes().await.unwrap();
        match method {
            Method::GET if of_the_service => answer(StatusCode::OK, &self.service()),
            Method::PATCH if of_the_service => self.patched(&serde_json::from_slice(&body).unwrap()),
            // No object of the stand-in exists.
            Method::GET => answer(StatusCode::OK, &json!({"kind": "List", "metadata": {}, "items": []})),
            _ => failure(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    fn patched(&self, change: &Value) -> Response<Body> {
        let mut patches_left = self.patches_left.lock().unwrap();
        let Some(left) = patches_left.checked_sub(1) else {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "");
        };
        *patches_left = left;
        let mut service = self.service.lock().unwrap();
        merge(&mut service, change);
        // The manager that changes a selector owns it, whatever the same change says about owners.
        if change.pointer("/spec/selector").is_some() {
            service["metadata"]["managedFields"] = json!([owner("kubectl", &json!({})), ours()]);
        }
        answer(StatusCode::OK, &service)
    }
}

fn owner(manager: &str, spec: &Value) -> Value {
    json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": spec}})
}

fn ours() -> Value {
    owner(MANAGER, &json!({"f:selector": {"f:app": {}}}))
}

fn original() -> Value {
    let owner = owner("kubectl", &json!({"f:selector": {"f:app": {}}}));
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "orders", "namespace": "shop", "annotations": {}, "managedFields": [owner]},
        "spec": {"selector": {"app": "orders"}}})
}

fn attached() -> Value {
    let claim = |id: &str| json!({"id": id, "user": id, "installation": id, "since": 1, "routes": [{"port": 80, "anyOf": []}]});
    let attachment = json!({
        "standIn": "7f3a",
        "original": {"app": "orders"},
        "attached": {"app": "orders-bridge-7f3a"},
        "selectorOwners": [{"manager": "kubectl", "operation": "Update", "fields": {"f:app": {}}}],
        "control": 7390,
        "ports": {"80": 8080},
        "sessions": [claim("alice"), claim("bob")],
    });
    let mut service = original();
    service["metadata"]["annotations"] = json!({ATTACHMENT: attachment.to_string()});
    service["metadata"]["managedFields"] = json!([owner("kubectl", &json!({})), ours()]);
    service["spec"]["selector"] = json!({"app": "orders-bridge-7f3a"});
    service
}

#[tokio::test]
async fn a_release_that_is_cut_off_anywhere_is_finished_by_the_next() {
    for patches in 0..=2 {
        let server = ApiServer::new(attached());
        // Given a release that is cut off after this number of changes.
        let cut_off = release(&server.cluster(patches), "orders", |_| true).await;
        assert_eq!(cut_off.is_ok(), patches == 2, "two changes give a Service back: {cut_off:?}");

        // When the namespace is cleaned, or Alice connects and disconnects again.
        let released = release(&server.cluster(usize::MAX), "orders", |_| true).await.unwrap();

        // Then the Service is as before, with the owners of its fields.
        let expected = match patches {
            2 => Released::NotAttached,
            _ => Released::Restored { stand_in: "7f3a".into() },
        };
        assert_eq!(released, expected, "after {patches} changes");
        assert_eq!(server.service(), original(), "after {patches} changes");
    }
}

/// A connect's changes of the Service, from the claim to the selector without an owner.
async fn connect(cluster: &Cluster) -> Result<(), ClusterError> {
    let fresh = |now: &Service| Attachment {
        stand_in: "7f3a".into(),
        original: selector(now),
        attached: [("app".to_owned(), "orders-bridge-7f3a".to_owned())].into(),
        ..Attachment::default()
    };
    let alice = serde_json::from_value(json!({
        "id": "alice", "user": "alice", "installation": "laptop", "since": 1, "routes": [],
    }));
    let now = read(cluster, "orders").await?;
    let origin = [("app".to_owned(), "orders".to_owned())].into();
    claim(cluster, now, &origin, fresh, &alice.unwrap()).await?;
    let switched = switch(cluster, "orders", "7f3a", Some("d1")).await?;
    disown(cluster, switched.0).await
}

/// The managers that own the selector.
fn owners(service: &Value) -> Vec<String> {
    let owners = service["metadata"]["managedFields"].as_array().unwrap().iter();
    let of_selector = owners.filter(|owner| owner.pointer("/fieldsV1/f:spec/f:selector").is_some());
    of_selector.map(|owner| owner["manager"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_connect_that_is_cut_off_anywhere_is_finished_by_the_next_and_given_back_by_a_release() {
    for patches in 0..=3 {
        let server = ApiServer::new(original());
        // Given a connect that is cut off after this number of changes.
        let cut_off = connect(&server.cluster(patches)).await;
        assert_eq!(cut_off.is_ok(), patches == 3, "three changes take a Service over: {cut_off:?}");
        let (cut_off, server_then) = (server.service(), server.clone());

        // When the next one continues, then the selector is the stand-in's and has no owner.
        connect(&server.cluster(usize::MAX)).await.unwrap();
        let service = server.service();
        assert_eq!(
            service["spec"]["selector"],
            json!({"app": "orders-bridge-7f3a"}),
            "after {patches} changes"
        );
        assert_eq!(owners(&service), Vec::<String>::new(), "after {patches} changes");

        // When it is released, after a complete or an interrupted connect, then all is as before, owners too.
        for service in [service, cut_off] {
            *server_then.service.lock().unwrap() = service;
            let _ = release(&server.cluster(usize::MAX), "orders", |_| true).await.unwrap();
            assert_eq!(server.service(), original(), "after {patches} changes");
        }
    }
}

#[tokio::test]
async fn a_tool_that_restores_the_selector_meanwhile_owns_it_afterwards() {
    let server = ApiServer::new(original());
    connect(&server.cluster(usize::MAX)).await.unwrap();
    // Given a tool that has applied the Service, and a connect after it.
    let applied = owner("helm", &json!({"f:selector": {"f:app": {}}}));
    {
        let mut service = server.service.lock().unwrap();
        service["spec"]["selector"] = json!({"app": "orders"});
        service["metadata"]["managedFields"].as_array_mut().unwrap().push(applied);
    }
    connect(&server.cluster(usize::MAX)).await.unwrap();
    let noted = Attachment::of(&serde_json::from_value(server.service()).unwrap()).unwrap().unwrap();
    let noted: Vec<&str> = noted.selector_owners.iter().map(|owner| owner.manager.as_str()).collect();
    assert_eq!(noted, ["helm"], "whose it was when it was switched");
}

#[tokio::test]
async fn a_release_while_others_are_connected_leaves_the_stand_in_to_them() {
    let server = ApiServer::new(attached());
    let released = release(&server.cluster(1), "orders", |claim| claim.id == "alice").await.unwrap();
    let Released::Shared(others) = released else { panic!("expected that Bob stays: {released:?}") };
    assert_eq!(others.iter().map(|claim| claim.id.as_str()).collect::<Vec<_>>(), ["bob"]);
    assert_eq!(server.service()["spec"], attached()["spec"]);
}

#[tokio::test]
async fn a_selector_that_another_user_has_set_stays() {
    let mut reset = attached();
    reset["spec"]["selector"] = json!({"app": "orders-v2"});
    reset["metadata"]["managedFields"] =
        json!([owner("helm", &json!({"f:selector": {"f:app": {}}})), ours()]);
    let server = ApiServer::new(reset.clone());
    let _ = release(&server.cluster(usize::MAX), "orders", |_| true).await.unwrap();
    assert_eq!(server.service()["spec"], reset["spec"]);
    assert_eq!(server.service()["metadata"]["managedFields"], json!([reset["metadata"]["managedFields"][0]]));
}

const WHY: &str = "no agent was ready";

fn attachment_of(service: &Value) -> Attachment {
    let service: Service = serde_json::from_value(service.clone()).unwrap();
    Attachment::of(&service).unwrap().expect("an attachment")
}

#[tokio::test]
async fn a_service_that_is_led_back_for_a_while_keeps_its_sessions_and_the_reason() {
    let server = ApiServer::new(attached());
    let cluster = server.cluster(usize::MAX);

    // When it is led back, as by two daemons at once.
    assert!(lead_back(&cluster, "orders", "7f3a", Some(WHY)).await.unwrap(), "it led to the stand-in");
    assert!(!lead_back(&cluster, "orders", "7f3a", Some(WHY)).await.unwrap(), "it is done");

    // Then its selector and its owners are as before, and all else stays for later.
    let service = server.service();
    assert_eq!(service["spec"], original()["spec"]);
    assert_eq!(service["metadata"]["managedFields"], original()["metadata"]["managedFields"]);
    let before = Attachment { version: VERSION, ..attachment_of(&attached()) };
    let expected = Attachment { led_back: Some(WHY.to_owned()), ..before.clone() };
    assert_eq!(attachment_of(&service), expected);

    // When it is switched again, it is as before.
    assert!(switch_again(&cluster, "orders", "7f3a").await.unwrap());
    assert_eq!(server.service()["spec"], attached()["spec"]);
    let again = attachment_of(&server.service());
    // The selector's owners were recorded again, with everything that the API server knows about them.
    assert_eq!(again, Attachment { selector_owners: again.selector_owners.clone(), ..before });
    assert!(!switch_again(&cluster, "orders", "7f3a").await.unwrap(), "it is done");
}

#[tokio::test]
async fn only_a_service_that_was_led_back_is_switched_again_automatically() {
    let reset = || {
        let mut service = attached();
        service["spec"] = original()["spec"].clone();
        service
    };
    let led_back_then = |selector: Value| {
        let mut service = reset();
        let attachment = Attachment { led_back: Some(WHY.to_owned()), ..attachment_of(&service) };
        service["metadata"]["annotations"] = json!({ATTACHMENT: attachment.to_annotation()});
        service["spec"]["selector"] = selector;
        service
    };
    for (what, service) in [
        ("another user has reset the selector", reset()),
        ("another user has set another since", led_back_then(json!({"app": "orders-v2"}))),
        ("all have disconnected", original()),
    ] {
        let server = ApiServer::new(service.clone());
        let switched = switch_again(&server.cluster(usize::MAX), "orders", "7f3a").await.unwrap();
        assert!(!switched, "{what}");
        assert_eq!(server.service(), service, "{what}");
    }
}

#[tokio::test]
async fn a_disconnect_while_it_is_led_back_leaves_nothing() {
    let server = ApiServer::new(attached());
    let cluster = server.cluster(usize::MAX);
    lead_back(&cluster, "orders", "7f3a", Some(WHY)).await.unwrap();
    let released = release(&cluster, "orders", |_| true).await.unwrap();
    assert_eq!(released, Released::Restored { stand_in: "7f3a".into() });
    assert_eq!(server.service(), original());
    assert!(!switch_again(&cluster, "orders", "7f3a").await.unwrap(), "nobody is connected");
}

fn service(value: Value) -> Service {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_release_takes_claims_first_then_the_selector_then_the_rest() {
    let attached = service(attached());
    let there = Attachment::of(&attached).unwrap().unwrap();
    let without_alice = Attachment { sessions: vec![there.sessions[1].clone()], ..there.clone() };
    let nobody = Attachment { sessions: Vec::new(), ..there.clone() };

    // While others are there, only the claim goes.
    let decision = without(&attached, |claim| claim.id == "alice").unwrap();
    let shared = Left::Shared(without_alice.sessions.clone());
    assert_eq!(decision, Decision::Write(without_alice.to_change(), shared));

    // With the last one the selector goes back, and the annotation says what is left to do.
    let mut change = nobody.to_change();
    change["spec"] = json!({"selector": {"app": "orders"}});
    assert_eq!(without(&attached, |_| true), Ok(Decision::Write(change, Left::SelectorRestored)));

    // Then the annotation, and the selector's owners.
    let mut led_back = attached;
    led_back.spec.as_mut().unwrap().selector = Some(nobody.original.clone());
    let Ok(Decision::Write(change, step)) = without(&led_back, |_| true) else { panic!("expected a change") };
    assert_eq!(step, Left::Restored { mode: Mode::StandIn, stand_in: "7f3a".into() });
    assert_eq!(change["metadata"]["annotations"], json!({ATTACHMENT: null}));
    assert_eq!(change["metadata"]["managedFields"], original()["metadata"]["managedFields"]);
    assert_eq!(change.get("spec"), None);

    assert_eq!(without(&service(original()), |_| true), Ok(Decision::Leave(Left::NotAttached)));
}
