//! A session that takes what no other took.

use crate::peer::{Server, dead_port};
use crate::world::{Laptop, World, daemon, story};

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn requests_go_to_the_laptop_unless_another_session_takes_them() {
    story(async {
        let world = World::new().await;
        let (_alice, alices) = world.alice().await;
        let bobs = Server::start().await;
        let _bob = world.laptop("bob", world.everything(bobs.port())).await;
        let mut client = world.client().await;
        for (request, local, user) in [
            (PLAIN, &bobs, "bob"),
            ("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n", &alices, "alice"),
            (PLAIN, &bobs, "bob"),
        ] {
            client.says(request).await;
            let mut process = local.accepts().await;
            process.hears(request).await;
            process.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            let (head, _) = client.hears_answer().await;
            assert!(head.contains(&format!("x-bridge-served-by: {user}\r\n")), "{head}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_http_goes_to_the_laptop() {
    story(async {
        let world = World::new().await;
        let local = Server::start().await;
        let _bob = world.laptop("bob", world.everything(local.port())).await;

        let mut client = world.client().await;
        let mut process = local.accepts().await;
        process.says("220 mail ready\r\n").await;
        client.hears("220 mail ready\r\n").await;
        client.says("QUIT\r\n").await;
        process.hears("QUIT\r\n").await;
        process.ends().await;
        client.hears_end().await;

        let mut client = world.client().await;
        client.says("\x16\x03\x01").await;
        let mut process = local.accepts().await;
        process.hears("\x16\x03\x01").await;
        process.resets();
        client.hears_reset().await;
    })
    .await;
}

#[tokio::test]
async fn nothing_of_an_answer_to_a_client_that_half_closed_is_lost() {
    story(async {
        let world = World::new().await;
        let local = Server::start().await;
        let _bob = world.laptop("bob", world.everything(local.port())).await;
        let answer = "0123456789abcdef".repeat(64 * 1024);
        for _ in 0..20 {
            let mut client = world.client().await;
            let mut process = local.accepts().await;
            client.says("\x16all of it").await;
            client.ends().await;
            process.hears("\x16all of it").await;
            process.hears_end().await;
            let say = async {
                process.says(&answer).await;
                process.ends().await;
            };
            let (heard, ()) = tokio::join!(client.hears_rest(), say);
            assert_eq!(heard.len(), answer.len());
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_listens_on_the_local_port() {
    story(async {
        let world = World::new().await;
        let _bob = world.laptop("bob", world.everything(dead_port().await)).await;
        let mut client = world.client().await;
        client.says(PLAIN).await;
        assert!(client.hears_answer().await.0.starts_with("HTTP/1.1 503 "));
        let mut client = world.client().await;
        client.says("\x16\x03\x01").await;
        client.hears_reset().await;
    })
    .await;
}

#[tokio::test]
async fn it_is_exclusive() {
    story(async {
        let world = World::new().await;
        let _bob = world.laptop("bob", world.everything(1)).await;
        let mut carol = Laptop::attach_as(world.agent.control, daemon("c", "carol", 5)).await;
        let refused = carol.tries_routes(vec![world.everything(2)]).await;
        assert!(refused.contains("bob"), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn when_it_ends_the_origin_is_back() {
    story(async {
        let world = World::new().await;
        let bob = world.laptop("bob", world.everything(dead_port().await)).await;
        drop(bob);
        // Connections that came before the end was noticed may still have been bob's.
        loop {
            let mut client = world.client().await;
            client.says(PLAIN).await;
            let answered = tokio::select! {
                mut origin = world.origin.accepts() => {
                    origin.hears(PLAIN).await;
                    true
                }
                _ = client.hears_answer() => false,
            };
            if answered {
                return;
            }
        }
    })
    .await;
}
