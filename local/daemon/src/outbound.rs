//! The way into the cluster, through an agent of a session: connections, UDP flows and names for processes of this
//! machine.

use std::error::Error as _;
use std::time::{Duration, Instant};

use bridge_cluster::ranges;
use bridge_proto::tunnel::{Refused, TunnelStream};
use bridge_proto::v1::{self, Cause};
use futures::{StreamExt, TryFutureExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

use super::session::Session;
use super::tunnel::{Attended, Client};

/// How long a connection waits if no agent is reached.
const REACHED_WITHIN: Duration = Duration::from_secs(10);
/// The same for names: resolvers' clients ask again after five seconds.
const RESOLVER_WITHIN: Duration = Duration::from_secs(3);
/// Datagrams that may wait for the tunnel.
const FLOW_QUEUE: usize = 64;

/// A tunnel of the session; waits for one that comes up within this time.
async fn tunnel(session: &Session, within: Duration) -> Option<Attended> {
    let mut live = session.watch();
    let found = tokio::time::timeout(within, live.wait_for(|live| live.tunnel().is_some())).await;
    found.ok()?.ok()?.tunnel().cloned()
}

/// Asks an agent that is reached within this time; if its tunnel breaks meanwhile, the next one.
async fn ask<T, Answer: Future<Output = Result<Response<T>, Status>>>(
    session: &Session,
    within: Duration,
    call: impl Fn(Client) -> Answer,
) -> Result<T, Status> {
    let mut live = session.watch();
    let begun = Instant::now();
    let left = || within.saturating_sub(begun.elapsed());
    loop {
        live.mark_unchanged();
        let away = || Status::unavailable(away(session));
        let Attended { client, .. } = tunnel(session, left()).await.ok_or_else(away)?;
        match call(client).await {
            Ok(answer) => return Ok(answer.into_inner()),
            // The end of the tunnel is a change.
            Err(status) if broke(&status) => {
                let changed = tokio::time::timeout(left(), live.changed()).await;
                changed.map_err(|_| away())?.map_err(|_| away())?;
            }
            Err(status) => {
                let service = &session.facts.service;
                let said = format!("the agent of {service} answered: {}", status.message());
                return Err(Status::new(status.code(), said));
            }
        }
    }
}

/// Whether the tunnel failed, and not the call.
fn broke(status: &Status) -> bool {
    status.source().is_some() || status.code() == Code::Unknown
}

fn away(session: &Session) -> String {
    format!("cannot reach an agent of {}", session.facts.service)
}

/// Connects to an address of the cluster ("address:port").
pub(super) async fn dial(session: &Session, address: String) -> Result<TunnelStream, Refused> {
    let lost = || Refused { cause: Cause::TunnelLost, detail: away(session) };
    let Attended { mut client, budget, .. } = tunnel(session, REACHED_WITHIN).await.ok_or_else(lost)?;
    let (outgoing, say) = mpsc::channel::<Result<v1::Frame, Status>>(TunnelStream::QUEUE);
    let say = ReceiverStream::new(say).filter_map(|frame| std::future::ready(frame.ok()));
    // Not awaited: the request travels with the call, and its answer is the first message that comes back.
    let answers = async move { client.dial(say).await.map(Response::into_inner) };
    let open = v1::Open { session: session.facts.id.clone(), address, ..v1::Open::default() };
    let mut stream = TunnelStream::open(open, Box::pin(answers.try_flatten_stream()), outgoing, &budget);
    stream.opened().await.map(|()| stream)
}

/// Carries a UDP flow: the datagrams of one call become those of another.
pub(super) async fn flow(
    session: &Session,
    address: String,
    datagrams: Streaming<v1::FlowDatagram>,
) -> Result<Streaming<v1::Datagram>, Status> {
    let mut tunnel =
        tunnel(session, REACHED_WITHIN).await.ok_or_else(|| Status::unavailable(away(session)))?;
    let (to_agent_tx, to_agent_rx) = mpsc::channel(FLOW_QUEUE);
    let first = v1::Datagram { address, ..v1::Datagram::default() };
    // The channel has room for one.
    let _ = to_agent_tx.try_send(first);
    tokio::spawn(pass(datagrams, to_agent_tx));
    Ok(tunnel.client.flow(ReceiverStream::new(to_agent_rx)).await?.into_inner())
}

async fn pass(mut datagrams: Streaming<v1::FlowDatagram>, to_agent_tx: mpsc::Sender<v1::Datagram>) {
    while let Ok(Some(datagram)) = datagrams.message().await {
        let datagram = v1::Datagram { address: String::new(), payload: datagram.payload };
        match to_agent_tx.try_send(datagram) {
            // If the queue is full, the datagram is dropped: UDP senders expect that.
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}

/// Asks the resolver of the target's pod.
pub(super) async fn resolve(session: &Session, message: v1::DnsMessage) -> Result<v1::DnsMessage, Status> {
    let call = |mut client: Client| {
        let message = message.clone();
        async move { client.resolve(message).await }
    };
    ask(session, RESOLVER_WITHIN, call).await
}

/// Reads the environment of the target's container, and which networks are the cluster's.
pub(super) async fn surroundings(session: &Session) -> Result<v1::SurroundingsOfTarget, Status> {
    let (inside, networks) = tokio::join!(
        ask(session, REACHED_WITHIN, |mut client| async move {
            client.surroundings(v1::SurroundingsRequest {}).await
        }),
        ranges::known(&session.facts.cluster),
    );
    let networks = networks.iter().map(ToString::to_string).collect();
    Ok(v1::SurroundingsOfTarget { inside: Some(inside?), networks })
}
