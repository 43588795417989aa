//! The gRPC service `bridge.v1.Agent` that daemons call, on loopback.
//!
//! `serve` accepts connections, `knock` limits them before they have proven the key, `watched` limits their reads,
//! `metered` their messages' memory; `challenge` proves the key to a daemon and lets it prove the same, `open` adds its
//! session, `attend` is a session's life.

mod attend;
mod challenge;
mod knock;
mod metered;
mod open;
pub(crate) mod serve;
mod watched;

use std::pin::Pin;
use std::sync::Arc;

use bridge_proto::tunnel::{Hold, TunnelStream};
use bridge_proto::v1::agent_server::Agent;
use bridge_proto::v1::{
    Arrival, ArrivalsRequest, ChallengeReply, ChallengeRequest, Datagram, DnsMessage, FilesReply,
    FilesRequest, Frame, FromAgent, FromDaemon, OpenReply, OpenRequest, ProbeReply, ProbeRequest,
    RequestsRequest, RequestsSeen, SurroundingsReply, SurroundingsRequest,
};
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use self::challenge::Challenged;
use self::knock::Knock;
use crate::context::Control;
use crate::outbound;
use crate::session::{Session, share};

/// Metadata that carries a session's token.
const TOKEN: &str = "x-bridge-token";
/// Limit on messages that wait for a daemon.
const ATTEND_QUEUE: usize = 16;
/// Limit on one flow's datagrams that wait for the tunnel.
const FLOW_QUEUE: usize = 64;
/// Limit on pieces of files that wait for the tunnel.
const FILES_QUEUE: usize = 4;
#[derive(Debug, Clone)]
struct Service {
    context: Arc<Control>,
}

impl Service {
    /// The session whose token the call carries.
    fn session<T>(request: &Request<T>) -> Result<Arc<Session>, Status> {
        let session = request.extensions().get::<Arc<Session>>().cloned().ok_or_else(|| {
            Status::unauthenticated("the token is not that of a session: it has ended, open a new one")
        })?;
        Knock::proves(request)?;
        Ok(session)
    }

    /// The same, with memory for the call as long as it lasts.
    fn call<T>(request: &Request<T>) -> Result<(Arc<Session>, Hold), Status> {
        let session = Self::session(request)?;
        let mut room = session.budget.nothing();
        match room.set(share::CALL) {
            true => Ok((session, room)),
            false => Err(Status::resource_exhausted(share::FULL)),
        }
    }

    /// A place among the session's calls that follow the agent's events.
    fn follower(session: &Session) -> Result<OwnedSemaphorePermit, Status> {
        let place = session.followers.clone().try_acquire_owned();
        place
            .map_err(|_| Status::resource_exhausted("this session has too many open calls: end others first"))
    }
}

/// The challenge that this connection's daemon must answer.
fn challenged<T>(request: &Request<T>) -> Result<Arc<Challenged>, Status> {
    let challenged = request.extensions().get::<Arc<Challenged>>();
    challenged.cloned().ok_or_else(|| Status::internal("the connection is not known"))
}

#[tonic::async_trait]
impl Agent for Service {
    async fn challenge(
        &self,
        request: Request<ChallengeRequest>,
    ) -> Result<Response<ChallengeReply>, Status> {
        let challenged = challenged(&request)?;
        challenge::challenge(&self.context, &challenged, request.into_inner()).await.map(Response::new)
    }

    async fn open(&self, request: Request<OpenRequest>) -> Result<Response<OpenReply>, Status> {
        let challenged = challenged(&request)?;
        let (metadata, extensions, message) = request.into_parts();
        let reply = open::open(&self.context, &challenged, message).await?;
        Knock::proves(&Request::from_parts(metadata, extensions, ()))?;
        Ok(Response::new(reply))
    }

    type AttendStream = ReceiverStream<Result<FromAgent, Status>>;

    async fn attend(
        &self,
        request: Request<Streaming<FromDaemon>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let session = Self::session(&request)?;
        self.context
            .registry
            .attend(&session)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        let (to_daemon_tx, to_daemon_rx) = mpsc::channel(ATTEND_QUEUE);
        self.context.tasks.spawn(attend::attend(
            self.context.clone(),
            session,
            request.into_inner(),
            to_daemon_tx,
        ));
        Ok(Response::new(ReceiverStream::new(to_daemon_rx)))
    }

    type AcceptStream = ReceiverStream<Result<Frame, Status>>;

    async fn accept(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::AcceptStream>, Status> {
        let session = Self::session(&request)?;
        let (outgoing, outgoing_rx) = mpsc::channel(TunnelStream::QUEUE);
        session
            .park(request.into_inner(), outgoing)
            .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        Ok(Response::new(ReceiverStream::new(outgoing_rx)))
    }

    type DialStream = ReceiverStream<Result<Frame, Status>>;

    async fn dial(&self, request: Request<Streaming<Frame>>) -> Result<Response<Self::DialStream>, Status> {
        let (session, room) = Self::call(&request)?;
        let (outgoing, outgoing_rx) = mpsc::channel(TunnelStream::QUEUE);
        let context = self.context.clone();
        self.context.tasks.spawn(async move {
            outbound::dial::dial(&context.outbound, session, request.into_inner(), outgoing).await;
            drop(room);
        });
        Ok(Response::new(ReceiverStream::new(outgoing_rx)))
    }

    type FlowStream = ReceiverStream<Result<Datagram, Status>>;

    async fn flow(
        &self,
        request: Request<Streaming<Datagram>>,
    ) -> Result<Response<Self::FlowStream>, Status> {
        let (session, room) = Self::call(&request)?;
        let (to_daemon_tx, to_daemon_rx) = mpsc::channel(FLOW_QUEUE);
        let context = self.context.clone();
        self.context.tasks.spawn(async move {
            outbound::flow::flow(&context.outbound, session, request.into_inner(), to_daemon_tx).await;
            drop(room);
        });
        Ok(Response::new(ReceiverStream::new(to_daemon_rx)))
    }

    async fn resolve(&self, request: Request<DnsMessage>) -> Result<Response<DnsMessage>, Status> {
        let (session, _room) = Self::call(&request)?;
        let answer = self.context.outbound.resolve(&session, &request.into_inner().message).await;
        let message = answer.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(DnsMessage { message }))
    }

    async fn surroundings(
        &self,
        request: Request<SurroundingsRequest>,
    ) -> Result<Response<SurroundingsReply>, Status> {
        let (_session, _room) = Self::call(&request)?;
        Ok(Response::new(self.context.outbound.surroundings()))
    }

    type FilesStream = ReceiverStream<Result<FilesReply, Status>>;

    async fn files(&self, request: Request<FilesRequest>) -> Result<Response<Self::FilesStream>, Status> {
        let (session, room) = Self::call(&request)?;
        let place = Self::follower(&session)?;
        let follow = request.into_inner().follow;
        let (to_daemon_tx, to_daemon_rx) = mpsc::channel(FILES_QUEUE);
        let context = self.context.clone();
        self.context.tasks.spawn(async move {
            outbound::files::files(&context.outbound, session, follow, to_daemon_tx).await;
            drop((room, place));
        });
        Ok(Response::new(ReceiverStream::new(to_daemon_rx)))
    }

    type ArrivalsStream = Pin<Box<dyn Stream<Item = Result<Arrival, Status>> + Send>>;

    async fn arrivals(
        &self,
        request: Request<ArrivalsRequest>,
    ) -> Result<Response<Self::ArrivalsStream>, Status> {
        let (session, room) = Self::call(&request)?;
        let following = (self.context.arrivals.subscribe(), Self::follower(&session)?, room);
        let arrivals = stream::unfold(Some(following), |following| async {
            let mut following = following?;
            match following.0.recv().await {
                Ok(arrival) => Some((Ok(arrival), Some(following))),
                Err(RecvError::Lagged(missed)) => {
                    let words = format!("{missed} arrivals were missed: ask again");
                    Some((Err(Status::resource_exhausted(words)), None))
                }
                Err(RecvError::Closed) => None,
            }
        });
        let ended = session.ended.clone().cancelled_owned();
        Ok(Response::new(arrivals.take_until(ended).boxed()))
    }

    type RequestsStream = Pin<Box<dyn Stream<Item = Result<RequestsSeen, Status>> + Send>>;

    async fn requests(
        &self,
        request: Request<RequestsRequest>,
    ) -> Result<Response<Self::RequestsStream>, Status> {
        let (session, room) = Self::call(&request)?;
        let place = Self::follower(&session)?;
        let RequestsRequest { follow, after_us } = request.into_inner();
        let following = (self.context.requests.follow(after_us), place, room);
        let seen = stream::unfold(following, |mut following| async {
            Some((Ok(following.0.next().await), following))
        });
        let ended = session.ended.clone().cancelled_owned();
        let at_most = if follow { usize::MAX } else { 1 };
        Ok(Response::new(seen.take_until(ended).take(at_most).boxed()))
    }

    async fn probe(&self, request: Request<ProbeRequest>) -> Result<Response<ProbeReply>, Status> {
        let (session, _room) = Self::call(&request)?;
        outbound::probe::probe(&self.context.outbound, &session, &request.into_inner().address)
            .await
            .map(Response::new)
    }
}
