//! The view of a caller of HTTP/2 when a laptop, or the process on it, fails.

use bridge_proto::v1::{Fallback, Route};
use bytes::Bytes;
use h2::Reason;
use http::Request;

use super::peer::{Caller, Serving, alices, answer, get, hears, rest, with_header};
use crate::peer::{Server, dead_port};
use crate::world::{Laptop, World, story};

fn grpc() -> Request<()> {
    with_header(with_header(alices("/shop.Prices/Get"), "content-type", "application/grpc"), "te", "trailers")
}

#[tokio::test]
async fn nothing_listens_on_the_local_port() {
    story(async {
        let world = World::new().await;
        let port = dead_port().await;
        let _alice = world.laptop("alice", world.route("alice", port)).await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;

        // A caller of HTTP gets a message,
        let (status, headers, sentence) = answer(caller.asks(alices("/")).await).await;
        assert_eq!((status, &headers["x-bridge-served-by"]), (503, &"alice".parse().expect("a value")));
        assert!(sentence.contains(&format!("port {port} of alice's laptop")), "{sentence}");
        // one of gRPC the same as a status, although its call is still being sent,
        let (response, _ask) = caller.begins(grpc()).await;
        let head = response.await.expect("an answer");
        assert!(head.body().is_end_stream(), "trailers only");
        assert_eq!(
            (head.status().as_u16(), &head.headers()["grpc-status"]),
            (200, &"14".parse().expect("a value"))
        );
        let message = head.headers()["grpc-message"].to_str().expect("text");
        assert!(message.contains("nothing listens on port"), "{message}");
        // and the connection goes on.
        let response = caller.asks(get("/")).await;
        origin.hears().await.answers("origin");
        assert_eq!(answer(response).await.2, "origin");
    })
    .await;
}

#[tokio::test]
async fn nothing_listens_and_the_origin_is_to_step_in() {
    story(async {
        let world = World::new().await;
        let route = Route { fallback: Fallback::Origin.into(), ..world.route("alice", dead_port().await) };
        let _alice = world.laptop("alice", route).await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let (response, mut ask) = caller.begins(alices("/")).await;
        ask.send_data(Bytes::from_static(b"all of it"), true).expect("an open stream");
        let mut stream = origin.hears().await;
        assert_eq!(rest(stream.request.body_mut()).await.0, b"all of it");
        stream.answers("origin");
        assert_eq!(answer(response).await.2, "origin");
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_still_waits_for_the_laptop_goes_to_the_origin() {
    story(async {
        let world = World::new().await;
        let mut alice = Laptop::attach(world.agent.control, "alice").await;
        alice.routes(vec![world.route("alice", 1)]).await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let response = caller.asks(alices("/")).await;
        // The agent has it, as this one came after it.
        let after = caller.asks(get("/")).await;
        origin.hears().await.answers("after");
        assert_eq!(answer(after).await.2, "after");
        drop(alice);
        origin.hears().await.answers("origin");
        assert_eq!(answer(response).await.2, "origin");
    })
    .await;
}

#[tokio::test]
async fn the_process_does_not_speak_http2() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let response = caller.asks(alices("/")).await;
        let mut process = local.accepts().await;
        process.hears(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        process.says("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        let (status, _, sentence) = answer(response).await;
        assert_eq!(status, 502);
        assert!(sentence.contains("does not speak valid HTTP/2"), "{sentence}");
    })
    .await;
}

#[tokio::test]
async fn the_process_ends_and_comes_back() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let unanswered = caller.asks(alices("/")).await;
        let begun = caller.asks(grpc()).await;
        let mut process = Serving::on(&local).await;
        let _unanswered = process.hears().await;
        let (_, mut reply) = process.hears().await.begins();
        reply.send_data(Bytes::from_static(b"half"), false).expect("an open stream");
        let mut begun = begun.await.expect("an answer").into_body();
        hears(&mut begun, "half").await;
        process.ended.abort();
        // A request without an answer gets one,
        let (status, _, sentence) = answer(unanswered).await;
        assert_eq!(status, 502);
        assert!(sentence.contains("ended the connection before it answered"), "{sentence}");
        // a call whose answer has begun gets its status,
        let trailers = rest(&mut begun).await.1.expect("a status");
        assert_eq!(trailers["grpc-status"], "14");
        let message = trailers["grpc-message"].to_str().expect("text");
        assert!(message.contains("in the middle of its answer"), "{message}");
        // and the next one finds the process that listens then.
        let response = caller.asks(alices("/")).await;
        let mut process = Serving::on(&local).await;
        process.hears().await.answers("back");
        assert_eq!(answer(response).await.2, "back");
    })
    .await;
}

#[tokio::test]
async fn the_laptop_vanishes_while_a_stream_is_there() {
    story(async {
        let world = World::new().await;
        let (alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let waits = caller.asks(alices("/")).await;
        let hears_already = caller.asks(alices("/")).await;
        let mut process = Serving::on(&local).await;
        let _waits = process.hears().await;
        let (_, _reply) = process.hears().await.begins();
        let mut body = hears_already.await.expect("an answer").into_body();
        drop(alice);
        let (status, _, sentence) = answer(waits).await;
        assert_eq!(status, 502);
        assert!(sentence.contains("alice's laptop was lost"), "{sentence}");
        let error = body.data().await.expect("no end").expect_err("it is not whole");
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        // The next one goes to the origin.
        let response = caller.asks(alices("/")).await;
        origin.hears().await.answers("origin");
        assert_eq!(answer(response).await.2, "origin");
    })
    .await;
}

#[tokio::test]
async fn everything_is_the_origins_where_nothing_listens() {
    story(async {
        let world = World::new().await;
        let route = Route { fallback: Fallback::Origin.into(), ..world.everything(dead_port().await) };
        let _bob = world.laptop("bob", route).await;
        let call = with_header(get("/shop.Prices/Get"), "content-type", "application/grpc");
        for request in [get("/"), call] {
            let mut caller = Caller::connect(world.port()).await;
            let (response, mut ask) = caller.begins(request).await;
            ask.send_data(Bytes::from_static(b"all of it"), true).expect("an open stream");
            let mut origin = Serving::on(&world.origin).await;
            let mut stream = origin.hears().await;
            assert_eq!(rest(stream.request.body_mut()).await.0, b"all of it");
            stream.answers("origin");
            let (_, headers, body) = answer(response).await;
            assert_eq!((body.as_str(), headers.contains_key("x-bridge-served-by")), ("origin", false));
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_outlives_a_session_on_whose_laptop_nothing_listens() {
    story(async {
        let world = World::new().await;
        let mut bob = world.laptop("bob", world.everything(dead_port().await)).await;
        // Given a connection that began while nothing listened,
        let mut caller = Caller::connect(world.port()).await;
        assert_eq!(answer(caller.asks(get("/")).await).await.0, 503);
        // when the session ends, its streams go to the origin, on the same connection.
        bob.routes(vec![]).await;
        let response = caller.asks(get("/")).await;
        let mut origin = Serving::on(&world.origin).await;
        origin.hears().await.answers("origin");
        assert_eq!(answer(response).await.2, "origin");
        let response = caller.asks(get("/")).await;
        origin.hears().await.answers("again");
        assert_eq!(answer(response).await.2, "again");
    })
    .await;
}

#[tokio::test]
async fn a_connection_outlives_a_session_whose_laptop_had_all_of_it() {
    story(async {
        let world = World::new().await;
        let process = Server::local().await;
        let mut bob = world.laptop("bob", world.everything(process.port())).await;
        let mut caller = Caller::connect(world.port()).await;
        let response = caller.asks(get("/")).await;
        let mut served = Serving::on(&process).await;
        served.hears().await.answers("bob");
        assert_eq!(answer(response).await.2, "bob");
        // When its routes go while the connection is idle, and when they come again.
        bob.routes(vec![]).await;
        let response = caller.asks(get("/")).await;
        Serving::on(&world.origin).await.hears().await.answers("origin");
        assert_eq!(answer(response).await.2, "origin");
        bob.routes(vec![world.everything(process.port())]).await;
        let response = caller.asks(get("/")).await;
        served.hears().await.answers("bob again");
        assert_eq!(answer(response).await.2, "bob again");
    })
    .await;
}

#[tokio::test]
async fn everything_is_a_laptops_stream_by_stream() {
    story(async {
        let world = World::new().await;
        let (_alice, alices_process) = world.alice().await;
        let bobs_process = Server::local().await;
        let _bob = world.laptop("bob", world.everything(bobs_process.port())).await;
        let mut caller = Caller::connect(world.port()).await;
        let plain = caller.asks(get("/")).await;
        Serving::on(&bobs_process).await.hears().await.answers("bob");
        let (_, headers, body) = answer(plain).await;
        assert_eq!(
            (body.as_str(), &headers["x-bridge-served-by"]),
            ("bob", &"bob".parse().expect("a value"))
        );
        let matched = caller.asks(alices("/")).await;
        Serving::on(&alices_process).await.hears().await.answers("alice");
        assert_eq!(answer(matched).await.2, "alice");
    })
    .await;
}
