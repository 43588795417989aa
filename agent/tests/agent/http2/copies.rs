//! Streams that the origin answers, and that a laptop gets as well.

use bridge_proto::v1::Reason;
use bytes::Bytes;
use h2::Reason as Code;
use http::{Request, Response};

use super::peer::{Caller, Serving, alices, answer, get, hears, rest, trailers, with_header};
use crate::copies::Reports;
use crate::peer::Server;
use crate::world::{Laptop, World, story};

/// Alice gets copies, and a caller has a connection to the origin.
struct Scene {
    _world: World,
    _alice: Laptop,
    local: Server,
    reports: Reports,
    caller: Caller,
    origin: Serving,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let (mut alice, local) = world.copies().await;
        let reports = Reports::of(&mut alice).await;
        let caller = Caller::connect(world.port()).await;
        let origin = Serving::on(&world.origin).await;
        Self { _world: world, _alice: alice, local, reports, caller, origin }
    }

    /// The origin answers this request, and the caller gets its answer.
    async fn answered_by_the_origin(&mut self, request: Request<()>) {
        let response = self.caller.asks(request).await;
        self.origin.hears().await.answers("origin");
        assert_eq!(answer(response).await.2, "origin");
    }
}

#[tokio::test]
async fn the_origin_answers_and_the_laptop_s_answer_is_dropped() {
    story(async {
        let mut scene = Scene::new().await;
        scene.answered_by_the_origin(alices("/one?a=b")).await;
        let mut process = Serving::on(&scene.local).await;
        let copy = process.hears().await;
        assert_eq!(copy.request.uri().to_string(), "http://orders/one?a=b");
        assert_eq!(copy.request.headers()["x-bridge"], "alice");
        assert!(copy.request.headers().contains_key("x-bridge-hops"));
        copy.answers("laptop");
        let report = scene.reports.next(Reason::Copy).await;
        assert_eq!((report.status, report.to_laptop, report.path.as_str()), (200, true, "/one"));
        assert!(!scene.reports.next(Reason::Copied).await.to_laptop);

        // The next copy takes the same way, and others' streams are only the origin's.
        scene.answered_by_the_origin(get("/other")).await;
        scene.answered_by_the_origin(alices("/two")).await;
        assert_eq!(process.hears().await.request.uri().path(), "/two");
    })
    .await;
}

#[tokio::test]
async fn bodies_and_trailers_reach_both() {
    story(async {
        let mut scene = Scene::new().await;
        let call = with_header(alices("/prices.Prices/Chat"), "content-type", "application/grpc");
        let (response, mut ask) = scene.caller.begins(call).await;
        let mut process = Serving::on(&scene.local).await;
        let (mut copy, mut dropped) = process.hears().await.begins();
        let (mut at_origin, mut reply) = scene.origin.hears().await.begins();
        let mut answered = response.await.expect("an answer").into_body();
        // Given a call of both directions, each message reaches both, and only the origin's come back.
        for _ in 0..3 {
            ask.send_data(Bytes::from_static(b"ask"), false).expect("an open stream");
            hears(&mut at_origin, "ask").await;
            hears(&mut copy, "ask").await;
            dropped.send_data(Bytes::from(vec![b'x'; 10_000]), false).expect("an open stream");
            reply.send_data(Bytes::from_static(b"reply"), false).expect("an open stream");
            hears(&mut answered, "reply").await;
        }
        ask.send_trailers(trailers(&[("sum", "1")])).expect("an open stream");
        assert_eq!(rest(&mut at_origin).await.1, Some(trailers(&[("sum", "1")])));
        assert_eq!(rest(&mut copy).await.1, Some(trailers(&[("sum", "1")])));
        dropped.send_trailers(trailers(&[("grpc-status", "13")])).expect("an open stream");
        reply.send_trailers(trailers(&[("grpc-status", "0")])).expect("an open stream");
        assert_eq!(rest(&mut answered).await.1, Some(trailers(&[("grpc-status", "0")])));
        assert_eq!(scene.reports.next(Reason::Copy).await.grpc_status, Some(13));
        assert_eq!(scene.reports.next(Reason::Copied).await.grpc_status, Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_laptop_that_takes_nothing_slows_nobody() {
    story(async {
        let mut scene = Scene::new().await;
        let (response, mut ask) = scene.caller.begins(alices("/")).await;
        let mut process = Serving::on(&scene.local).await;
        let (mut copy, _dropped) = process.hears().await.begins();
        // Given a process that returns no window, the origin gets all of a large request,
        let mut at_origin = scene.origin.hears().await;
        let all = vec![b'x'; 8 << 20];
        ask.send_data(Bytes::from(all.clone()), true).expect("an open stream");
        assert!(rest(at_origin.request.body_mut()).await.0 == all);
        at_origin.answers("origin");
        assert_eq!(answer(response).await.2, "origin");
        // and the copy is given up whole.
        scene.reports.next(Reason::CopyTooSlow).await;
        let end = loop {
            match copy.data().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("the whole request came"),
            }
        };
        assert_eq!(end.reason(), Some(Code::CANCEL));
        // Another's copy goes on.
        scene.answered_by_the_origin(alices("/next")).await;
        process.hears().await.answers("laptop");
        scene.reports.next(Reason::Copy).await;
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_reset_is_reset_at_the_laptop() {
    story(async {
        let mut scene = Scene::new().await;
        let (_response, mut ask) = scene.caller.begins(alices("/")).await;
        ask.send_data(Bytes::from_static(b"half"), false).expect("an open stream");
        let mut process = Serving::on(&scene.local).await;
        let (mut copy, _dropped) = process.hears().await.begins();
        let (mut at_origin, _reply) = scene.origin.hears().await.begins();
        hears(&mut copy, "half").await;
        hears(&mut at_origin, "half").await;
        ask.send_reset(Code::CANCEL);
        let end = copy.data().await.expect("an end").expect_err("a reset");
        assert_eq!(end.reason(), Some(Code::CANCEL));
        scene.reports.next(Reason::CopyCutShort).await;
    })
    .await;
}

#[tokio::test]
async fn a_copy_outlives_the_caller_s_connection() {
    story(async {
        let mut scene = Scene::new().await;
        scene.answered_by_the_origin(alices("/")).await;
        let mut process = Serving::on(&scene.local).await;
        let copy = process.hears().await;
        // Given a developer at a breakpoint, the caller goes, as it would without a copy.
        let Caller { send, ended } = scene.caller;
        drop(send);
        ended.await.expect("no panic").expect("an orderly end");
        copy.answers("laptop");
        assert_eq!(scene.reports.next(Reason::Copy).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_process_that_does_not_speak_http2_gives_no_answer() {
    story(async {
        let mut scene = Scene::new().await;
        scene.answered_by_the_origin(alices("/")).await;
        let mut process = scene.local.accepts().await;
        process.says("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        scene.reports.next(Reason::CopyNoAnswer).await;
    })
    .await;
}

#[tokio::test]
async fn an_early_answer_of_the_process_ends_the_copy() {
    story(async {
        let mut scene = Scene::new().await;
        let (response, mut ask) = scene.caller.begins(alices("/")).await;
        let mut process = Serving::on(&scene.local).await;
        let mut copy = process.hears().await;
        let early = Response::builder().status(413).body(()).expect("an answer");
        copy.respond.send_response(early, true).expect("an open stream");
        assert_eq!(scene.reports.next(Reason::Copy).await.status, 413);
        ask.send_data(Bytes::from_static(b"all"), true).expect("an open stream");
        let mut at_origin = scene.origin.hears().await;
        assert_eq!(rest(at_origin.request.body_mut()).await.0, b"all");
        at_origin.answers("origin");
        assert_eq!(answer(response).await.2, "origin");
    })
    .await;
}
