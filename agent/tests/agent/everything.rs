//! A session that takes requests that no other took.

use bridge_proto::v1::{Fallback, Reason, RequestsRequest, Route, SeenRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::peer::{Server, dead_port};
use crate::world::{Laptop, World, daemon, story, with_token};

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn requests_go_to_the_laptop_unless_another_session_takes_them() {
    story(async {
        let world = World::new().await;
        let (_alice, alices) = world.alice().await;
        let bobs = Server::local().await;
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
async fn requests_that_the_same_session_takes_to_another_port_go_there() {
    story(async {
        // Given a session that takes everything to one port, and requests with a header to another,
        let world = World::new().await;
        let (rest, marked) = (Server::local().await, Server::local().await);
        let mut bob = world.laptop("bob", world.everything(rest.port())).await;
        bob.routes(vec![world.route("bob", marked.port()), world.everything(rest.port())]).await;
        let mut client = world.client().await;
        // (a stream has been opened ahead, as the requests are not known yet)
        let _ahead = rest.accepts().await;
        // when both come on one connection, each goes where it belongs.
        for (request, local) in [("GET / HTTP/1.1\r\nX-Bridge: bob\r\n\r\n", &marked), (PLAIN, &rest)] {
            client.says(request).await;
            let mut process = local.accepts().await;
            process.hears_head().await;
            process.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            assert_eq!(client.hears_answer().await.1, "ok");
        }
    })
    .await;
}

#[tokio::test]
async fn other_protocols_go_to_the_laptop() {
    story(async {
        let world = World::new().await;
        let local = Server::local().await;
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
        let local = Server::local().await;
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

/// A laptop on which nothing listens, in whose place the origin answers.
async fn absent_bob(world: &World) -> Laptop {
    let route = Route { fallback: Fallback::Origin.into(), ..world.everything(dead_port().await) };
    world.laptop("bob", route).await
}

/// Waits until the agent reports a request that `such` accepts.
async fn seen(laptop: &mut Laptop, such: impl Fn(&SeenRequest) -> bool) {
    let asked = with_token(RequestsRequest { follow: true, after_us: 0 }, &laptop.token);
    let mut seen = laptop.client.requests(asked).await.expect("the token is right").into_inner();
    while !seen.message().await.expect("the session lives").expect("it goes on").requests.iter().any(&such) {}
}

fn is_bobs_at_the_origin(seen: &SeenRequest) -> bool {
    let what = (seen.reason(), seen.to_laptop, seen.user.as_str(), seen.about.as_str());
    what == (Reason::NothingListens, false, "bob", "everything")
}

#[tokio::test]
async fn the_origin_answers_requests_where_nothing_listens() {
    story(async {
        let world = World::new().await;
        let mut bob = absent_bob(&world).await;
        let (mut client, mut origin) = world.connection().await;
        // The connection's first request, and those after it, bodies included,
        for request in [PLAIN, "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nfour", PLAIN] {
            client.says(request).await;
            origin.hears(request).await;
            origin.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            client.hears("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
        // and a WebSocket.
        let upgrade = "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        client.says(upgrade).await;
        origin.hears(upgrade).await;
        origin.says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01").await;
        client.hears("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01").await;
        seen(&mut bob, |seen| is_bobs_at_the_origin(seen) && seen.status == 200).await;
        seen(&mut bob, |seen| is_bobs_at_the_origin(seen) && seen.status == 101).await;
    })
    .await;
}

#[tokio::test]
async fn the_origin_gets_all_bytes_of_other_protocols_if_nothing_listens() {
    story(async {
        let world = World::new().await;
        let mut bob = absent_bob(&world).await;
        let (mut client, mut origin) = world.connection().await;
        client.says("\x16\x03\x01hello").await;
        origin.hears("\x16\x03\x01hello").await;
        origin.says("world").await;
        client.hears("world").await;
        seen(&mut bob, |seen| is_bobs_at_the_origin(seen) && seen.protocol.is_empty()).await;
        // It may speak first, too.
        let (mut client, mut origin) = world.connection().await;
        origin.says("220 mail ready\r\n").await;
        client.hears("220 mail ready\r\n").await;
    })
    .await;
}

#[tokio::test]
async fn a_process_that_comes_is_found_by_the_next_request() {
    story(async {
        let world = World::new().await;
        let mut bob = absent_bob(&world).await;
        let (mut client, mut origin) = world.connection().await;
        client.says(PLAIN).await;
        origin.hears(PLAIN).await;
        origin.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        client.hears_answer().await;
        let local = Server::local().await;
        bob.routes(vec![Route { fallback: Fallback::Origin.into(), ..world.everything(local.port()) }]).await;
        client.says(PLAIN).await;
        local.accepts().await.hears(PLAIN).await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_outlives_a_session_on_whose_laptop_nothing_listens() {
    story(async {
        let world = World::new().await;
        let mut bob = world.laptop("bob", world.everything(dead_port().await)).await;
        let mut client = world.client().await;
        client.says(PLAIN).await;
        assert!(client.hears_answer().await.0.starts_with("HTTP/1.1 503 "));
        bob.routes(vec![]).await;
        client.says(PLAIN).await;
        let mut origin = world.origin.accepts().await;
        origin.hears(PLAIN).await;
        origin.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(client.hears_answer().await.1, "ok");
    })
    .await;
}

#[tokio::test]
async fn a_silent_connection_outlives_a_session() {
    story(async {
        let world = World::new().await;
        let local = Server::local().await;
        let mut bob = world.laptop("bob", world.everything(local.port())).await;
        // Given connections on which nothing was sent yet, more than have a stream to the laptop ahead,
        let mut clients = Vec::new();
        for _ in 0..80 {
            clients.push(world.client().await);
        }
        let mut processes = Vec::new();
        for _ in 0..64 {
            processes.push(local.accepts().await);
        }
        // when the clients send something, it reaches the laptop;
        let mut late = clients.pop().expect("the last");
        late.says(PLAIN).await;
        local.accepts().await.hears(PLAIN).await;
        let mut late = clients.pop().expect("the one before");
        late.says("\x16tls").await;
        local.accepts().await.hears("\x16tls").await;
        // when the session has ended, they are the origin's.
        bob.stops_attending();
        bob.is_ended().await;
        let speak = async {
            for mut client in [clients.remove(0), clients.pop().expect("one more")] {
                client.says(PLAIN).await;
                assert_eq!(client.hears_answer().await.1, "ok");
            }
        };
        tokio::select! {
            () = speak => {}
            () = answer_all(&world.origin) => {}
        }
    })
    .await;
}

/// Answers the first request of each connection.
async fn answer_all(origin: &Server) {
    let mut answering = JoinSet::new();
    loop {
        let mut stream = origin.accepts().await.into_stream();
        answering.spawn(async move {
            let mut head = vec![0; PLAIN.len()];
            if stream.read_exact(&mut head).await.is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        });
    }
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
        // Connections from before the end was noticed may still have been bob's.
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
