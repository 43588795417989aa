//! Users who join and leave a session that works, with a pretended API server.

use std::time::Duration;

use bridge_cluster::pretended::ApiServer;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::session::Facts;

const ANNOTATION: &str = "bridge.dev/attachment";

/// A daemon with Alice's session, connected by the header `x`, at a Service that Bob is connected to as well.
struct World {
    server: ApiServer,
    sharing: Sharing,
    connected: UserId,
}

fn request(typed: v1::ConnectRequest) -> v1::ConnectRequest {
    v1::ConnectRequest { user: "alice".into(), target: "orders".into(), ..typed }
}

fn header(name: &str) -> Option<v1::Match> {
    let header = v1::HeaderCondition { name: name.into(), value: "1".into() };
    let all_of = vec![v1::Condition { kind: Some(v1::condition::Kind::Header(header)) }];
    Some(v1::Match { any_of: vec![v1::Alternative { all_of }] })
}

fn claim(id: &str, user: &str, any_of: &[&str]) -> Value {
    json!({"id": id, "user": user, "installation": format!("laptop-of-{user}"), "since": 1,
        "routes": [{"port": 80, "anyOf": any_of}]})
}

impl World {
    fn new() -> Self {
        Self::with(Vec::new())
    }

    /// With further claims at the Service.
    fn with(further: Vec<Value>) -> Self {
        let claims = [claim("s1", "alice", &["x: 1"]), claim("s2", "bob", &["y: 1"])];
        let attachment = json!({
            "standIn": "7f3a",
            "original": {"app": "orders"},
            "attached": {"app": "orders-bridge-7f3a"},
            "control": 7390,
            "ports": {"80": 8080},
            "sessions": claims.into_iter().chain(further).collect::<Vec<_>>(),
        });
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "orders", "namespace": "shop", "annotations": {ANNOTATION: attachment.to_string()}},
            "spec": {"selector": {"app": "orders-bridge-7f3a"}, "ports": [{"port": 80, "targetPort": 8080}]}});
        let server = ApiServer::with([("/api/v1/namespaces/shop/services", service)]);
        let sharing = Sharing {
            registry: Registry::new(),
            turns: Turns::new(),
            listeners: Listeners::default(),
            installation: "laptop-of-alice".into(),
        };
        let facts = Facts { id: "s1".into(), ..Facts::pretended(server.cluster(), "orders", "alice") };
        let connected = UserId::new();
        let ports = vec![v1::PortMapping { local: 3000, remote: "http".into() }];
        let by_header = request(v1::ConnectRequest { r#match: header("x"), ports, ..Default::default() });
        let users = Users::default().with_lasting(connected, by_header);
        let routes = users.routes(&facts.ports).unwrap();
        let _ = sharing.registry.add(Session::pretended(facts, users, routes));
        Self { server, sharing, connected }
    }

    /// A command joins; returns its warnings.
    async fn enters(&self, request: v1::ConnectRequest) -> Result<(UserId, Vec<String>), Failure> {
        let kind = if request == self::request(v1::ConnectRequest::default()) {
            WishKind::Whatever
        } else {
            WishKind::Named
        };
        let request = v1::ConnectRequest { for_command: true, ..request };
        let session = "s1".to_owned();
        let wish = v1::Wish { request: Some(request), kind: kind.into(), session, lasting: None };
        let (events_tx, mut events_rx) = mpsc::channel(64);
        let entered = self.sharing.enter(&Newcomer::Command(Box::new(wish)), &Teller::Use(events_tx)).await?;
        assert!(entered.found, "the session was there");
        let mut warned = Vec::new();
        while let Some(event) = events_rx.recv().await {
            if let Some(v1::use_event::Kind::Warning(text)) = event.kind {
                warned.push(text);
            }
        }
        Ok((entered.id, warned))
    }

    /// The session's routes: "x: 1 → 3000".
    fn does(&self) -> Vec<String> {
        let routes = routes::status(&self.sharing.registry.by_id("s1").unwrap().routes());
        routes.iter().map(|route| format!("{} → {}", route.r#match, route.local_port)).collect()
    }

    /// Alice's claims at the Service, each match as its text.
    fn claims(&self) -> Vec<String> {
        let service = self.server.get("services/orders").unwrap();
        let Some(text) = service["metadata"]["annotations"][ANNOTATION].as_str() else { return Vec::new() };
        let attachment: Value = serde_json::from_str(text).unwrap();
        let sessions = attachment["sessions"].as_array().unwrap();
        let alices = sessions.iter().filter(|session| session["user"] == "alice");
        let routes = alices.flat_map(|session| session["routes"].as_array().unwrap());
        routes.map(|route| route["anyOf"].to_string()).collect()
    }
}

fn everything(local: u32) -> v1::ConnectRequest {
    let ports = vec![v1::PortMapping { local, remote: "http".into() }];
    request(v1::ConnectRequest { everything: true, ports, ..Default::default() })
}

#[tokio::test]
async fn a_command_s_requests_are_claimed_until_it_ends() {
    let world = World::new();
    let (run, warned) = world.enters(everything(9999)).await.unwrap();
    assert_eq!(world.does(), ["x: 1 → 3000", "everything → 9999"]);
    assert_eq!(world.claims(), [r#"["x: 1"]"#, "[]"]);
    assert_eq!(warned, Vec::<String>::new());

    assert!(world.sharing.leave("s1", run).await.unwrap().is_none(), "others use it");
    assert_eq!(world.does(), ["x: 1 → 3000"]);
    assert_eq!(world.claims(), [r#"["x: 1"]"#]);
}

#[tokio::test]
async fn the_same_requests_at_another_port_are_the_last_one_s_with_a_warning() {
    let world = World::new();
    let ports = vec![v1::PortMapping { local: 4000, remote: "http".into() }];
    let same = request(v1::ConnectRequest { r#match: header("x"), ports, ..Default::default() });
    let (run, warned) = world.enters(same).await.unwrap();
    assert_eq!(world.does(), ["x: 1 → 4000"]);
    assert_eq!(warned, ["requests with x: 1 come to port 4000 until this command ends, not to port 3000"]);
    let changed = world.server.changes();
    let _ = world.sharing.leave("s1", run).await.unwrap();
    assert_eq!(world.does(), ["x: 1 → 3000"]);
    assert_eq!(changed, Vec::<String>::new(), "the cluster knows nothing of local ports");
}

#[tokio::test]
async fn a_command_that_names_nothing_changes_nothing_and_keeps_the_session() {
    let world = World::new();
    let (run, _) = world.enters(request(v1::ConnectRequest::default())).await.unwrap();
    assert_eq!((world.does(), world.server.changes()), (vec!["x: 1 → 3000".to_owned()], Vec::new()));
    // The connect leaves (as if another command had been in its place): the command has its own default.
    assert!(world.sharing.leave("s1", world.connected).await.unwrap().is_none());
    assert_eq!(world.does(), ["baggage or tracestate: bridge=alice or x-bridge: alice → 8080"]);
    // The last one out restores the Service; Bob's session goes on.
    let given_back = world.sharing.leave("s1", run).await.unwrap().expect("the last user");
    assert!(!given_back.restored, "Bob is there");
    assert_eq!(world.claims(), Vec::<String>::new());
    assert!(world.sharing.registry.all().is_empty());
}

#[tokio::test]
async fn requests_that_another_user_holds_are_refused_and_nothing_changes() {
    let world = World::new();
    let bobs = request(v1::ConnectRequest { r#match: header("y"), ..Default::default() });
    let refused = world.enters(bobs).await.expect_err("it is Bob's");
    assert!(refused.to_string().contains("bob"), "{refused}");
    assert_eq!((world.does(), world.claims()), (vec!["x: 1 → 3000".into()], vec![r#"["x: 1"]"#.into()]));
}

#[tokio::test]
async fn requests_and_listeners_of_bridge_refuse_each_other_s_ports() {
    let world = World::new();
    let listens = |ports: &[u32]| {
        let listeners = v1::Listeners { ports: ports.to_vec(), what: "bridge forward".into() };
        world.sharing.listen(UserId::new(), listeners)
    };
    let refused = listens(&[1234, 3000]).err().expect("requests come to 3000");
    assert!(refused.to_string().contains("port 3000"), "{refused}");
    let forward = listens(&[9999]).unwrap();
    let refused = world.enters(everything(9999)).await.expect_err("a forward listens there");
    assert!(refused.to_string().contains("bridge forward"), "{refused}");
    assert_eq!(world.does(), ["x: 1 → 3000"]);
    drop(forward);
    assert!(world.enters(everything(9999)).await.is_ok());
}

#[tokio::test]
async fn a_turn_is_waited_for_at_one_target_only() {
    let world = World::new();
    let cluster = world.server.cluster();
    let turn = world.sharing.turns.at(&cluster, "prices").lock_owned().await;
    assert!(world.enters(everything(9999)).await.is_ok(), "another target");
    drop(turn);
    let _turn = world.sharing.turns.at(&cluster, "orders").lock_owned().await;
    let entering = tokio::time::timeout(Duration::from_millis(50), world.enters(everything(9999)));
    assert!(entering.await.is_err(), "the same target");
}

#[tokio::test]
async fn cleaning_leaves_connects_in_progress_and_other_laptops_alone() {
    // Given two claims of Alice's laptop without a session: one is being connected, the other's daemon died.
    let world = World::with(vec![claim("s3", "alice", &["z: 1"]), claim("s4", "alice", &["w: 1"])]);
    let coming = world.sharing.registry.coming("s3");
    let cluster = world.server.cluster();
    let whose = world.sharing.whose(false);
    let clean = || crate::cleaning::of(&whose, &cluster, None);

    // When the namespace is cleaned, then only claims without a daemon go.
    let cleaned = clean().await.unwrap();
    assert_eq!(cleaned.done, ["orders: removed the session of alice"]);
    assert_eq!(world.claims(), [r#"["x: 1"]"#, r#"["z: 1"]"#]);
    let kept: Vec<_> = cleaned.kept.iter().map(|kept| kept.installation.as_str()).collect();
    assert_eq!(kept, ["laptop-of-alice", "laptop-of-bob", "laptop-of-alice"]);

    // The one that never connected goes the next time.
    drop(coming);
    let _ = clean().await.unwrap();
    assert_eq!(world.claims(), [r#"["x: 1"]"#]);
}

/// Each caller of a future moves it as a whole, without optimization several times: a worker's stack must have room.
#[tokio::test]
async fn the_future_of_a_connect_is_small() {
    let world = World::new();
    let (tell, _told) = mpsc::channel(1);
    let (newcomer, tell) = (Newcomer::Lasting(Box::default()), Teller::Connect(tell));
    let size = size_of_val(&world.sharing.enter(&newcomer, &tell));
    assert!(size < 16 * 1024, "{size} bytes");
}
