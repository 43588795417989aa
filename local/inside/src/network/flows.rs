//! UDP flows into the cluster, asked of the daemon; see `Flow` in `daemon.proto`.

use std::net::SocketAddr;

use bridge_proto::v1;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::Streaming;

use super::waits::SESSION_WITHIN;
use bridge_client::{DaemonClient, Via, is_gone};

/// Datagrams that may wait, each way.
const QUEUE: usize = 64;

/// The flows of one session.
#[derive(Clone)]
pub struct Flows {
    pub daemon: DaemonClient,
    pub via: Via,
}

/// The two directions. It ends when either end is dropped, or is idle for long. Datagrams without room are dropped, as
/// in any network.
#[derive(Debug)]
pub struct Flow {
    pub datagrams_tx: mpsc::Sender<Bytes>,
    pub datagrams_rx: mpsc::Receiver<Bytes>,
}

/// The two ends of an open call.
type Ends = (mpsc::Sender<Bytes>, Streaming<v1::Datagram>);

/// Why there is no flow.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    #[error("cannot reach the daemon or the agent")]
    Away,
    #[error("the agent refuses to open it")]
    Refused,
}

impl Flows {
    /// Begins a flow to an address, from inside the cluster.
    pub async fn open(&self, destination: SocketAddr) -> Result<Flow, FlowError> {
        let opened =
            self.via.ask(SESSION_WITHIN, |session| self.begin(session.to_string(), destination)).await;
        let (datagrams_tx, mut answers) = opened.unwrap_or(Err(FlowError::Away))?;
        // The first answer means that it is open.
        if !matches!(answers.message().await, Ok(Some(_))) {
            return Err(FlowError::Refused);
        }
        let (from_daemon_tx, datagrams_rx) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            while let Ok(Some(datagram)) = answers.message().await {
                if let Err(mpsc::error::TrySendError::Closed(_)) = from_daemon_tx.try_send(datagram.payload) {
                    return;
                }
            }
        });
        Ok(Flow { datagrams_tx, datagrams_rx })
    }

    /// `None`: the daemon is gone.
    async fn begin(&self, session: String, destination: SocketAddr) -> Option<Result<Ends, FlowError>> {
        let (datagrams_tx, to_daemon) = mpsc::channel::<Bytes>(QUEUE);
        let first = v1::FlowDatagram { session, address: destination.to_string(), payload: Bytes::new() };
        let datagram = |payload| v1::FlowDatagram { payload, ..v1::FlowDatagram::default() };
        let request = tokio_stream::once(first).chain(ReceiverStream::new(to_daemon).map(datagram));
        match self.daemon.clone().flow(request).await {
            Ok(reply) => Some(Ok((datagrams_tx, reply.into_inner()))),
            Err(status) if is_gone(&status) => None,
            Err(_) => Some(Err(FlowError::Away)),
        }
    }
}
