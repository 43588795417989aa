//! Opening a session, and what an agent learns before it has proven itself.

use bridge_proto::proof::{self, Handshake, LENGTH, NotOpened};
use bridge_proto::v1::agent_client::AgentClient;
use bridge_proto::v1::{ChallengeReply, ChallengeRequest, OpenRequest};
use bridge_proto::version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::world::{KEY, POD, World, channel, client, daemon, story};

const NONCE: [u8; LENGTH] = [1; LENGTH];

async fn challenge(client: &mut AgentClient<Channel>) -> Result<ChallengeReply, Status> {
    let request = ChallengeRequest { version: Some(version::ours()), nonce: NONCE.to_vec() };
    client.challenge(request).await.map(tonic::Response::into_inner)
}

/// A client that knows this key opens a session after that challenge.
fn answer(key: &[u8], asked: &ChallengeReply) -> OpenRequest {
    let handshake = Handshake { daemon_nonce: &NONCE, agent_nonce: &asked.nonce, pod: POD };
    OpenRequest {
        version: Some(version::ours()),
        session: Some(daemon("s", "alice", 1).session),
        proof: proof::of_daemon(key, handshake).to_vec(),
        secret: [2; LENGTH].to_vec(),
    }
}

async fn refused(client: &mut AgentClient<Channel>, request: OpenRequest, why: &str) {
    let status = client.open(request).await.expect_err(why);
    assert_eq!(status.code(), Code::Unauthenticated, "{why}: {status}");
}

#[tokio::test]
async fn both_sides_know_the_key_or_no_session_is_opened() {
    story(async {
        let world = World::new().await;
        let mut mallory = client(world.agent.control).await;
        let asked = challenge(&mut mallory).await.expect("anyone may ask");
        assert_eq!(asked.agent, POD);
        refused(&mut mallory, answer(b"wrong", &asked), "a wrong key").await;

        let mut other = daemon("s", "alice", 1);
        other.key = b"new".to_vec();
        let to = || channel(world.agent.control);
        let error = other.opens(to().await).await.expect_err("the agent has another key");
        assert!(matches!(error, NotOpened::NoAgent { .. }), "{error}");
        // The key is read again each time: it may be late, or replaced.
        std::fs::write(world.key_file.path(), b"new").expect("it can be written");
        other.opens(to().await).await.expect("now it is right");
        std::fs::write(world.key_file.path(), b"").expect("it can be written");
        let error = other.opens(to().await).await.expect_err("no key is not the empty key");
        assert!(error.to_string().contains("cannot read its key"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_challenge_is_good_for_one_answer_of_its_own_connection() {
    story(async {
        let world = World::new().await;
        let mut one = client(world.agent.control).await;
        let mut other = client(world.agent.control).await;

        let asked = challenge(&mut one).await.expect("anyone may ask");
        refused(&mut other, answer(KEY, &asked), "another connection was asked").await;
        let _ = challenge(&mut other).await.expect("anyone may ask");
        refused(&mut other, answer(KEY, &asked), "this connection was asked something else").await;
        one.open(answer(KEY, &asked)).await.expect("the one that was asked");
        refused(&mut one, answer(KEY, &asked), "it was answered already").await;

        let mut agents = asked.clone();
        agents.nonce = challenge(&mut one).await.expect("anyone may ask").nonce;
        let mut reflected = answer(KEY, &agents);
        reflected.proof = asked.proof;
        refused(&mut one, reflected, "the agent's own proof").await;
    })
    .await;
}

#[tokio::test]
async fn a_false_agent_that_relays_the_challenge_to_a_real_one_learns_nothing_of_the_session() {
    story(async {
        // Given another user's pod, which relays all bytes to an agent and back.
        let world = World::new().await;
        let (port, heard) = hands_on_to(world.agent.control).await;

        // When a daemon calls that pod,
        let mut alice = daemon("alices-session", "alice", 1);
        alice.pod = "mallory-1".to_owned();
        let error = alice.opens(channel(port).await).await.expect_err("it is no agent's pod");

        // then it sees that the proof is not that pod's, and has sent only a nonce.
        assert!(matches!(&error, NotOpened::NoAgent { pod } if pod == "mallory-1"), "{error}");
        let heard = heard.await.expect("the relay's own code is right");
        let contains = |what: &[u8]| heard.windows(what.len()).any(|part| part == what);
        let said = version::ours().program;
        assert!(
            contains(said.as_bytes()),
            "expected the challenge, with a version, in {} bytes",
            heard.len()
        );
        for secret in [KEY, b"alices-session", b"alice", &alice.secret] {
            assert!(!contains(secret), "{:?} was sent", String::from_utf8_lossy(secret));
        }
    })
    .await;
}

/// A relay for one connection; returns what the daemon sent over it.
async fn hands_on_to(control: u16) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    let heard = tokio::spawn(async move {
        let (daemon, _) = listener.accept().await.expect("a connection");
        let (mut from_daemon, mut to_daemon) = daemon.into_split();
        let agent = TcpStream::connect(("127.0.0.1", control)).await.expect("the port listens");
        let (mut from_agent, mut to_agent) = agent.into_split();
        let back = tokio::spawn(async move { tokio::io::copy(&mut from_agent, &mut to_daemon).await });
        let (mut heard, mut part) = (Vec::new(), vec![0; 4096]);
        while let Ok(read @ 1..) = from_daemon.read(&mut part).await {
            heard.extend_from_slice(&part[..read]);
            if to_agent.write_all(&part[..read]).await.is_err() {
                break;
            }
        }
        back.abort();
        heard
    });
    (port, heard)
}

#[tokio::test]
async fn programs_of_other_versions_get_an_error_that_names_the_older_one() {
    story(async {
        // An old daemon, which would have sent the key at once.
        let world = World::new().await;
        let mut old = client(world.agent.control).await;
        let mut request = OpenRequest { version: Some(version::ours()), ..OpenRequest::default() };
        request.version.get_or_insert_default().revision = 1;
        request.version.get_or_insert_default().oldest = 1;
        let status = old.open(request).await.expect_err("too old");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("(protocol 1) is too old for the agent "), "{status}");

        // An old agent, which knows no challenge.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let old = tonic::transport::Server::builder().add_routes(tonic::service::Routes::default());
        let old = tokio::spawn(old.serve_with_incoming(incoming));
        let error = daemon("s", "alice", 1).opens(channel(port).await).await.expect_err("too old");
        assert!(matches!(error, NotOpened::Version(_)), "{error}");
        assert!(error.to_string().starts_with("the agent is too old for this bridge "), "{error}");
        old.abort();
    })
    .await;
}
