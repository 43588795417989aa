//! Keeps a command's session when the daemon dies: follows its state, notices the death, and has a new daemon open it
//! again. `again` decides.

use std::time::Duration;

use bridge_proto::v1::{self, use_event};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::again::{Again, Next};
use super::call::{Asked, Call};
use crate::environment::environment;
use crate::error::ClientError;
use crate::find;
use crate::routes::describe;
use crate::runtime_dir::RuntimeDir;
use crate::said::{Said, Say};
use crate::via::Sessions;

/// The task that keeps a session until its end is asked for.
pub(super) struct Keeper {
    stop: CancellationToken,
    keeping: JoinHandle<Kept>,
}

/// The state of the session at the end of the command.
pub(super) enum Kept {
    There(Call),
    /// The daemon is gone, and no other has the session, or can have it; `lasts`: `bridge connect` had asked for it, too.
    Away {
        lasts: bool,
    },
    /// It was disconnected.
    Ended,
}

/// A session's state, for its users.
pub(super) struct Known {
    pub(super) sessions: Sessions,
    pub(super) routes_tx: watch::Sender<Vec<v1::RouteStatus>>,
}

impl Keeper {
    pub(super) fn begin(hands: impl Hands, again: Again, known: Known, call: Call) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let keeping = tokio::spawn(async move {
            let mut again = again;
            let mut call = Some(call);
            let ended = stopped.run_until_cancelled(keep(&hands, &mut again, &known, &mut call)).await;
            let lasts = again.lasting().is_some();
            match (ended, call) {
                (Some(End::Disconnected), _) => Kept::Ended,
                (None, Some(call)) => Kept::There(call),
                (Some(End::Lost), _) | (None, None) => Kept::Away { lasts },
            }
        });
        Self { stop, keeping }
    }

    /// Stops, and undoes a half-open session. `None`: the task has panicked.
    pub(super) async fn end(self) -> Option<Kept> {
        self.stop.cancel();
        self.keeping.await.ok()
    }
}

/// The side effects of keeping a session.
pub(super) trait Hands: Send + Sync + 'static {
    /// Creates the session again, with the requests of its connect.
    fn again(
        &self,
        lasting: Option<&v1::ConnectRequest>,
    ) -> impl Future<Output = Result<(Call, v1::Using), ClientError>> + Send;

    fn say(&self, said: &Said);
    /// Reports that the requests of these routes come to this command now.
    fn say_routes(&self, routes: &[v1::RouteStatus]);
}

/// Why a session is no longer kept.
enum End {
    Disconnected,
    /// Its daemon is gone, and no other can have it.
    Lost,
}

/// Keeps the session. `call` exists as long as the daemon does.
async fn keep(hands: &impl Hands, again: &mut Again, known: &Known, call: &mut Option<Call>) -> End {
    loop {
        let begun = Instant::now();
        while let Some(held) = call {
            match held.next().await {
                Some(use_event::Kind::Using(now)) => is_now(hands, again, known, now),
                Some(use_event::Kind::Warning(text)) => hands.say(&Said::Warning(text)),
                Some(use_event::Kind::Refused(failure)) => hands.say(&Said::Warning(failure.message)),
                Some(use_event::Kind::Ended(why)) => {
                    hands.say(&Said::Warning(why));
                    return End::Disconnected;
                }
                Some(_) => {}
                None => *call = None,
            }
        }
        let (pause, said) = again.daemon_is_gone(begun.elapsed());
        let _ = known.sessions.send_replace(None);
        hands.say(&Said::Warning(said));
        let Some((held, now)) = make_again(hands, again, pause).await else { return End::Lost };
        *call = Some(held);
        is_now(hands, again, known, now);
    }
}

/// Takes in the session's new state.
fn is_now(hands: &impl Hands, again: &mut Again, known: &Known, now: v1::Using) {
    again.lasts(now.lasting);
    let Some(v1::SessionStatus { id, routes, .. }) = now.session else { return };
    known.sessions.send_if_modified(|session| {
        let other = session.as_deref() != Some(id.as_str());
        if other {
            *session = Some(id.into());
        }
        other
    });
    let changed = known.routes_tx.send_if_modified(|known| {
        let changed = *known != routes;
        known.clone_from(&routes);
        changed
    });
    if changed {
        hands.say_routes(&routes);
    }
}

/// `None`: that cannot be done.
async fn make_again(hands: &impl Hands, again: &mut Again, mut pause: Duration) -> Option<(Call, v1::Using)> {
    loop {
        // So that several commands do not come at the same time.
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..=1.0))).await;
        match hands.again(again.lasting()).await {
            Ok(made) => {
                hands.say(&Said::Note(again.is_there()));
                return Some(made);
            }
            Err(error) => match again.failed(&error) {
                Next::Retry(longer, said) => {
                    pause = longer;
                    if let Some(said) = said {
                        hands.say(&Said::Warning(said));
                    }
                }
                Next::End(said) => {
                    hands.say(&Said::Warning(said));
                    return None;
                }
            },
        }
    }
}

/// Acts through the daemons of this machine.
pub(super) struct ByDaemon {
    pub(super) runtime_dir: RuntimeDir,
    pub(super) target: String,
    pub(super) asked: Asked,
    pub(super) say: Say,
}

impl Hands for ByDaemon {
    async fn again(&self, lasting: Option<&v1::ConnectRequest>) -> Result<(Call, v1::Using), ClientError> {
        let mut daemon = find::started(&self.runtime_dir).await?;
        let mut wish = v1::Wish { lasting: lasting.cloned(), ..self.asked.wish() };
        if let Some(cluster) = wish.request.as_mut().and_then(|request| request.cluster.as_mut()) {
            cluster.environment = environment();
        }
        let (call, using) = Call::begin(&mut daemon.client, wish, |_| {}).await?;
        self.asked.goes_on(&call);
        Ok((call, using))
    }

    fn say(&self, said: &Said) {
        (self.say)(said);
    }

    fn say_routes(&self, routes: &[v1::RouteStatus]) {
        if self.asked.wish().kind() != v1::WishKind::Network {
            self.say(&Said::Note(format!("{}: {}", self.target, describe(routes))));
        }
    }
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
