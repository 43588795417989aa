//! The requests that a session's match takes.

use bridge_proto::v1::{Alternative, Condition, HeaderTest, Match, Route, Test, condition, test};

use crate::peer::{Peer, Server};
use crate::world::{Laptop, World, story};

fn any_of(alternatives: Vec<Vec<condition::Kind>>) -> Option<Match> {
    let condition = |kind| Condition { kind: Some(kind) };
    let alternative =
        |kinds: Vec<condition::Kind>| Alternative { all_of: kinds.into_iter().map(condition).collect() };
    Some(Match { any_of: alternatives.into_iter().map(alternative).collect() })
}

fn path(kind: test::Kind) -> condition::Kind {
    condition::Kind::Path(Test { kind: Some(kind) })
}

fn header(name: &str, kind: test::Kind) -> condition::Kind {
    let test = Some(Test { kind: Some(kind) });
    condition::Kind::HeaderTest(HeaderTest { name: name.to_owned(), test })
}

fn prefix(text: &str) -> test::Kind {
    test::Kind::Prefix(text.to_owned())
}

fn pattern(text: &str) -> test::Kind {
    test::Kind::Pattern(text.to_owned())
}

/// Sends a request, which this server answers.
async fn is_answered_by(client: &mut Peer, head: &str, server: &mut Peer, body: &str) {
    client.says(format!("{head}\r\nHost: a\r\n\r\n")).await;
    server.hears_head().await;
    server.says(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    assert_eq!(client.hears_answer().await.1, body, "{head}");
}

#[tokio::test]
async fn all_conditions_of_one_alternative_must_hold() {
    story(async {
        let world = World::new().await;
        let local = Server::local().await;
        let wanted = any_of(vec![
            vec![
                header("X-Tenant", prefix("eu-")),
                path(pattern("^/v[12]/")),
                condition::Kind::Method("GET".into()),
            ],
            vec![header("x-all", pattern("^yes$"))],
        ]);
        let route = Route { r#match: wanted, ..world.route("alice", local.port()) };
        let _alice = world.laptop("alice", route).await;
        let (mut client, mut origin) = world.connection().await;

        let mut laptop = None;
        for head in [
            "GET /v1/orders?x=1 HTTP/1.1\r\nx-tenant: us-1\r\nX-TENANT: eu-1",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\nx-all: yes",
        ] {
            client.says(format!("{head}\r\nHost: a\r\n\r\n")).await;
            if laptop.is_none() {
                laptop = Some(local.accepts().await);
            }
            let laptop = laptop.as_mut().expect("the laptop's connection");
            laptop.hears_head().await;
            laptop.says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlaptop").await;
            assert_eq!(client.hears_answer().await.1, "laptop", "{head}");
        }
        for (index, head) in [
            "GET /v1/orders HTTP/1.1\r\nx-tenant: us-1",
            "GET /v3/orders HTTP/1.1\r\nx-tenant: eu-1",
            "HEAD2 /v1/orders HTTP/1.1\r\nx-tenant: eu-1",
            "GET /?/v1/ HTTP/1.1\r\nx-tenant: eu-1",
            "GET /v1/orders HTTP/1.1\r\nx-all: yes, no",
        ]
        .into_iter()
        .enumerate()
        {
            is_answered_by(&mut client, head, &mut origin, &format!("origin {index}")).await;
        }
    })
    .await;
}

#[tokio::test]
async fn conditions_that_this_agent_does_not_know_are_refused() {
    story(async {
        let world = World::new().await;
        let mut alice = Laptop::attach(world.agent.control, "alice").await;
        for (kind, part) in [
            (path(pattern("^/(")), "bad pattern"),
            (path(pattern(&"a".repeat(2000))), "longer than 1024"),
            (condition::Kind::Path(Test { kind: None }), "does not know"),
        ] {
            let route = Route { r#match: any_of(vec![vec![kind]]), ..world.route("alice", 3000) };
            let refused = alice.tries_routes(vec![route]).await;
            assert!(refused.contains(part), "{refused}");
        }
        let patterns = any_of(vec![vec![path(pattern("a"))]]);
        let many = (0..65).map(|_| Route { r#match: patterns.clone(), ..world.route("alice", 3000) });
        let refused = alice.tries_routes(many.collect()).await;
        assert!(refused.contains("more than 64 patterns"), "{refused}");
    })
    .await;
}
