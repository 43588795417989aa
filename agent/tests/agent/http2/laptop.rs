//! Streams that go to a laptop.

use bytes::Bytes;
use http::Response;

use super::peer::{Caller, Serving, alices, answer, get, hears, rest, trailers};
use crate::world::{World, story};

#[tokio::test]
async fn streams_of_one_connection_go_to_both() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;

        // Given an open stream for each side,
        let (matched, mut ask_matched) = caller.begins(alices("/")).await;
        let (plain, mut ask_plain) = caller.begins(get("/")).await;
        let mut process = Serving::on(&local).await;
        let (mut at_hers, mut reply_hers) = process.hears().await.begins();
        let (mut at_plain, mut reply_plain) = origin.hears().await.begins();
        let matched = matched.await.expect("an answer");
        let plain = plain.await.expect("an answer");
        assert_eq!(matched.headers()["x-bridge-served-by"], "alice");
        assert_eq!(matched.headers()["cache-control"], "private");
        assert!(plain.headers().is_empty(), "nothing is added to the origin's");

        // when they talk in turns, then each hears its own.
        let (mut matched, mut plain) = (matched.into_body(), plain.into_body());
        for _ in 0..3 {
            ask_matched.send_data(Bytes::from_static(b"laptop?"), false).expect("an open stream");
            ask_plain.send_data(Bytes::from_static(b"origin?"), false).expect("an open stream");
            hears(&mut at_plain, "origin?").await;
            hears(&mut at_hers, "laptop?").await;
            reply_hers.send_data(Bytes::from_static(b"laptop!"), false).expect("an open stream");
            reply_plain.send_data(Bytes::from_static(b"origin!"), false).expect("an open stream");
            hears(&mut matched, "laptop!").await;
            hears(&mut plain, "origin!").await;
        }
        reply_hers.send_trailers(trailers(&[("grpc-status", "0")])).expect("an open stream");
        assert_eq!(rest(&mut matched).await.1, Some(trailers(&[("grpc-status", "0")])));

        // A second one uses the same inbound stream.
        let response = caller.asks(alices("/again")).await;
        process.hears().await.answers("again");
        assert_eq!(answer(response).await.2, "again");
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_kept_from_shared_caches() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let response = caller.asks(alices("/")).await;
        let mut stream = Serving::on(&local).await.hears().await;
        let answer = Response::builder()
            .header("cache-control", "no-cache, no-transform")
            .header("cdn-cache-control", "max-age=60")
            .header("x-accel-expires", "60")
            .body(())
            .expect("an answer");
        let mut reply = stream.respond.send_response(answer, false).expect("an open stream");
        let said = [("cache-control", "public"), ("grpc-status", "0"), ("surrogate-control", "max-age=9")];
        reply.send_trailers(trailers(&said)).expect("an open stream");
        let answer = response.await.expect("an answer");
        for (name, value) in [
            ("cache-control", "private, no-cache, no-transform"),
            ("cdn-cache-control", "no-store"),
            ("x-accel-expires", "0"),
        ] {
            assert_eq!(answer.headers()[name], value, "{name}");
        }
        assert_eq!(rest(&mut answer.into_body()).await.1, Some(trailers(&[("grpc-status", "0")])));
    })
    .await;
}
