use bridge_deploy::{AgentSource, OwnPorts, Program, ServiceFacts};
use serde_json::{Value, json};

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
        restorer: b"restorer"[..].into(),
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
        restore: None,
    }
}

/// The objects of a connect that was cut off, each with its path.
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
    Attachment { stand_in: "7f3a".into(), ..Attachment::default() }
}

#[tokio::test]
async fn objects_of_an_interrupted_connect_are_used_by_the_next() {
    let server = ApiServer::with(made());
    let created = create(&server.cluster(), &stand_in(), &attachment()).await.unwrap();
    let deployment = server.get("deployments/orders-bridge-7f3a").unwrap()["metadata"]["uid"].clone();
    assert_eq!((created.key.as_slice(), json!(created.deployment)), (b"key".as_slice(), deployment));
    assert_eq!(server.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn missing_objects_of_an_existing_stand_in_are_created_again() {
    for missing in ["secrets", "configmaps", "services", "deployments"] {
        let there = made().into_iter().filter(|(path, _)| !path.ends_with(missing));
        let server = ApiServer::with(there);
        server.put(&format!("{SERVICES}/orders"), json!({"metadata": {"name": "orders"}}));
        let attachment = Attachment { deployment: Some("uid".into()), ..attachment() };
        let created = create(&server.cluster(), &stand_in(), &attachment).await;
        assert!(created.is_ok(), "{missing}: {created:?}");
        assert_eq!(server.changes(), [format!("POST shop/{missing}")]);
    }
}

#[tokio::test]
async fn foreign_objects_under_our_names_are_refused() {
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
        // Found when it is created, or when it is read as part of a stand-in that existed before.
        for deployment in [None, Some("uid".to_owned())] {
            let attachment = Attachment { deployment, ..attachment() };
            let refused = create(&server.cluster(), &stand_in(), &attachment).await.err();
            let Some(error @ ClusterError::NotOurs { .. }) = refused else { panic!("{what}: {refused:?}") };
            let text = error.to_string();
            assert!(
                text.contains("orders-bridge-7f3a") && text.contains("is not bridge's"),
                "{what}: {text}"
            );
            assert!(error.advice().is_some_and(|advice| advice.contains("run the command again")), "{what}");
        }
        assert_eq!(server.changes(), Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn a_foreign_program_is_refused_even_beside_a_running_stand_in() {
    let mut made = made();
    made[1].1["binaryData"]["loader"] = json!("Yg==");
    let server = ApiServer::with(made);
    let deployment = server.get("deployments/orders-bridge-7f3a").unwrap()["metadata"]["uid"].clone();
    let runs = Attachment { deployment: deployment.as_str().map(str::to_owned), ..attachment() };
    let refused = create(&server.cluster(), &stand_in(), &runs).await.err();
    assert!(matches!(refused, Some(ClusterError::NotOurs { resource: "configmaps", .. })), "{refused:?}");
}

#[test]
fn a_recreated_deployment_is_named_in_the_attachment_of_the_same_stand_in() {
    let named = |deployment: &str| Attachment { deployment: Some(deployment.to_owned()), ..attachment() };
    let service: Service = serde_json::from_value(named("d1").to_change()).unwrap();
    let expected = Decision::Write(Attachment { version: 1, ..named("d2") }.to_change(), ());
    assert_eq!(with_deployment(&service, "7f3a", "d2"), Ok(expected), "it was made again");
    assert_eq!(with_deployment(&service, "7f3a", "d1"), Ok(Decision::Leave(())), "it is named");
    assert_eq!(with_deployment(&service, "cafe", "d2"), Ok(Decision::Leave(())), "another stand-in");
}
