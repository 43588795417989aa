//! Processes on a laptop reach the cluster through the agent: connections, flows and names.

use std::net::SocketAddr;
use std::time::Duration;

use bridge_agent::Outward;
use bridge_proto::tunnel::{Budget, Refused, TUNNEL_BUDGET, TunnelStream};
use bridge_proto::v1::{Cause, Datagram, DnsMessage, Open, ProbeRequest, SurroundingsRequest};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::peer::Server;
use crate::world::{Laptop, World, loopback, story, with_token};

async fn world() -> (World, Laptop) {
    world_with(Outward { own_variables: vec!["CARGO_PKG_NAME".to_owned()], ..loopback() }).await
}

async fn world_with(outward: Outward) -> (World, Laptop) {
    let world = World::with_outward(outward).await;
    let laptop = Laptop::attach(world.agent.control, "alice").await;
    (world, laptop)
}

/// Asks for a stream to this address.
async fn dials(laptop: &Laptop, address: &str) -> Result<TunnelStream, Refused> {
    let (outgoing, outgoing_rx) = mpsc::channel(TunnelStream::QUEUE);
    let frames = futures::StreamExt::filter_map(ReceiverStream::new(outgoing_rx), |frame| async {
        Result::<_, Status>::ok(frame)
    });
    let call = with_token(frames, &laptop.token);
    let incoming = laptop.client.clone().dial(call).await.expect("the token is right").into_inner();
    let open = Open { address: address.to_owned(), ..Open::default() };
    let mut stream = TunnelStream::open(open, incoming, outgoing, &Budget::new(TUNNEL_BUDGET));
    stream.opened().await.map(|()| stream)
}

#[tokio::test]
async fn a_connection_carries_bytes_both_ways_and_ends_one_way_at_a_time() {
    story(async {
        // Given a connection to a server in the cluster.
        let (_world, laptop) = world().await;
        let server = Server::start().await;
        let mut stream = dials(&laptop, &server.address().to_string()).await.expect("the server listens");
        let mut accepted = server.accepts().await;

        // When the laptop has sent all its bytes,
        stream.write_all(b"question").await.expect("it is open");
        stream.shutdown().await.expect("it is open");
        accepted.hears("question").await;
        accepted.hears_end().await;

        // then the server can still answer.
        accepted.says("answer").await;
        drop(accepted);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an orderly end");
        assert_eq!(answer, "answer");
    })
    .await;
}

#[tokio::test]
async fn a_refused_connection_has_a_reason() {
    story(async {
        let (_world, laptop) = world().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let nobody = listener.local_addr().expect("bound");
        drop(listener);
        for (address, cause) in [
            (nobody.to_string().as_str(), Cause::Refused),
            ("169.254.169.254:80", Cause::Forbidden),
            ("[::1]:80", Cause::Forbidden),
            ("orders:80", Cause::Protocol),
        ] {
            let refused = dials(&laptop, address).await.expect_err("not to be reached");
            assert_eq!(refused.cause, cause, "{address}: {refused}");
        }
    })
    .await;
}

#[tokio::test]
async fn connections_flows_and_probes_have_the_same_limits() {
    story(async {
        let outward = Outward { nodes: vec!["192.0.2.7".parse().expect("an address")], ..Outward::default() };
        let (_world, mut laptop) = world_with(outward).await;
        for address in [
            "127.0.0.1:80",
            "192.0.2.7:80",
            "[fd00:ec2::23]:80",
            "[fd20:ce::254]:80",
            "[64:ff9b::a9fe:a9fe]:80",
        ] {
            let refused = dials(&laptop, address).await.expect_err("forbidden");
            assert_eq!(refused.cause, Cause::Forbidden, "a connection to {address}: {refused}");

            let (_to_agent_tx, mut answers) = flows(&laptop, address.parse().expect("an address")).await;
            let status = answers.message().await.expect_err("forbidden");
            assert_eq!(status.code(), Code::PermissionDenied, "a flow to {address}: {status}");

            let probe = with_token(ProbeRequest { address: address.to_owned() }, &laptop.token);
            let status = laptop.client.probe(probe).await.expect_err("forbidden");
            assert_eq!(status.code(), Code::PermissionDenied, "a probe of {address}: {status}");
        }
    })
    .await;
}

#[tokio::test]
async fn streams_end_with_the_session() {
    story(async {
        let (_world, mut laptop) = world().await;
        let server = Server::start().await;
        let mut stream = dials(&laptop, &server.address().to_string()).await.expect("the server listens");
        let mut accepted = server.accepts().await;
        laptop.stops_attending();
        laptop.is_ended().await;
        assert!(stream.read_u8().await.is_err(), "expected that the laptop's end is reset");
        assert_eq!(accepted.hears_reset().await, "");
    })
    .await;
}

/// A flow to this address, and the agent's answers.
async fn flows(laptop: &Laptop, address: SocketAddr) -> (mpsc::Sender<Datagram>, Streaming<Datagram>) {
    let (to_agent_tx, to_agent_rx) = mpsc::channel(16);
    let first = Datagram { address: address.to_string(), payload: Bytes::new() };
    to_agent_tx.send(first).await.expect("there is room");
    let call = with_token(ReceiverStream::new(to_agent_rx), &laptop.token);
    let answers = laptop.client.clone().flow(call).await.expect("the token is right").into_inner();
    (to_agent_tx, answers)
}

fn datagram(payload: &'static [u8]) -> Datagram {
    Datagram { address: String::new(), payload: Bytes::from_static(payload) }
}

#[tokio::test]
async fn a_flow_keeps_the_borders_of_datagrams() {
    story(async {
        let (_world, laptop) = world().await;
        let peer = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let (to_agent_tx, mut answers) = flows(&laptop, peer.local_addr().expect("bound")).await;
        assert_eq!(answers.message().await.expect("it is open"), Some(Datagram::default()));
        for payload in [&b"one"[..], b"", b"three"] {
            to_agent_tx.send(datagram(payload)).await.expect("it is open");
            let mut buffer = [0; 64];
            let (len, from) = peer.recv_from(&mut buffer).await.expect("a datagram");
            assert_eq!(&buffer[..len], payload);
            peer.send_to(&buffer[..len], from).await.expect("it is sent");
            assert_eq!(answers.message().await.expect("it is open"), Some(datagram(payload)));
        }
    })
    .await;
}

#[tokio::test]
async fn a_flow_to_a_port_without_a_listener_ends_with_a_refusal() {
    story(async {
        let (_world, laptop) = world().await;
        let peer = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let nobody = peer.local_addr().expect("bound");
        drop(peer);
        let (to_agent_tx, mut answers) = flows(&laptop, nobody).await;
        assert_eq!(answers.message().await.expect("it is open"), Some(Datagram::default()));
        to_agent_tx.send(datagram(b"hello?")).await.expect("it is open");
        let ended = answers.message().await.expect_err("refused");
        assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    })
    .await;
}

/// A resolver that truncates its answers by UDP.
async fn resolver() -> SocketAddr {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = udp.local_addr().expect("bound");
        // Another process may have that port for TCP.
        let Ok(tcp) = TcpListener::bind(address).await else { continue };
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((len, from)) = udp.recv_from(&mut buffer).await {
                let mut answer = buffer[..len].to_vec();
                answer[2] |= 0x80;
                if answer.ends_with(b"long") {
                    answer[2] |= 0x02;
                }
                let _ = udp.send_to(&answer, from).await;
            }
        });
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = tcp.accept().await {
                let mut query = vec![0; connection.read_u16().await.expect("a length").into()];
                connection.read_exact(&mut query).await.expect("a query");
                query[2] |= 0x80;
                query.extend_from_slice(&[b'!'; 2000]);
                let length = u16::try_from(query.len()).expect("short");
                connection.write_u16(length).await.expect("it is open");
                connection.write_all(&query).await.expect("it is open");
            }
        });
        return address;
    }
}

#[tokio::test]
async fn names_are_asked_of_the_resolver_by_tcp_where_a_datagram_is_too_short() {
    story(async {
        let (_world, mut laptop) =
            world_with(Outward { resolver: Some(resolver().await), ..Outward::default() }).await;
        let mut ask = async |query: &[u8]| {
            let message = DnsMessage { message: Bytes::copy_from_slice(query) };
            laptop
                .client
                .resolve(with_token(message, &laptop.token))
                .await
                .map(|reply| reply.into_inner().message)
        };
        let answer = ask(b"id\x01\0\0\x01\0\0\0\0\0\0 a name").await.expect("an answer");
        assert_eq!(&answer[..], b"id\x81\0\0\x01\0\0\0\0\0\0 a name");
        let answer = ask(b"id\x01\0\0\x01\0\0\0\0\0\0 long").await.expect("an answer");
        assert_eq!(answer.len(), 17 + 2000, "the whole answer");
        let refused = ask(b"id").await.expect_err("no question");
        assert!(refused.message().contains("2 bytes"), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn a_silent_resolver_is_an_error_and_no_hang() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let (_world, mut laptop) =
        world_with(Outward { resolver: silent.local_addr().ok(), ..Outward::default() }).await;
    let message = DnsMessage { message: Bytes::from_static(b"id\x01\0\0\x01\0\0\0\0\0\0 a name") };
    let asked = laptop.client.resolve(with_token(message, &laptop.token));
    let error =
        tokio::time::timeout(Duration::from_secs(8), asked).await.expect("a bound").expect_err("no answer");
    assert_eq!(error.code(), Code::Unavailable, "{error}");
}

#[tokio::test]
async fn the_container_s_environment_is_reported_without_our_variables() {
    story(async {
        let (_world, mut laptop) = world().await;
        let asked = laptop.client.surroundings(with_token(SurroundingsRequest {}, &laptop.token)).await;
        let environment = asked.expect("an answer").into_inner().environment;
        let has = |name: &str| environment.iter().any(|variable| variable.name == name.as_bytes());
        assert!(has("CARGO_PKG_VERSION"), "what cargo gives to tests is there");
        assert!(!has("CARGO_PKG_NAME"), "what was called ours is not");
    })
    .await;
}

#[tokio::test]
async fn without_a_token_nothing_is_reached() {
    story(async {
        let (_world, mut laptop) = world().await;
        let message = DnsMessage { message: Bytes::from_static(b"id\x01\0\0\x01\0\0\0\0\0\0 a name") };
        let refused = laptop.client.resolve(with_token(message, "guessed")).await.expect_err("no token");
        assert_eq!(refused.code(), Code::Unauthenticated);
        let refused = laptop.client.surroundings(SurroundingsRequest {}).await.expect_err("no token");
        assert_eq!(refused.code(), Code::Unauthenticated);
    })
    .await;
}
