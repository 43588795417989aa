//! Requests that go to a laptop.

use crate::world::{World, story};

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ALICES: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n";

#[tokio::test]
async fn one_connection_alternates_between_laptop_and_origin() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        for _ in 0..3 {
            client.says(ALICES).await;
            let mut process = local.accepts().await;
            process.hears(ALICES).await;
            process.says("HTTP/1.1 200 OK\r\nServer: dev\r\nContent-Length: 6\r\n\r\nlaptop").await;
            client
                .hears(
                    "HTTP/1.1 200 OK\r\nx-bridge-served-by: alice\r\nCache-Control: private\r\nServer: dev\r\n\
                     Content-Length: 6\r\n\r\nlaptop",
                )
                .await;
            process.hears_end().await;

            client.says(PLAIN).await;
            origin.hears(PLAIN).await;
            origin.says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\norigin").await;
            client.hears("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\norigin").await;
        }
    })
    .await;
}

#[tokio::test]
async fn baggage_routes_too() {
    story(async {
        let world = World::new().await;
        let local = crate::peer::Server::local().await;
        let mut route = world.route("alice", local.port());
        let member = bridge_proto::v1::MemberCondition { key: "bridge".into(), value: "alice".into() };
        let kind = bridge_proto::v1::condition::Kind::Baggage(member);
        let condition = bridge_proto::v1::Condition { kind: Some(kind) };
        route.r#match.get_or_insert_default().any_of[0].all_of = vec![condition];
        let _alice = world.laptop("alice", route).await;
        let mut client = world.client().await;
        let request = "GET / HTTP/1.1\r\nHost: a\r\nbaggage: k=v, bridge=alice;p\r\n\r\n";
        client.says(request).await;
        local.accepts().await.hears(request).await;
    })
    .await;
}

#[tokio::test]
async fn bodies_and_trailers_pass_unchanged() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        let request = "POST / HTTP/1.1\r\nx-bridge: alice\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
        client.says(request).await;
        let mut process = local.accepts().await;
        process.hears(request).await;
        process.says("HTTP/1.1 100 Continue\r\n\r\n").await;
        client.hears("HTTP/1.1 100 Continue\r\n\r\n").await;
        let body = "5;a=b\r\nhello\r\n0\r\nSum: 1\r\n\r\n";
        client.says(body).await;
        process.hears(body).await;
        process
            .says(format!("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n{body}"))
            .await;
        client
            .hears(format!(
                "HTTP/1.1 200 OK\r\nx-bridge-served-by: alice\r\nCache-Control: no-store\r\n\
                 Transfer-Encoding: chunked\r\n\r\n{body}"
            ))
            .await;
        // Both connections go on.
        client.says(ALICES).await;
        process.hears(ALICES).await;
    })
    .await;
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        let body = "0123456789abcdef".repeat(256 * 1024);
        let head = format!("x-bridge: alice\r\nContent-Length: {}\r\n\r\n", body.len());
        let talk = async {
            client.says(format!("POST / HTTP/1.1\r\n{head}")).await;
            client.says(&body).await;
            let (_, answer) = client.hears_answer().await;
            assert_eq!(answer.len(), body.len());
            assert!(answer == body);
        };
        let answer = async {
            let mut process = local.accepts().await;
            process.hears(format!("POST / HTTP/1.1\r\n{head}{body}")).await;
            process.says(format!("HTTP/1.1 200 OK\r\n{head}")).await;
            process.says(&body).await;
        };
        tokio::join!(talk, answer);
    })
    .await;
}

#[tokio::test]
async fn the_next_request_takes_the_same_way() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        // Given a client that goes on asking, its requests share a connection to the local process.
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        for _ in 0..3 {
            process.hears(ALICES).await;
            process.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            assert_eq!(client.hears_answer().await.1, "ok");
            client.says(ALICES).await;
        }
        process.hears(ALICES).await;
        process.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(client.hears_answer().await.1, "ok");
        // When the client asks nothing any more, the process is not kept waiting.
        process.hears_end().await;
        client.says(ALICES).await;
        local.accepts().await.hears(ALICES).await;
    })
    .await;
}

#[tokio::test]
async fn a_request_is_not_sent_twice_when_its_way_breaks() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
        process.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(client.hears_answer().await.1, "ok");
        // When the process has got the second request of a connection, and dies because of it,
        client.says(ALICES).await;
        process.hears(ALICES).await;
        drop(process);
        // then the client gets a 502, and the request goes nowhere else.
        let (head, _) = client.hears_answer().await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        let mut next = world.client().await;
        next.says(ALICES).await;
        local.accepts().await.hears(ALICES).await;
    })
    .await;
}

#[tokio::test]
async fn a_websocket_goes_to_the_laptop() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        let request =
            "GET /ws HTTP/1.1\r\nX-Bridge: alice\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        client.says(request).await;
        let mut process = local.accepts().await;
        process.hears(request).await;
        process.says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02hi").await;
        client
            .hears("HTTP/1.1 101 Switching Protocols\r\nx-bridge-served-by: alice\r\nUpgrade: websocket\r\n\r\n\x01\x02hi")
            .await;
        client.says("\x01\x03you").await;
        process.hears("\x01\x03you").await;
        process.ends().await;
        client.hears_end().await;
        client.says("more").await;
        client.ends().await;
        process.hears("more").await;
        process.hears_end().await;
    })
    .await;
}

#[tokio::test]
async fn an_offer_to_go_on_in_http2_is_the_origins_alone() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        let offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEA\r\n";
        // Given a client that offers it with each request, Alice's request reaches the laptop without the offer,
        client.says(format!("GET / HTTP/1.1\r\n{offer}X-Bridge: alice\r\n\r\n")).await;
        let mut process = local.accepts().await;
        process
            .hears("GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nX-Bridge: alice\r\n\r\n")
            .await;
        process.says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlaptop").await;
        assert_eq!(client.hears_answer().await.1, "laptop");
        // and another's reaches the origin as it is, which may take it.
        let others = format!("GET / HTTP/1.1\r\n{offer}\r\n");
        client.says(&others).await;
        origin.hears(&others).await;
        let switching =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nframes";
        origin.says(switching).await;
        client.hears(switching).await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_lasts_until_close_ends_the_connection() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
        process.says("HTTP/1.1 200 OK\r\n\r\nsome").await;
        let head = client.hears_head().await;
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        client.hears("some").await;
        process.says("thing").await;
        drop(process);
        assert_eq!(client.hears_rest().await, "thing");
    })
    .await;
}

#[tokio::test]
async fn a_local_process_that_closes_closes_the_connection() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
        process.says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(client.hears_answer().await.1, "ok");
        client.hears_end().await;
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_acts_meanwhile_is_not_heard() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
        // Given an origin that loses patience while the developer is at a breakpoint,
        origin.says("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").await;
        origin.ends().await;
        process.says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlaptop").await;
        assert_eq!(client.hears_answer().await.1, "laptop");
        // the next request for the origin gets a new connection.
        client.says(PLAIN).await;
        let mut origin = world.origin.accepts().await;
        origin.hears(PLAIN).await;
        origin.says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\norigin").await;
        assert_eq!(client.hears_answer().await.1, "origin");
    })
    .await;
}

#[tokio::test]
async fn a_dead_origin_does_not_keep_requests_from_the_laptop() {
    story(async {
        let world = World::without_origin().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
        process.says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlaptop").await;
        assert_eq!(client.hears_answer().await.1, "laptop");
        // Anything else ends as the origin ends it.
        client.says(PLAIN).await;
        client.hears_reset().await;
    })
    .await;
}

#[tokio::test]
async fn a_burst_beyond_the_parked_calls_waits() {
    story(async {
        let world = World::new().await;
        let local = crate::peer::Server::local().await;
        let mut alice = crate::world::Laptop::attach(world.agent.control, "alice").await;
        alice.routes(vec![world.route("alice", local.port())]).await;
        // Given a laptop that has no call parked, two requests wait,
        let (mut one, mut two) = (world.client().await, world.client().await);
        one.says(ALICES).await;
        two.says(ALICES).await;
        // and are served once there is one, one after the other.
        alice.park(1).await;
        for _ in 0..2 {
            let mut process = local.accepts().await;
            process.hears(ALICES).await;
            process.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
        assert_eq!(one.hears_answer().await.1, "ok");
        assert_eq!(two.hears_answer().await.1, "ok");
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_kept_from_shared_caches() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        let answers = [
            (
                "Cache-Control: no-cache, no-transform\r\n",
                "Cache-Control: private, no-cache, no-transform\r\n",
            ),
            (
                "Cache-Control: public, max-age=60\r\nSurrogate-Control: max-age=600\r\n",
                "Cache-Control: private, max-age=60\r\nSurrogate-Control: no-store\r\n",
            ),
            (
                "Cache-Control: no-store\r\nCDN-Cache-Control: x\r\n",
                "Cache-Control: no-store\r\nCDN-Cache-Control: no-store\r\n",
            ),
            ("X-Accel-Expires: 600\r\n", "Cache-Control: private\r\nX-Accel-Expires: 0\r\n"),
            ("Expires: Thu, 01 Dec 2044 16:00:00 GMT\r\n", "Cache-Control: private\r\nExpires: 0\r\n"),
        ];
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        for (said, heard) in answers {
            process.hears(ALICES).await;
            process.says(format!("HTTP/1.1 200 OK\r\n{said}Content-Length: 2\r\n\r\nok")).await;
            let marked = format!("x-bridge-served-by: alice\r\n{heard}");
            client.hears(format!("HTTP/1.1 200 OK\r\n{marked}Content-Length: 2\r\n\r\nok")).await;
            client.says(ALICES).await;
        }
    })
    .await;
}

#[tokio::test]
async fn trailers_that_address_caches_are_removed() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        // With the rest or byte by byte.
        for at_once in [true, false] {
            process.hears(ALICES).await;
            let head = "HTTP/1.1 200 OK\r\nCache-Control: private\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n";
            let trailers = "Sum: 1\r\ncache-control: public\r\nX-Accel-Expires: 9\r\nLast: x\r\n\r\n";
            if at_once {
                process.says([head, trailers].concat()).await;
            } else {
                process.says(head).await;
                for byte in trailers.bytes() {
                    process.says([byte]).await;
                }
            }
            assert!(client.hears_head().await.contains("x-bridge-served-by"));
            client.hears("2\r\nok\r\n0\r\nSum: 1\r\nLast: x\r\n\r\n").await;
            client.says(ALICES).await;
        }
        process.hears(ALICES).await;
    })
    .await;
}
