//! Requests that go to the origin: their bytes pass unchanged, and nothing is refused that the origin would have taken.

use crate::peer::Peer;
use crate::world::{World, story};

#[tokio::test]
async fn bytes_pass_unchanged() {
    story(async {
        let world = World::new().await;
        let _alice = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        let request = "POST /a%20b?c=d HTTP/1.1\r\nhOsT:   orders  \r\nX-Odd:\r\nx-odd: two\r\nTransfer-Encoding: chunked\r\n\r\n\
                       5;ext=\"1\"\r\nhello\r\n0\r\nTrailer: v\r\n\r\n";
        let answer = "HTTP/1.1 200 Fine And Good\r\nsErver: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n";
        for _ in 0..3 {
            client.says(request).await;
            origin.hears(request).await;
            origin.says(answer).await;
            client.hears(answer).await;
        }
        client.ends().await;
        origin.hears_end().await;
        origin.ends().await;
        client.hears_end().await;
    })
    .await;
}

#[tokio::test]
async fn pipelined_requests_wait_for_their_turn() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        let requests = [
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /2 HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n",
            "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
        ];
        client.says(requests.concat()).await;
        origin.hears(requests[0]).await;
        origin.says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1").await;
        let mut process = local.accepts().await;
        process.hears(requests[1]).await;
        process.says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2").await;
        origin.hears(requests[2]).await;
        origin.says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3").await;
        for body in ["1", "2", "3"] {
            assert_eq!(client.hears_answer().await.1, body);
        }
    })
    .await;
}

#[tokio::test]
async fn answers_without_a_body_are_followed_by_others() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        let exchanges = [
            ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
            (
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
            ),
        ];
        for (request, answer) in exchanges {
            client.says(request).await;
            origin.hears(request).await;
            origin.says(answer).await;
            client.hears(answer).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_waits_for_100_continue() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
        client.says(head).await;
        origin.hears(head).await;
        origin.says("HTTP/1.1 100 Continue\r\n\r\n").await;
        client.hears("HTTP/1.1 100 Continue\r\n\r\n").await;
        client.says("body").await;
        origin.hears("body").await;
        origin.says("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await;
        client.hears("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
}

#[tokio::test]
async fn an_early_answer_arrives_although_the_origin_takes_no_more() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nthe beginning").await;
        origin.hears("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nthe beginning").await;
        let answer = "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
        origin.says(answer).await;
        origin.ends().await;
        client.hears(answer).await;
        client.hears_end().await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_may_last_until_the_origin_closes() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("GET / HTTP/1.0\r\n\r\n").await;
        client.ends().await;
        origin.hears("GET / HTTP/1.0\r\n\r\n").await;
        origin.hears_end().await;
        origin.says("HTTP/1.0 200 OK\r\n\r\nsome").await;
        client.hears("HTTP/1.0 200 OK\r\n\r\nsome").await;
        origin.says("thing").await;
        origin.ends().await;
        assert_eq!(client.hears_rest().await, "thing");
    })
    .await;
}

#[tokio::test]
async fn requests_that_two_parsers_could_read_differently_are_never_routed() {
    let long_header = format!("X-Long: {}", "x".repeat(70_000));
    let many_headers = "X: y\r\n".repeat(300);
    let oddities: [&str; 11] = [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Content-Length: 3\r\nContent-Length: 4",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Content-Length : 3",
        "Folded: a\r\n b",
        "Bare-Lf: a\nContent-Length: 3",
        "Bare-Cr: a\rb",
        "Nul: a\0b",
        &long_header,
        many_headers.trim_end(),
    ];
    for oddity in oddities {
        story(async {
            let world = World::new().await;
            let (_alice, local) = world.alice().await;
            let (mut client, mut origin) = world.connection().await;
            // Given a request that looks like alice's, but can be read in two ways,
            let request = format!("POST / HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n{oddity}\r\n\r\nabc");
            client.says(&request).await;
            // it goes to the origin as it is,
            origin.hears(&request).await;
            // and so does everything that follows, however plain.
            let plain = "GET / HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n";
            client.says(plain).await;
            origin.hears(plain).await;
            origin.says("HTTP/1.1 400 Bad Request\r\n\r\n").await;
            origin.ends().await;
            client.hears("HTTP/1.1 400 Bad Request\r\n\r\n").await;
            drop((client, origin));
            assert!(
                futures::FutureExt::now_or_never(local.accepts()).is_none(),
                "{oddity:?} reached the laptop"
            );
        })
        .await;
    }
}

#[tokio::test]
async fn after_an_ambiguous_answer_nothing_is_routed() {
    story(async {
        let world = World::new().await;
        let _alice = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        origin.hears("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        origin.says(answer).await;
        client.hears(answer).await;
        let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n";
        client.says(request).await;
        origin.hears(request).await;
    })
    .await;
}

#[tokio::test]
async fn a_smuggled_request_in_a_bad_chunk_stays_with_the_origin() {
    story(async {
        let world = World::new().await;
        let _alice = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.says(head).await;
        origin.hears(head).await;
        let smuggling = "0\n\nGET / HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n";
        client.says(smuggling).await;
        origin.hears(smuggling).await;
    })
    .await;
}

#[tokio::test]
async fn the_origin_s_acts_between_requests_are_for_the_client() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        origin.hears("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        origin.says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        client.hears("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        origin.says("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").await;
        origin.ends().await;
        client.hears("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").await;
        client.hears_end().await;
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_loses_patience_with_a_slow_head_is_heard() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("GET / HTTP/1.1\r\nHost: a\r\nX-Slo").await;
        origin.says("HTTP/1.1 408 Request Timeout\r\n\r\n").await;
        origin.ends().await;
        client.hears("HTTP/1.1 408 Request Timeout\r\n\r\n").await;
        // The held bytes go on, as they would have without us.
        origin.hears("GET / HTTP/1.1\r\nHost: a\r\nX-Slo").await;
    })
    .await;
}

#[tokio::test]
async fn a_reset_stays_a_reset() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        client.says("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        origin.hears("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        origin.says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab").await;
        client.hears("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab").await;
        origin.resets();
        client.hears_reset().await;

        let (mut client, mut origin) = world.connection().await;
        client.says("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        origin.hears("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.resets();
        origin.hears_reset().await;
    })
    .await;
}

#[tokio::test]
async fn many_slow_heads_hold_up_nobody() {
    story(async {
        let world = World::new().await;
        let mut slow: Vec<Peer> = Vec::new();
        for _ in 0..200 {
            let (mut client, _) = world.connection().await;
            client.says("GET / HTTP/1.1\r\nX-Slow: ").await;
            slow.push(client);
        }
        let (mut client, mut origin) = world.connection().await;
        client.says("GET /fast HTTP/1.1\r\n\r\n").await;
        origin.hears("GET /fast HTTP/1.1\r\n\r\n").await;
    })
    .await;
}

#[tokio::test]
async fn large_bodies_pass_both_ways_at_once() {
    story(async {
        let world = World::new().await;
        let (mut client, mut origin) = world.connection().await;
        let body = "0123456789abcdef".repeat(256 * 1024);
        let head = format!("Content-Length: {}\r\n\r\n", body.len());
        let talk = async {
            client.says(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}")).await;
            client.says(&body).await;
            client.hears(format!("HTTP/1.1 200 OK\r\n{head}{body}")).await;
        };
        let answer = async {
            origin.hears(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}{body}")).await;
            origin.says(format!("HTTP/1.1 200 OK\r\n{head}")).await;
            origin.says(&body).await;
        };
        tokio::join!(talk, answer);
    })
    .await;
}
