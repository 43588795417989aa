//! How connections end: GOAWAY, drained agents, peers that go away.

use std::time::Duration;

use bridge_agent::DrainTimes;
use h2::Reason;

use super::peer::{Caller, Say, Serving, alices, answer, get};
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
        let hers = caller.asks(alices("/")).await;
        let mut process = Serving::on(&local).await;
        let (at_origin, at_hers) = (origin.hears().await, process.hears().await);

        // Given streams on both sides, when the origin takes no more,
        origin.says(Say::GracefulGoAway);
        caller.is_told_to_go().await;
        // then those that are there are served,
        at_origin.answers("origin");
        assert_eq!(answer(plain).await.2, "origin");
        origin.ended.await.expect("no panic").expect("an orderly end");
        at_hers.answers("laptop");
        assert_eq!(answer(hers).await.2, "laptop");
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
        let hers = caller.asks(alices("/")).await;
        let mut process = Serving::on(&local).await;
        let (_at_origin, at_hers) = (origin.hears().await, process.hears().await);
        origin.ended.abort();
        assert_eq!(plain.await.expect_err("it is lost").reason(), Some(Reason::INTERNAL_ERROR));
        at_hers.answers("laptop");
        assert_eq!(answer(hers).await.2, "laptop");
        drop(caller.send);
        caller.ended.await.expect("no panic").expect("an orderly end");
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_is_gone_for_all() {
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
async fn a_drained_agent_says_goaway_and_serves_what_is_there() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let plain = caller.asks(get("/")).await;
        let hers = caller.asks(alices("/")).await;
        let mut process = Serving::on(&local).await;
        let (at_origin, at_hers) = (origin.hears().await, process.hears().await);

        let World { origin: _origins, agent, key_file: _key_file } = world;
        let _draining = tokio::spawn(agent.drain(PATIENT));
        caller.is_told_to_go().await;
        at_origin.answers("origin");
        at_hers.answers("laptop");
        assert_eq!(answer(plain).await.2, "origin");
        assert_eq!(answer(hers).await.2, "laptop");
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
        let local = Server::start().await;
        let _alice = world.laptop("alice", world.route("alice", local.port())).await;
        // What matches is still served,
        let mut caller = Caller::connect(world.port()).await;
        let hers = caller.asks(alices("/")).await;
        let mut process = Serving::on(&local).await;
        process.hears().await.answers("laptop");
        assert_eq!(answer(hers).await.2, "laptop");
        // what does not ends as the origin ended.
        let mut other = Caller::connect(world.port()).await;
        other.asks(get("/")).await.await.expect_err("nobody is there");
        let _ = other.ended.await.expect("no panic");
    })
    .await;
}
