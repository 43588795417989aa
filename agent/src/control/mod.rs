//! What daemons call: the gRPC service `bridge.v1.Agent`, on loopback.
//!
//! `challenge` proves the key to a daemon and lets it prove the same, `open` takes its session in, `attend` is a session's
//! life, `watched` ends a connection from which nothing comes any more.

mod attend;
mod challenge;
mod open;
mod watched;

use std::pin::Pin;
use std::sync::Arc;

use bridge_proto::tunnel::{
    HTTP2_CONNECTION_WINDOW, HTTP2_FRAME, HTTP2_STREAM_WINDOW, HTTP2_STREAMS, TunnelStream,
};
use bridge_proto::v1::agent_server::{Agent, AgentServer};
use bridge_proto::v1::{
    Arrival, ArrivalsRequest, ChallengeReply, ChallengeRequest, Datagram, DnsMessage, FilesReply,
    FilesRequest, Frame, FromAgent, FromDaemon, OpenReply, OpenRequest, ProbeReply, ProbeRequest,
    RequestsRequest, RequestsSeen, SurroundingsReply, SurroundingsRequest,
};
use futures::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use self::challenge::Challenged;
use crate::agent::Shared;
use crate::outbound;
use crate::sessions::{Parked, Session};

/// Metadata that carries a session's token.
const TOKEN: &str = "x-bridge-token";
/// Messages to a daemon that may wait.
const ATTEND_QUEUE: usize = 16;
/// Datagrams of one flow that may wait for the tunnel.
const FLOW_QUEUE: usize = 64;
/// Pieces of files that may wait for the tunnel.
const FILES_QUEUE: usize = 4;
/// Streams that a daemon may reset before they were served: it cancels parked calls in bulk.
const PENDING_RESETS: usize = HTTP2_STREAMS as usize;

/// Serves daemons for ever.
pub(crate) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let served = Server::builder()
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_frame_size(HTTP2_FRAME)
        .http2_adaptive_window(Some(false))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(PENDING_RESETS))
        .add_service(AgentServer::new(Service { shared }))
        .serve_with_incoming(watched::incoming(listener))
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the control port is no longer served");
    }
}

#[derive(Debug)]
struct Service {
    shared: Arc<Shared>,
}

impl Service {
    /// The session whose token the call carries.
    fn session<T>(&self, request: &Request<T>) -> Result<Arc<Session>, Status> {
        let token = request.metadata().get(TOKEN).ok_or_else(|| Status::unauthenticated("no token"))?;
        self.shared.registry.by_token(token.as_bytes()).ok_or_else(|| {
            Status::unauthenticated("the token is not that of a session: it has ended, open a new one")
        })
    }
}

/// What the daemon of this connection was asked.
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
        challenge::challenge(&self.shared, &challenged, request.into_inner()).await.map(Response::new)
    }

    async fn open(&self, request: Request<OpenRequest>) -> Result<Response<OpenReply>, Status> {
        let challenged = challenged(&request)?;
        open::open(&self.shared, &challenged, request.into_inner()).await.map(Response::new)
    }

    type AttendStream = ReceiverStream<Result<FromAgent, Status>>;

    async fn attend(
        &self,
        request: Request<Streaming<FromDaemon>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let session = self.session(&request)?;
        self.shared
            .registry
            .attend(&session)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        let (to_daemon_tx, to_daemon_rx) = mpsc::channel(ATTEND_QUEUE);
        self.shared.tasks.spawn(attend::attend(
            self.shared.clone(),
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
        let session = self.session(&request)?;
        let (outgoing, outgoing_rx) = mpsc::channel(TunnelStream::QUEUE);
        session
            .park(Parked { incoming: request.into_inner(), outgoing })
            .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        Ok(Response::new(ReceiverStream::new(outgoing_rx)))
    }

    type DialStream = ReceiverStream<Result<Frame, Status>>;

    async fn dial(&self, request: Request<Streaming<Frame>>) -> Result<Response<Self::DialStream>, Status> {
        let session = self.session(&request)?;
        let (outgoing, outgoing_rx) = mpsc::channel(TunnelStream::QUEUE);
        let shared = self.shared.clone();
        self.shared.tasks.spawn(async move {
            outbound::dial(&shared.outbound, session, request.into_inner(), outgoing).await;
        });
        Ok(Response::new(ReceiverStream::new(outgoing_rx)))
    }

    type FlowStream = ReceiverStream<Result<Datagram, Status>>;

    async fn flow(
        &self,
        request: Request<Streaming<Datagram>>,
    ) -> Result<Response<Self::FlowStream>, Status> {
        let session = self.session(&request)?;
        let (to_daemon_tx, to_daemon_rx) = mpsc::channel(FLOW_QUEUE);
        let shared = self.shared.clone();
        self.shared.tasks.spawn(async move {
            outbound::flow(&shared.outbound, session, request.into_inner(), to_daemon_tx).await;
        });
        Ok(Response::new(ReceiverStream::new(to_daemon_rx)))
    }

    async fn resolve(&self, request: Request<DnsMessage>) -> Result<Response<DnsMessage>, Status> {
        self.session(&request)?;
        let answer = self.shared.outbound.resolve(&request.into_inner().message).await;
        let message = answer.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(DnsMessage { message }))
    }

    async fn surroundings(
        &self,
        request: Request<SurroundingsRequest>,
    ) -> Result<Response<SurroundingsReply>, Status> {
        self.session(&request)?;
        Ok(Response::new(self.shared.outbound.surroundings()))
    }

    type FilesStream = ReceiverStream<Result<FilesReply, Status>>;

    async fn files(&self, request: Request<FilesRequest>) -> Result<Response<Self::FilesStream>, Status> {
        let session = self.session(&request)?;
        let follow = request.into_inner().follow;
        let (to_daemon_tx, to_daemon_rx) = mpsc::channel(FILES_QUEUE);
        let shared = self.shared.clone();
        self.shared.tasks.spawn(async move {
            outbound::files(&shared.outbound, session, follow, to_daemon_tx).await;
        });
        Ok(Response::new(ReceiverStream::new(to_daemon_rx)))
    }

    type ArrivalsStream = Pin<Box<dyn Stream<Item = Result<Arrival, Status>> + Send>>;

    async fn arrivals(
        &self,
        request: Request<ArrivalsRequest>,
    ) -> Result<Response<Self::ArrivalsStream>, Status> {
        let session = self.session(&request)?;
        let arrivals = stream::unfold(Some(self.shared.arrivals.subscribe()), |arrivals_rx| async {
            let mut arrivals_rx = arrivals_rx?;
            match arrivals_rx.recv().await {
                Ok(arrival) => Some((Ok(arrival), Some(arrivals_rx))),
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
        let session = self.session(&request)?;
        let RequestsRequest { follow, after_us } = request.into_inner();
        let seen = stream::unfold(self.shared.requests.follow(after_us), |mut followed| async {
            Some((Ok(followed.next().await), followed))
        });
        let ended = session.ended.clone().cancelled_owned();
        let at_most = if follow { usize::MAX } else { 1 };
        Ok(Response::new(seen.take_until(ended).take(at_most).boxed()))
    }

    async fn probe(&self, request: Request<ProbeRequest>) -> Result<Response<ProbeReply>, Status> {
        self.session(&request)?;
        outbound::probe(&self.shared.outbound, &request.into_inner().address).await.map(Response::new)
    }
}
