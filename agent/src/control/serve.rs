//! Accepts on the control port and serves each connection in a task of its own, until it ends or has to.

use std::future::Ready;
use std::sync::Arc;
use std::time::Duration;

use bridge_proto::tunnel::{HTTP2_FRAME, HTTP2_STREAMS};
use bridge_proto::v1::agent_server::AgentServer;
use futures::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::codegen::{BoxFuture, Service as _};

use super::challenge::Challenged;
use super::knock::{Door, Knock};
use super::metered::{Bound, Metered};
use super::watched::{self, Watched};
use super::{Service, TOKEN};
use crate::context::Control;

/// The pause in accepting after a failure.
const PAUSE: Duration = Duration::from_millis(100);
/// The number of streams that a daemon may reset before they were served: it cancels parked calls in bulk.
const PENDING_RESETS: usize = HTTP2_STREAMS as usize;
/// The longest message: a datagram, routes, a frame of a stream. A longer one ends its call before it is kept.
const LONGEST_MESSAGE: usize = 256 * 1024;
/// Limit on one connection's calls without a session.
const LOOSE_CALLS: usize = 8;
/// The bytes of one stream's answers that may wait in HTTP/2: enough to keep the connection busy.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves daemons forever.
pub(crate) async fn run(listener: TcpListener, context: Arc<Control>) {
    let service = Service { context: context.clone() };
    let agent = AgentServer::new(service).max_decoding_message_size(LONGEST_MESSAGE);
    let door = Arc::<Door>::default();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream, Calls::new(&context, door.knock(), agent.clone())))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the control port");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, calls: Calls) {
    let knock = calls.knock.clone();
    let io = Watched::new(stream, knock.clone());
    let heard = io.heard();
    let window = calls.context.registry.window();
    let serving = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_frame_size(HTTP2_FRAME)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(PENDING_RESETS)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(io), calls);
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::debug!(%error, "a daemon's connection failed");
        },
        () = watched::silent(heard, &knock) => {}
        () = knock.over() => {}
    }
}

/// The calls of one connection.
struct Calls {
    context: Arc<Control>,
    knock: Arc<Knock>,
    challenged: Arc<Challenged>,
    /// Places for calls without a session.
    loose: Arc<Semaphore>,
    agent: AgentServer<Service>,
}

/// The connection may make no more calls.
#[derive(Debug, thiserror::Error)]
#[error("too many calls without a session")]
struct TooManyCalls;

type Answer = Result<Response<tonic::body::Body>, TooManyCalls>;

impl Calls {
    fn new(context: &Arc<Control>, knock: Arc<Knock>, agent: AgentServer<Service>) -> Self {
        Self {
            context: context.clone(),
            knock,
            challenged: Arc::default(),
            loose: Arc::new(Semaphore::new(LOOSE_CALLS)),
            agent,
        }
    }

    /// The limits of this call; a session's call is marked as such, and its connection has proven the key.
    fn bound<B>(&self, request: &mut Request<B>) -> Result<Bound, TooManyCalls> {
        request.extensions_mut().insert(self.knock.clone());
        request.extensions_mut().insert(self.challenged.clone());
        let token = request.headers().get(TOKEN);
        if let Some(session) = token.and_then(|token| self.context.registry.by_token(token.as_bytes())) {
            let bound = Bound::Session(session.budget.nothing());
            request.extensions_mut().insert(session);
            return Ok(bound);
        }
        let place = self.loose.clone().try_acquire_owned().map_err(|_| TooManyCalls)?;
        if !self.knock.admits_call() {
            return Err(TooManyCalls);
        }
        Ok(Bound::Loose { sent: 0, _place: place })
    }
}

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<tonic::body::Body>;
    type Error = TooManyCalls;
    type Future = Either<Ready<Answer>, BoxFuture<Self::Response, TooManyCalls>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let bound = match self.bound(&mut request) {
            Ok(bound) => bound,
            Err(error) => return Either::Left(std::future::ready(Err(error))),
        };
        let answered = self.agent.clone().call(request.map(|body| Metered::new(body, bound)));
        Either::Right(Box::pin(async move {
            match answered.await {
                Ok(answer) => Ok(answer),
                Err(never) => match never {},
            }
        }))
    }
}
