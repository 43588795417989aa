//! How fast one stream goes through the tunnel, beside two plain TCP relays in its place. All in one process, on loopback:
//!
//!   sender ─► agent ─► gRPC ─► laptop ─► receiver        sender ─► relay ─► TCP ─► relay ─► receiver
//!
//! The agent is the real one, with a session that takes everything; the laptop is what a daemon does with a stream.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use bridge_agent::{Agent, Config, Forward};
use bridge_benches::{Budget, Row, median, write};
use bridge_proto::tunnel::alive::SAY_EVERY;
use bridge_proto::tunnel::{
    Budget as Memory, HTTP2_CONNECTION_WINDOW, HTTP2_STREAM_WINDOW, TUNNEL_BUDGET, TunnelStream, offered,
};
use bridge_proto::v1::{self, agent_client::AgentClient, from_agent, from_daemon};
use bridge_proto::version;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{IntervalStream, ReceiverStream};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

const BYTES: u64 = 1 << 30;
const ROUNDS: usize = 5;
const PIECE: usize = 256 * 1024;
/// As the daemon's.
const COPY_BUFFER: usize = 32 * 1024;
const KEY: &[u8] = b"bench";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let local = receiver.local_addr()?;
    let relays = relay(relay(local).await?).await?;
    let (tunnel, _session) = tunnel(local).await?;
    // The agent's own knock, by which it knows that the origin is there.
    receiver.accept().await?;

    let mut rows = Vec::new();
    for (to_laptop, what) in [(true, "to the laptop"), (false, "from the laptop")] {
        let (mut through_tunnel, mut through_relays) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            through_relays.push(rate(&receiver, relays, to_laptop).await.context("through the relays")?);
            through_tunnel.push(rate(&receiver, tunnel, to_laptop).await.context("through the tunnel")?);
        }
        let (ours, theirs) = (median(&through_tunnel), median(&through_relays));
        rows.push(Row {
            what: format!("one stream, {what}"),
            measured: format!("{ours:.0} MB/s"),
            beside: format!("two TCP relays {theirs:.0}"),
            figure: ours / theirs,
            unit: "×".to_owned(),
            budget: Some(Budget::AtLeast(1.0)),
            samples: json!({"tunnel": through_tunnel, "relays": through_relays, "unit": "MB/s"}),
        });
    }
    write("bulk", &rows)
}

/// MB/s of one connection to `through`, which leads to `receiver`.
async fn rate(receiver: &TcpListener, through: SocketAddr, to_laptop: bool) -> anyhow::Result<f64> {
    let mut caller = TcpStream::connect(through).await?;
    // What passes a first byte on is connected all the way.
    caller.write_all(b"?").await?;
    let (mut local, _) = receiver.accept().await?;
    ensure!(local.read_u8().await? == b'?', "the first byte is the first");
    let began = Instant::now();
    let (from, to) = if to_laptop { (&mut caller, &mut local) } else { (&mut local, &mut caller) };
    let ((), received) = tokio::try_join!(send(from), receive(to))?;
    ensure!(received == BYTES, "{received} bytes of {BYTES} came");
    Ok(BYTES as f64 / 1e6 / began.elapsed().as_secs_f64())
}

async fn send(to: &mut TcpStream) -> anyhow::Result<()> {
    let piece = vec![7; PIECE];
    for _ in 0..BYTES / PIECE as u64 {
        to.write_all(&piece).await?;
    }
    Ok(to.shutdown().await?)
}

async fn receive(from: &mut TcpStream) -> anyhow::Result<u64> {
    let (mut piece, mut received) = (vec![0; PIECE], 0);
    loop {
        match from.read(&mut piece).await? {
            0 => return Ok(received),
            more => received += more as u64,
        }
    }
}

/// A plain TCP relay to an address.
async fn relay(to: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await?;
                copy_bidirectional_with_sizes(&mut caller, &mut far, COPY_BUFFER, COPY_BUFFER).await
            });
        }
    });
    Ok(address)
}

/// What must be kept for the tunnel to live.
type Kept = (Agent, tempfile::NamedTempFile);

/// An agent, and a laptop that takes everything to its local port: where to call.
async fn tunnel(local: SocketAddr) -> anyhow::Result<(SocketAddr, Kept)> {
    let key_file = tempfile::NamedTempFile::new()?;
    std::fs::write(key_file.path(), KEY)?;
    let agent = Agent::start(Config {
        forward: vec![Forward { listen: 0, origin: local }],
        control: 0,
        readiness: 0,
        key_file: key_file.path().to_owned(),
        name: "bench".to_owned(),
    })
    .await?;
    let mut client = client(agent.control).await?;
    let session = v1::Session { id: "bench".into(), user: "bench".into(), since_ms: 1 };
    let request =
        v1::OpenRequest { version: Some(version::ours()), key: KEY.to_vec(), session: Some(session) };
    let token = client.open(request).await?.into_inner().token;

    let everything = v1::Route {
        target_port: agent.ports[0].into(),
        local_port: local.port().into(),
        r#match: Some(v1::Match::default()),
        ..v1::Route::default()
    };
    let say = |kind| v1::FromDaemon { kind: Some(kind) };
    let routes = say(from_daemon::Kind::Routes(v1::Routes { revision: 1, routes: vec![everything] }));
    let every = IntervalStream::new(tokio::time::interval(SAY_EVERY));
    let alive = every.map(move |_| say(from_daemon::Kind::Alive(v1::Alive {})));
    let say = tokio_stream::iter([routes]).chain(alive);
    let mut said = client.attend(with_token(say, &token)?).await?.into_inner();
    loop {
        let answer = said.next().await.context("the agent ended the session")??;
        if let Some(from_agent::Kind::Routed(routed)) = answer.kind {
            ensure!(routed.refused.is_empty(), "{}", routed.refused);
            break;
        }
    }
    tokio::spawn(async move { while let Some(Ok(_)) = said.next().await {} });
    let memory = Memory::new(TUNNEL_BUDGET);
    for _ in 0..4 {
        tokio::spawn(take_calls(client.clone(), token.clone(), local, memory.clone()));
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, agent.ports[0]));
    Ok((address, (agent, key_file)))
}

async fn client(control: u16) -> anyhow::Result<AgentClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{control}"))?
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW);
    Ok(AgentClient::new(endpoint.connect().await?))
}

fn with_token<T>(message: T, token: &str) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-bridge-token", token.parse()?);
    Ok(request)
}

/// Keeps one call parked, and carries each stream that comes of it to the local port.
async fn take_calls(
    mut client: AgentClient<Channel>,
    token: String,
    local: SocketAddr,
    memory: Memory,
) -> anyhow::Result<()> {
    loop {
        let (outgoing, say) = mpsc::channel::<Result<v1::Frame, Status>>(TunnelStream::QUEUE);
        let say = ReceiverStream::new(say).filter_map(Result::ok);
        let answers = client.accept(with_token(say, &token)?).await?.into_inner();
        let Some(offer) = offered(answers, outgoing, &memory).await? else { continue };
        let mut stream = offer.accept().await?;
        let mut far = TcpStream::connect(local).await?;
        // What goes wrong, the sender or the receiver finds out.
        let _ = copy_bidirectional_with_sizes(&mut far, &mut stream, COPY_BUFFER, COPY_BUFFER).await;
    }
}
