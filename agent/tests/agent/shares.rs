//! The agent is shared: whatever one session's requests hold, others' requests and other sessions go on.

use std::time::Duration;

use bridge_proto::tunnel::{Budget, TUNNEL_BUDGET, TunnelStream};
use bridge_proto::v1::{Cause, Open};
use bytes::Bytes;
use http::Request;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::http2::peer::{Caller, Serving, alices, answer, get, with_header};
use crate::peer::{Peer, Server};
use crate::world::{Laptop, World, story, with_token};

/// A small agent.
const MEMORY: u64 = 64 << 20;
const ALICES: &str = "POST / HTTP/1.1\r\nX-Bridge: alice\r\nContent-Length: 67108864\r\n\r\n";

/// Checks both the agent's limit, and the memory that is held now.
fn assert_bounded(world: &World) {
    let (held, total) = world.agent.memory();
    assert!(total == MEMORY / 2 && held <= total, "{held} bytes are held of {total}");
}

#[tokio::test]
async fn stalled_streams_at_one_laptop_leave_room_for_others() {
    story(async {
        // Given a session whose process reads nothing of large requests, until the agent takes no more of them,
        let world = World::with_memory(MEMORY).await;
        let (alice, local) = world.alice().await;
        let mut stalled = Vec::new();
        let refusal = stall_until_refused(&world, &local, &mut stalled).await;
        assert!(stalled.len() > 30, "only {} requests were taken", stalled.len());
        let (head, sentence) = refusal;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(sentence.contains("alice's laptop") && sentence.contains("no memory left"), "{sentence}");
        assert_bounded(&world);

        // then its connections into the cluster are refused as well, with the reason (bytes that were on their way to the
        // laptop may have left some room when they arrived);
        let refused = loop {
            match dials(&alice, "10.96.0.1:80").await {
                Some(refused) => break refused,
                None => drop(stall_until_refused(&world, &local, &mut stalled).await),
            }
        };
        assert!(matches!(refused, Cause::NoRoom), "{refused:?}");

        // another session's requests reach its laptop,
        let bobs = Server::local().await;
        let _bob = world.laptop("bob", world.route("bob", bobs.port())).await;
        asks_and_is_answered(&world, "X-Bridge: bob\r\n", Some(&bobs)).await;
        // and everyone's reach the origin.
        asks_and_is_answered(&world, "", None).await;
        assert_bounded(&world);

        // When the callers have given up, there is room again.
        drop(stalled);
        loop {
            let mut client = world.client().await;
            client.says("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
            tokio::select! {
                _ = local.accepts() => break,
                _ = client.hears_answer() => {}
            }
        }
    })
    .await;
}

/// For example, when its daemon was killed, and its previous session holds requests for a moment longer.
#[tokio::test]
async fn a_laptop_that_comes_and_goes_leaves_nothing_held() {
    story(async {
        let world = World::with_memory(MEMORY).await;
        for attempt in 0..100 {
            let mut alice = Laptop::attach(world.agent.control, "alice").await;
            let refusal = alice.tries_routes(vec![world.route("alice", 3000)]).await;
            assert_eq!(refusal, "", "attempt {attempt}");
            alice.stops_attending();
            alice.is_ended().await;
        }
    })
    .await;
}

/// A caller, the origin's side of its connection, and the laptop's.
type Stalled = (Peer, Peer, Peer);

/// Sends large requests with Alice's header until one is refused, and returns the answer to that.
async fn stall_until_refused(world: &World, local: &Server, stalled: &mut Vec<Stalled>) -> (String, String) {
    loop {
        let (mut client, origin) = world.connection().await;
        client.says(ALICES).await;
        // More of it than the agent takes in: the rest waits at the caller.
        let _ =
            tokio::time::timeout(Duration::from_millis(20), client.tries_to_say(vec![b'x'; 1 << 20])).await;
        tokio::select! {
            process = local.accepts() => stalled.push((client, origin, process)),
            refusal = client.hears_answer() => return refusal,
        }
    }
}

/// Answered by the process on a laptop, or else by the origin.
async fn asks_and_is_answered(world: &World, headers: &str, laptop: Option<&Server>) {
    let (mut client, origin) = world.connection().await;
    let request = format!("GET / HTTP/1.1\r\n{headers}\r\n");
    client.says(&request).await;
    let mut process = match laptop {
        Some(laptop) => laptop.accepts().await,
        None => origin,
    };
    // A request to a laptop has one more header.
    let heard = process.hears_head().await;
    assert!(heard.starts_with(request.trim_end()), "{heard}");
    process.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(client.hears_head().await.starts_with("HTTP/1.1 200 "));
}

/// Why a connection to this address is refused.
async fn dials(laptop: &Laptop, address: &str) -> Option<Cause> {
    let (outgoing, outgoing_rx) = mpsc::channel(TunnelStream::QUEUE);
    let frames = futures::StreamExt::filter_map(ReceiverStream::new(outgoing_rx), |frame| async {
        Result::<_, Status>::ok(frame)
    });
    let incoming = laptop.client.clone().dial(with_token(frames, &laptop.token)).await.ok()?.into_inner();
    let open = Open { address: address.to_owned(), ..Open::default() };
    let mut stream = TunnelStream::open(open, incoming, outgoing, &Budget::new(TUNNEL_BUDGET));
    stream.opened().await.err().map(|refused| refused.cause)
}

#[tokio::test]
async fn streams_that_stall_at_a_laptop_hold_up_no_other_of_their_connection() {
    story(async {
        // Given one connection of a caller, on which more bytes are for a laptop than its session may hold,
        let world = World::with_memory(MEMORY).await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let mut stalled = Vec::new();
        for _ in 0..120 {
            let (response, mut body) = caller.begins(alices("/")).await;
            body.send_data(Bytes::from(vec![b'x'; 256 << 10]), false).expect("an open stream");
            stalled.push((response, body));
        }
        // and a process that does not even begin to read,
        let process = local.accepts().await;

        // then some are answered with a sentence,
        let refused = futures::future::select_all(
            stalled.drain(..).map(|(response, body)| Box::pin(async move { (answer(response).await, body) })),
        );
        let ((refusal, _body), _, others) = refused.await;
        assert_eq!(refusal.0, 503, "{}", refusal.2);
        assert!(refusal.2.contains("no memory left"), "{}", refusal.2);
        assert_bounded(&world);

        // and those for the origin go on.
        for _ in 0..10 {
            let (response, mut body) = caller.begins(get("/")).await;
            body.send_data(Bytes::from(vec![b'x'; 200 << 10]), true).expect("an open stream");
            let at_origin = origin.hears().await;
            at_origin.answers("ok");
            assert_eq!(answer(response).await.2, "ok");
        }
        drop((others, process));
    })
    .await;
}

#[tokio::test]
async fn messages_that_never_end_count_as_memory_of_their_session() {
    story(async {
        let world = World::with_memory(MEMORY).await;
        let (mut alice, local) = world.alice().await;
        // Given an attacker with a session's token who begins more messages than the session may hold,
        let stream = Peer::connect(world.agent.control).await.into_stream();
        let (send, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        let connection = tokio::spawn(connection);
        let mut refused = Vec::new();
        for _ in 0..400 {
            let call = Request::post("http://agent/bridge.v1.Agent/Dial").body(()).expect("a good request");
            let token: &str = &alice.token;
            let call = with_header(call, "x-bridge-token", token);
            let call = with_header(call, "content-type", "application/grpc");
            let Ok(mut ready) = send.clone().ready().await else { break };
            let (response, mut body) = ready.send_request(call, false).expect("a good request");
            let message = [&[0, 0, 4, 0, 0][..], &vec![1; 200 << 10]].concat();
            body.send_data(message.into(), false).expect("an open stream");
            refused.push(Box::pin(async move {
                let _body = body;
                let mut answered = match response.await {
                    Ok(response) => response.into_body(),
                    Err(_) => return,
                };
                while let Some(Ok(_)) = answered.data().await {}
            }));
        }
        // then calls end before there are too many of them,
        futures::future::select_all(refused).await;
        assert_bounded(&world);
        // and the session goes on.
        connection.abort();
        alice.routes(vec![world.route("alice", local.port())]).await;
    })
    .await;
}

#[tokio::test]
async fn parked_calls_have_an_end() {
    story(async {
        let world = World::with_memory(MEMORY).await;
        let alice = Laptop::attach(world.agent.control, "alice").await;
        let mut parked = Vec::new();
        let status = loop {
            let (to_agent_tx, to_agent_rx) = mpsc::channel(1);
            match alice
                .client
                .clone()
                .accept(with_token(ReceiverStream::new(to_agent_rx), &alice.token))
                .await
            {
                Ok(answers) => parked.push((to_agent_tx, answers)),
                Err(status) => break status,
            }
        };
        assert!(parked.len() >= 64, "only {} calls were parked", parked.len());
        assert!(status.message().contains("used up its memory"), "{status}");
        assert_bounded(&world);
    })
    .await;
}
