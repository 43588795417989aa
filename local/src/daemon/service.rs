//! The daemon's service: what the `bridge` command may ask of it.

use std::path::PathBuf;
use std::sync::Arc;

use bridge_cluster::client::{Access, Cluster};
use bridge_cluster::error::ClusterError;
use bridge_cluster::target;
use bridge_proto::v1::{self, connect_event, daemon_server, disconnect_event};
use bridge_proto::version;
use futures::StreamExt;
use tokio::sync::{Notify, OwnedMutexGuard, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::connect::{self, Claimant, Teller};
use super::failure::Failure;
use super::files;
use super::follow;
use super::outbound;
use super::reattach::Reattaching;
use super::registry::Registry;
use super::requests::{self, Watched};
use super::routes::{self, PortRoute};
use super::session::Session;
use super::turns::{Turn, Turns, UnderWay};

/// Events that may wait for the command to read them.
const EVENTS: usize = 64;

pub(crate) struct Daemon {
    pub(crate) registry: Registry,
    pub(crate) installation: String,
    pub(crate) log_file: PathBuf,
    pub(crate) stop: Arc<Notify>,
    /// Cancelled when it ends, before its sessions do: to commands it looks as if it had died.
    pub(crate) ending: CancellationToken,
    pub(crate) turns: Turns,
}

fn access(cluster: v1::Cluster) -> Access {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Access {
        kubeconfig: cluster.kubeconfig.into_iter().map(PathBuf::from).collect(),
        context: given(cluster.context),
        namespace: given(cluster.namespace),
        environment: cluster.environment.into_iter().collect(),
    }
}

type Wrap<T> = fn(T) -> Result<T, Status>;
type Events<T> = futures::stream::Map<ReceiverStream<T>, Wrap<T>>;

/// One connect on behalf of a command.
struct Connecting {
    registry: Registry,
    installation: String,
    tell: Teller,
    turns: Turns,
    _under_way: UnderWay,
}

impl Connecting {
    async fn run(self, request: v1::ConnectRequest) {
        let (outcome, found) = match self.connect(request).await {
            Ok((session, found)) => (connect_event::Kind::Connected(session.status()), found),
            Err(failure) => {
                tracing::warn!(%failure, "not connected");
                (connect_event::Kind::Failed(failure.to_message()), false)
            }
        };
        // A command that has gone needs no outcome.
        let _ = self.tell.event(v1::ConnectEvent { kind: Some(outcome), found }).await;
    }

    /// The session, and whether one with the target was there already.
    async fn connect(&self, mut request: v1::ConnectRequest) -> Result<(Arc<Session>, bool), Failure> {
        let asked = request.cluster.take().unwrap_or_default();
        let kubeconfig = asked.kubeconfig.clone();
        let cluster = Cluster::of(&access(asked)).await?;
        request.cluster = Some(lasting(kubeconfig, &cluster));
        let service = connect::meant(&cluster, &request.target).await?;
        let _turn = self.turn(self.turns.at(&cluster, &service), &service).await?;
        let found = connect::find(cluster, service).await?;
        let there = self.registry.find(&found.cluster, &found.service);
        let was_there = there.is_some();
        if let Some(there) = &there {
            if is_as_asked(there, &request) {
                return Ok((there.clone(), true));
            }
            if let Some(routes) = only_led_elsewhere(there, &request) {
                connect::say_where_nothing_listens(&routes, &self.tell).await?;
                there.lead_to(routes).await;
                return Ok((there.clone(), true));
            }
        }
        let claimant = Claimant::new(&self.installation);
        let connected = connect::connect(found, &request, claimant, there.as_deref(), &self.tell).await;
        let session = match (connected, there) {
            (Ok(session), None) => self.registry.add(session),
            (Ok(session), Some(there)) => self.registry.replace(&there, session).await,
            (Err(failure), None) => return Err(failure),
            (Err(failure), Some(there)) => {
                if self.registry.retire_without_claim(&there).await {
                    let name = &there.facts.service;
                    // Whoever has given up hears neither this nor why it failed.
                    let _ = self
                        .tell
                        .warn(format!("the session with {name} that was there before has ended, too"))
                        .await;
                }
                return Err(failure);
            }
        };
        tracing::info!(session = %session.facts.id, service = %session.facts.service, "connected");
        let (registry, turns) = (self.registry.clone(), self.turns.clone());
        Reattaching { registry, turns, installation: self.installation.clone() }.watch_over(&session);
        Ok((session, was_there))
    }

    /// Waits for the turn at a Service, as long as the command does.
    async fn turn(&self, turn: Turn, service: &str) -> Result<OwnedMutexGuard<()>, Failure> {
        if let Ok(turn) = turn.clone().try_lock_owned() {
            return Ok(turn);
        }
        self.tell.step(format!("waiting for another command at Service {service}")).await?;
        tokio::select! {
            turn = turn.lock_owned() => Ok(turn),
            given_up = self.tell.given_up() => Err(given_up),
        }
    }
}

/// What of the caller's way to the cluster may be kept: whatever becomes of the current context, it leads to this one.
fn lasting(kubeconfig: Vec<String>, cluster: &Cluster) -> v1::Cluster {
    v1::Cluster {
        kubeconfig,
        context: cluster.context.clone(),
        namespace: cluster.namespace.clone(),
        ..v1::Cluster::default()
    }
}

/// Whether a session is what a connect asks for, and works.
fn is_as_asked(session: &Session, request: &v1::ConnectRequest) -> bool {
    let routes = session.routes();
    let is_mapped = |route: &PortRoute| {
        let to_it =
            |m: &v1::PortMapping| m.local == route.route.local_port && routes::is_called(route, &m.remote);
        request.ports.iter().any(to_it)
    };
    let ports =
        request.ports.is_empty() || (request.ports.len() == routes.len() && routes.iter().all(is_mapped));
    ports && takes_as_asked(session, &routes, request)
}

/// The routes of a session that differs from what a connect asks for in its local ports alone.
fn only_led_elsewhere(session: &Session, request: &v1::ConnectRequest) -> Option<Vec<PortRoute>> {
    let routes = session.routes();
    if !takes_as_asked(session, &routes, request) {
        return None;
    }
    routes::led_elsewhere(&routes, &request.ports)
}

/// Whether it works, and takes the requests that a connect asks for.
fn takes_as_asked(session: &Session, routes: &[PortRoute], request: &v1::ConnectRequest) -> bool {
    let wanted = routes::match_of(request);
    let same = |route: &v1::Route| {
        route.r#match.as_ref() == Some(&wanted)
            && route.fallback == request.fallback
            && route.keep_cache_headers == request.keep_cache_headers
    };
    session.status().state() == v1::State::Routing
        && session.facts.user == request.user
        && routes.iter().all(|port| same(&port.route))
}

/// The sessions that a disconnect means.
async fn meant(registry: &Registry, request: v1::DisconnectRequest) -> Result<Vec<Arc<Session>>, Failure> {
    if request.all {
        return Ok(registry.all());
    }
    let wanted: target::Target = request.target.parse()?;
    // The names suffice where they are clear; so a session can be ended while its cluster is away.
    let asked = request.cluster.unwrap_or_default();
    let is_meant = |session: &Session| {
        let facts = &session.facts;
        facts.service == wanted.name
            && (asked.namespace.is_empty() || asked.namespace == facts.cluster.namespace)
            && (asked.context.is_empty() || asked.context == facts.cluster.context)
    };
    let by_name: Vec<_> = registry.all().into_iter().filter(|session| is_meant(session)).collect();
    if by_name.len() == 1 {
        return Ok(by_name);
    }
    let cluster = Cluster::of(&access(asked)).await?;
    let service = match target::resolve(&cluster, &wanted).await {
        Ok(service) => service,
        // It may be gone while its session is not.
        Err(ClusterError::NoSuchTarget { .. }) => wanted.name.clone(),
        Err(error) => return Err(error.into()),
    };
    registry.find(&cluster, &service).map(|session| vec![session]).ok_or_else(|| {
        let describe = |session: Arc<Session>| {
            let facts = &session.facts;
            format!("{} in namespace {} ({})", facts.service, facts.cluster.namespace, facts.cluster.context)
        };
        let wanted = format!("{service} in namespace {} ({})", cluster.namespace, cluster.context);
        Failure::NoSession { wanted, sessions: registry.all().into_iter().map(describe).collect() }
    })
}

/// One disconnect on behalf of a command.
struct Disconnecting {
    registry: Registry,
    turns: Turns,
    events_tx: mpsc::Sender<v1::DisconnectEvent>,
    _under_way: UnderWay,
}

impl Disconnecting {
    async fn run(self, request: v1::DisconnectRequest) {
        let wait = request.wait;
        let sessions = match meant(&self.registry, request).await {
            Ok(sessions) => sessions,
            Err(failure) => return self.say(disconnect_event::Kind::Failed(failure.to_message())).await,
        };
        for session in sessions {
            let facts = &session.facts;
            let given_back = self.give_back(&session).await;
            tracing::info!(session = %facts.id, service = %facts.service, ok = given_back.is_ok(), "disconnected");
            let outcome = match given_back {
                Ok(disconnected) if wait && disconnected.restored => {
                    self.drained(&session).await.map(|()| disconnected)
                }
                other => other,
            };
            self.say(match outcome {
                Ok(disconnected) => disconnect_event::Kind::Disconnected(disconnected),
                Err(failure) => disconnect_event::Kind::Failed(failure.to_message()),
            })
            .await;
        }
    }

    /// A command that has gone: what it asked for is done all the same.
    async fn say(&self, kind: disconnect_event::Kind) {
        let _ = self.events_tx.send(v1::DisconnectEvent { kind: Some(kind) }).await;
    }

    async fn step(&self, text: impl Into<String>) {
        self.say(disconnect_event::Kind::Step(text.into())).await;
    }

    async fn give_back(&self, session: &Arc<Session>) -> Result<v1::Disconnected, Failure> {
        let facts = &session.facts;
        let turn = self.turns.at(&facts.cluster, &facts.service);
        let _turn = match turn.clone().try_lock_owned() {
            Ok(turn) => turn,
            Err(_) => {
                self.step(format!("waiting for another command at Service {}", facts.service)).await;
                turn.lock_owned().await
            }
        };
        // What has taken its place meanwhile is meant as well.
        let gone =
            || Failure::NoSession { wanted: format!("Service {}", facts.service), sessions: Vec::new() };
        let session = self.registry.by_id(&facts.id).ok_or_else(gone)?;
        self.step(format!("giving Service {} back", facts.service)).await;
        self.registry.disconnect(&session).await
    }

    /// Waits until the agents are gone, as long as the command does. Nobody waits for this.
    async fn drained(&self, session: &Session) -> Result<(), Failure> {
        let facts = &session.facts;
        self.step("waiting for the agents to drain").await;
        tokio::select! {
            gone = bridge_cluster::watch::gone(&facts.cluster, &facts.service, &facts.stand_in) => Ok(gone?),
            () = self.events_tx.closed() => Err(Failure::GivenUp),
        }
    }
}

impl Daemon {
    fn session(&self, id: &str) -> Result<Arc<Session>, Status> {
        self.registry.by_id(id).ok_or_else(|| Status::not_found("the session has ended"))
    }
}

#[tonic::async_trait]
impl daemon_server::Daemon for Daemon {
    async fn hello(&self, _: Request<v1::HelloRequest>) -> Result<Response<v1::HelloReply>, Status> {
        Ok(Response::new(v1::HelloReply {
            version: Some(version::ours()),
            pid: std::process::id(),
            sessions: u32::try_from(self.registry.all().len()).unwrap_or(u32::MAX),
            log_file: self.log_file.display().to_string(),
        }))
    }

    type ConnectStream = Events<v1::ConnectEvent>;
    async fn connect(
        &self,
        request: Request<v1::ConnectRequest>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (events_tx, events_rx) = mpsc::channel(EVENTS);
        let connecting = Connecting {
            registry: self.registry.clone(),
            installation: self.installation.clone(),
            tell: Teller::new(events_tx),
            turns: self.turns.clone(),
            _under_way: self.turns.begin(),
        };
        tokio::spawn(connecting.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(events_rx).map(Ok as Wrap<_>)))
    }

    type DisconnectStream = Events<v1::DisconnectEvent>;
    async fn disconnect(
        &self,
        request: Request<v1::DisconnectRequest>,
    ) -> Result<Response<Self::DisconnectStream>, Status> {
        let (events_tx, events_rx) = mpsc::channel(EVENTS);
        let disconnecting = Disconnecting {
            registry: self.registry.clone(),
            turns: self.turns.clone(),
            events_tx,
            _under_way: self.turns.begin(),
        };
        tokio::spawn(disconnecting.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(events_rx).map(Ok as Wrap<_>)))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let sessions = self.registry.all().iter().map(|session| session.status()).collect();
        let memory_bytes = bridge_os::memory::resident_bytes().unwrap_or_default();
        Ok(Response::new(v1::StatusReply { sessions, memory_bytes }))
    }

    type RequestsStream = Events<v1::SeenByAgents>;
    async fn requests(
        &self,
        request: Request<v1::RequestsQuery>,
    ) -> Result<Response<Self::RequestsStream>, Status> {
        let v1::RequestsQuery { sessions, follow } = request.into_inner();
        let watched =
            |session: Arc<Session>| Watched { target: session.facts.service.clone(), live: session.watch() };
        let asked = self.registry.all().into_iter().filter(|session| sessions.contains(&session.facts.id));
        let (events_tx, events_rx) = mpsc::channel(EVENTS);
        tokio::spawn(requests::tell(asked.map(watched).collect(), follow, events_tx));
        Ok(Response::new(ReceiverStream::new(events_rx).map(Ok as Wrap<_>)))
    }

    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::DnsMessage>, Status> {
        let v1::ResolveRequest { session, message } = request.into_inner();
        let session = self.session(&session)?;
        outbound::resolve(&session, v1::DnsMessage { message }).await.map(Response::new)
    }

    type FlowStream = Streaming<v1::Datagram>;
    async fn flow(
        &self,
        request: Request<Streaming<v1::FlowDatagram>>,
    ) -> Result<Response<Self::FlowStream>, Status> {
        let mut datagrams = request.into_inner();
        let first = datagrams.message().await?.unwrap_or_default();
        let session = self.session(&first.session)?;
        outbound::flow(&session, first.address, datagrams).await.map(Response::new)
    }

    async fn surroundings(
        &self,
        request: Request<v1::SurroundingsQuery>,
    ) -> Result<Response<v1::SurroundingsOfTarget>, Status> {
        let session = self.session(&request.into_inner().session)?;
        outbound::surroundings(&session).await.map(Response::new)
    }

    type FilesStream = files::Told;
    async fn files(&self, request: Request<v1::FilesQuery>) -> Result<Response<Self::FilesStream>, Status> {
        let v1::FilesQuery { session, follow } = request.into_inner();
        let session = self.session(&session)?;
        Ok(Response::new(files::files(&session, follow)))
    }

    type FollowStream = Events<v1::FollowedSession>;
    async fn follow(
        &self,
        request: Request<v1::FollowQuery>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let (told_tx, told_rx) = mpsc::channel(EVENTS);
        let telling = follow::tell(self.registry.clone(), request.into_inner().session, told_tx);
        let ending = self.ending.clone();
        tokio::spawn(async move { ending.run_until_cancelled(telling).await });
        Ok(Response::new(ReceiverStream::new(told_rx).map(Ok as Wrap<_>)))
    }

    async fn stop(&self, _: Request<v1::StopRequest>) -> Result<Response<v1::StopReply>, Status> {
        // Not while a connect is under way: it would be cut off half-way.
        let sessions = u32::try_from(self.registry.all().len()).unwrap_or(u32::MAX);
        let stopping = *self.turns.under_way().borrow() == 0 && sessions == 0;
        if stopping {
            self.stop.notify_one();
        }
        Ok(Response::new(v1::StopReply { stopping, sessions }))
    }
}
