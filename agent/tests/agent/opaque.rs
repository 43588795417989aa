//! Connections that the agent must not read.

use std::time::{Duration, Instant};

use crate::world::{World, story};

#[tokio::test]
async fn a_server_may_speak_first() {
    story(async {
        let world = World::new().await;
        let _alice = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        origin.says("220 mail ready\r\n").await;
        client.hears("220 mail ready\r\n").await;
        client.says("EHLO a\r\n").await;
        origin.hears("EHLO a\r\n").await;
        // Even if it looks like a request from here on.
        client.says("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
        origin.hears("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
    })
    .await;
}

#[tokio::test]
async fn tls_and_the_unknown_pass_at_once() {
    story(async {
        let world = World::new().await;
        let _alice = world.alice().await;
        let first_bytes: [&[u8]; 4] = [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"*1\r\n$4\r\nPING\r\n",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"hello there\n",
        ];
        for bytes in first_bytes {
            let (mut client, mut origin) = world.connection().await;
            client.says(bytes).await;
            origin.hears(bytes).await;
            origin.says("answer").await;
            client.hears("answer").await;
            origin.ends().await;
            client.hears_end().await;
            client.says("still here").await;
            client.ends().await;
            origin.hears("still here").await;
            origin.hears_end().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_few_letters_that_wait_for_an_answer_are_not_held() {
    story(async {
        let world = World::new().await;
        let _alice = world.alice().await;
        let words = ["ruok", "stat", "get x", "PING", "JDWP-Handshake", "HELLO", "0042", "\r\n"];
        let begun = Instant::now();
        for word in words {
            let (mut client, mut origin) = world.connection().await;
            client.says(word).await;
            origin.hears(word).await;
            origin.says("imok").await;
            client.hears("imok").await;
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(3), "{} connections took {took:?} in all", words.len());
    })
    .await;
}

#[tokio::test]
async fn the_beginning_of_a_method_is_not_held_for_long() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("GET").await;
        origin.hears("GET").await;
        origin.says("HI").await;
        client.hears("HI").await;
    })
    .await;
}

#[tokio::test]
async fn a_request_that_comes_slowly_is_still_routed() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("GET /").await;
        // Given a client that takes longer than the beginning of a request would be held,
        let nothing = tokio::time::timeout(Duration::from_millis(1500), origin.hears_some(1)).await;
        assert!(nothing.is_err(), "nothing of it reaches the origin");
        client.says(" HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
        local.accepts().await.hears("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
    })
    .await;
}

#[tokio::test]
async fn a_reset_stays_a_reset() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("\x16").await;
        origin.hears("\x16").await;
        origin.resets();
        client.hears_reset().await;
    })
    .await;
}

#[tokio::test]
async fn an_upgraded_connection_is_raw() {
    story(async {
        let world = World::new().await;
        let _alice = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        let request = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        client.says(request).await;
        origin.hears(request).await;
        let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x05hello";
        origin.says(switch).await;
        client.hears(switch).await;
        client.says("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
        origin.hears("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n").await;
        origin.says("\x01\x03bye").await;
        client.hears("\x01\x03bye").await;
    })
    .await;
}

#[tokio::test]
async fn a_connect_that_succeeds_is_raw() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        origin.hears("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        origin.says("HTTP/1.1 200 OK\r\n\r\n").await;
        client.hears("HTTP/1.1 200 OK\r\n\r\n").await;
        client.says("\x16\x03").await;
        origin.hears("\x16\x03").await;
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_refuses_is_one_that_resets() {
    story(async {
        let world = World::without_origin().await;
        world.client().await.hears_reset().await;
    })
    .await;
}
