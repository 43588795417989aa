//! A session's life: its routes live as long as its control call; when that ends, for any reason, the whole session is
//! gone at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge_proto::tunnel::alive::SAY_EVERY;
use bridge_proto::v1::{
    Alive, Counts, Draining, FromAgent, FromDaemon, Routed, Routes, from_agent, from_daemon,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Status, Streaming};

use crate::context::Control;
use crate::session::Session;

/// The least time between two reads of routes: reading them costs others' time.
const ROUTES_EVERY: Duration = Duration::from_millis(20);

/// Ends the session when the control call's task is over, even if it panics.
struct Attended {
    context: Arc<Control>,
    session: Arc<Session>,
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.context.registry.end(&self.session);
        tracing::info!(session = self.session.id, user = self.session.user, "detached");
    }
}

/// Serves a control call until its end.
pub(super) async fn attend(
    context: Arc<Control>,
    session: Arc<Session>,
    mut from_daemon: Streaming<FromDaemon>,
    to_daemon_tx: mpsc::Sender<Result<FromAgent, Status>>,
) {
    tracing::info!(session = session.id, user = session.user, "attached");
    let attended = Attended { context, session };
    let (context, session) = (&attended.context, &attended.session);
    let mut alive = tokio::time::interval(SAY_EVERY);
    alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told_to_drain = false;
    let mut sent = Counts::default();
    let mut next = Instant::now();
    loop {
        let say = tokio::select! {
            message = heard(&mut from_daemon, next) => match message {
                Ok(Some(message)) => match message.kind {
                    Some(from_daemon::Kind::Routes(routes)) => {
                        next = Instant::now() + ROUTES_EVERY;
                        from_agent::Kind::Routed(route(context, session, &routes))
                    }
                    Some(from_daemon::Kind::Alive(_)) | None => continue,
                },
                Ok(None) | Err(_) => return,
            },
            _ = alive.tick() => match news(context, session, &mut sent) {
                Some(counts) => from_agent::Kind::Counts(counts),
                None => from_agent::Kind::Alive(Alive {}),
            },
            () = context.drain.begun(), if !told_to_drain => {
                told_to_drain = true;
                from_agent::Kind::Draining(Draining {})
            }
            () = session.ended.cancelled() => {
                // If there is no room for it, the end of the call is enough.
                let _ = to_daemon_tx.try_send(Err(Status::aborted("another call attends this session now")));
                return;
            }
            () = to_daemon_tx.closed() => return,
        };
        let message = FromAgent { kind: Some(say) };
        let sent = tokio::select! {
            sent = to_daemon_tx.send(Ok(message)) => sent.is_ok(),
            () = session.ended.cancelled() => false,
        };
        if !sent {
            return;
        }
    }
}

async fn heard(
    from_daemon: &mut Streaming<FromDaemon>,
    not_before: Instant,
) -> Result<Option<FromDaemon>, Status> {
    tokio::time::sleep_until(not_before).await;
    from_daemon.message().await
}

fn route(context: &Control, session: &Arc<Session>, routes: &Routes) -> Routed {
    let refused = match context.registry.set_routes(session, &routes.routes) {
        Ok(()) => {
            let (id, user, count) = (&session.id, &session.user, routes.routes.len());
            tracing::info!(session = id, user, routes = count, revision = routes.revision, "routes in force");
            if routes.without_origin {
                context.ready.without_origin();
            }
            String::new()
        }
        Err(refusal) => {
            tracing::warn!(session = session.id, user = session.user, %refusal, "routes refused");
            refusal.to_string()
        }
    };
    Routed { revision: routes.revision, refused }
}

/// The counts, if they have changed since they were last sent.
fn news(context: &Control, session: &Session, sent: &mut Counts) -> Option<Counts> {
    let counts = Counts {
        laptop: Some(session.tally.to_message()),
        origin: Some(context.requests.to_origin().to_message()),
        opaque: context.requests.opaque_so_far(),
        copies: Some(session.copied.to_message()),
        copies_given_up: session.given_up.load(Ordering::Relaxed),
    };
    (*sent != counts).then(|| {
        sent.clone_from(&counts);
        counts
    })
}
