//! Names and their meanings, with a pretended API server.

use bridge_cluster::pretended::ApiServer;
use serde_json::{Value, json};

use super::*;
use crate::users::Users;

/// A namespace with Services, each in front of the pods of a Deployment.
fn server() -> ApiServer {
    let service = |name: &str, app: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"selector": {"app": app}, "ports": [{"port": 80}]}})
    };
    let deployment = |name: &str| -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"template": {"metadata": {"labels": {"app": name}}}}})
    };
    const SERVICES: &str = "/api/v1/namespaces/shop/services";
    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
    ApiServer::with([
        // "api" is a Deployment behind the Service "web", and a Service in front of something else.
        (SERVICES, service("web", "api")),
        (SERVICES, service("api", "gateway")),
        (DEPLOYMENTS, deployment("api")),
        (DEPLOYMENTS, deployment("gateway")),
    ])
}

fn session(cluster: Cluster, service: &str, user: &str) -> Arc<Session> {
    let facts = Facts::pretended(cluster, service, user);
    Arc::new(Session::pretended(facts, Users::default(), Vec::new()))
}

async fn meant(sessions: &[Arc<Session>], question: Question) -> Vec<String> {
    let meant = among(sessions.to_vec(), &question).await.unwrap();
    meant.iter().map(|session| session.facts.id.clone()).collect()
}

fn named(target: &str) -> Question {
    Question { target: Some(target.parse().unwrap()), ..Question::default() }
}

#[tokio::test]
async fn a_workload_means_the_service_in_front_of_it_and_no_service_of_its_name() {
    let cluster = server().cluster();
    let sessions = [session(cluster.clone(), "web", "alice"), session(cluster, "api", "alice")];
    assert_eq!(meant(&sessions, named("deploy/api")).await, ["alice-at-web"]);
    assert_eq!(meant(&sessions, named("deploy/gateway")).await, ["alice-at-api"]);
    assert_eq!(meant(&sessions, named("api")).await, ["alice-at-api"]);
    assert_eq!(meant(&sessions, named("svc/web")).await, ["alice-at-web"]);
    assert_eq!(meant(&sessions, named("deploy/nothing")).await, Vec::<String>::new());
    assert_eq!(meant(&sessions, Question::default()).await.len(), 2, "no target: all");
}

#[tokio::test]
async fn the_name_of_a_service_suffices_while_its_cluster_is_away() {
    let away = ApiServer::away().cluster();
    let sessions = [session(away, "web", "alice")];
    assert_eq!(meant(&sessions, named("web")).await, ["alice-at-web"]);
    assert!(
        among(sessions.to_vec(), &named("deploy/api")).await.is_err(),
        "a workload's Service must be asked for"
    );
}

#[tokio::test]
async fn place_and_name_narrow_it_down() {
    let of_dev = server().cluster();
    let of_test = Cluster { namespace: "test".into(), ..of_dev.clone() };
    let other = Cluster { context: "prod".into(), server: "https://prod.example".into(), ..of_test.clone() };
    let sessions = [
        session(of_dev.clone(), "web", "alice"),
        session(of_dev, "web", "bob"),
        session(of_test, "web", "carol"),
        session(other, "web", "dave"),
    ];
    let at = |context: Option<&str>, namespace: Option<&str>| Question {
        access: Access {
            context: context.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            ..Access::default()
        },
        ..named("web")
    };
    assert_eq!(meant(&sessions, at(None, Some("test"))).await, ["carol-at-web", "dave-at-web"]);
    assert_eq!(meant(&sessions, at(Some("prod"), None)).await, ["dave-at-web"]);
    assert_eq!(meant(&sessions, at(Some("dev"), Some("shop"))).await, ["alice-at-web", "bob-at-web"]);
    assert_eq!(meant(&sessions, at(Some("unknown"), None)).await, Vec::<String>::new());
    let of = |whose: Whose| Question { whose, ..at(Some("dev"), Some("shop")) };
    assert_eq!(meant(&sessions, of(Whose::Named("bob".into()))).await, ["bob-at-web"]);
    assert_eq!(meant(&sessions, of(Whose::Named("eve".into()))).await, Vec::<String>::new());
    assert_eq!(meant(&sessions, of(Whose::Rather("bob".into()))).await, ["bob-at-web"]);
    assert_eq!(meant(&sessions, of(Whose::Rather("eve".into()))).await, ["alice-at-web", "bob-at-web"]);
}

#[tokio::test]
async fn of_several_places_kubectl_s_own_is_preferred_where_there_is_a_session() {
    let dev = server().cluster();
    let other = Cluster { namespace: "test".into(), ..dev.clone() };
    let all = vec![
        session(dev.clone(), "web", "alice"),
        session(other, "web", "bob"),
        session(dev, "api", "alice"),
    ];
    let first = |whose: Whose, here: Option<(&str, &str)>| {
        let here = here.map(|(context, namespace)| (context.to_owned(), namespace.to_owned()));
        let groups = by_preference(all.clone(), &whose, here.as_ref());
        let first = groups.into_iter().find(|group| !group.is_empty()).unwrap_or_default();
        first.iter().map(|session| session.facts.id.clone()).collect::<Vec<_>>().join(" ")
    };
    for (whose, here, expected) in [
        (Whose::Anyone, None, "alice-at-web bob-at-web alice-at-api"),
        (Whose::Anyone, Some(("dev", "test")), "bob-at-web"),
        (Whose::Anyone, Some(("dev", "default")), "alice-at-web bob-at-web alice-at-api"),
        (Whose::Named("alice".into()), Some(("dev", "test")), "alice-at-web alice-at-api"),
        (Whose::Named("eve".into()), Some(("dev", "test")), ""),
        (Whose::Rather("eve".into()), Some(("dev", "test")), "bob-at-web"),
    ] {
        assert_eq!(first(whose.clone(), here), expected, "{whose:?} at {here:?}");
    }
}

#[tokio::test]
async fn a_cluster_that_is_away_does_not_hinder_a_session_that_is_meant_rather() {
    let away = Cluster {
        context: "prod".into(),
        server: "https://prod.example".into(),
        ..ApiServer::away().cluster()
    };
    let sessions = [session(away, "web", "bob"), session(server().cluster(), "web", "alice")];
    let whose = |whose: Whose| Question { whose, ..named("deploy/api") };
    for named in [Whose::Named("alice".into()), Whose::Rather("alice".into())] {
        assert_eq!(meant(&sessions, whose(named)).await, ["alice-at-web"]);
    }
    let at = Access { namespace: Some("shop".into()), context: Some("dev".into()), ..Access::default() };
    assert_eq!(meant(&sessions, Question { access: at, ..named("deploy/api") }).await, ["alice-at-web"]);
    assert!(among(sessions.to_vec(), &named("deploy/api")).await.is_err(), "either may be meant");
}

/// A separate kubeconfig of a user whose contexts have other names.
#[tokio::test]
async fn two_contexts_may_mean_one_api_server_and_no_plugin_runs_to_learn_that() {
    let directory = tempfile::tempdir().unwrap();
    let (file, ran) = (directory.path().join("config"), directory.path().join("ran"));
    let plugin = json!({"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
        "command": "/bin/sh", "args": ["-c", format!("touch {}", ran.display())]});
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "mine",
        "clusters": [{"name": "c", "cluster": {"server": "https://dev.example"}}],
        "users": [{"name": "u", "user": {"exec": plugin}}],
        "contexts": [{"name": "mine", "context": {"cluster": "c", "user": "u"}}]});
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    let sessions = [session(server().cluster(), "web", "alice")];
    let access = Access { kubeconfig: vec![file], context: Some("mine".into()), ..Access::default() };
    assert_eq!(meant(&sessions, Question { access, ..named("web") }).await, ["alice-at-web"]);
    assert!(!ran.exists());
}
