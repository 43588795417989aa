//! Streams that go to the origin.

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request, Response, StatusCode};

use super::peer::{Caller, Serving, answer, get, hears, rest, trailers, with_header};
use crate::peer::Peer;
use crate::world::{World, story};

#[tokio::test]
async fn a_request_and_its_answer_pass_unchanged() {
    story(async {
        let world = World::new().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let mut request = get("/a/b?c=d%20e");
        for (name, value) in [("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2"), ("x-odd", "é")] {
            request = with_header(request, name, value);
        }
        let headers = request.headers().clone();
        let response = caller.asks(request).await;

        let mut stream = origin.hears().await;
        assert_eq!(stream.request.uri(), "http://orders/a/b?c=d%20e");
        assert_eq!(stream.request.headers(), &headers);
        assert!(stream.request.body().is_end_stream());
        let mut early = Response::new(());
        *early.status_mut() = StatusCode::EARLY_HINTS;
        early.headers_mut().insert("link", "</a.css>".parse().expect("a value"));
        stream.respond.send_informational(early).expect("an open stream");
        let mut response = response;
        let interim = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        let interim = interim.expect("an interim answer").expect("an interim answer");
        assert_eq!(
            (interim.status().as_u16(), &interim.headers()["link"]),
            (103, &"</a.css>".parse().expect("a value"))
        );
        stream.answers("hello");
        let (status, headers, body) = answer(response).await;
        assert_eq!((status, headers.len(), body.as_str()), (200, 0, "hello"));
    })
    .await;
}

#[tokio::test]
async fn every_shape_of_call_passes() {
    story(async {
        let world = World::new().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;

        // Given a call whose both sides stream,
        let (response, mut ask) = caller.begins(get("/bidi")).await;
        let stream = origin.hears().await;
        let (mut asked, mut reply) = stream.begins();
        let mut body = response.await.expect("an answer").into_body();
        for round in ["one", "two", "three"] {
            ask.send_data(Bytes::from_static(round.as_bytes()), false).expect("an open stream");
            hears(&mut asked, round).await;
            reply.send_data(Bytes::from_static(round.as_bytes()), false).expect("an open stream");
            hears(&mut body, round).await;
        }
        // when both end with trailers, then these arrive,
        ask.send_trailers(trailers(&[("sum", "3")])).expect("an open stream");
        assert_eq!(rest(&mut asked).await.1, Some(trailers(&[("sum", "3")])));
        reply.send_trailers(trailers(&[("grpc-status", "0")])).expect("an open stream");
        assert_eq!(rest(&mut body).await.1, Some(trailers(&[("grpc-status", "0")])));

        // and so does an answer that has nothing but trailers.
        let response = caller.asks(get("/trailers-only")).await;
        let mut stream = origin.hears().await;
        let mut only = Response::new(());
        *only.headers_mut() = trailers(&[("content-type", "application/grpc"), ("grpc-status", "5")]);
        stream.respond.send_response(only, true).expect("an open stream");
        let head = response.await.expect("an answer");
        assert!(head.body().is_end_stream(), "an answer of one frame stays one");
        assert_eq!(head.headers()["grpc-status"], "5");
    })
    .await;
}

#[tokio::test]
async fn resets_pass_with_their_codes() {
    story(async {
        let world = World::new().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        for reason in
            [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::ENHANCE_YOUR_CALM, Reason::REFUSED_STREAM]
        {
            // The caller's,
            let (_response, mut ask) = caller.begins(get("/")).await;
            let mut stream = origin.hears().await;
            ask.send_reset(reason);
            let heard = std::future::poll_fn(|cx| stream.respond.poll_reset(cx)).await;
            assert_eq!(heard.expect("a reset"), reason);
            // the origin's before it answers,
            let response = caller.asks(get("/")).await;
            origin.hears().await.respond.send_reset(reason);
            assert_eq!(response.await.expect_err("a reset").reason(), Some(reason));
            // and in the middle of its answer.
            let response = caller.asks(get("/")).await;
            let (_, mut reply) = origin.hears().await.begins();
            reply.send_data(Bytes::from_static(b"half"), false).expect("an open stream");
            let mut body = response.await.expect("an answer").into_body();
            hears(&mut body, "half").await;
            reply.send_reset(reason);
            let error = body.data().await.expect("no end").expect_err("a reset");
            assert_eq!(error.reason(), Some(reason));
        }
    })
    .await;
}

#[tokio::test]
async fn an_early_answer_leaves_the_rest_of_the_request() {
    story(async {
        let world = World::new().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let (response, mut ask) = caller.begins(get("/")).await;
        origin.hears().await.answers("too large");
        assert_eq!(answer(response).await.2, "too large");
        let reset = std::future::poll_fn(|cx| ask.poll_reset(cx)).await;
        assert_eq!(reset.expect("a reset"), Reason::NO_ERROR);
    })
    .await;
}

#[tokio::test]
async fn our_settings_are_the_origins() {
    story(async {
        let world = World::new().await;
        let (mut caller, mut origin) = (Peer::connect(world.port()).await, world.origin.accepts().await);
        caller.says(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        origin.hears(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        // Given an origin that takes 7 streams, headers of 9,000 bytes, and extended CONNECT,
        origin.says(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x07\0\x06\0\0\x23\x28\0\x08\0\0\0\x01").await;
        // then the caller gets the same.
        let head = caller.hears_some(9).await;
        assert_eq!((head[3], head[4]), (4, 0), "a SETTINGS frame comes first");
        let payload = caller.hears_some(usize::from(head[2])).await;
        let settings: Vec<_> = payload.chunks(6).collect();
        for expected in [b"\0\x03\0\0\0\x07", b"\0\x06\0\0\x23\x28", b"\0\x08\0\0\0\x01"] {
            assert!(settings.contains(&&expected[..]), "{expected:?} in {settings:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_extended_connect_passes() {
    story(async {
        let world = World::new().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut builder = h2::server::Builder::new();
        let mut origin = Serving::with(world.origin.accepts().await, builder.enable_connect_protocol()).await;
        while !caller.send.is_extended_connect_protocol_enabled() {
            // The caller's connection has still to read the agent's SETTINGS.
            tokio::task::yield_now().await;
        }
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = "http://orders/chat".parse().expect("a URI");
        request.extensions_mut().insert(h2::ext::Protocol::from("websocket"));
        let (response, mut ask) = caller.begins(request).await;
        let stream = origin.hears().await;
        let protocol = stream.request.extensions().get::<h2::ext::Protocol>();
        assert_eq!(protocol.map(h2::ext::Protocol::as_str), Some("websocket"));
        assert_eq!(stream.request.uri(), "http://orders/chat");
        let (mut asked, mut reply) = stream.begins();
        ask.send_data(Bytes::from_static(b"hi"), false).expect("an open stream");
        hears(&mut asked, "hi").await;
        reply.send_data(Bytes::from_static(b"yo"), true).expect("an open stream");
        assert_eq!(rest(&mut response.await.expect("an answer").into_body()).await.0, b"yo");
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_speaks_another_protocol_is_heard() {
    story(async {
        let world = World::new().await;
        let (mut caller, mut origin) = (Peer::connect(world.port()).await, world.origin.accepts().await);
        caller.says(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        origin.hears(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        origin.says("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
        origin.ends().await;
        assert_eq!(caller.hears_rest().await, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    })
    .await;
}
