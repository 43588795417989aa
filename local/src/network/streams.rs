//! Connections into the cluster, asked of the daemon on its socket for streams; see `StreamRequest` in `daemon.proto`.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bridge_os::packets::Packets;
use bridge_os::peer;
use bridge_proto::tunnel::Refused;
use bridge_proto::v1::{self, Cause, stream_request::Kind};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// The connections of one session.
#[derive(Debug)]
pub(crate) struct Streams {
    socket: PathBuf,
    session: String,
    connection: Mutex<Option<Arc<Connection>>>,
}

/// The connection to the daemon.
#[derive(Debug)]
struct Connection {
    packets: Packets,
    next: AtomicU64,
    /// `None`: the daemon is gone.
    asked: Mutex<Option<HashMap<u64, oneshot::Sender<Option<v1::Refused>>>>>,
}

/// A connection that an agent has made. Dropped, it is given up.
#[derive(Debug)]
pub(crate) struct Dialled {
    connection: Arc<Connection>,
    id: u64,
    carried: bool,
}

impl Streams {
    pub(crate) fn new(socket: PathBuf, session: String) -> Self {
        Self { socket, session, connection: Mutex::default() }
    }

    /// Connects to an address from inside the cluster.
    pub(crate) async fn dial(&self, address: SocketAddr) -> Result<Dialled, Refused> {
        let lost = |error: io::Error| Refused {
            cause: Cause::TunnelLost,
            detail: format!("the daemon is not reached: {error}"),
        };
        let connection = self.connection().map_err(lost)?;
        let id = connection.next.fetch_add(1, Ordering::Relaxed);
        let (answer_tx, answer_rx) = oneshot::channel();
        match &mut *lock(&connection.asked) {
            Some(asked) => asked.insert(id, answer_tx),
            None => return Err(lost(io::ErrorKind::BrokenPipe.into())),
        };
        // From here on it is given up if nobody waits for it any more.
        let dialled = Dialled { connection: connection.clone(), id, carried: false };
        let dial = v1::StreamDial { session: self.session.clone(), address: address.to_string() };
        connection.say(id, Kind::Dial(dial), None).await.map_err(lost)?;
        match answer_rx.await {
            Ok(None) => Ok(dialled),
            Ok(Some(refused)) => Err(Refused { cause: refused.cause(), detail: refused.detail }),
            Err(_) => Err(lost(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// The one that there is, or a new one if it has broken.
    fn connection(&self) -> io::Result<Arc<Connection>> {
        let mut current = lock(&self.connection);
        if let Some(connection) = current.as_ref().filter(|connection| connection.lives()) {
            return Ok(connection.clone());
        }
        let packets = Packets::connect(&self.socket)?;
        peer::check(&packets)?;
        let connection = Arc::new(Connection {
            packets,
            next: AtomicU64::new(1),
            asked: Mutex::new(Some(HashMap::new())),
        });
        tokio::spawn(connection.clone().listen());
        Ok(current.insert(connection).clone())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        if let Some(connection) = lock(&self.connection).take() {
            connection.end();
        }
    }
}

impl Connection {
    fn lives(&self) -> bool {
        lock(&self.asked).is_some()
    }

    /// Hands answers to who waits for them, until the daemon is gone.
    async fn listen(self: Arc<Self>) {
        while let Ok(Some((message, _))) = self.packets.receive().await {
            let Ok(reply) = v1::StreamReply::decode(message.as_slice()) else { break };
            let waiting = lock(&self.asked).as_mut().and_then(|asked| asked.remove(&reply.id));
            if let Some(answer_tx) = waiting {
                // Who does not wait any more has given it up.
                let _ = answer_tx.send(reply.refused);
            }
        }
        self.end();
    }

    fn end(&self) {
        *lock(&self.asked) = None;
        self.packets.shutdown();
    }

    async fn say(&self, id: u64, kind: Kind, descriptor: Option<&TcpStream>) -> io::Result<()> {
        let request = v1::StreamRequest { id, kind: Some(kind) };
        self.packets.send(&request.encode_to_vec(), descriptor.map(AsFd::as_fd)).await
    }
}

impl Dialled {
    /// Ties a connection of this machine to it; from now on the daemon has both.
    pub(crate) async fn carry(mut self, connection: &TcpStream) -> io::Result<()> {
        self.carried = true;
        self.connection.say(self.id, Kind::Carry(v1::StreamCarry {}), Some(connection)).await
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        if let Some(asked) = lock(&self.connection.asked).as_mut() {
            asked.remove(&self.id);
        }
        if !self.carried {
            let (connection, id) = (self.connection.clone(), self.id);
            // A daemon that is gone has nothing to give up.
            tokio::spawn(
                async move { drop(connection.say(id, Kind::GiveUp(v1::StreamGiveUp {}), None).await) },
            );
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
