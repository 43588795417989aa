//! A session at the real agent, with a daemon's treatment of each stream.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use bridge_agent::{Agent, Config, Forward, Outward};
use bridge_proto::proof::{self, Opening};
use bridge_proto::tunnel::alive::SAY_EVERY;
use bridge_proto::tunnel::{
    Budget as Memory, HTTP2_CONNECTION_WINDOW, HTTP2_FRAME, HTTP2_STREAM_WINDOW, TUNNEL_BUDGET, TunnelStream,
    offered,
};
use bridge_proto::v1::{self, agent_client::AgentClient, from_agent, from_daemon};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{IntervalStream, ReceiverStream};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// The daemon's size.
pub const COPY_BUFFER: usize = 32 * 1024;
pub const KEY: &[u8] = b"bench";
/// The agents' pod name here.
pub const POD: &str = "bench";

/// The connections or requests that come to the laptop, and their local port.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The agent's port.
    pub port: u16,
    /// Requests with this header; `None`: everything.
    pub header: Option<(&'static str, &'static str)>,
    pub to: SocketAddr,
}

/// The session; it ends when dropped.
#[derive(Debug)]
pub struct Laptop {
    _tasks: JoinSet<()>,
}

impl Laptop {
    /// A session at the agent with this control port, with this number of parked calls.
    ///
    /// # Errors
    ///
    /// If the agent does not accept the session.
    pub async fn attach(control: u16, route: Route, parked: usize) -> anyhow::Result<Self> {
        let channel = channel(control).await?;
        let client = AgentClient::new(channel.clone());
        let mut tasks = JoinSet::new();
        let token = attend(channel, route, &mut tasks).await?;
        let memory = Memory::new(TUNNEL_BUDGET);
        for _ in 0..parked {
            let (client, token, memory) = (client.clone(), token.clone(), memory.clone());
            tasks.spawn(async move { while take_call(&client, &token, route.to, &memory).await.is_ok() {} });
        }
        Ok(Self { _tasks: tasks })
    }
}

/// An agent in this process, with all connections going to a local port.
#[derive(Debug)]
pub struct Everything {
    /// The address for callers.
    pub address: SocketAddr,
    _laptop: Laptop,
    _agent: Agent,
    _key_file: tempfile::NamedTempFile,
}

impl Everything {
    /// This number of connections is taken without a round trip.
    ///
    /// # Errors
    ///
    /// If the agent does not accept the session.
    pub async fn to(local: &TcpListener, parked: usize) -> anyhow::Result<Self> {
        let to = local.local_addr()?;
        let key_file = tempfile::NamedTempFile::new()?;
        std::fs::write(key_file.path(), KEY)?;
        let agent = Agent::start(Config {
            forward: vec![Forward { listen: 0, origin: to }],
            control: 0,
            readiness: 0,
            metrics: None,
            key_file: key_file.path().to_owned(),
            name: POD.to_owned(),
            outward: Outward::default(),
            restore: None,
            memory: None,
        })
        .await?;
        let port = agent.ports[0];
        let laptop = Laptop::attach(agent.control, Route { port, header: None, to }, parked).await?;
        // The agent's own connection, by which it learns that the origin is there.
        local.accept().await?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { address, _laptop: laptop, _agent: agent, _key_file: key_file })
    }
}

async fn channel(control: u16) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{control}"))?
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .max_frame_size(HTTP2_FRAME)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW);
    Ok(endpoint.connect().await?)
}

/// Opens a session, and returns its token once its route is in force.
async fn attend(channel: Channel, route: Route, tasks: &mut JoinSet<()>) -> anyhow::Result<String> {
    let name = route.header.map_or("bench", |(_, value)| value);
    let session = v1::Session { id: name.into(), user: name.into(), since_ms: 1 };
    let (nonce, secret) = ([0; proof::LENGTH], &[0; proof::LENGTH]);
    let opening = Opening { key: KEY, pod: POD, nonce, session: &session, secret };
    let token = proof::open(channel.clone(), opening).await?.token;
    let mut client = AgentClient::new(channel);
    let say = |kind| v1::FromDaemon { kind: Some(kind) };
    let routes = say(from_daemon::Kind::Routes(v1::Routes {
        revision: 1,
        routes: vec![in_words(route)],
        without_origin: false,
    }));
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
    tasks.spawn(async move { while let Some(Ok(_)) = said.next().await {} });
    Ok(token)
}

fn in_words(route: Route) -> v1::Route {
    let condition = |(name, value): (&str, &str)| v1::Condition {
        kind: Some(v1::condition::Kind::Header(v1::HeaderCondition {
            name: name.into(),
            value: value.into(),
        })),
    };
    let alternative = |header| v1::Alternative { all_of: vec![condition(header)] };
    v1::Route {
        target_port: route.port.into(),
        local_port: route.to.port().into(),
        r#match: Some(v1::Match { any_of: route.header.map(alternative).into_iter().collect() }),
        ..v1::Route::default()
    }
}

fn with_token<T>(message: T, token: &str) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-bridge-token", token.parse()?);
    Ok(request)
}

/// Parks one call, and carries its stream to the local port while the next call is parked.
async fn take_call(
    client: &AgentClient<Channel>,
    token: &str,
    local: SocketAddr,
    memory: &Memory,
) -> anyhow::Result<()> {
    let (outgoing, say) = mpsc::channel::<Result<v1::Frame, Status>>(TunnelStream::QUEUE);
    let say = ReceiverStream::new(say).filter_map(Result::ok);
    let answers = client.clone().accept(with_token(say, token)?).await?.into_inner();
    let Some(offer) = offered(answers, outgoing, memory).await? else { return Ok(()) };
    tokio::spawn(async move {
        // The caller or the local process notices failures.
        let Ok(mut far) = TcpStream::connect(local).await else { return };
        let Ok(mut stream) = offer.accept().await else { return };
        let _ = copy_bidirectional_with_sizes(&mut far, &mut stream, COPY_BUFFER, COPY_BUFFER).await;
    });
    Ok(())
}
