//! Opening sessions, and the effects of several on each other.

use std::time::Duration;

use bridge_proto::proof::{LENGTH, NotOpened};
use bridge_proto::v1::agent_client::AgentClient;
use bridge_proto::v1::{Alternative, ArrivalsRequest, Condition, FromDaemon, Match, ProbeRequest, Route};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::peer::{Peer, Server};
use crate::world::{Laptop, World, by_header, channel, client, daemon, loopback, story, with_token};

#[tokio::test]
async fn nothing_is_allowed_without_a_token() {
    story(async {
        let world = World::new().await;
        let mut laptop = client(world.agent.control).await;
        let probe = ProbeRequest { address: world.origin.address().to_string() };
        let without = laptop.probe(probe.clone()).await.expect_err("no token");
        assert_eq!(without.code(), Code::Unauthenticated);
        let wrong = laptop.probe(with_token(probe, "0123")).await.expect_err("a wrong token");
        assert_eq!(wrong.code(), Code::Unauthenticated);
    })
    .await;
}

#[tokio::test]
async fn a_probe_is_seen_among_the_arrivals() {
    story(async {
        let world = World::with_outward(loopback()).await;
        let mut alice = Laptop::attach(world.agent.control, "alice").await;
        let arrivals = with_token(ArrivalsRequest {}, &alice.token);
        let mut arrivals = alice.client.arrivals(arrivals).await.expect("the token is right").into_inner();
        let address = format!("127.0.0.1:{}", world.port());
        let probe = with_token(ProbeRequest { address }, &alice.token);
        let reply = alice.client.probe(probe).await.expect("the token is right").into_inner();
        let arrival = arrivals.message().await.expect("the session lives").expect("an arrival");
        assert_eq!((arrival.peer, arrival.target_port), (reply.from, world.port().into()));

        let probe = with_token(ProbeRequest { address: "127.0.0.1:1".into() }, &alice.token);
        let reply = alice.client.probe(probe).await.expect("the token is right").into_inner();
        assert!(reply.from.is_empty() && reply.failure.contains("refused"), "{reply:?}");
        let probe = with_token(ProbeRequest { address: "orders:80".into() }, &alice.token);
        let status = alice.client.probe(probe).await.expect_err("a name");
        assert_eq!(status.code(), Code::InvalidArgument);
    })
    .await;
}

#[tokio::test]
async fn of_overlapping_routes_the_oldest_sessions_wins() {
    story(async {
        let world = World::new().await;
        let (youngs, olds) = (Server::local().await, Server::local().await);
        let control = world.agent.control;
        let mut young = Laptop::attach_as(control, daemon("y", "young", 2000)).await;
        let mut old = Laptop::attach_as(control, daemon("o", "old", 1000)).await;
        for (laptop, server, name) in [(&mut young, &youngs, "a"), (&mut old, &olds, "b")] {
            laptop.park(2).await;
            let route = Route { r#match: Some(by_header(name, "1")), ..world.route("", server.port()) };
            laptop.routes(vec![route]).await;
        }
        let mut both = world.client().await;
        both.says("GET / HTTP/1.1\r\nA: 1\r\nB: 1\r\n\r\n").await;
        olds.accepts().await.hears("GET / HTTP/1.1\r\nA: 1\r\nB: 1\r\n\r\n").await;
        let mut one = world.client().await;
        one.says("GET / HTTP/1.1\r\nA: 1\r\n\r\n").await;
        youngs.accepts().await.hears("GET / HTTP/1.1\r\nA: 1\r\n\r\n").await;
    })
    .await;
}

#[tokio::test]
async fn routes_that_cannot_be_are_refused_and_those_before_stay() {
    story(async {
        let world = World::new().await;
        let (mut alice, local) = world.alice().await;
        let mut bob = Laptop::attach(world.agent.control, "bob").await;
        let same = bob.tries_routes(vec![world.route("alice", 1)]).await;
        assert!(same.contains("alice already takes"), "{same}");

        let condition = Condition { kind: None };
        let unknown = Match { any_of: vec![Alternative { all_of: vec![condition] }] };
        let unknown = Route { r#match: Some(unknown), ..world.route("", 1) };
        let nowhere = Route { target_port: 1, ..world.route("alice", 1) };
        for (route, words) in [(unknown, "does not know"), (nowhere, "does not listen on port 1")] {
            let refused = alice.tries_routes(vec![route]).await;
            assert!(refused.contains(words), "{refused}");
        }
        let mut client = world.client().await;
        client.says("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
        local.accepts().await.hears("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
    })
    .await;
}

#[tokio::test]
async fn routes_are_replaced_as_a_whole_also_for_open_connections() {
    story(async {
        let world = World::new().await;
        let (mut alice, local) = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        let request = "GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n";
        alice.routes(vec![]).await;
        client.says(request).await;
        origin.hears(request).await;
        origin.says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        client.hears("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        alice.routes(vec![world.route("alice", local.port())]).await;
        client.says(request).await;
        local.accepts().await.hears(request).await;
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_comes_back_takes_its_session_over() {
    story(async {
        let world = World::new().await;
        let (mut before, _local) = world.alice().await;
        let mut after = Laptop::attach(world.agent.control, "alice").await;
        before.is_ended().await;
        after.routes(vec![world.route("alice", 1)]).await;
    })
    .await;
}

#[tokio::test]
async fn key_and_id_without_the_secret_take_no_session_over() {
    story(async {
        // Given Alice's session, whose id everyone can read in the annotation,
        let world = World::new().await;
        let (mut alice, local) = world.alice().await;
        let mut mallory = daemon("session of alice", "alice", 1000);
        mallory.secret = [6; LENGTH];

        // when another daemon with the key opens a session with the same id,
        let refused = mallory.opens(channel(world.agent.control).await).await.expect_err("it is Alice's");
        let NotOpened::Refused(status) = &refused else { panic!("expected a refusal: {refused:?}") };
        assert_eq!(status.code(), Code::PermissionDenied, "{refused}");

        // then Alice's session goes on, with its routes.
        assert_eq!(
            alice.tries_routes(vec![world.route("alice", local.port())]).await,
            "",
            "Alice's session should live on"
        );
        let mut client = world.client().await;
        client.says("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
        local.accepts().await.hears("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
    })
    .await;
}

#[tokio::test]
async fn of_two_daemons_that_open_one_id_the_first_to_attend_has_it() {
    story(async {
        let world = World::new().await;
        let control = world.agent.control;
        // Given two sessions of one id and two secrets, neither attended yet,
        let mut mallory = daemon("session of alice", "alice", 1000);
        mallory.secret = [6; LENGTH];
        let mallorys = channel(control).await;
        let token = mallory.opens(mallorys.clone()).await.expect("nobody has it yet");
        // when one is attended,
        let mut alice = Laptop::attach(control, "alice").await;
        // then the other is not, and the first lives on.
        let attend = with_token(tokio_stream::pending::<FromDaemon>(), &token);
        let refused = AgentClient::new(mallorys).attend(attend).await.expect_err("it is Alice's");
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert_eq!(
            alice.tries_routes(vec![world.route("alice", 1)]).await,
            "",
            "Alice's session should live on"
        );
    })
    .await;
}

#[tokio::test]
async fn a_daemon_from_which_nothing_comes_is_gone_after_five_seconds() {
    story(async {
        let world = World::new().await;
        // Given a connection that silently stops carrying the laptop's bytes,
        let network = Network::to(world.agent.control).await;
        let local = Server::local().await;
        let mut alice = Laptop::attach(network.port, "alice").await;
        alice.routes(vec![world.route("alice", local.port())]).await;
        let began = tokio::time::Instant::now();
        network.loses_all_until_the_agent_hangs_up().await;
        // then the agent ends it by its own clock,
        let silence = began.elapsed();
        assert!(silence > Duration::from_secs(3) && silence < Duration::from_secs(8), "{silence:?}");
        // and the requests go to the origin.
        let (mut client, mut origin) = world.connection().await;
        client.says("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
        origin.hears("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
    })
    .await;
}

/// A network between laptop and agent that can fail.
struct Network {
    port: u16,
    lost_tx: oneshot::Sender<()>,
    carrying: JoinHandle<()>,
}

impl Network {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("a bound socket").port();
        let (lost_tx, lost_rx) = oneshot::channel();
        let carrying = tokio::spawn(async move {
            let (mut laptop, _) = listener.accept().await.expect("a connection");
            let mut agent = TcpStream::connect(("127.0.0.1", port)).await.expect("the port listens");
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut laptop, &mut agent) => panic!("it ended too early"),
                _ = lost_rx => {}
            }
            let _ = tokio::io::copy(&mut agent, &mut tokio::io::sink()).await;
        });
        Self { port: own, lost_tx, carrying }
    }

    async fn loses_all_until_the_agent_hangs_up(self) {
        self.lost_tx.send(()).expect("it carries");
        self.carrying.await.expect("the network's own code is right");
    }
}

#[tokio::test]
async fn readiness_needs_no_origin_where_a_session_replaces_it() {
    story(async {
        let world = World::without_origin().await;
        let is_ready = async || {
            let mut kubelet = Peer::connect(world.agent.readiness).await;
            kubelet.says("GET /ready HTTP/1.1\r\n\r\n").await;
            kubelet.hears_head().await.starts_with("HTTP/1.1 200 ")
        };
        assert!(!is_ready().await, "no origin was reached");
        let mut alice = Laptop::attach(world.agent.control, "alice").await;
        alice.routes(Vec::new()).await;
        assert!(!is_ready().await, "nor does a session replace it");
        alice.replaces_the_origin(Vec::new()).await;
        assert!(is_ready().await, "a session replaces it");
    })
    .await;
}

#[tokio::test]
async fn readiness_is_that_the_origin_was_reached() {
    story(async {
        let world = World::new().await;
        loop {
            let mut kubelet = Peer::connect(world.agent.readiness).await;
            kubelet.says("GET /ready HTTP/1.1\r\n\r\n").await;
            if kubelet.hears_head().await.starts_with("HTTP/1.1 200 ") {
                return kubelet.hears("ready\n").await;
            }
        }
    })
    .await;
}
