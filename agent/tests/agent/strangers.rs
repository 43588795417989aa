//! Clients that may open connections to the control port, but do not know the key: they get little, and keep nobody
//! out.

use std::time::Duration;

use bridge_proto::proof::LENGTH;
use bridge_proto::v1::{ChallengeRequest, ProbeRequest};
use bridge_proto::version;
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::peer::Peer;
use crate::world::{Laptop, World, client, story};

/// A connection to the control port, as HTTP/2 sees it: what sends on it, and its end.
async fn connection(world: &World) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = Peer::connect(world.agent.control).await.into_stream();
    let (send, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    (send, tokio::spawn(connection))
}

fn call(name: &str) -> Request<()> {
    Request::post(format!("http://agent/bridge.v1.Agent/{name}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a good request")
}

/// The beginning of a message of 4 MiB.
fn unfinished() -> Bytes {
    [&[0, 0, 0x40, 0, 0][..], &[1; 2000]].concat().into()
}

#[tokio::test]
async fn messages_that_never_end_are_not_kept_without_the_key() {
    story(async {
        let world = World::new().await;
        for name in ["Open", "Accept", "Dial", "NoSuchCall"] {
            // Given a stranger that begins many messages and ends none,
            let (send, ended) = connection(&world).await;
            let mut streams = Vec::new();
            for _ in 0..400 {
                let Ok(mut ready) = send.clone().ready().await else { break };
                let Ok((answer, mut stream)) = ready.send_request(call(name), false) else { break };
                let _ = stream.send_data(unfinished(), false);
                streams.push((answer, stream));
            }
            // then its connection is ended long before its time is up.
            let ended = timeout(Duration::from_secs(3), ended).await;
            assert!(ended.is_ok(), "{name}: the connection should have been cut");
        }
        answers_everybody(&world).await;
    })
    .await;
}

#[tokio::test]
async fn calls_are_few_without_the_key() {
    story(async {
        let world = World::new().await;
        let mut stranger = client(world.agent.control).await;
        let mut made = 0;
        loop {
            let probe = stranger.probe(ProbeRequest { address: world.origin.address().to_string() });
            match probe.await.expect_err("no token").code() {
                Code::Unauthenticated => made += 1,
                _ => break,
            }
        }
        assert!(made <= 8, "{made} calls were answered");

        // The limit on challenges is as low.
        let mut stranger = client(world.agent.control).await;
        let mut asked = 0;
        let request = ChallengeRequest { version: Some(version::ours()), nonce: vec![1; LENGTH] };
        while stranger.challenge(request.clone()).await.is_ok() {
            asked += 1;
        }
        assert!((1..=8).contains(&asked), "{asked} challenges were given on one connection");
    })
    .await;
}

#[tokio::test]
async fn time_is_up_after_five_seconds_without_the_key() {
    story(async {
        let world = World::new().await;
        // Given one that sends nothing, and one that sends something all the time,
        let mut silent = Peer::connect(world.agent.control).await;
        let mut busy = Peer::connect(world.agent.control).await;
        busy.says("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let began = Instant::now();
        let ping = b"\0\0\x08\x06\0\0\0\0\0bridge!!";
        while busy.tries_to_say(ping).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // then both have their end after five seconds.
        let took = began.elapsed();
        assert!(took > Duration::from_secs(4) && took < Duration::from_secs(8), "{took:?}");
        silent.hears_rest().await;
    })
    .await;
}

#[tokio::test]
async fn connections_without_the_key_lock_no_daemon_out() {
    story(async {
        let world = World::new().await;
        // Given a session, and more strangers than there is room for,
        let (mut alice, local) = world.alice().await;
        let mut strangers = Vec::new();
        for _ in 0..700 {
            strangers.push(Peer::connect(world.agent.control).await);
        }
        // then another daemon is served at once,
        let attached = timeout(Duration::from_secs(2), Laptop::attach(world.agent.control, "bob")).await;
        let mut bob = attached.expect("a daemon that knows the key should not have to wait");
        bob.routes(vec![world.route("bob", 1)]).await;
        // and the first session has lost nothing.
        alice.routes(vec![world.route("alice", local.port())]).await;
        answers_everybody(&world).await;
    })
    .await;
}

/// Requests without a developer's header are served.
async fn answers_everybody(world: &World) {
    let (mut client, mut origin) = world.connection().await;
    client.says("GET / HTTP/1.1\r\n\r\n").await;
    origin.hears("GET / HTTP/1.1\r\n\r\n").await;
    origin.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    client.hears_answer().await;
}
