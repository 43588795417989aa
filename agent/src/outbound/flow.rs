//! Outbound UDP: a socket for each flow, connected to its peer, so that it gets no other sender's datagrams.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bridge_proto::tunnel::{Budget, Hold};
use bridge_proto::v1::Datagram;
use bytes::Bytes;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::Outbound;
use super::allowed::status;
use crate::session::{Session, share};

/// RFC 4787, REQ-5 asks address translators for two minutes at least.
const IDLE: Duration = Duration::from_secs(120);
const LARGEST: usize = 65_535;

pub(crate) type ToDaemon = mpsc::Sender<Result<Datagram, Status>>;

/// Serves one call of a session until either side ends it or nothing came for two minutes.
pub(crate) async fn flow(
    outbound: &Outbound,
    session: Arc<Session>,
    incoming: Streaming<Datagram>,
    to_daemon: ToDaemon,
) {
    let ended = session.ended.clone();
    let over = Err(Status::cancelled("the session has ended"));
    let outcome = ended.run_until_cancelled(relay(outbound, &session, incoming, &to_daemon)).await;
    if let Err(status) = outcome.unwrap_or(over) {
        // If it cannot be sent, nobody waits for it.
        let _ = to_daemon.send(Err(status)).await;
    }
}

async fn relay(
    outbound: &Outbound,
    session: &Session,
    mut incoming: Streaming<Datagram>,
    to_daemon: &ToDaemon,
) -> Result<(), Status> {
    let Some(first) = incoming.message().await? else { return Ok(()) };
    let room = session.budget.begin(share::FLOW).zip(session.outbound.begin(1));
    let _room = room.ok_or_else(|| Status::resource_exhausted(share::FULL))?;
    let socket = open(outbound, &first.address).await?;
    if to_daemon.send(Ok(Datagram::default())).await.is_err() {
        return Ok(());
    }
    loop {
        tokio::select! {
            message = incoming.message() => match message? {
                Some(datagram) => send(&socket, &datagram.payload).await?,
                None => return Ok(()),
            },
            // An error on the way there (ICMP) makes it ready, but not readable.
            ready = socket.ready(Interest::READABLE | Interest::ERROR) => {
                if ready.map_err(refused)?.is_error() {
                    fails(&socket)?;
                }
                if let Some(payload) = receive(&socket, &session.budget)? {
                    // If the queue is full, the datagram is dropped: UDP senders expect that.
                    let _ = to_daemon.try_send(Ok(Datagram { address: String::new(), payload }));
                }
            }
            () = tokio::time::sleep(IDLE) => return Ok(()),
        }
    }
}

async fn open(outbound: &Outbound, address: &str) -> Result<UdpSocket, Status> {
    let to = outbound.allowed.check(address).map_err(status)?;
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(refused)?;
    socket.connect(to).await.map_err(refused)?;
    let from = socket.local_addr().map_err(refused)?;
    outbound.allowed.check_connected(from.ip().to_canonical(), to.ip()).map_err(status)?;
    Ok(socket)
}

async fn send(socket: &UdpSocket, payload: &[u8]) -> Result<(), Status> {
    match socket.send(payload).await {
        // Too large for the way there: lost, as it would be from a pod.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => Ok(()),
        sent => sent.map(drop).map_err(refused),
    }
}

/// A datagram that waits for the tunnel, and counts against the budget as long as it waits.
struct Kept {
    payload: Box<[u8]>,
    _room: Hold,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

/// `None` if there is none, or no room for it.
fn receive(socket: &UdpSocket, budget: &Budget) -> Result<Option<Bytes>, Status> {
    let mut buffer = [0; LARGEST];
    match socket.try_recv(&mut buffer) {
        Ok(len) => {
            let mut room = budget.nothing();
            let keep = |_room| Bytes::from_owner(Kept { payload: buffer[..len].into(), _room });
            Ok(room.set(len as u64).then_some(room).map(keep))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(refused(error)),
    }
}

/// Takes the socket's error; `Ok` if there is none after all.
fn fails(socket: &UdpSocket) -> Result<(), Status> {
    match socket.take_error().map_err(refused)? {
        Some(error) => Err(refused(error)),
        None => {
            let _ =
                socket.try_io(Interest::ERROR, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
            Ok(())
        }
    }
}

/// Nobody listens there, or there is no route to it.
fn refused(error: io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Status::unavailable(error.to_string()),
        _ => Status::aborted(error.to_string()),
    }
}
