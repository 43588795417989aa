//! Requests that come back from a laptop's port, and connections from the agent's own pod.

use bridge_proto::v1::{Reason, RequestsRequest, SeenRequest};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::http2::peer::{Caller, Serving, alices, answer, get, with_header};
use crate::peer::{Peer, Server, connect, connect_from};
use crate::world::{LEADS_BACK, Laptop, World, story, with_token};

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ALICES: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n";

/// A forward on a laptop that leads to this port, and its own port.
async fn forward_to(port: u16) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let own = listener.local_addr().expect("a bound socket").port();
    let forwarding = tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = connect(port).await;
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    (own, forwarding)
}

fn with_hops(request: &str, hops: &str) -> String {
    request.replacen("\r\n\r\n", &format!("\r\nx-bridge-hops: {hops}\r\n\r\n"), 1)
}

/// Waits until the agent reports a request that `such` accepts.
async fn seen(laptop: &mut Laptop, such: impl Fn(&SeenRequest) -> bool) {
    let asked = with_token(RequestsRequest { follow: true, after_us: 0 }, &laptop.token);
    let mut seen = laptop.client.requests(asked).await.expect("the token is right").into_inner();
    while !seen.message().await.expect("the session lives").expect("it goes on").requests.iter().any(&such) {}
}

#[tokio::test]
async fn a_request_carries_its_hops_to_the_laptop() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let (mut client, mut origin) = world.connection().await;
        client.says(with_hops(ALICES, "other:1, nonsense, one more:2")).await;
        let mut process = local.accepts().await;
        let head = process.hears_head().await;
        let hops = format!("x-bridge-hops: other:1, session%20of%20alice:{}\r\n\r\n", world.port());
        assert!(head.ends_with(&hops) && head.matches("x-bridge-hops").count() == 1, "{head}");
        process.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        client.hears_answer().await;
        // The origin's requests reach it unchanged, whatever they contain.
        for hops in [hops.trim(), "", "a:1,b:1,c:1,d:1,e:1,f:1,g:1,h:1,i:1"] {
            let plain = with_hops(PLAIN, hops);
            client.says(&plain).await;
            origin.hears(&plain).await;
            origin.says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\norigin").await;
            assert_eq!(client.hears_answer().await.1, "origin");
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_that_comes_back_ends_at_once() {
    story(async {
        let world = World::new().await;
        let (port, _forwarding) = forward_to(world.port()).await;
        let mut alice = world.laptop("alice", world.route("alice", port)).await;
        let mut client = world.client().await;
        client.says(ALICES).await;
        let (head, sentence) = client.hears_answer().await;
        assert!(head.starts_with("HTTP/1.1 508 Loop Detected\r\n"), "{head}");
        for word in
            ["alice's laptop", "session of alice", "of agent-1", &format!("port {}", world.port()), "Service"]
        {
            assert!(sentence.contains(word), "{word:?} in {sentence}");
        }
        assert!(sentence.contains(&format!("forward or port-forward on local port {port}")), "{sentence}");
        // It was seen twice: when it came, and when it came back.
        seen(&mut alice, |seen| (seen.reason(), seen.status) == (Reason::Matched, 508)).await;
        seen(&mut alice, |seen| (seen.reason(), seen.status) == (Reason::Loop, 508)).await;
        // One with a body, and one that asks for a WebSocket, end the same way.
        for more in ["Content-Length: 4\r\n\r\nfour", "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"] {
            let mut client = world.client().await;
            client.says(format!("POST / HTTP/1.1\r\nX-Bridge: alice\r\n{more}")).await;
            assert!(client.hears_answer().await.0.starts_with("HTTP/1.1 508 "));
        }
    })
    .await;
}

#[tokio::test]
async fn another_port_of_the_same_session_is_no_loop() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        client.says(with_hops(ALICES, &format!("session%20of%20alice:{}", world.port()))).await;
        assert!(client.hears_answer().await.0.starts_with("HTTP/1.1 508 "));
        // The connection goes on.
        client.says(with_hops(ALICES, "session%20of%20alice:1")).await;
        let head = local.accepts().await.hears_head().await;
        assert!(head.contains("session%20of%20alice:1, session%20of%20alice:"), "{head}");
    })
    .await;
}

#[tokio::test]
async fn a_loop_across_two_laptops_ends_too() {
    story(async {
        let world = World::new().await;
        // Given two Services, each with a session whose laptop forwards to the other Service,
        let other = World::new().await;
        let (to_other, _one) = forward_to(other.port()).await;
        let (back, _two) = forward_to(world.port()).await;
        let _alice = world.laptop("alice", world.route("alice", to_other)).await;
        let _bob = other.laptop("bob", other.route("alice", back)).await;
        let mut client = world.client().await;
        client.says(ALICES).await;
        let (head, sentence) = client.hears_answer().await;
        assert!(head.starts_with("HTTP/1.1 508 "), "{head}");
        assert!(sentence.contains("then via session%20of%20bob:"), "{sentence}");
    })
    .await;
}

#[tokio::test]
async fn a_request_goes_through_eight_laptops_at_most() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut client = world.client().await;
        client.says(with_hops(ALICES, "a:1,b:1,c:1,d:1,e:1,f:1,g:1")).await;
        let mut process = local.accepts().await;
        process.hears_head().await;
        process.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        client.hears_answer().await;
        client.says(with_hops(ALICES, "a:1,b:1,c:1,d:1,e:1,f:1,g:1,h:1")).await;
        let (head, sentence) = client.hears_answer().await;
        assert!(
            head.starts_with("HTTP/1.1 508 ") && sentence.contains("maximum number of laptops"),
            "{head}{sentence}"
        );
    })
    .await;
}

#[tokio::test]
async fn streams_of_http2_that_come_back_end_at_once() {
    story(async {
        let world = World::new().await;
        let (port, _forwarding) = forward_to(world.port()).await;
        let _alice = world.laptop("alice", world.route("alice", port)).await;
        let mut caller = Caller::connect(world.port()).await;
        let mut origin = Serving::on(&world.origin).await;
        let (status, _, sentence) = answer(caller.asks(alices("/")).await).await;
        assert_eq!(status, 508, "{sentence}");
        assert!(sentence.contains(&format!("local port {port} leads back")), "{sentence}");
        // A gRPC caller gets its own status, and should not retry.
        let call = with_header(alices("/shop.Prices/Get"), "content-type", "application/grpc");
        let (response, mut ask) = caller.begins(call).await;
        let _ = ask.send_data(Bytes::from_static(b"more"), false);
        let head = response.await.expect("an answer");
        assert_eq!(head.headers()["grpc-status"], "9");
        assert!(head.headers()["grpc-message"].to_str().expect("text").contains("leads back"));
        // A request for the origin reaches it as it came.
        let plain = caller.asks(with_header(get("/"), "x-bridge-hops", "a:1,,b")).await;
        let stream = origin.hears().await;
        assert_eq!(stream.request.headers()["x-bridge-hops"], "a:1,,b");
        stream.answers("origin");
        assert_eq!(answer(plain).await.2, "origin");
    })
    .await;
}

#[tokio::test]
async fn a_stream_of_http2_carries_its_hops_to_the_laptop() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = Caller::connect(world.port()).await;
        let _origin = Serving::on(&world.origin).await;
        let matched = caller.asks(with_header(alices("/"), "x-bridge-hops", "other:1")).await;
        let stream = Serving::on(&local).await.hears().await;
        let hops: Vec<_> = stream.request.headers().get_all("x-bridge-hops").iter().collect();
        assert_eq!(hops, [&format!("other:1, session%20of%20alice:{}", world.port())]);
        stream.answers("laptop");
        assert_eq!(answer(matched).await.2, "laptop");
    })
    .await;
}

#[tokio::test]
async fn other_protocols_from_the_pod_itself_go_to_the_origin() {
    story(async {
        let world = World::new().await;
        let local = Server::local().await;
        let mut bob = world.laptop("bob", world.everything(local.port())).await;
        // Given a port-forward into the agent's pod, behind which the laptop itself may be,
        let mut client = Peer::connect_from_inside(world.port()).await;
        let mut origin = world.origin.accepts().await;
        origin.says("220 mail ready\r\n").await;
        client.hears("220 mail ready\r\n").await;
        let such =
            |seen: &SeenRequest| seen.reason() == Reason::OwnPod && seen.user == "bob" && !seen.to_laptop;
        seen(&mut bob, such).await;
        let mut client = Peer::connect_from_inside(world.port()).await;
        client.says("\x16\x03\x01").await;
        world.origin.accepts().await.hears("\x16\x03\x01").await;
        // then requests are still bob's, as they would be detected if they came back,
        let mut client = Peer::connect_from_inside(world.port()).await;
        client.says(PLAIN).await;
        local.accepts().await.hears(PLAIN).await;
        let stream = connect_from([127, 0, 0, 1], world.port()).await;
        let mut caller = Caller::on(stream, &h2::client::Builder::new()).await;
        let response = caller.asks(get("/")).await;
        Serving::on(&local).await.hears().await.answers("bob");
        assert_eq!(answer(response).await.2, "bob");
        // and so are connections from elsewhere.
        let mut client = world.client().await;
        client.says("\x16\x03\x01").await;
        local.accepts().await.hears("\x16\x03\x01").await;
    })
    .await;
}

#[tokio::test]
async fn everything_that_is_forwarded_back_ends_at_once() {
    story(async {
        let world = World::new().await;
        let (port, _forwarding) = forward_to(world.port()).await;
        let _bob = world.laptop("bob", world.everything(port)).await;
        let mut client = world.client().await;
        client.says(PLAIN).await;
        assert!(client.hears_answer().await.0.starts_with("HTTP/1.1 508 "));
        let mut caller = Caller::connect(world.port()).await;
        assert_eq!(answer(caller.asks(get("/")).await).await.0, 508);
    })
    .await;
}

#[tokio::test]
async fn a_port_that_the_laptop_knows_to_lead_back_is_answered_with_508_and_its_message() {
    story(async {
        let world = World::new().await;
        // Given a route to a port that the laptop knows to lead back into the cluster,
        let _alice = world.laptop("alice", world.route("alice", LEADS_BACK)).await;
        // when a request comes, then it ends at once, with the laptop's message;
        let (mut client, mut origin) = world.connection().await;
        client.says(ALICES).await;
        let (head, body) = client.hears_answer().await;
        assert!(head.starts_with("HTTP/1.1 508 "), "{head}");
        assert!(body.contains("loop at alice's laptop: port 7 is bridge forward's"), "{body}");
        // the other requests of the connection go to the origin.
        client.says(PLAIN).await;
        origin.hears(PLAIN).await;
        origin.says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\norigin").await;
        assert_eq!(client.hears_answer().await.1, "origin");
    })
    .await;
}
