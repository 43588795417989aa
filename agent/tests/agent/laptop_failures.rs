//! The caller's view when a laptop, or the process on it, fails.

use bridge_proto::v1::{Fallback, Route};

use crate::peer::{Peer, dead_port};
use crate::world::{Laptop, World, story};

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ALICES: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n";

/// The origin gets a request and answers it.
async fn answered_by(origin: &mut Peer, client: &mut Peer, request: &str) {
    origin.hears(request).await;
    origin.says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\norigin").await;
    assert_eq!(client.hears_answer().await.1, "origin");
}

#[tokio::test]
async fn nothing_listens_on_the_local_port() {
    story(async {
        let world = World::new().await;
        let port = dead_port().await;
        let _alice = world.laptop("alice", world.route("alice", port)).await;
        let (mut client, mut origin) = world.connection().await;
        client.says(ALICES).await;
        let (head, sentence) = client.hears_answer().await;
        assert!(
            head.starts_with("HTTP/1.1 503 ") && head.contains("x-bridge-served-by: alice\r\n"),
            "{head}"
        );
        assert!(sentence.contains(&format!("port {port} of alice's laptop")), "{sentence}");
        assert!(sentence.contains("bridge disconnect"), "{sentence}");
        // The connection is still good.
        client.says(PLAIN).await;
        answered_by(&mut origin, &mut client, PLAIN).await;
    })
    .await;
}

#[tokio::test]
async fn nothing_listens_and_a_body_is_on_its_way() {
    story(async {
        let world = World::new().await;
        let _alice = world.laptop("alice", world.route("alice", dead_port().await)).await;
        let mut client = world.client().await;
        client.says("POST / HTTP/1.1\r\nX-Bridge: alice\r\nContent-Length: 9\r\n\r\nfour").await;
        let (head, _) = client.hears_answer().await;
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("connection: close"), "{head}");
        client.hears_end().await;
    })
    .await;
}

#[tokio::test]
async fn nothing_listens_and_the_origin_is_to_step_in() {
    story(async {
        let world = World::new().await;
        let route = Route { fallback: Fallback::Origin.into(), ..world.route("alice", dead_port().await) };
        let _alice = world.laptop("alice", route).await;
        let (mut client, mut origin) = world.connection().await;
        let request = "POST / HTTP/1.1\r\nX-Bridge: alice\r\nContent-Length: 4\r\n\r\nfour";
        client.says(request).await;
        answered_by(&mut origin, &mut client, request).await;
    })
    .await;
}

#[tokio::test]
async fn answers_that_could_be_read_in_two_ways_do_not_reach_the_caller() {
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabSURPLUS",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\n",
        "HTTP/1.1 204 No Content\r\n\r\nbody",
        "HTTP/1.1 304 Not Modified\r\n\r\nbody",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBare: a\nContent-Length: 0\r\n\r\n",
        "hello\r\n\r\n",
    ];
    for answer in answers {
        story(async {
            let world = World::new().await;
            let (_alice, local) = world.alice().await;
            let mut client = world.client().await;
            client.says(ALICES).await;
            let mut process = local.accepts().await;
            process.hears(ALICES).await;
            process.says(answer).await;
            let (head, sentence) = client.hears_answer().await;
            assert!(head.starts_with("HTTP/1.1 502 "), "{answer:?}: {head}");
            assert!(sentence.contains("alice's laptop"), "{sentence}");
            client.hears_end().await;
        })
        .await;
    }
}

#[tokio::test]
async fn late_bytes_after_an_answer_do_not_reach_the_caller() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
        process.says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").await;
        assert!(client.hears_head().await.starts_with("HTTP/1.1 200 "));
        client.hears("ab").await;
        process.says("cdHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother").await;
        client.hears("cd").await;
        // Such a connection is not used again.
        client.hears_end().await;
    })
    .await;
}

#[tokio::test]
async fn the_body_of_an_answer_to_head_does_not_reach_the_caller() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        let request = "HEAD / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n";
        client.says(request).await;
        let mut process = local.accepts().await;
        process.hears(request).await;
        process.says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody").await;
        assert!(client.hears_head().await.starts_with("HTTP/1.1 502 "));
        client.hears_end().await;
    })
    .await;
}

#[tokio::test]
async fn the_process_ends_before_it_answers() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        for hard in [false, true] {
            let mut client = world.client().await;
            client.says(ALICES).await;
            let mut process = local.accepts().await;
            process.hears(ALICES).await;
            if hard {
                process.resets()
            } else {
                drop(process)
            }
            let (head, sentence) = client.hears_answer().await;
            assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
            assert!(sentence.contains("ended the connection before it answered"), "{sentence}");
            client.hears_end().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_process_ends_in_the_middle_of_its_answer() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        for hard in [false, true] {
            let mut client = world.client().await;
            client.says(ALICES).await;
            let mut process = local.accepts().await;
            process.hears(ALICES).await;
            process.says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab").await;
            assert!(client.hears_head().await.starts_with("HTTP/1.1 200 "));
            client.hears("ab").await;
            if hard {
                process.resets()
            } else {
                drop(process)
            }
            client.hears_reset().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_laptop_vanishes_while_a_request_is_there() {
    story(async {
        let world = World::new().await;
        let (alice, local) = world.alice().await;
        let (mut client, _) = world.connection().await;
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
        drop(alice);
        let (head, sentence) = client.hears_answer().await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        assert!(sentence.contains("alice's laptop was lost"), "{sentence}");
        client.hears_end().await;
        // The next request goes to the origin.
        let (mut client, mut origin) = world.connection().await;
        client.says(ALICES).await;
        answered_by(&mut origin, &mut client, ALICES).await;
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_control_call_is_the_end_of_everything() {
    story(async {
        let world = World::new().await;
        let (mut alice, local) = world.alice().await;
        let (mut busy, _) = world.connection().await;
        busy.says(ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
        let (mut idle, mut origin) = world.connection().await;
        // Given a request under way and a connection that is idle, when the control call alone ends,
        alice.stops_attending();
        // then the request in flight is answered,
        assert!(busy.hears_answer().await.0.starts_with("HTTP/1.1 502 "));
        // the token is no longer valid,
        alice.is_ended().await;
        let parked = alice.client.arrivals(crate::world::with_token(Default::default(), &alice.token)).await;
        assert_eq!(parked.expect_err("the session has ended").code(), tonic::Code::Unauthenticated);
        // and the next request goes to the origin.
        idle.says(ALICES).await;
        answered_by(&mut origin, &mut idle, ALICES).await;
    })
    .await;
}

#[tokio::test]
async fn a_request_that_still_waits_for_the_laptop_goes_to_the_origin() {
    story(async {
        let world = World::new().await;
        let mut alice = Laptop::attach(world.agent.control, "alice").await;
        alice.routes(vec![world.route("alice", 1)]).await;
        let (mut client, mut origin) = world.connection().await;
        let request = "POST / HTTP/1.1\r\nX-Bridge: alice\r\nContent-Length: 4\r\n\r\nfour";
        client.says(request).await;
        // Nothing was delivered, for there was no call to deliver it on.
        drop(alice);
        answered_by(&mut origin, &mut client, request).await;
    })
    .await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_not_passed_on() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        let head = "POST / HTTP/1.1\r\nX-Bridge: alice\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.says(head).await;
        let mut process = local.accepts().await;
        process.hears(head).await;
        client.says("0\n\nGET /smuggled HTTP/1.1\r\n\r\n").await;
        assert!(client.hears_answer().await.0.starts_with("HTTP/1.1 400 "));
        client.hears_end().await;
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_is_gone_for_the_process_too() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
        client.resets();
        process.hears_reset().await;
    })
    .await;
}
