use bridge_deploy::{AgentSource, OwnPorts, Program, ServiceFacts};
use serde_json::Value;

use super::*;
use crate::pretended::ApiServer;

const SERVICES: &str = "/api/v1/namespaces/shop/services";
const SECRETS: &str = "/api/v1/namespaces/shop/secrets";
const CONFIG_MAPS: &str = "/api/v1/namespaces/shop/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";

fn stand_in() -> StandIn {
    let service = json!({
        "metadata": {"name": "orders", "namespace": "shop", "uid": "orders-uid"},
        "spec": {"selector": {"app": "orders"}, "ports": [{"port": 80}]},
    });
    let program = Program {
        architecture: "amd64".into(),
        os: "linux".into(),
        loader: b"loader".as_slice().into(),
        agent: b"agent".as_slice().into(),
    };
    StandIn {
        id: "7f3a".into(),
        user: "alice".into(),
        service: ServiceFacts::of(&service).unwrap(),
        pod_template: json!({"spec": {"containers": [{"name": "main", "image": "x"}]}}),
        container: "main".into(),
        replicas: 1,
        agent: AgentSource::Carried(program),
        own_ports: OwnPorts { control: 1, readiness: 2, metrics: 3 },
        preferred_nodes: Vec::new(),
        openshift: false,
        cpu_limit: None,
    }
}

/// What a connect that was cut off has made, each with its path.
fn made() -> [(&'static str, Value); 4] {
    let stand_in = stand_in();
    let mut origin = bridge_deploy::origin_service(&stand_in).unwrap();
    origin["spec"]["clusterIP"] = json!("10.0.0.1");
    [
        (SECRETS, bridge_deploy::secret(&stand_in, b"key").unwrap()),
        (CONFIG_MAPS, bridge_deploy::program(&stand_in).unwrap().remove(0)),
        (SERVICES, origin),
        (DEPLOYMENTS, bridge_deploy::deployment(&stand_in, [10, 0, 0, 1].into()).unwrap()),
    ]
}

fn attachment() -> Attachment {
    Attachment { version: VERSION, stand_in: "7f3a".into(), ..Attachment::default() }
}

#[tokio::test]
async fn what_a_connect_that_was_cut_off_has_made_is_used_by_the_next() {
    let server = ApiServer::with(made());
    let created = create(&server.cluster(), &stand_in(), &attachment()).await.unwrap();
    let deployment = server.get("deployments/orders-bridge-7f3a").unwrap()["metadata"]["uid"].clone();
    assert_eq!((created.key.as_slice(), json!(created.deployment)), (b"key".as_slice(), deployment));
    assert_eq!(server.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn what_somebody_else_has_made_under_our_names_is_refused() {
    type Change = fn(&mut Value);
    let cases: [(&str, usize, Change); 8] = [
        ("a Secret of their own", 0, |object| object["metadata"]["ownerReferences"] = json!([])),
        ("a Secret without our labels", 0, |object| {
            object["metadata"]["labels"] = json!({"app": "payments"})
        }),
        ("a ConfigMap of their own", 1, |object| object["metadata"]["ownerReferences"] = json!([])),
        ("another program under a forged owner", 1, |object| object["binaryData"]["loader"] = json!("Yg==")),
        ("a Service of their own", 2, |object| object["metadata"]["ownerReferences"] = json!([])),
        ("a Service that leads to them, under a forged owner", 2, |object| {
            object["spec"]["selector"] = json!({"app": "mallory"});
        }),
        ("a Deployment of their own", 3, |object| object["metadata"]["ownerReferences"] = json!([])),
        ("one of a Service that was deleted and made again", 3, |object| {
            object["metadata"]["ownerReferences"][0]["uid"] = json!("before");
        }),
    ];
    for (what, index, change) in cases {
        let mut made = made();
        change(&mut made[index].1);
        let server = ApiServer::with(made);
        let refused = create(&server.cluster(), &stand_in(), &attachment()).await.err();
        let Some(error @ ClusterError::NotOurs { .. }) = refused else { panic!("{what}: {refused:?}") };
        let text = error.to_string();
        assert!(text.contains("orders-bridge-7f3a") && text.contains("is not bridge's"), "{what}: {text}");
        assert!(error.advice().is_some_and(|advice| advice.contains("run the command again")), "{what}");
        assert_eq!(server.changes(), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn a_program_that_somebody_has_put_in_place_is_refused_beside_a_stand_in_that_runs_too() {
    let mut made = made();
    made[1].1["binaryData"]["loader"] = json!("Yg==");
    let server = ApiServer::with(made);
    let deployment = server.get("deployments/orders-bridge-7f3a").unwrap()["metadata"]["uid"].clone();
    let runs = Attachment { deployment: deployment.as_str().map(str::to_owned), ..attachment() };
    let refused = create(&server.cluster(), &stand_in(), &runs).await.err();
    assert!(matches!(refused, Some(ClusterError::NotOurs { resource: "configmaps", .. })), "{refused:?}");
}

/// `orders` with this selector, with this in its annotation, and with these who have set its selector.
fn orders(selector: &str, attachment: Option<&Attachment>, owners: &[&str]) -> Service {
    let owner = |manager: &&str| json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:selector": {"f:app": {}}}}});
    let annotations = attachment.map(|attachment| attachment.to_change()["metadata"]["annotations"].clone());
    let owners: Vec<Value> = owners.iter().map(owner).collect();
    let service = json!({
        "metadata": {"name": "orders", "annotations": annotations, "managedFields": owners},
        "spec": {"selector": {"app": selector}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    serde_json::from_value(service).unwrap()
}

fn named(stand_in: &str, sessions: &[Claim]) -> Attachment {
    let map = |value: &str| BTreeMap::from([("app".to_owned(), value.to_owned())]);
    Attachment {
        version: VERSION,
        stand_in: stand_in.into(),
        original: map("orders"),
        attached: map("orders-bridge-7f3a"),
        ports: BTreeMap::from([(80, 8080)]),
        sessions: sessions.to_vec(),
        ..Attachment::default()
    }
}

fn claim_of(user: &str, header: &str) -> Claim {
    let route = ClaimedRoute { port: 80, any_of: vec![header.to_owned()], ..ClaimedRoute::default() };
    let routes = vec![route];
    Claim { id: user.into(), user: user.into(), installation: user.into(), routes, ..Claim::default() }
}

#[test]
fn a_claim_joins_the_attachment_that_is_there_as_long_as_it_fits() {
    let (alice, bob) = (claim_of("alice", "x: 1"), claim_of("bob", "y: 1"));
    let there = named("7f3a", std::slice::from_ref(&bob));
    let other_ports = Attachment { ports: BTreeMap::from([(80, 9090)]), ..there.clone() };
    let fresh = |_: &Service| named("cafe", &[]);
    for (what, service, expected) in [
        ("nobody is connected", orders("orders", None, &[]), named("cafe", std::slice::from_ref(&alice))),
        ("Bob is", orders("orders-bridge-7f3a", Some(&there), &[]), named("7f3a", &[bob, alice.clone()])),
        (
            "somebody has set another selector",
            orders("orders-v2", Some(&there), &[]),
            named("cafe", std::slice::from_ref(&alice)),
        ),
        (
            "its agents listen elsewhere",
            orders("orders", Some(&other_ports), &[]),
            named("cafe", std::slice::from_ref(&alice)),
        ),
    ] {
        let decision = with_claim(&service, fresh, &alice).unwrap();
        assert_eq!(decision, Decision::Write(expected.to_change(), expected), "{what}");
    }
    let taken = orders("orders", Some(&named("7f3a", &[claim_of("bob", "x: 1")])), &[]);
    let held = with_claim(&taken, fresh, &alice).unwrap_err();
    assert_eq!(held.to_string(), "bob (x: 1) already takes these requests of orders");
}

#[test]
fn other_routes_are_written_only_to_a_claim_that_is_there_and_has_others() {
    let (alice, bob) = (claim_of("alice", "x: 1"), claim_of("bob", "y: 1"));
    let service = orders("orders", Some(&named("7f3a", &[alice.clone(), bob.clone()])), &[]);
    let other = claim_of("alice", "x: 2");
    let expected = named("7f3a", &[bob.clone(), other.clone()]);
    let with = |id: &str, claim: &Claim| with_routes(&service, id, &claim.routes);
    assert_eq!(with("alice", &other), Ok(Decision::Write(expected.to_change(), true)));
    assert_eq!(with("alice", &alice), Ok(Decision::Leave(true)), "it has them");
    assert_eq!(with("carol", &other), Ok(Decision::Leave(false)), "nobody's claim");
    assert!(matches!(with("alice", &bob), Err(ClusterError::Held { .. })), "Bob has these");
    let nobody = orders("orders", None, &[]);
    assert_eq!(with_routes(&nobody, "alice", &other.routes), Ok(Decision::Leave(false)));
}

#[test]
fn the_selector_is_switched_only_from_the_original_and_for_the_stand_in_that_is_named() {
    let there = named("7f3a", &[]);
    let switch = |selector: &str, stand_in: &str| {
        to_stand_in(&orders(selector, Some(&there), &["kubectl"]), stand_in, Some("d1"))
    };
    let Ok(Decision::Write(change, ())) = switch("orders", "7f3a") else { panic!("it is the original") };
    assert_eq!(change["spec"], json!({"selector": {"app": "orders-bridge-7f3a"}}));
    let text = change["metadata"]["annotations"]["bridge.dev/attachment"].as_str().unwrap();
    let written: Attachment = serde_json::from_str(text).unwrap();
    assert_eq!(written.deployment.as_deref(), Some("d1"));
    assert_eq!(written.selector_owners[0].manager, "kubectl", "who had the selector is noted");

    assert_eq!(switch("orders-bridge-7f3a", "7f3a"), Ok(Decision::Leave(())), "another one did it");
    let changed = Err(ClusterError::SelectorChanged { service: "orders".into() });
    assert_eq!(switch("orders-v2", "7f3a"), changed, "somebody has set another one");
    assert_eq!(switch("orders", "cafe"), changed, "the attachment names another stand-in");
    assert_eq!(to_stand_in(&orders("orders", None, &[]), "7f3a", None), changed, "it is not attached");
}

#[test]
fn a_selector_of_our_own_is_left_to_nobody() {
    let owned = owned_by_nobody(&orders("orders-bridge-7f3a", None, &["kubectl", "bridge"]));
    let Decision::Write(change, ()) = owned else { panic!("bridge owns it") };
    let managers = change["metadata"]["managedFields"].as_array().unwrap().iter();
    assert_eq!(managers.map(|entry| &entry["manager"]).collect::<Vec<_>>(), ["kubectl"]);
    assert_eq!(owned_by_nobody(&orders("orders", None, &["kubectl"])), Decision::Leave(()));
}

#[test]
fn another_deployment_is_named_where_the_attachment_is_of_the_same_stand_in() {
    let named_d1 = Attachment { deployment: Some("d1".into()), ..named("7f3a", &[]) };
    let service = orders("orders", Some(&named_d1), &[]);
    let expected = Attachment { deployment: Some("d2".into()), ..named_d1 };
    assert_eq!(
        with_deployment(&service, "7f3a", "d2"),
        Ok(Decision::Write(expected.to_change(), ())),
        "it was made again"
    );
    assert_eq!(with_deployment(&service, "7f3a", "d1"), Ok(Decision::Leave(())), "it is named");
    assert_eq!(with_deployment(&service, "cafe", "d2"), Ok(Decision::Leave(())), "another stand-in");
}
