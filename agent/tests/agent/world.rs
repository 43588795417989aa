//! An agent between an origin and laptops, on ports that the kernel chose.

use std::net::SocketAddr;
use std::time::Duration;

use bridge_agent::{Agent, Config, Forward, Outward};
use bridge_proto::proof::{self, LENGTH, NotOpened, Opening};
use bridge_proto::tunnel::{Budget, TUNNEL_BUDGET, TunnelStream, offered};
use bridge_proto::v1::agent_client::AgentClient;
use bridge_proto::v1::{
    Alive, Alternative, Cause, Condition, Counts, FromAgent, FromDaemon, HeaderCondition, Match, Route,
    Routed, Routes, Session, condition, from_agent, from_daemon,
};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::peer::{Peer, Server, dead_port};

pub(crate) const KEY: &[u8] = b"the stand-in's key";
pub(crate) const POD: &str = "agent-1";

/// Ends every story in bounded time.
pub(crate) async fn story(story: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(30), story).await.expect("the story should have ended by now");
}

pub(crate) struct World {
    pub(crate) origin: Server,
    pub(crate) agent: Agent,
    pub(crate) key_file: tempfile::NamedTempFile,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_outward(Outward::default()).await
    }

    /// With these settings of outbound.
    pub(crate) async fn with_outward(outward: Outward) -> Self {
        Self::with(outward, None).await
    }

    /// With this amount of memory, in bytes.
    pub(crate) async fn with_memory(memory: u64) -> Self {
        Self::with(Outward::default(), Some(memory)).await
    }

    async fn with(outward: Outward, memory: Option<u64>) -> Self {
        let origin = Server::start().await;
        let (agent, key_file) = agent_for(origin.address(), outward, memory).await;
        // The agent's own first connection, by which it learns that the origin is there.
        origin.accepts().await.hears_end().await;
        Self { origin, agent, key_file }
    }

    /// An origin that refuses connections.
    pub(crate) async fn without_origin() -> Self {
        let nobody = ([127, 0, 0, 1], dead_port().await).into();
        let (agent, key_file) = agent_for(nobody, Outward::default(), None).await;
        Self { origin: Server::start().await, agent, key_file }
    }

    pub(crate) fn port(&self) -> u16 {
        self.agent.ports[0]
    }

    pub(crate) async fn client(&self) -> Peer {
        Peer::connect(self.port()).await
    }

    /// A client, and the origin's connection that belongs to it.
    pub(crate) async fn connection(&self) -> (Peer, Peer) {
        let client = self.client().await;
        (client, self.origin.accepts().await)
    }

    /// Requests with `x-bridge: <user>` go to this port.
    pub(crate) fn route(&self, user: &str, local_port: u16) -> Route {
        Route {
            target_port: self.port().into(),
            local_port: local_port.into(),
            r#match: Some(by_header("x-bridge", user)),
            ..Route::default()
        }
    }

    /// Requests that no other route took go to this port.
    pub(crate) fn everything(&self, local_port: u16) -> Route {
        Route { r#match: Some(Match::default()), ..self.route("", local_port) }
    }

    /// The origin answers requests with `x-bridge: <user>`, and this port gets copies.
    pub(crate) fn copying(&self, user: &str, local_port: u16) -> Route {
        Route { copy: true, ..self.route(user, local_port) }
    }

    /// A laptop that has this route and takes calls.
    pub(crate) async fn laptop(&self, user: &str, route: Route) -> Laptop {
        let mut laptop = Laptop::attach(self.agent.control, user).await;
        laptop.park(8).await;
        laptop.routes(vec![route]).await;
        laptop
    }

    /// A laptop that gets copies of alice's requests, and its local process.
    pub(crate) async fn copies(&self) -> (Laptop, Server) {
        let local = Server::local().await;
        (self.laptop("alice", self.copying("alice", local.port())).await, local)
    }

    /// A laptop with alice's route to a local process.
    pub(crate) async fn alice(&self) -> (Laptop, Server) {
        let local = Server::local().await;
        (self.laptop("alice", self.route("alice", local.port())).await, local)
    }
}

/// Laptops may reach loopback, where all of the tests' servers are.
pub(crate) fn loopback() -> Outward {
    Outward { also_allowed: vec!["127.0.0.0/8".parse().expect("a network")], ..Outward::default() }
}

async fn agent_for(
    origin: SocketAddr,
    outward: Outward,
    memory: Option<u64>,
) -> (Agent, tempfile::NamedTempFile) {
    let key_file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(key_file.path(), KEY).expect("it can be written");
    let config = Config {
        forward: vec![Forward { listen: 0, origin }],
        control: 0,
        readiness: 0,
        metrics: Some(0),
        key_file: key_file.path().to_owned(),
        name: POD.to_owned(),
        restore: None,
        memory,
        outward,
    };
    (Agent::start(config).await.expect("free ports"), key_file)
}

pub(crate) fn by_header(name: &str, value: &str) -> Match {
    let header = HeaderCondition { name: name.to_owned(), value: value.to_owned() };
    let condition = Condition { kind: Some(condition::Kind::Header(header)) };
    Match { any_of: vec![Alternative { all_of: vec![condition] }] }
}

/// A daemon, as far as the agent can tell.
pub(crate) struct Laptop {
    pub(crate) client: AgentClient<Channel>,
    pub(crate) token: String,
    pub(crate) draining: watch::Receiver<bool>,
    /// The last counts from the agent.
    pub(crate) counts: watch::Receiver<Counts>,
    to_agent_tx: mpsc::Sender<FromDaemon>,
    routed_rx: mpsc::Receiver<Routed>,
    revision: u64,
    tasks: JoinSet<()>,
}

pub(crate) async fn client(control: u16) -> AgentClient<Channel> {
    AgentClient::new(channel(control).await)
}

pub(crate) async fn channel(control: u16) -> Channel {
    let endpoint = Channel::from_shared(format!("http://127.0.0.1:{control}")).expect("an address");
    endpoint.connect().await.expect("the control port listens")
}

/// A session, and its daemon's means to prove itself.
#[derive(Clone)]
pub(crate) struct Daemon {
    pub(crate) key: Vec<u8>,
    /// The pod that it intends to reach.
    pub(crate) pod: String,
    pub(crate) session: Session,
    pub(crate) secret: [u8; LENGTH],
}

/// A daemon that knows the key.
pub(crate) fn daemon(id: &str, user: &str, since_ms: u64) -> Daemon {
    let session = Session { id: id.to_owned(), user: user.to_owned(), since_ms };
    Daemon { key: KEY.to_vec(), pod: POD.to_owned(), session, secret: proof::fingerprint(id.as_bytes()) }
}

impl Daemon {
    /// Opens its session; returns the token.
    pub(crate) async fn opens(&self, channel: Channel) -> Result<String, NotOpened> {
        let Self { key, pod, session, secret } = self;
        let opening = Opening { key, pod, nonce: rand::random(), session, secret };
        Ok(proof::open(channel, opening).await?.token)
    }
}

pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-bridge-token", token.parse().expect("a token is text"));
    request
}

impl Laptop {
    pub(crate) async fn attach(control: u16, user: &str) -> Self {
        Self::attach_as(control, daemon(&format!("session of {user}"), user, 1000)).await
    }

    pub(crate) async fn attach_as(control: u16, daemon: Daemon) -> Self {
        let channel = channel(control).await;
        let token = daemon.opens(channel.clone()).await.expect("the key is right");
        let mut client = AgentClient::new(channel);
        let (to_agent_tx, to_agent_rx) = mpsc::channel(16);
        let attend = with_token(ReceiverStream::new(to_agent_rx), &token);
        let from_agent = client.attend(attend).await.expect("the token is right").into_inner();
        let (routed_tx, routed_rx) = mpsc::channel(16);
        let (draining_tx, draining) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(say_alive(to_agent_tx.downgrade()));
        let (counts_tx, counts) = watch::channel(Counts::default());
        tasks.spawn(listen(from_agent, routed_tx, draining_tx, counts_tx));
        Self { client, token, draining, counts, to_agent_tx, routed_rx, revision: 0, tasks }
    }

    /// Sets routes, and expects them to be accepted.
    pub(crate) async fn routes(&mut self, routes: Vec<Route>) {
        assert_eq!(self.tries_routes(routes).await, "");
    }

    /// The same of a session that replaces the origin.
    pub(crate) async fn replaces_the_origin(&mut self, routes: Vec<Route>) {
        assert_eq!(self.sends(Routes { routes, without_origin: true, ..Routes::default() }).await, "");
    }

    /// Sets routes; returns why they are refused, if they are.
    pub(crate) async fn tries_routes(&mut self, routes: Vec<Route>) -> String {
        self.sends(Routes { routes, ..Routes::default() }).await
    }

    async fn sends(&mut self, routes: Routes) -> String {
        self.revision += 1;
        let kind = from_daemon::Kind::Routes(Routes { revision: self.revision, ..routes });
        self.to_agent_tx.send(FromDaemon { kind: Some(kind) }).await.expect("the session lives");
        let routed = self.routed_rx.recv().await.expect("the session lives");
        assert_eq!(routed.revision, self.revision);
        routed.refused
    }

    /// Keeps this number of calls parked, and carries each stream to the local port that it asks for.
    pub(crate) async fn park(&mut self, calls: usize) {
        for _ in 0..calls {
            let (client, token) = (self.client.clone(), self.token.clone());
            self.tasks.spawn(async move { while serve_one(client.clone(), &token).await.is_ok() {} });
        }
    }

    /// The session is over: resolves when the agent has ended the control call.
    pub(crate) async fn is_ended(&mut self) {
        while self.routed_rx.recv().await.is_some() {}
    }

    /// Ends the control call, and nothing else: streams and parked calls stay.
    pub(crate) fn stops_attending(&mut self) {
        let (nobody_tx, _) = mpsc::channel(1);
        self.to_agent_tx = nobody_tx;
    }
}

async fn say_alive(to_agent_tx: mpsc::WeakSender<FromDaemon>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(to_agent_tx) = to_agent_tx.upgrade() else { return };
        let alive = FromDaemon { kind: Some(from_daemon::Kind::Alive(Alive {})) };
        if to_agent_tx.send(alive).await.is_err() {
            return;
        }
    }
}

async fn listen(
    mut from_agent: Streaming<FromAgent>,
    routed_tx: mpsc::Sender<Routed>,
    draining_tx: watch::Sender<bool>,
    counts_tx: watch::Sender<Counts>,
) {
    while let Ok(Some(message)) = from_agent.message().await {
        let heard = match message.kind {
            Some(from_agent::Kind::Routed(routed)) => routed_tx.send(routed).await.is_ok(),
            Some(from_agent::Kind::Draining(_)) => draining_tx.send(true).is_ok(),
            Some(from_agent::Kind::Counts(counts)) => counts_tx.send(counts).is_ok(),
            Some(from_agent::Kind::Alive(_)) | None => true,
        };
        if !heard {
            return;
        }
    }
}

/// A local port that the laptop knows to lead back into the cluster.
pub(crate) const LEADS_BACK: u16 = 7;

/// Parks one call and carries the stream that comes over it.
async fn serve_one(mut client: AgentClient<Channel>, token: &str) -> Result<(), Status> {
    let (outgoing, outgoing_rx) = mpsc::channel(TunnelStream::QUEUE);
    let frames =
        futures::StreamExt::filter_map(ReceiverStream::new(outgoing_rx), |frame| async { Result::ok(frame) });
    let incoming = client.accept(with_token(frames, token)).await?.into_inner();
    let Some(offered) = offered(incoming, outgoing, &Budget::new(TUNNEL_BUDGET)).await? else {
        return Ok(());
    };
    let port = u16::try_from(offered.open.local_port).expect("a port");
    if port == LEADS_BACK {
        let _ = offered.refuse(Cause::Loop, "port 7 is bridge forward's").await;
        return Ok(());
    }
    tokio::spawn(async move {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Err(error) => {
                let _ = offered.refuse(Cause::Refused, error.to_string()).await;
            }
            Ok(mut local) => {
                local.set_nodelay(true).expect("a socket");
                let Ok(mut stream) = offered.accept().await else { return };
                let copied = tokio::io::copy_bidirectional(&mut stream, &mut local).await;
                if copied.is_err() {
                    let _ = local.set_zero_linger();
                    stream.reset(Cause::Reset, "the local process ended the connection");
                }
            }
        }
    });
    Ok(())
}
