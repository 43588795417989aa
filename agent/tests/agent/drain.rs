//! An agent that stops.

use std::time::Duration;

use bridge_agent::DrainTimes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peer::Peer;
use crate::world::{World, story};

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ALICES: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n";

/// Draining that is quick where nothing is open.
const QUICK: DrainTimes = DrainTimes {
    quiet: Duration::from_millis(100),
    at_least: Duration::from_millis(300),
    at_most: Duration::from_secs(20),
};

/// Draining that goes on accepting as long as the story lasts.
const PATIENT: DrainTimes = DrainTimes {
    quiet: Duration::from_secs(60),
    at_least: Duration::from_secs(60),
    at_most: Duration::from_secs(60),
};

#[tokio::test]
async fn everything_goes_to_the_origin_and_connections_end_after_an_answer() {
    story(async {
        let world = World::new().await;
        let (mut alice, local) = world.alice().await;
        let (mut idle, mut idles_origin) = world.connection().await;
        let (mut busy, _busys_origin) = world.connection().await;
        busy.says(ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;

        // When it gets SIGTERM,
        let World { origin: origins, agent, key_file: _key_file } = world;
        let port = agent.ports[0];
        let _draining = tokio::spawn(agent.drain(PATIENT));
        alice.draining.wait_for(|draining| *draining).await.expect("the session lives");

        // then a connection that was open says goodbye with its next answer,
        idle.says(ALICES).await;
        idles_origin.hears(ALICES).await;
        idles_origin.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        idle.hears("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        idle.hears_end().await;
        drop(idle);
        idles_origin.hears_end().await;

        // a new one is still taken,
        let mut new = Peer::connect(port).await;
        new.says(PLAIN).await;
        let mut origin = origins.accepts().await;
        origin.hears(PLAIN).await;
        origin.says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        new.hears("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;

        // and the request at the laptop finishes.
        process.says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlaptop").await;
        assert_eq!(busy.hears_answer().await.1, "laptop");
    })
    .await;
}

#[tokio::test]
async fn it_ends_when_the_last_connection_has_ended() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("\x16\x03").await;
        origin.hears("\x16\x03").await;
        let World { origin: origins, agent, key_file: _key_file } = world;
        let port = agent.ports[0];
        let draining = tokio::spawn(agent.drain(QUICK));
        drop(origins);
        // Given that nobody connects any more,
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        // an opaque connection still works,
        client.says("more").await;
        origin.hears("more").await;
        assert!(!draining.is_finished());
        // and its end is the agent's.
        drop(client);
        origin.hears_end().await;
        drop(origin);
        assert_eq!(draining.await.expect("no panic").cut, 0);
    })
    .await;
}

#[tokio::test]
async fn beside_its_origin_it_accepts_as_long_as_the_origin_does() {
    story(async {
        let World { origin, agent, key_file: _key_file } = World::new().await;
        let port = agent.ports[0];
        let draining = tokio::spawn(agent.drain_with_origin(Duration::from_secs(20)));
        // When both stop, a new connection is still taken,
        let mut client = Peer::connect(port).await;
        client.says(PLAIN).await;
        let mut served = loop {
            // The agent's own looks at the origin say nothing.
            let mut accepted = origin.accepts().await.into_stream();
            if accepted.read_exact(&mut [0; PLAIN.len()]).await.is_ok() {
                break accepted;
            }
        };
        let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
        served.write_all(answer.as_bytes()).await.expect("the agent takes it");
        client.hears("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        assert!(!draining.is_finished());
        // until the origin takes none.
        drop((origin, client, served));
        assert_eq!(draining.await.expect("no panic").cut, 0);
    })
    .await;
}

#[tokio::test]
async fn connections_that_do_not_end_are_cut() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("\x16\x03").await;
        origin.hears("\x16\x03").await;
        let World { origin: _origins, agent, key_file: _key_file } = world;
        let times = DrainTimes { at_most: Duration::from_millis(600), ..QUICK };
        assert_eq!(agent.drain(times).await.cut, 1);
        client.hears_rest().await;
    })
    .await;
}
