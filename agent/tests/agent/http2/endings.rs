//! How connections end: GOAWAY, drained agents, peers that go away.

use std::time::Duration;

use bridge_agent::DrainTimes;
use bytes::Bytes;
use h2::Reason;

use super::peer::{Caller, Say, Serving, alices, answer, get, hears, hears_frame, rest, with_header};
use crate::peer::Server;
use crate::world::{World, story};

/// Draining that goes on accepting as long as the story lasts.
const PATIENT: DrainTimes = DrainTimes {
    quiet: Duration::from_secs(60),
    at_least: Duration::from_secs(60),
    at_most: Duration::from_secs(60),
};

#[tokio::test]
async fn the_origins_goaway_is_a_graceful_one() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let plain = caller.asks(get("/")).await;
        let matched = caller.asks(alices("/")).await;
        let mut process = Serving::on(&local).await;
        let (at_origin, at_hers) = (origin.hears().await, process.hears().await);

        // Given streams on both sides, when the origin takes no more,
        origin.says(Say::GracefulGoAway);
        caller.is_told_to_go().await;
        // then the existing ones are served,
        at_origin.answers("origin");
        assert_eq!(answer(plain).await.2, "origin");
        origin.ended.await.expect("no panic").expect("an orderly end");
        at_hers.answers("laptop");
        assert_eq!(answer(matched).await.2, "laptop");
        // and then the connection ends.
        drop(caller.send);
        caller.ended.await.expect("no panic").expect("an orderly end");
    })
    .await;
}

#[tokio::test]
async fn an_error_of_the_origins_is_the_connections() {
    story(async {
        let world = World::new().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let response = caller.asks(get("/")).await;
        let _stream = origin.hears().await;
        origin.says(Say::GoAway(Reason::ENHANCE_YOUR_CALM));
        response.await.expect_err("the connection has ended");
        let error = caller.ended.await.expect("no panic").expect_err("a GOAWAY");
        assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_is_lost_ends_the_connection() {
    story(async {
        let world = World::new().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let response = caller.asks(get("/")).await;
        let _stream = origin.hears().await;
        origin.ended.abort();
        let error = response.await.expect_err("the connection has ended");
        assert!(error.is_io(), "no reset of the stream, which nobody sent: {error}");
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_is_lost_leaves_the_laptops_streams() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let plain = caller.asks(get("/")).await;
        let matched = caller.asks(alices("/")).await;
        let mut process = Serving::on(&local).await;
        let (_at_origin, at_hers) = (origin.hears().await, process.hears().await);
        origin.ended.abort();
        assert_eq!(plain.await.expect_err("it is lost").reason(), Some(Reason::INTERNAL_ERROR));
        at_hers.answers("laptop");
        assert_eq!(answer(matched).await.2, "laptop");
        drop(caller.send);
        caller.ended.await.expect("no panic").expect("an orderly end");
    })
    .await;
}

/// The maximum age of a server's connection: GOAWAY, and after a grace period its end, even with requests in flight.
#[tokio::test]
async fn an_origins_connection_that_grows_too_old_ends_as_without_the_agent() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let call = |request| with_header(request, "content-type", "application/grpc");
        let matched = caller.asks(call(alices("/"))).await;
        let waits = caller.asks(call(get("/"))).await;
        let hears_already = caller.asks(call(get("/"))).await;
        let mut process = Serving::on(&local).await;
        let at_hers = process.hears().await;
        let _at_origin = origin.hears().await;
        let (_asked, mut reply) = origin.hears().await.begins();
        reply.send_data(Bytes::from_static(b"half"), false).expect("an open stream");
        let mut begun = hears_already.await.expect("an answer").into_body();
        hears(&mut begun, "half").await;

        // Given calls of others on both sides of their answers' heads, and one of the developer's,
        origin.says(Say::GracefulGoAway);
        caller.is_told_to_go().await;
        // when the time of grace is over, those of others are UNAVAILABLE, as a lost connection is,
        origin.ended.abort();
        let head = waits.await.expect("an answer");
        assert_eq!(head.headers()["grpc-status"], "14");
        assert!(!head.headers().contains_key("x-bridge-served-by"), "it was the origin's");
        let trailers = rest(&mut begun).await.1.expect("a status");
        assert_eq!(trailers["grpc-status"], "14");
        // and the matched stream goes on.
        at_hers.answers("laptop");
        assert_eq!(answer(matched).await.2, "laptop");
        drop(caller.send);
        caller.ended.await.expect("no panic").expect("an orderly end");
    })
    .await;
}

/// A request for `/` of `a`, as a frame (RFC 9113 section 6.2).
fn request_frame(stream: u8) -> [u8; 15] {
    [0, 0, 6, 1, 5, 0, 0, 0, stream, 0x82, 0x86, 0x84, 0x41, 1, b'a']
}

#[tokio::test]
async fn streams_begun_while_the_origins_goaway_is_on_its_way_are_served() {
    const HEADERS: u8 = 1;
    const GOAWAY: u8 = 7;
    story(async {
        let world = World::new().await;
        let mut client = world.client().await;
        client.says(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        client.says(request_frame(1)).await;
        let mut origin = Serving::on(&world.origin).await;
        let first = origin.hears().await;
        // Given a caller that has begun a stream before it learned that the origin takes no more,
        origin.says(Say::GracefulGoAway);
        let (_, goaway) = hears_frame(&mut client, GOAWAY).await;
        assert_eq!(goaway[..8], [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0], "any stream may still come");
        client.says(request_frame(3)).await;
        // then it is served, on another connection, and so is the one before.
        Serving::on(&world.origin).await.hears().await.answers("next");
        let (stream, _) = hears_frame(&mut client, HEADERS).await;
        assert_eq!(stream, 3);
        first.answers("first");
        let (stream, _) = hears_frame(&mut client, HEADERS).await;
        assert_eq!(stream, 1);
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_leaves_is_gone_for_all() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let _plain = caller.asks(get("/")).await;
        let _hers = caller.asks(alices("/")).await;
        let mut process = Serving::on(&local).await;
        let (mut at_origin, mut at_hers) = (origin.hears().await, process.hears().await);
        caller.ended.abort();
        for stream in [&mut at_origin, &mut at_hers] {
            let reset = std::future::poll_fn(|cx| stream.respond.poll_reset(cx)).await;
            assert_eq!(reset.expect("a reset"), Reason::CANCEL);
        }
        drop((at_origin, at_hers));
        let _ = origin.ended.await.expect("no panic");
        let _ = process.ended.await.expect("no panic");
    })
    .await;
}

#[tokio::test]
async fn a_drained_agent_sends_goaway_and_serves_open_streams() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let plain = caller.asks(get("/")).await;
        let matched = caller.asks(alices("/")).await;
        let mut process = Serving::on(&local).await;
        let (at_origin, at_hers) = (origin.hears().await, process.hears().await);

        let World { origin: _origins, agent, key_file: _key_file } = world;
        let _draining = tokio::spawn(agent.drain(PATIENT));
        caller.is_told_to_go().await;
        at_origin.answers("origin");
        at_hers.answers("laptop");
        assert_eq!(answer(plain).await.2, "origin");
        assert_eq!(answer(matched).await.2, "laptop");
        drop(caller.send);
        caller.ended.await.expect("no panic").expect("an orderly end");
        origin.ended.await.expect("no panic").expect("an orderly end");
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_refuses_refuses_streams_too() {
    story(async {
        let world = World::without_origin().await;
        let local = Server::local().await;
        let _alice = world.laptop("alice", world.route("alice", local.port())).await;
        // Matching requests are still served,
        let mut caller = Caller::connect(world.port()).await;
        let matched = caller.asks(alices("/")).await;
        let mut process = Serving::on(&local).await;
        process.hears().await.answers("laptop");
        assert_eq!(answer(matched).await.2, "laptop");
        // others end as the origin ended.
        let mut other = Caller::connect(world.port()).await;
        other.asks(get("/")).await.await.expect_err("nobody is there");
        let _ = other.ended.await.expect("no panic");
    })
    .await;
}
