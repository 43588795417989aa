//! One tunnel to one agent: port-forward, the handshake in which both sides prove the key, the control call, and the
//! parked calls on which the agent opens inbound streams.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bridge_cluster::client::Cluster;
use bridge_cluster::error::ClusterError;
use bridge_cluster::portforward;
use bridge_proto::proof::{self, NotOpened, Opened, Opening};
use bridge_proto::tunnel::alive::{Listened, SAY_EVERY, SILENT_AFTER};
use bridge_proto::tunnel::{
    Budget, HTTP2_CONNECTION_WINDOW, HTTP2_FRAME, HTTP2_STREAM_WINDOW, HTTP2_STREAMS, TUNNEL_BUDGET,
    TunnelStream, offered,
};
use bridge_proto::v1::agent_client::AgentClient;
use bridge_proto::v1::{self, from_agent, from_daemon};
use bridge_proto::version::COPIES;
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::inbound::{self, Inbound};

/// Accept calls that wait for the agent; more if more streams than that are open: then as many as those.
const PARKED: usize = 32;
/// Enough for two round trips: an agent that does not answer by then is none.
const OPEN_WITHIN: Duration = Duration::from_secs(5);
/// Limit on the accept calls of a tunnel: those that are parked, in use, or ended on this side alone.
const MOST_CALLS: usize = 4096;

/// The purpose of a tunnel.
#[derive(Clone)]
pub(crate) struct Purpose {
    pub(crate) cluster: Cluster,
    pub(crate) control_port: u16,
    pub(crate) key: Arc<[u8]>,
    pub(crate) session: v1::Session,
    /// The session's own key: never logged.
    pub(crate) secret: Arc<[u8; proof::LENGTH]>,
    /// The routes in force; none while the session ends.
    pub(crate) routes: watch::Receiver<v1::Routes>,
    pub(crate) inbound: Arc<Inbound>,
}

/// A tunnel's state, for others.
#[derive(Clone)]
pub(crate) struct Attended {
    pub(crate) client: Client,
    /// The memory budget of all streams of the tunnel.
    pub(crate) budget: Budget,
    /// The newest revision of the protocol that the agent and this program have in common.
    pub(crate) revision: u32,
    /// The revision of the routes that the agent has in force.
    pub(crate) routed: u64,
    pub(crate) draining: bool,
    /// The agent's counts.
    pub(crate) counts: v1::Counts,
}

#[cfg(test)]
impl Attended {
    /// An agent that cannot be reached.
    pub(crate) fn pretended() -> Self {
        let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        Self {
            client: AgentClient::with_interceptor(channel, Token(MetadataValue::from_static("token"))),
            budget: Budget::new(TUNNEL_BUDGET),
            revision: COPIES,
            routed: 1,
            draining: false,
            counts: v1::Counts::default(),
        }
    }
}

pub(crate) type Client = AgentClient<InterceptedService<Channel, Token>>;

/// Why a tunnel ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelError {
    #[error("{0}")]
    Cluster(#[from] ClusterError),
    #[error("cannot talk to the agent: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("the agent answered: {}", .0.message())]
    Agent(#[from] Status),
    #[error("{0}")]
    NotOpened(#[from] NotOpened),
    #[error("the agent did not open the session within {} s", OPEN_WITHIN.as_secs())]
    NoAnswer,
    #[error("the agent refused the routes: {0}")]
    Routes(String),
    #[error("the agents speak protocol {0}, and requests are copied from protocol {COPIES} on")]
    NoCopies(u32),
    #[error("the agent ended the session")]
    Ended,
    #[error("no data for {} s", SILENT_AFTER.as_secs())]
    Silent,
}

impl TunnelError {
    /// The agent and this program have no revision of the protocol in common, or none with what is asked for: retrying
    /// does not help.
    pub(crate) fn is_of_versions(&self) -> bool {
        matches!(self, Self::NotOpened(NotOpened::Version(_)) | Self::NoCopies(_))
    }
}

/// Whether an agent of this revision of the protocol reads all of these routes as they are meant.
pub(crate) fn knows(revision: u32, routes: &[v1::Route]) -> Result<(), TunnelError> {
    let copies = routes.iter().any(|route| route.copy);
    if copies && revision < COPIES { Err(TunnelError::NoCopies(revision)) } else { Ok(()) }
}

/// Adds the session's token to each call.
#[derive(Clone)]
pub(crate) struct Token(MetadataValue<Ascii>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("x-bridge-token", self.0.clone());
        Ok(request)
    }
}

/// Runs a tunnel until it ends; `show` gets its state.
pub(crate) async fn run(purpose: &Purpose, pod: &str, show: impl Fn(Attended)) -> TunnelError {
    match attend(purpose, pod, show).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn attend(purpose: &Purpose, pod: &str, show: impl Fn(Attended)) -> Result<Infallible, TunnelError> {
    let io = Listened::new(portforward::open(&purpose.cluster, pod, purpose.control_port).await?);
    let heard = io.heard();
    tokio::select! {
        ended = speak(purpose, pod, io, show) => ended,
        () = heard.silent_for(SILENT_AFTER) => Err(TunnelError::Silent),
    }
}

async fn speak(
    purpose: &Purpose,
    pod: &str,
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    show: impl Fn(Attended),
) -> Result<Infallible, TunnelError> {
    let (client, revision) = open(purpose, pod, channel(io).await?).await?;
    let budget = Budget::new(TUNNEL_BUDGET);
    let mut attended = Attended {
        client: client.clone(),
        budget: budget.clone(),
        revision,
        routed: 0,
        draining: false,
        counts: v1::Counts::default(),
    };
    let (say_tx, say_rx) = mpsc::channel(8);
    let mut answers = client.clone().attend(ReceiverStream::new(say_rx)).await?.into_inner();
    let mut routes = purpose.routes.clone();
    routes.mark_changed();
    let mut alive = tokio::time::interval(SAY_EVERY);
    let mut parking = Parking::new(client.clone(), budget, purpose);
    loop {
        tokio::select! {
            changed = routes.changed() => {
                if changed.is_err() { return Err(TunnelError::Ended); }
                let now = routes.borrow_and_update().clone();
                knows(revision, &now.routes)?;
                say(&say_tx, from_daemon::Kind::Routes(now)).await?;
            }
            _ = alive.tick() => say(&say_tx, from_daemon::Kind::Alive(v1::Alive {})).await?,
            answer = answers.next() => {
                let answer = answer.transpose()?.ok_or(TunnelError::Ended)?;
                // Until the agent has its routes, the session does not count as attended there.
                if heed(answer, &mut attended)? && attended.routed > 0 {
                    show(attended.clone());
                }
            }
            stepped = parking.step() => stepped?,
        }
    }
}

async fn say(say_tx: &mpsc::Sender<v1::FromDaemon>, kind: from_daemon::Kind) -> Result<(), TunnelError> {
    say_tx.send(v1::FromDaemon { kind: Some(kind) }).await.map_err(|_| TunnelError::Ended)
}

/// Takes in an agent's message; returns whether it changed anything.
fn heed(answer: v1::FromAgent, attended: &mut Attended) -> Result<bool, TunnelError> {
    match answer.kind {
        Some(from_agent::Kind::Routed(routed)) if !routed.refused.is_empty() => {
            Err(TunnelError::Routes(routed.refused))
        }
        Some(from_agent::Kind::Routed(routed)) => {
            attended.routed = routed.revision;
            Ok(true)
        }
        Some(from_agent::Kind::Draining(_)) => {
            attended.draining = true;
            Ok(true)
        }
        Some(from_agent::Kind::Counts(counts)) => {
            attended.counts = counts;
            Ok(true)
        }
        Some(from_agent::Kind::Alive(_)) | None => Ok(false),
    }
}

/// HTTP/2 over this one connection; it never reconnects.
async fn channel(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
) -> Result<Channel, TunnelError> {
    let mut only = Some(io);
    let connector = tower::service_fn(move |_| {
        let io = only.take().map(TokioIo::new);
        async move { io.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected)) }
    });
    let endpoint = Endpoint::from_static("http://agent")
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .max_frame_size(HTTP2_FRAME)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .http2_max_concurrent_reset_streams(HTTP2_STREAMS as usize)
        .http2_max_local_error_reset_streams(HTTP2_STREAMS as usize);
    Ok(endpoint.connect_with_connector(connector).await?)
}

/// Opens the session, once the agent has proven that it is this pod's and knows the key; returns the revision of the
/// protocol, too.
async fn open(purpose: &Purpose, pod: &str, channel: Channel) -> Result<(Client, u32), TunnelError> {
    let Purpose { key, session, secret, .. } = purpose;
    let opening = Opening { key, pod, nonce: rand::random(), session, secret };
    let opened = tokio::time::timeout(OPEN_WITHIN, proof::open(channel.clone(), opening)).await;
    let Opened { token, revision } = opened.map_err(|_| TunnelError::NoAnswer)??;
    let token = token.parse().map_err(|_| Status::internal("its token is not text"))?;
    Ok((AgentClient::with_interceptor(channel, Token(token)), revision))
}

/// The parked calls of a tunnel, and the streams that began on them.
struct Parking {
    client: Client,
    budget: Budget,
    routes: watch::Receiver<v1::Routes>,
    inbound: Arc<Inbound>,
    calls: JoinSet<Result<(), Status>>,
    parked: usize,
    room: Arc<Semaphore>,
    taken_tx: mpsc::Sender<()>,
    taken_rx: mpsc::Receiver<()>,
}

impl Parking {
    fn new(client: Client, budget: Budget, purpose: &Purpose) -> Self {
        let (taken_tx, taken_rx) = mpsc::channel(MOST_CALLS);
        Self {
            client,
            budget,
            routes: purpose.routes.clone(),
            inbound: purpose.inbound.clone(),
            calls: JoinSet::new(),
            parked: 0,
            room: Arc::new(Semaphore::new(MOST_CALLS)),
            taken_tx,
            taken_rx,
        }
    }

    /// Parks the missing calls, then waits until more may be missing.
    async fn step(&mut self) -> Result<(), Status> {
        let in_use = self.calls.len().saturating_sub(self.parked);
        while self.parked < PARKED.max(in_use) {
            self.parked += 1;
            self.calls.spawn(park(
                self.client.clone(),
                self.budget.clone(),
                self.routes.clone(),
                self.inbound.clone(),
                self.room.clone(),
                self.taken_tx.clone(),
            ));
        }
        tokio::select! {
            Some(()) = self.taken_rx.recv() => self.parked -= 1,
            Some(ended) = self.calls.join_next() => match ended {
                // A panic ended one stream only, and was logged where it happened.
                Err(_) => {}
                Ok(outcome) => outcome?,
            }
        }
        Ok(())
    }
}

/// One call: parked until the agent opens a stream on it, then that stream's. Reports when it is no longer parked.
async fn park(
    mut client: Client,
    budget: Budget,
    routes: watch::Receiver<v1::Routes>,
    inbound: Arc<Inbound>,
    room: Arc<Semaphore>,
    taken_tx: mpsc::Sender<()>,
) -> Result<(), Status> {
    // It is never closed.
    let held = room.acquire_owned().await.ok();
    let (outgoing, say) = mpsc::channel::<Result<v1::Frame, Status>>(TunnelStream::QUEUE);
    let say = ReceiverStream::new(say).filter_map(|frame| std::future::ready(frame.ok()));
    let offer = match client.accept(say).await {
        Ok(answers) => {
            // The room is the call's until its answers have ended, or were given up.
            let answers = answers.into_inner().map(move |frame| {
                let _room = &held;
                frame
            });
            offered(answers, outgoing, &budget).await
        }
        Err(status) => Err(status),
    };
    // The receiver lives as long as this task.
    let _ = taken_tx.send(()).await;
    if let Some(offer) = offer? {
        let port = offer.open.local_port;
        let allowed = routes.borrow().routes.iter().any(|route| route.local_port == port);
        inbound::serve(offer, allowed, &inbound).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_would_take_a_copy_for_a_request_gets_no_such_route() {
        let (plain, copy) = (v1::Route::default(), v1::Route { copy: true, ..v1::Route::default() });
        assert!(knows(2, std::slice::from_ref(&plain)).is_ok());
        let error = knows(2, &[plain, copy.clone()]).expect_err("it answers in place of the origin");
        let expected = "the agents speak protocol 2, and requests are copied from protocol 3 on";
        assert_eq!((error.to_string().as_str(), error.is_of_versions()), (expected, true));
        assert!(knows(COPIES, &[copy]).is_ok());
    }
}
