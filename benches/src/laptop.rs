//! A session that takes everything, in this process: the real agent, and what a daemon does with each stream.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use bridge_agent::{Agent, Config, Forward};
use bridge_proto::tunnel::alive::SAY_EVERY;
use bridge_proto::tunnel::{
    Budget as Memory, HTTP2_CONNECTION_WINDOW, HTTP2_FRAME, HTTP2_STREAM_WINDOW, TUNNEL_BUDGET, TunnelStream,
    offered,
};
use bridge_proto::v1::{self, agent_client::AgentClient, from_agent, from_daemon};
use bridge_proto::version;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{IntervalStream, ReceiverStream};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// As the daemon's.
pub const COPY_BUFFER: usize = 32 * 1024;
const KEY: &[u8] = b"bench";

/// An agent and the session at it. Dropped, both end.
#[derive(Debug)]
pub struct Laptop {
    /// Where callers connect to.
    pub address: SocketAddr,
    _agent: Agent,
    _key_file: tempfile::NamedTempFile,
}

impl Laptop {
    /// An agent, all of whose connections come to the local port. So many of them are taken at a time.
    ///
    /// # Errors
    ///
    /// If agent and session do not come to terms.
    pub async fn start(local: &TcpListener, parked: usize) -> anyhow::Result<Self> {
        let to = local.local_addr()?;
        let key_file = tempfile::NamedTempFile::new()?;
        std::fs::write(key_file.path(), KEY)?;
        let agent = Agent::start(Config {
            forward: vec![Forward { listen: 0, origin: to }],
            control: 0,
            readiness: 0,
            metrics: None,
            key_file: key_file.path().to_owned(),
            name: "bench".to_owned(),
        })
        .await?;
        let client = client(agent.control).await?;
        let token = attend(client.clone(), agent.ports[0], to.port()).await?;
        let memory = Memory::new(TUNNEL_BUDGET);
        for _ in 0..parked {
            tokio::spawn(take_calls(client.clone(), token.clone(), to, memory.clone()));
        }
        // The agent's own knock, by which it knows that the origin is there.
        local.accept().await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, agent.ports[0]));
        Ok(Self { address, _agent: agent, _key_file: key_file })
    }
}

async fn client(control: u16) -> anyhow::Result<AgentClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{control}"))?
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .max_frame_size(HTTP2_FRAME)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW);
    Ok(AgentClient::new(endpoint.connect().await?))
}

/// Opens a session that takes everything, and returns its token once its route is in force.
async fn attend(mut client: AgentClient<Channel>, port: u16, local_port: u16) -> anyhow::Result<String> {
    let session = v1::Session { id: "bench".into(), user: "bench".into(), since_ms: 1 };
    let request =
        v1::OpenRequest { version: Some(version::ours()), key: KEY.to_vec(), session: Some(session) };
    let token = client.open(request).await?.into_inner().token;
    let everything = v1::Route {
        target_port: port.into(),
        local_port: local_port.into(),
        r#match: Some(v1::Match::default()),
        ..v1::Route::default()
    };
    let say = |kind| v1::FromDaemon { kind: Some(kind) };
    let routes = say(from_daemon::Kind::Routes(v1::Routes { revision: 1, routes: vec![everything] }));
    let every = IntervalStream::new(tokio::time::interval(SAY_EVERY));
    let alive = every.map(move |_| say(from_daemon::Kind::Alive(v1::Alive {})));
    let said = tokio_stream::iter([routes]).chain(alive);
    let mut said = client.attend(with_token(said, &token)?).await?.into_inner();
    loop {
        let answer = said.next().await.context("the agent ended the session")??;
        if let Some(from_agent::Kind::Routed(routed)) = answer.kind {
            ensure!(routed.refused.is_empty(), "{}", routed.refused);
            break;
        }
    }
    tokio::spawn(async move { while let Some(Ok(_)) = said.next().await {} });
    Ok(token)
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
