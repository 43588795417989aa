//! The agent's reports: where each request went, and why.

use bridge_proto::v1::{Fallback, Reason, RequestsRequest, RequestsSeen, Route, SeenRequest};
use tonic::Streaming;

use crate::http2::peer::{Caller, Serving, get, rest, trailers, with_header};
use crate::peer::{Peer, Server, dead_port};
use crate::world::{Laptop, World, story, with_token};

pub(crate) async fn requests(laptop: &mut Laptop, follow: bool) -> Streaming<RequestsSeen> {
    let asked = with_token(RequestsRequest { follow, after_us: 0 }, &laptop.token);
    laptop.client.requests(asked).await.expect("the token is right").into_inner()
}

/// The next request of a stream that follows.
async fn next(seen: &mut Streaming<RequestsSeen>) -> SeenRequest {
    let mut report = seen.message().await.expect("the session lives").expect("it goes on");
    assert_eq!((report.requests.len(), report.left_out), (1, 0), "{report:?}");
    report.requests.remove(0)
}

async fn answers(server: &mut Peer, status: u16) {
    server.hears_head().await;
    server.says(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok")).await;
}

#[tokio::test]
async fn each_request_is_reported_with_the_reason_for_its_destination() {
    story(async {
        let world = World::new().await;
        let (mut alice, local) = world.alice().await;
        let mut seen = requests(&mut alice, true).await;
        let kept = seen.message().await.expect("the session lives").expect("what is kept");
        assert!(kept.requests.is_empty(), "nothing yet: {kept:?}");
        let (mut client, mut origin) = world.connection().await;

        client.says("GET /v1/orders?card=4711 HTTP/1.1\r\nx-bridge: alic\r\ncookie: secret\r\n\r\n").await;
        answers(&mut origin, 404).await;
        client.hears_answer().await;
        let report = next(&mut seen).await;
        assert_eq!(
            (report.reason(), report.about.as_str(), report.saw.as_str()),
            (Reason::Differs, "x-bridge", "alic")
        );
        let what = (report.method.as_str(), report.path.as_str(), report.status, report.to_laptop);
        assert_eq!(what, ("GET", "/v1/orders", 404, false));
        assert_eq!((report.target_port, report.protocol.as_str()), (world.port().into(), "HTTP/1"));
        assert!(
            !format!("{report:?}").contains("secret") && !format!("{report:?}").contains("4711"),
            "{report:?}"
        );

        client.says("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n").await;
        answers(&mut origin, 200).await;
        client.hears_answer().await;
        let report = next(&mut seen).await;
        assert_eq!(
            (report.reason(), report.about.as_str(), report.to_laptop),
            (Reason::Absent, "x-bridge", false)
        );

        client.says("PUT /x HTTP/1.1\r\nX-Bridge: alice\r\nContent-Length: 0\r\n\r\n").await;
        answers(&mut local.accepts().await, 201).await;
        client.hears_answer().await;
        let report = next(&mut seen).await;
        assert_eq!((report.reason(), report.about.as_str()), (Reason::Matched, "x-bridge: alice"));
        assert_eq!((report.status, report.to_laptop, report.user.as_str()), (201, true, "alice"));

        // A later reader gets the kept requests, and no more if it does not follow.
        let mut later = requests(&mut alice, false).await;
        let kept = later.message().await.expect("the session lives").expect("what is kept");
        let methods: Vec<&str> = kept.requests.iter().map(|request| request.method.as_str()).collect();
        assert_eq!(methods, ["GET", "POST", "PUT"], "in the order in which they ended");
        assert!(later.message().await.expect("an orderly end").is_none());
    })
    .await;
}

#[tokio::test]
async fn requests_that_the_laptop_could_not_take_are_reported_as_such() {
    story(async {
        let world = World::new().await;
        let nobody = dead_port().await;
        let mut alice = world.laptop("alice", world.route("alice", nobody)).await;
        let mut seen = requests(&mut alice, true).await;
        seen.message().await.expect("the session lives");

        // It is reported when the answer has ended, though the client is slow to close.
        let mut slow = world.client().await;
        slow.says("GET /a HTTP/1.1\r\nx-bridge: alice\r\nConnection: close\r\n\r\n").await;
        assert!(slow.hears_answer().await.0.starts_with("HTTP/1.1 503"));
        let report = next(&mut seen).await;
        assert_eq!((report.path.as_str(), report.took_us < 2_000_000), ("/a", true), "{report:?}");
        drop(world.origin.accepts().await);
        let (mut client, mut origin) = world.connection().await;

        client.says("GET /a HTTP/1.1\r\nx-bridge: alice\r\n\r\n").await;
        assert!(client.hears_answer().await.0.starts_with("HTTP/1.1 503"));
        let report = next(&mut seen).await;
        assert_eq!((report.reason(), report.status, report.to_laptop), (Reason::Matched, 503, true));

        alice.routes(vec![Route { fallback: Fallback::Origin.into(), ..world.route("alice", nobody) }]).await;
        client.says("GET /b HTTP/1.1\r\nx-bridge: alice\r\n\r\n").await;
        answers(&mut origin, 200).await;
        client.hears_answer().await;
        let report = next(&mut seen).await;
        let what = (report.reason(), report.status, report.to_laptop, report.user.as_str());
        assert_eq!(what, (Reason::NothingListens, 200, false, "alice"));
    })
    .await;
}

#[tokio::test]
async fn unread_connections_are_reported_once_with_the_reason() {
    story(async {
        let world = World::new().await;
        let (mut alice, _local) = world.alice().await;
        let mut seen = requests(&mut alice, true).await;
        seen.message().await.expect("the session lives");
        for (bytes, reason) in [
            (&b"\x16\x03\x01\x00\x05hello"[..], Reason::Tls),
            (b"*1\r\n$4\r\nPING\r\n", Reason::NotHttp),
            (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Reason::Ambiguous),
        ] {
            let (mut client, mut origin) = world.connection().await;
            client.says(bytes).await;
            origin.hears(bytes).await;
            let report = next(&mut seen).await;
            assert_eq!((report.reason(), report.to_laptop), (reason, false), "{}", bytes.escape_ascii());
            assert!(
                report.method.is_empty() && report.path.is_empty() && report.protocol.is_empty(),
                "{report:?}"
            );
        }
        let (mut client, mut origin) = world.connection().await;
        origin.says("220 mail\r\n").await;
        client.hears("220 mail\r\n").await;
        assert_eq!(next(&mut seen).await.reason(), Reason::ServerSpokeFirst);
    })
    .await;
}

#[tokio::test]
async fn only_a_session_gets_reports() {
    story(async {
        let world = World::new().await;
        let mut stranger = crate::world::client(world.agent.control).await;
        let status = stranger.requests(RequestsRequest::default()).await.expect_err("no token");
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
        let (mut alice, _local) = world.alice().await;
        let mut seen = requests(&mut alice, true).await;
        seen.message().await.expect("the session lives");
        alice.stops_attending();
        while let Ok(Some(_)) = seen.message().await {}
    })
    .await;
}

#[tokio::test]
async fn counts_reach_the_daemon_and_prometheus() {
    story(async {
        let world = World::new().await;
        let (mut alice, local) = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("GET / HTTP/1.1\r\n\r\n").await;
        answers(&mut origin, 500).await;
        client.hears_answer().await;
        client.says("GET / HTTP/1.1\r\nx-bridge: alice\r\n\r\n").await;
        let mut laptop: Peer = Server::accepts(&local).await;
        answers(&mut laptop, 200).await;
        client.hears_answer().await;

        let report =
            alice.counts.wait_for(|counts| counts.laptop.as_ref().is_some_and(|of| of.requests == 1));
        let report = report.await.expect("the session lives").clone();
        let (of_laptop, of_origin) = (report.laptop.unwrap_or_default(), report.origin.unwrap_or_default());
        assert_eq!((of_laptop.failed, of_origin.requests, of_origin.failed), (0, 1, 1));
        assert_eq!(of_laptop.took.iter().sum::<u64>(), 1);

        let mut prometheus = Peer::connect(world.agent.metrics).await;
        prometheus.says("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let text = prometheus.hears_rest().await;
        for sample in [
            "bridge_agent_requests_total{to=\"laptop\",status=\"2xx\"} 1",
            "bridge_agent_requests_total{to=\"origin\",status=\"5xx\"} 1",
            "bridge_agent_request_duration_seconds_count{to=\"origin\"} 1",
            "bridge_agent_decisions_total{reason=\"matched\"} 1",
            "bridge_agent_connections_total 1",
            "bridge_agent_connections_open 1",
            "bridge_agent_streams_total 1",
            "bridge_agent_sessions 1",
            "bridge_agent_defects_total 0",
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample} in\n{text}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_grpc_call_is_reported_with_its_own_status() {
    story(async {
        let world = World::new().await;
        let (mut alice, _local) = world.alice().await;
        let mut seen = requests(&mut alice, true).await;
        seen.message().await.expect("the session lives");
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;

        // Given a call that fails after its answer has begun,
        let response = caller.asks(with_header(get("/prices.Prices/Get"), "x-bridge", "alic")).await;
        let (_asked, mut reply) = origin.hears().await.begins();
        reply.send_trailers(trailers(&[("grpc-status", "5")])).expect("an open stream");
        let mut body = response.await.expect("an answer").into_body();
        rest(&mut body).await;

        // Then it is reported with both statuses, and with the reason why it went to the origin.
        let report = next(&mut seen).await;
        assert_eq!((report.protocol.as_str(), report.path.as_str()), ("HTTP/2", "/prices.Prices/Get"));
        assert_eq!((report.status, report.grpc_status), (200, Some(5)));
        assert_eq!((report.reason(), report.saw.as_str()), (Reason::Differs, "alic"));
    })
    .await;
}
