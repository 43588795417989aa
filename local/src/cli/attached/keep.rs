//! Keeps a command's session beyond the death of the daemon: follows how it is made, notices the death, and has a new
//! daemon make it again. `again` decides.

use std::sync::Arc;
use std::time::Duration;

use bridge_proto::v1;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::again::Again;
use super::{connect, daemon, request, sessions};
use crate::cli::daemon::Place;
use crate::cli::error::Failed;
use crate::cli::output;
use crate::network::{DaemonClient, Sessions};

/// It goes on until its end is asked for.
pub(super) struct Keeper {
    stop: CancellationToken,
    keeping: JoinHandle<Kept>,
}

/// How the session stands at the end of the command.
pub(super) struct Kept {
    /// It is this command's to give back.
    pub(super) ours: bool,
    pub(super) state: State,
    /// The connect that makes it, as far as it is known.
    pub(super) made_by: Option<v1::ConnectRequest>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    There,
    /// The daemon is gone, and the session not made again.
    Away,
    /// Somebody has disconnected it.
    Ended,
}

impl Keeper {
    pub(super) fn begin(hands: impl Hands, again: Again, sessions: Sessions) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let keeping = tokio::spawn(async move {
            let mut again = again;
            let mut heard = false;
            stopped.run_until_cancelled(keep(&hands, &mut again, &sessions, &mut heard)).await;
            let state = match again.made_by() {
                _ if sessions.borrow().is_none() => State::Away,
                None if heard => State::Ended,
                _ => State::There,
            };
            Kept { ours: again.is_ours(), state, made_by: again.made_by().cloned() }
        });
        Self { stop, keeping }
    }

    /// Stops; what was just being made again is undone. `None`: it has panicked.
    pub(super) async fn end(self) -> Option<Kept> {
        self.stop.cancel();
        self.keeping.await.ok()
    }
}

/// A session that is there again.
pub(super) struct Made {
    id: String,
    /// Another command has made it.
    found: bool,
}

/// What keeping does to the world.
pub(super) trait Hands: Send + Sync + 'static {
    /// How the session is made, now and whenever that changes; it ends with the daemon.
    fn follow(&self, session: &str) -> impl Future<Output = BoxStream<'static, v1::FollowedSession>> + Send;

    /// Makes a session, or finds one with the target.
    fn make(&self, made_by: &v1::ConnectRequest) -> impl Future<Output = Result<Made, Failed>> + Send;

    fn warn(&self, text: &str);
    fn note(&self, text: &str);
}

/// Ends when there is nothing to keep any more.
async fn keep(hands: &impl Hands, again: &mut Again, sessions: &Sessions, heard: &mut bool) {
    loop {
        let begun = Instant::now();
        let Some(session) = sessions.borrow().clone() else { return };
        let mut followed = hands.follow(&session).await;
        while let Some(now) = followed.next().await {
            *heard = true;
            again.is_made_by(now.made_by);
        }
        let Some((pause, said)) = again.daemon_is_gone(begun.elapsed()) else { return };
        let _ = sessions.send_replace(None);
        hands.warn(&said);
        let there = make_again(hands, again, &session, pause).await;
        let _ = sessions.send_replace(Some(there));
    }
}

async fn make_again(hands: &impl Hands, again: &mut Again, former: &str, mut pause: Duration) -> Arc<str> {
    loop {
        // So that several commands do not come at the same time.
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..=1.0))).await;
        let made_by = again.made_by().cloned().unwrap_or_default();
        match hands.make(&made_by).await {
            Ok(made) => {
                let said =
                    if made.id == former { again.is_still_there() } else { again.is_there(made.found) };
                hands.note(&said);
                return made.id.into();
            }
            Err(failed) => {
                let said;
                (pause, said) = again.failed(&failed.message);
                if let Some(said) = said {
                    hands.warn(&said);
                }
            }
        }
    }
}

/// Does it by the daemons of this machine.
pub(super) struct ByDaemon {
    pub(super) place: Place,
    pub(super) client: DaemonClient,
    pub(super) target: String,
    pub(super) namespace: String,
    pub(super) context: String,
}

impl ByDaemon {
    fn is_it(&self, session: &v1::SessionStatus) -> bool {
        session.target == self.target
            && session.namespace == self.namespace
            && session.context == self.context
            && session.state() != v1::State::Disconnecting
    }
}

impl Hands for ByDaemon {
    async fn follow(&self, session: &str) -> BoxStream<'static, v1::FollowedSession> {
        let query = v1::FollowQuery { session: session.to_owned() };
        match self.client.clone().follow(query).await {
            Ok(reply) => reply.into_inner().scan((), |(), told| std::future::ready(told.ok())).boxed(),
            // Nothing is told if the daemon is of an older version, either.
            Err(_) => futures::stream::empty().boxed(),
        }
    }

    async fn make(&self, made_by: &v1::ConnectRequest) -> Result<Made, Failed> {
        let mut daemon = daemon::started(&self.place).await?;
        // One that is there was made by somebody else meanwhile, and is not to be changed.
        let there = sessions(&self.place).await?;
        if let Some(there) = there.iter().find(|session| self.is_it(session)) {
            return Ok(Made { id: there.id.clone(), found: true });
        }
        let environment = request::environment();
        let cluster = v1::Cluster { environment, ..made_by.cluster.clone().unwrap_or_default() };
        let request = v1::ConnectRequest { cluster: Some(cluster), ..made_by.clone() };
        let connected = connect::connected(&mut daemon.client, request, |_| {}).await?;
        Ok(Made { id: connected.session.id, found: connected.found })
    }

    fn warn(&self, text: &str) {
        output::warn(text);
    }

    fn note(&self, text: &str) {
        output::note(&output::line(&format!("  {text}")));
    }
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
