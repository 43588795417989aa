//! Streams the state of all sessions, for programs that display it: now, and after each change.

use std::sync::Arc;
use std::time::Duration;

use bridge_proto::v1;
use futures::FutureExt;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::registry::Registry;
use super::session::Session;

/// The least time between two messages: under load the counts change with each request.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);

/// Runs until nobody listens any more.
pub(super) async fn tell(registry: Registry, events_tx: mpsc::Sender<v1::WatchEvent>) {
    let mut count = registry.count();
    let mut last = None;
    loop {
        count.mark_unchanged();
        let sessions = registry.all();
        let mut changes: Vec<_> = sessions.iter().map(Changes::of).collect();
        let now: Vec<_> = sessions.iter().map(|session| session.status()).collect();
        // This does not keep the sessions alive.
        drop(sessions);
        if last.as_ref() != Some(&now) {
            if events_tx.send(v1::WatchEvent { sessions: now.clone() }).await.is_err() {
                return;
            }
            last = Some(now);
        }
        let next = Instant::now() + AT_MOST_EVERY;
        tokio::select! {
            // The registry outlives this task.
            _ = count.changed() => {}
            () = any_of(&mut changes) => {}
            () = events_tx.closed() => return,
        }
        tokio::time::sleep_until(next).await;
    }
}

/// The possible changes of a session.
struct Changes {
    live: watch::Receiver<super::session::Live>,
    routes: watch::Receiver<v1::Routes>,
}

impl Changes {
    fn of(session: &Arc<Session>) -> Self {
        let (mut live, mut routes) = (session.watch(), session.watch_routes());
        live.mark_unchanged();
        routes.mark_unchanged();
        Self { live, routes }
    }

    /// An error means that the session has ended, which is a change as well.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.live.changed() => {}
            _ = self.routes.changed() => {}
        }
    }
}

/// Resolves with the first change of any session; never, if there is none.
async fn any_of(all: &mut [Changes]) {
    if all.is_empty() {
        return std::future::pending().await;
    }
    let _ = futures::future::select_all(all.iter_mut().map(|changes| changes.next().boxed())).await;
}

#[cfg(test)]
mod tests {
    use bridge_cluster::pretended::ApiServer;

    use super::*;
    use crate::session::Facts;
    use crate::users::Users;

    #[tokio::test(start_paused = true)]
    async fn each_change_is_reported_and_none_more_often_than_it_can_be_drawn() {
        let registry = Registry::new();
        let (events_tx, mut events_rx) = mpsc::channel(1);
        let telling = tokio::spawn(tell(registry.clone(), events_tx));
        let mut next = async || events_rx.recv().await.expect("a message").sessions;
        assert_eq!(next().await, [], "nothing is connected");

        let facts = Facts::pretended(ApiServer::default().cluster(), "orders", "alice");
        let session = registry.add(Session::pretended(facts, Users::default(), Vec::new()));
        let states =
            |sessions: Vec<v1::SessionStatus>| sessions.iter().map(|s| s.state()).collect::<Vec<_>>();
        assert_eq!(states(next().await), [v1::State::Routing]);

        let begun = Instant::now();
        session.lives(|live| live.reset = Some("bob".into()));
        assert_eq!(states(next().await), [v1::State::Reset]);
        session.lives(|live| live.reset = None);
        assert_eq!(states(next().await), [v1::State::Routing]);
        assert!(begun.elapsed() >= AT_MOST_EVERY, "{:?}", begun.elapsed());

        let silence = tokio::time::timeout(Duration::from_secs(60), next()).await;
        assert!(silence.is_err(), "nothing has changed: {silence:?}");
        drop(events_rx);
        telling.await.expect("it ends when nobody listens");
    }
}
