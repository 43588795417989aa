//! The socket on which commands ask for connections into the cluster and pass the sockets to tie them to, so that bytes
//! need not pass through the command as well. See `StreamRequest` in `daemon.proto`.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bridge_os::packets::{PacketListener, Packets};
use bridge_proto::tunnel::{Refused, ResetBy, TunnelStream, carry};
use bridge_proto::v1::{self, Cause, stream_request::Kind};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::arrivals;
use super::outbound;
use super::registry::Registry;

/// Streams of one command that are neither carried nor given up.
const MOST_PENDING: usize = 4096;

/// Serves commands forever.
pub(super) async fn run(listener: PacketListener, registry: Registry) {
    let mut commands = JoinSet::new();
    loop {
        tokio::select! {
            packets = arrivals::next(|| listener.accept()) => {
                commands.spawn(Command::new(packets, registry.clone()).serve());
            }
            Some(_) = commands.join_next() => {}
        }
    }
}

/// A requested stream: the way to pass a connection to the task that dials.
type Pending = oneshot::Sender<TcpStream>;

struct Command {
    packets: Arc<Packets>,
    registry: Registry,
    pending: HashMap<u64, Pending>,
    /// Streams end with their command only if no connection is tied to them yet.
    streams: JoinSet<()>,
}

impl Command {
    fn new(packets: Packets, registry: Registry) -> Self {
        Self { packets: Arc::new(packets), registry, pending: HashMap::new(), streams: JoinSet::new() }
    }

    async fn serve(mut self) {
        loop {
            tokio::select! {
                received = self.packets.receive() => match received {
                    Ok(Some((message, descriptor))) => {
                        let Ok(request) = v1::StreamRequest::decode(message.as_slice()) else {
                            tracing::warn!("a command sent an invalid request for a stream");
                            break;
                        };
                        self.heed(request, descriptor);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "a command's socket has failed");
                        break;
                    }
                },
                Some(_) = self.streams.join_next() => {}
            }
        }
        // Streams without a connection end here; the others go on to their end.
        self.pending.clear();
        self.streams.detach_all();
    }

    fn heed(&mut self, request: v1::StreamRequest, descriptor: Option<OwnedFd>) {
        let id = request.id;
        match request.kind {
            Some(Kind::Dial(dial)) => {
                self.pending.retain(|_, pending| !pending.is_closed());
                let (carry_tx, carry_rx) = oneshot::channel();
                let session = self.registry.by_id(&dial.session);
                let full = self.pending.len() >= MOST_PENDING;
                self.pending.insert(id, carry_tx);
                let packets = self.packets.clone();
                self.streams.spawn(async move {
                    let address = dial.address.clone();
                    let opened = match session {
                        _ if full => {
                            Err(Refused { cause: Cause::NoRoom, detail: "the daemon holds too many".into() })
                        }
                        None => {
                            Err(Refused { cause: Cause::TunnelLost, detail: "the session has ended".into() })
                        }
                        Some(session) => outbound::dial(&session, dial.address).await,
                    };
                    let lost = stream(&packets, id, opened, carry_rx).await;
                    if let Some(reset) = lost.filter(|reset| reset.cause == Cause::TunnelLost) {
                        tracing::warn!(%address, "a connection into the cluster was reset: {reset}");
                    }
                });
            }
            Some(Kind::Carry(_)) => match (self.pending.remove(&id), descriptor.map(connection)) {
                // If the stream was refused meanwhile, the connection is closed here, with a reset.
                (Some(pending), Some(Ok(connection))) => {
                    if let Err(connection) = pending.send(connection) {
                        let _ = connection.set_zero_linger();
                    }
                }
                (None, Some(Ok(connection))) => drop(connection.set_zero_linger()),
                (_, Some(Err(error))) => tracing::warn!(%error, "the passed descriptor is not a connection"),
                (_, None) => tracing::warn!("no descriptor was passed"),
            },
            Some(Kind::GiveUp(_)) => drop(self.pending.remove(&id)),
            None => {}
        }
    }
}

fn connection(descriptor: OwnedFd) -> io::Result<TcpStream> {
    let connection = std::net::TcpStream::from(descriptor);
    connection.set_nonblocking(true)?;
    connection.set_nodelay(true)?;
    TcpStream::from_std(connection)
}

/// Answers, waits for the connection to tie to the stream, and carries it. Returns why that ended early.
async fn stream(
    packets: &Packets,
    id: u64,
    opened: Result<TunnelStream, Refused>,
    carry_rx: oneshot::Receiver<TcpStream>,
) -> Option<ResetBy> {
    let refused = opened
        .as_ref()
        .err()
        .map(|refused| v1::Refused { cause: refused.cause.into(), detail: refused.detail.clone() });
    let reply = v1::StreamReply { id, refused };
    // A command that is gone gives the stream up, which the next line detects.
    let _ = packets.send(&reply.encode_to_vec(), None).await;
    match (opened, carry_rx.await) {
        (Ok(stream), Ok(connection)) => carry(connection, stream).await.reset,
        // The connection was announced before the refusal was known.
        (Err(_), Ok(connection)) => {
            let _ = connection.set_zero_linger();
            None
        }
        (_, Err(_)) => None,
    }
}
