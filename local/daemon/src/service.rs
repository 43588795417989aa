//! The daemon's service: the calls of the `bridge` command.

use std::path::PathBuf;
use std::sync::Arc;

use bridge_proto::v1::{self, connect_event, daemon_server, disconnect_event};
use bridge_proto::version;
use futures::StreamExt;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::cleaning;
use super::describing;
use super::examining;
use super::failure::Failure;
use super::files;
use super::listing;
use super::logs;
use super::meant::{self, Question, Whose};
use super::outbound;
use super::registry::Registry;
use super::requests::{self, Watched};
use super::restarting;
use super::session::Session;
use super::sharing::{Entered, Newcomer, Sharing, access};
use super::teller::Teller;
use super::turns::UnderWay;
use super::using::Using;
use super::watching;

/// Events that may wait for the command to read them.
const EVENTS: usize = 64;

pub(crate) struct Daemon {
    pub(crate) registry: Registry,
    pub(crate) sharing: Sharing,
    pub(crate) log_file: PathBuf,
    pub(crate) stop: Arc<Notify>,
    /// Cancelled when the daemon ends, before its sessions do: to commands it looks as if it had died.
    pub(crate) ending: CancellationToken,
}

type Wrap<T> = fn(T) -> Result<T, Status>;
type Events<T> = futures::stream::Map<ReceiverStream<T>, Wrap<T>>;

/// One connect on behalf of a command.
async fn connect(sharing: Sharing, request: v1::ConnectRequest, events_tx: mpsc::Sender<v1::ConnectEvent>) {
    let _under_way = sharing.turns.begin();
    let tell = Teller::Connect(events_tx.clone());
    let (restarts_origin, callers) = (request.restart_origin, request.restart_callers.clone());
    let (outcome, found) = match sharing.enter(&Newcomer::Lasting(Box::new(request)), &tell).await {
        Ok(Entered { session, found, .. }) => {
            if restarts_origin {
                restarting::restart_origin(&session, &tell).await;
            }
            restarting::restart_callers(&session, &callers, &tell).await;
            (connect_event::Kind::Connected(session.status()), found)
        }
        Err(failure) => {
            tracing::warn!(%failure, "connect failed");
            (connect_event::Kind::Failed(failure.to_message()), false)
        }
    };
    // If it cannot be sent, the command has gone.
    let _ =
        events_tx.send(v1::ConnectEvent { kind: Some(outcome), found, ..v1::ConnectEvent::default() }).await;
}

/// The sessions that a disconnect means.
async fn meant(registry: &Registry, request: v1::DisconnectRequest) -> Result<Vec<Arc<Session>>, Failure> {
    if request.all {
        return Ok(registry.all());
    }
    if !request.session.is_empty() {
        let gone =
            || Failure::NoSession { wanted: format!("the id {}", request.session), sessions: Vec::new() };
        return Ok(vec![registry.by_id(&request.session).ok_or_else(gone)?]);
    }
    let question = Question {
        target: Some(meant::target(&request.target)?),
        access: access(request.cluster.unwrap_or_default()),
        whose: if request.user.is_empty() { Whose::Anyone } else { Whose::Named(request.user) },
        rather_here: false,
    };
    let found = meant::among(registry.all(), &question).await?;
    if found.is_empty() {
        let describe = |session: Arc<Session>| {
            let facts = &session.facts;
            format!("{} in namespace {} ({})", facts.service, facts.cluster.namespace, facts.cluster.context)
        };
        let sessions = registry.all().into_iter().map(describe).collect();
        return Err(Failure::NoSession { wanted: request.target, sessions });
    }
    Ok(found)
}

fn question(request: v1::FindRequest) -> Result<Question, Failure> {
    Ok(Question {
        target: match request.target.as_str() {
            "" => None,
            named => Some(meant::target(named)?),
        },
        access: access(request.cluster.unwrap_or_default()),
        whose: match (request.user.is_empty(), request.rather) {
            (true, _) => Whose::Anyone,
            (false, false) => Whose::Named(request.user),
            (false, true) => Whose::Rather(request.user),
        },
        rather_here: request.rather_here,
    })
}

/// One disconnect on behalf of a command.
struct Disconnecting {
    sharing: Sharing,
    events_tx: mpsc::Sender<v1::DisconnectEvent>,
    _under_way: UnderWay,
}

impl Disconnecting {
    async fn run(self, request: v1::DisconnectRequest) {
        let wait = request.wait;
        let sessions = match meant(&self.sharing.registry, request).await {
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

    /// If it cannot be sent, the command has gone; the disconnect goes on all the same.
    async fn say(&self, kind: disconnect_event::Kind) {
        let _ = self.events_tx.send(v1::DisconnectEvent { kind: Some(kind) }).await;
    }

    async fn step(&self, text: impl Into<String>) {
        self.say(disconnect_event::Kind::Step(text.into())).await;
    }

    async fn give_back(&self, session: &Arc<Session>) -> Result<v1::Disconnected, Failure> {
        let facts = &session.facts;
        let turn = self.sharing.turns.at(&facts.cluster, &facts.service);
        let _turn = match turn.clone().try_lock_owned() {
            Ok(turn) => turn,
            Err(_) => {
                self.step(format!("waiting for another command on Service {}", facts.service)).await;
                turn.lock_owned().await
            }
        };
        // A session that has replaced it meanwhile is meant as well.
        let gone =
            || Failure::NoSession { wanted: format!("Service {}", facts.service), sessions: Vec::new() };
        let session = self.sharing.registry.by_id(&facts.id).ok_or_else(gone)?;
        self.step(match (facts.mode, &facts.replaces) {
            (Some(_), None) => format!("restoring Service {}", facts.service),
            (Some(_), Some(workload)) => {
                format!("waiting for the pods of {workload}, then restoring Service {}", facts.service)
            }
            (None, Some(workload)) => format!("restoring {workload}"),
            (None, None) => format!("removing the agent beside {}", facts.service),
        })
        .await;
        self.sharing.registry.disconnect(&session).await
    }

    /// Waits until the agents are gone, as long as the command waits. Nothing depends on it.
    async fn drained(&self, session: &Session) -> Result<(), Failure> {
        let facts = &session.facts;
        self.step("waiting for the agents to drain").await;
        tokio::select! {
            gone = bridge_cluster::watch::gone(&facts.cluster, &facts.service, &facts.stand_in, &facts.agents) => Ok(gone?),
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
        tokio::spawn(connect(self.sharing.clone(), request.into_inner(), events_tx));
        Ok(Response::new(ReceiverStream::new(events_rx).map(Ok as Wrap<_>)))
    }

    type UseStream = Events<v1::UseEvent>;
    async fn r#use(
        &self,
        request: Request<Streaming<v1::UseRequest>>,
    ) -> Result<Response<Self::UseStream>, Status> {
        let (events_tx, events_rx) = mpsc::channel(EVENTS);
        let using = Using { sharing: self.sharing.clone(), events_tx, ending: self.ending.clone() };
        tokio::spawn(using.serve(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(events_rx).map(Ok as Wrap<_>)))
    }

    type DisconnectStream = Events<v1::DisconnectEvent>;
    async fn disconnect(
        &self,
        request: Request<v1::DisconnectRequest>,
    ) -> Result<Response<Self::DisconnectStream>, Status> {
        let (events_tx, events_rx) = mpsc::channel(EVENTS);
        let disconnecting = Disconnecting {
            sharing: self.sharing.clone(),
            events_tx,
            _under_way: self.sharing.turns.begin(),
        };
        tokio::spawn(disconnecting.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(events_rx).map(Ok as Wrap<_>)))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let sessions = self.registry.all().iter().map(|session| session.status()).collect();
        let memory_bytes = bridge_os::memory::resident_bytes().unwrap_or_default();
        Ok(Response::new(v1::StatusReply { sessions, memory_bytes }))
    }

    async fn find(&self, request: Request<v1::FindRequest>) -> Result<Response<v1::FindReply>, Status> {
        let found = async { meant::among(self.registry.all(), &question(request.into_inner())?).await };
        let (sessions, failed) = match found.await {
            Ok(sessions) => (sessions.iter().map(|session| session.status()).collect(), None),
            Err(failure) => (Vec::new(), Some(failure.to_message())),
        };
        Ok(Response::new(v1::FindReply { sessions, failed }))
    }

    type WatchStream = Events<v1::WatchEvent>;
    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (events_tx, events_rx) = mpsc::channel(1);
        tokio::spawn(watching::tell(self.registry.clone(), events_tx));
        Ok(Response::new(ReceiverStream::new(events_rx).map(Ok as Wrap<_>)))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListReply>, Status> {
        let _under_way = self.sharing.turns.begin();
        let listed = listing::list(request.into_inner()).await;
        let failed =
            |failure: Failure| v1::ListReply { failed: Some(failure.to_message()), ..Default::default() };
        Ok(Response::new(listed.unwrap_or_else(failed)))
    }

    async fn places(&self, request: Request<v1::PlacesRequest>) -> Result<Response<v1::PlacesReply>, Status> {
        let _under_way = self.sharing.turns.begin();
        let listed = listing::places(request.into_inner()).await;
        let failed =
            |failure: Failure| v1::PlacesReply { failed: Some(failure.to_message()), ..Default::default() };
        Ok(Response::new(listed.unwrap_or_else(failed)))
    }

    async fn describe(
        &self,
        request: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeReply>, Status> {
        let _under_way = self.sharing.turns.begin();
        let described = Box::pin(describing::described(request.into_inner())).await;
        let failed =
            |failure: Failure| v1::DescribeReply { failed: Some(failure.to_message()), ..Default::default() };
        Ok(Response::new(described.unwrap_or_else(failed)))
    }

    type ExamineStream = Events<v1::Check>;
    async fn examine(
        &self,
        request: Request<v1::ExamineRequest>,
    ) -> Result<Response<Self::ExamineStream>, Status> {
        let (checks_tx, checks_rx) = mpsc::channel(EVENTS);
        tokio::spawn(examining::examine(self.sharing.clone(), request.into_inner(), checks_tx));
        Ok(Response::new(ReceiverStream::new(checks_rx).map(Ok as Wrap<_>)))
    }

    async fn clean(&self, request: Request<v1::CleanRequest>) -> Result<Response<v1::CleanReply>, Status> {
        let _under_way = self.sharing.turns.begin();
        let cleaned = cleaning::clean(&self.sharing, request.into_inner()).await;
        let failed =
            |failure: Failure| v1::CleanReply { failed: Some(failure.to_message()), ..Default::default() };
        Ok(Response::new(cleaned.unwrap_or_else(failed)))
    }

    type LogsStream = Events<v1::LogsEvent>;
    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let (events_tx, events_rx) = mpsc::channel(EVENTS);
        let under_way = self.sharing.turns.begin();
        tokio::spawn(async move {
            // Following logs needs no session, and an idle daemon would end.
            let _under_way = under_way;
            logs::tell(request.into_inner(), events_tx).await;
        });
        Ok(Response::new(ReceiverStream::new(events_rx).map(Ok as Wrap<_>)))
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

    async fn services(
        &self,
        request: Request<v1::ServicesQuery>,
    ) -> Result<Response<v1::ServicesReply>, Status> {
        let session = self.session(&request.into_inner().session)?;
        let found = listing::reachable(&session.facts.cluster).await;
        let failed =
            |failure: Failure| v1::ServicesReply { failed: Some(failure.to_message()), ..Default::default() };
        Ok(Response::new(found.unwrap_or_else(failed)))
    }

    async fn surroundings(
        &self,
        request: Request<v1::SurroundingsQuery>,
    ) -> Result<Response<v1::SurroundingsOfTarget>, Status> {
        let session = self.session(&request.into_inner().session)?;
        outbound::surroundings(&session).await.map(Response::new)
    }

    type FilesStream = files::Replies;
    async fn files(&self, request: Request<v1::FilesQuery>) -> Result<Response<Self::FilesStream>, Status> {
        let v1::FilesQuery { session, follow } = request.into_inner();
        let session = self.session(&session)?;
        Ok(Response::new(files::files(&session, follow)))
    }

    async fn stop(&self, _: Request<v1::StopRequest>) -> Result<Response<v1::StopReply>, Status> {
        // Not during a connect: it would be cut off half-way.
        let sessions = u32::try_from(self.registry.all().len()).unwrap_or(u32::MAX);
        let stopping = *self.sharing.turns.under_way().borrow() == 0 && sessions == 0;
        if stopping {
            self.stop.notify_one();
        }
        Ok(Response::new(v1::StopReply { stopping, sessions }))
    }
}
