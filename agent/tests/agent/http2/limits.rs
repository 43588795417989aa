//! Large things, slow peers and hostile ones.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::peer::{
    Caller, Say, Serving, alices, answer, get, hears, hears_frame, hears_one_of, rest, with_header,
};
use crate::peer::Peer;
use crate::world::{World, story};

// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A frame of RFC 9113.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sends a whole body as fast as it is taken.
async fn send_all(stream: &mut h2::SendStream<Bytes>, body: &Bytes) {
    let mut left = body.clone();
    while !left.is_empty() {
        stream.reserve_capacity(left.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let part = left.split_to(room.expect("an open stream").expect("room"));
        stream.send_data(part, left.is_empty()).expect("an open stream");
    }
}

/// Another caller's request is answered.
async fn another_is_served(world: &World) {
    let mut caller = Caller::connect(world.port()).await;
    let mut origin = Serving::on(&world.origin).await;
    let response = caller.asks(get("/")).await;
    origin.hears().await.answers("as ever");
    assert_eq!(answer(response).await.2, "as ever");
}

#[tokio::test]
async fn large_bodies_pass_both_ways_on_both_sides() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let body = Bytes::from((0..5_000_000u32).map(|byte| ((byte * 31) >> 3) as u8).collect::<Vec<_>>());
        let mut process = None;
        for request in [get("/"), alices("/")] {
            let matched = request.headers().contains_key("x-bridge");
            let (response, mut ask) = caller.begins(request).await;
            let stream = if matched {
                process.insert(Serving::on(&local).await).hears().await
            } else {
                origin.hears().await
            };
            let (mut asked, mut reply) = stream.begins();
            let echoed = async {
                let (heard, _) = rest(&mut asked).await;
                assert!(heard == body, "{} bytes arrive in place of {}", heard.len(), body.len());
                send_all(&mut reply, &body).await;
            };
            let mut back = response.await.expect("an answer").into_body();
            let (_, _, (heard, _)) = tokio::join!(send_all(&mut ask, &body), echoed, rest(&mut back));
            assert!(heard == body, "{} bytes come back in place of {}", heard.len(), body.len());
        }
    })
    .await;
}

#[tokio::test]
async fn a_large_header_block_passes() {
    story(async {
        let world = World::new().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let large = "0123456789".repeat(5_000);
        let response = caller.asks(with_header(get("/"), "x-large", &large)).await;
        let mut stream = origin.hears().await;
        assert_eq!(stream.request.headers()["x-large"], large.as_str());
        let mut head = http::Response::new(());
        head.headers_mut().insert("x-large", large.parse().expect("a value"));
        stream.respond.send_response(head, true).expect("an open stream");
        assert_eq!(response.await.expect("an answer").headers()["x-large"], large.as_str());
    })
    .await;
}

#[tokio::test]
async fn stalled_streams_hold_up_no_others() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        // Given servers that let each stream take as much as it likes,
        let mut patient = h2::server::Builder::new();
        patient.initial_connection_window_size(1 << 30);
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::with(world.origin.accepts().await, &patient).await;
        let body = Bytes::from(vec![7; 1 << 20]);
        // and many requests whose bodies nobody reads, at the origin and at a laptop,
        let mut stalled = Vec::new();
        let mut process = None;
        for request in std::iter::repeat_with(|| [get("/"), alices("/")]).take(64).flatten() {
            let matched = request.headers().contains_key("x-bridge");
            let (response, mut ask) = caller.begins(request).await;
            ask.send_data(body.clone(), true).expect("an open stream");
            let stream = if !matched {
                origin.hears().await
            } else if let Some(process) = &mut process {
                Serving::hears(process).await
            } else {
                process.insert(Serving::with(local.accepts().await, &patient).await).hears().await
            };
            stalled.push((response, ask, stream));
        }
        // then others on the same connection are served,
        for round in ["one", "two", "three"] {
            let (response, mut ask) = caller.begins(get("/")).await;
            let (mut asked, mut reply) = origin.hears().await.begins();
            ask.send_data(Bytes::from_static(round.as_bytes()), true).expect("an open stream");
            hears(&mut asked, round).await;
            reply.send_data(Bytes::from_static(round.as_bytes()), true).expect("an open stream");
            assert_eq!(answer(response).await.2, round);
        }
        // and the stalled ones when they are read.
        for (response, _ask, stream) in stalled {
            let (mut asked, mut reply) = stream.begins();
            assert_eq!(rest(&mut asked).await.0.len(), body.len());
            reply.send_data(Bytes::from_static(b"late"), true).expect("an open stream");
            assert_eq!(answer(response).await.2, "late");
        }
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_reads_nothing_holds_up_itself_alone() {
    story(async {
        let world = World::new().await;
        let mut caller = Caller::with(world.port(), h2::client::Builder::new().initial_window_size(0)).await;
        let mut origin = Serving::on(&world.origin).await;
        let response = caller.asks(get("/")).await;
        let (_, mut reply) = origin.hears().await.begins();
        reply.send_data(Bytes::from(vec![7; 4 << 20]), true).expect("an open stream");
        let _unread = response.await.expect("an answer");
        another_is_served(&world).await;
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_reads_late_gets_all_of_it() {
    story(async {
        let world = World::new().await;
        let mut caller = Peer::connect(world.port()).await;
        // Given a caller that allows everything and reads nothing,
        let all =
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, b"\0\x04\x7f\xff\xff\xff")].concat();
        caller.says(all).await;
        caller.says(frame(8, 0, 0, b"\x7f\xff\0\0")).await;
        caller.says(frame(1, 5, 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a'])).await;
        let mut origin = Serving::on(&world.origin).await;
        let (_, mut reply) = origin.hears().await.begins();
        let replying =
            tokio::spawn(async move { send_all(&mut reply, &Bytes::from(vec![7; 16 << 20])).await });
        another_is_served(&world).await;
        // when the origin has gone and the caller reads after all,
        origin.says(Say::GracefulGoAway);
        let mut left = 16 << 20;
        while left > 0 {
            let head = caller.hears_some(9).await;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            caller.hears_some(length).await;
            // then it gets everything.
            left -= if head[3] == 0 { length } else { 0 };
        }
        replying.await.expect("all of it was taken");
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_closes_after_its_last_byte_is_heard_out() {
    story(async {
        let world = World::new().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = world.origin.accepts().await;
        origin.says(frame(4, 0, 0, &[])).await;
        let response = caller.asks(get("/")).await;
        origin.hears(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let mut kind = 0;
        while kind != 1 {
            let head = origin.hears_some(9).await;
            origin.hears_some(usize::from(head[2])).await;
            kind = head[3];
        }
        // Given an origin that answers, asks for pongs meanwhile, and closes without getting any,
        let mut answered = frame(1, 4, 1, &[0x88]);
        for left in (0..15).rev() {
            answered.extend(frame(6, 0, 0, &[7; 8]));
            answered.extend(frame(0, u8::from(left == 0), 1, &[b'a'; 4_000]));
        }
        origin.says(answered).await;
        origin.resets();
        // then the caller has all of the answer.
        assert_eq!(answer(response).await.2.len(), 60_000);
    })
    .await;
}

#[tokio::test]
async fn rapid_resets_do_not_reach_others() {
    story(async {
        let world = World::new().await;
        let hostile = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        for _ in 0..10_000 {
            // Either the agent or the origin may answer ENHANCE_YOUR_CALM.
            let Ok(mut send) = hostile.send.clone().ready().await else { break };
            let Ok((response, mut ask)) = send.send_request(get("/"), false) else { break };
            ask.send_reset(h2::Reason::CANCEL);
            drop(response);
            while origin.hears_at_once() {}
        }
        another_is_served(&world).await;
    })
    .await;
}

/// The next request that comes to an origin, on this connection or a new one.
async fn next_request(world: &World, origin: &mut Option<Peer>) -> u8 {
    if let Some(here) = origin {
        tokio::select! {
            (stream, _) = hears_frame(here, HEADERS) => return stream,
            next = world.origin.accepts() => *origin = Some(next),
        }
    } else {
        *origin = Some(world.origin.accepts().await);
    }
    let new = origin.as_mut().expect("a connection");
    new.says(frame(SETTINGS, 0, 0, &[])).await;
    new.hears(&PREFACE[..24]).await;
    hears_frame(new, HEADERS).await.0
}

#[tokio::test]
async fn callers_may_leave_any_number_of_streams_of_small_messages() {
    story(async {
        let world = World::new().await;
        let mut origin = None;
        let mut caller = Caller::connect(world.port()).await;
        let mut callers = 1;
        for _ in 0..200 {
            if caller.send.clone().ready().await.is_err() {
                (caller, origin) = (Caller::connect(world.port()).await, None);
                callers += 1;
            }
            // Given a stream that its caller leaves,
            let response = caller.asks(get("/watch")).await;
            let stream = next_request(&world, &mut origin).await;
            let here = origin.as_mut().expect("a connection");
            here.says(frame(HEADERS, 4, stream.into(), &[0x88])).await;
            drop(response.await.expect("every request is answered"));
            // when messages were on their way to it,
            assert_eq!(hears_frame(here, RST_STREAM).await.0, stream);
            here.says(frame(DATA, 0, stream.into(), b".").repeat(500)).await;
        }
        // then no request fails, and connections end in order.
        assert!((2..20).contains(&callers), "{callers} connections");
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_sends_much_for_streams_that_have_ended_is_told_to_go() {
    story(async {
        let world = World::new().await;
        let mut origin = None;
        let mut caller = world.client().await;
        caller.says(PREFACE).await;
        for stream in (1..).step_by(2) {
            let upload = frame(HEADERS, 4, stream, &[0x83, 0x86, 0x84, 0x41, 1, b'a']);
            caller.says(upload).await;
            let there = next_request(&world, &mut origin).await;
            let here = origin.as_mut().expect("a connection");
            here.says(frame(RST_STREAM, 0, there.into(), &[0, 0, 0, 8])).await;
            let (kind, _, payload) = hears_one_of(&mut caller, &[RST_STREAM, GOAWAY]).await;
            if kind == GOAWAY {
                assert!((40..100).contains(&stream), "after stream {stream}");
                return assert_eq!(payload[..8], [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0], "in order");
            }
            caller.says(frame(DATA, 0, stream, b".").repeat(500)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn floods_do_not_reach_others() {
    let ping = frame(6, 0, 0, &[7; 8]);
    let settings = frame(4, 0, 0, &[]);
    let empty_data = frame(0, 0, 1, &[]);
    let headers = frame(1, 0, 1, &[0x82, 0x86, 0x84]);
    let continuation = frame(9, 0, 1, &[]);
    for (begin, flood) in [
        (&[][..], ping),
        (&[], settings),
        (&frame(1, 4, 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a']), empty_data),
        (&headers, continuation),
    ] {
        story(async {
            let world = World::new().await;
            let mut hostile = Peer::connect(world.port()).await;
            hostile.says(PREFACE).await;
            let _origin = Serving::on(&world.origin).await;
            hostile.says(begin).await;
            // Given a caller that sends without end and reads nothing, until its window is used up,
            let many = flood.repeat(10_000);
            let flooding = async { while hostile.tries_to_say(&many).await.is_ok() {} };
            let _ = tokio::time::timeout(Duration::from_millis(300), flooding).await;
            // then others are served.
            another_is_served(&world).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_caller_that_only_pings_gets_enhance_your_calm() {
    story(async {
        let world = World::new().await;
        let hostile = Peer::connect(world.port()).await;
        let (mut hostile, mut heard) = (hostile.into_stream(), Vec::new());
        hostile.write_all(PREFACE).await.expect("it is heard");
        let _origin = Serving::on(&world.origin).await;
        let pings = frame(6, 0, 0, &[7; 8]).repeat(1_000);
        let (mut read, mut write) = hostile.split();
        let flooding = async { while write.write_all(&pings).await.is_ok() {} };
        let hearing = read.read_to_end(&mut heard);
        tokio::select! {
            () = flooding => {}
            _ = hearing => {}
        }
        let calm_down = frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11]);
        assert!(heard.windows(calm_down.len()).any(|bytes| bytes == calm_down), "a GOAWAY with the reason");
        another_is_served(&world).await;
    })
    .await;
}

#[tokio::test]
async fn a_header_bomb_is_refused_alone() {
    story(async {
        let world = World::new().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        // Given a few bytes that stand for many megabytes of headers,
        let mut bomb = Request::new(());
        *bomb.uri_mut() = "http://orders/".parse().expect("a URI");
        let value: http::HeaderValue = "0123456789".repeat(300).parse().expect("a value");
        for _ in 0..2_000 {
            bomb.headers_mut().append("x-bomb", value.clone());
        }
        let refused = caller.asks(bomb).await.await.expect("an answer");
        assert_eq!(refused.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        // then other streams of the same connection are served.
        let response = caller.asks(get("/")).await;
        origin.hears().await.answers("as ever");
        assert_eq!(answer(response).await.2, "as ever");
    })
    .await;
}

#[tokio::test]
async fn streams_beyond_what_the_origin_takes_wait_or_are_refused() {
    story(async {
        let world = World::new().await;
        let mut caller =
            Caller::with(world.port(), h2::client::Builder::new().initial_max_send_streams(8)).await;
        let mut builder = h2::server::Builder::new();
        let mut origin = Serving::with(world.origin.accepts().await, builder.max_concurrent_streams(2)).await;
        while caller.send.current_max_send_streams() != 2 {
            // The caller's connection has still to read the agent's SETTINGS.
            tokio::task::yield_now().await;
        }
        let first = caller.asks(get("/1")).await;
        let second = caller.asks(get("/2")).await;
        let third = caller.asks(get("/3")).await;
        let (one, two) = (origin.hears().await, origin.hears().await);
        one.answers("1");
        assert_eq!(answer(first).await.2, "1");
        origin.hears().await.answers("3");
        assert_eq!(answer(third).await.2, "3");
        two.answers("2");
        assert_eq!(answer(second).await.2, "2");
    })
    .await;
}
