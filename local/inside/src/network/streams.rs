//! Opens connections into the cluster through the daemon's socket for streams; see `StreamRequest` in `daemon.proto`.

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

use super::waits::SESSION_WITHIN;
use bridge_client::Via;

/// The connections of one session.
#[derive(Debug)]
pub struct Streams {
    socket: PathBuf,
    via: Via,
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

/// A connection that an agent has made. It is given up when dropped.
#[derive(Debug)]
pub struct Dialled {
    connection: Arc<Connection>,
    id: u64,
    carried: bool,
}

impl Streams {
    pub fn new(socket: PathBuf, via: Via) -> Self {
        Self { socket, via, connection: Mutex::default() }
    }

    /// Connects to an address from inside the cluster.
    pub async fn dial(&self, address: SocketAddr) -> Result<Dialled, Refused> {
        let dial = |session: Arc<str>| {
            let dial = v1::StreamDial { session: session.to_string(), address: address.to_string() };
            self.ask_for(dial)
        };
        let lost = || Refused { cause: Cause::TunnelLost, detail: "the daemon is gone".to_owned() };
        self.via.ask(SESSION_WITHIN, dial).await.unwrap_or_else(|| Err(lost()))
    }

    /// `None`: the daemon is gone.
    async fn ask_for(&self, dial: v1::StreamDial) -> Option<Result<Dialled, Refused>> {
        let connection = self.connection().ok()?;
        let id = connection.next.fetch_add(1, Ordering::Relaxed);
        let (answer_tx, answer_rx) = oneshot::channel();
        lock(&connection.asked).as_mut()?.insert(id, answer_tx);
        // From here on it is given up if nobody waits for it any more.
        let dialled = Dialled { connection: connection.clone(), id, carried: false };
        connection.say(id, Kind::Dial(dial), None).await.ok()?;
        Some(match answer_rx.await.ok()? {
            None => Ok(dialled),
            Some(refused) => Err(Refused { cause: refused.cause(), detail: refused.detail }),
        })
    }

    /// The existing connection, or a new one if it has broken.
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

    /// Passes answers to their waiters, until the daemon is gone.
    async fn listen(self: Arc<Self>) {
        while let Ok(Some((message, _))) = self.packets.receive().await {
            let Ok(reply) = v1::StreamReply::decode(message.as_slice()) else { break };
            let waiting = lock(&self.asked).as_mut().and_then(|asked| asked.remove(&reply.id));
            if let Some(answer_tx) = waiting {
                // A waiter that has gone has given it up.
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
    pub async fn carry(mut self, connection: &TcpStream) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use bridge_os::packets::PacketListener;

    use super::*;

    /// A command's next question, and its session.
    async fn asked(packets: &Packets) -> (u64, String) {
        let (message, _) = packets.receive().await.unwrap().unwrap();
        let request = v1::StreamRequest::decode(message.as_slice()).unwrap();
        match request.kind {
            Some(Kind::Dial(dial)) => (request.id, dial.session),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_question_to_a_daemon_that_died_is_asked_of_the_next() {
        // Given a daemon that dies with a question unanswered,
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("streams.sock");
        let (sessions, via) = Via::to("a");
        let streams = Streams::new(socket.clone(), via);
        let listener = PacketListener::bind(&socket).unwrap();
        let dial = async move { streams.dial("10.96.0.9:80".parse().unwrap()).await.map(drop) };
        let dialling = tokio::spawn(dial);
        let first = listener.accept().await.unwrap();
        assert_eq!(asked(&first).await.1, "a");
        drop((first, listener));
        let _ = sessions.send_replace(None);

        // when another one has the session,
        std::fs::remove_file(&socket).unwrap();
        let listener = PacketListener::bind(&socket).unwrap();
        let _ = sessions.send_replace(Some("b".into()));

        // then it is asked, and its answer counts.
        let second = listener.accept().await.unwrap();
        let (id, session) = asked(&second).await;
        assert_eq!(session, "b");
        second.send(&v1::StreamReply { id, refused: None }.encode_to_vec(), None).await.unwrap();
        dialling.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_daemon_in_time_the_tunnel_is_lost() {
        let (_sessions, via) = Via::to("a");
        let streams = Streams::new("/nowhere/streams.sock".into(), via);
        let refused = streams.dial("10.96.0.9:80".parse().unwrap()).await.unwrap_err();
        assert_eq!((refused.cause, refused.detail.as_str()), (Cause::TunnelLost, "the daemon is gone"));
    }
}
