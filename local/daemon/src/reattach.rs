//! Moves a session whose Service has got other ports to a stand-in that knows them. Until then all requests go to the
//! origin: the session's supervisor has switched the Service back at once.
//!
//! `sharing` starts this for each session that it creates, and this creates the next one as `sharing` does: one
//! mechanism in two files.

use std::sync::{Arc, Weak};

use bridge_cluster::takeover::selector;
use bridge_proto::v1;
use tokio::sync::{mpsc, watch};

use super::connect::{self, Claimant};
use super::failure::Failure;
use super::plan;
use super::session::{Live, Session};
use super::sharing::Sharing;
use super::teller::Teller;

/// The parts of the daemon that attaching again needs.
#[derive(Clone)]
pub(crate) struct Reattaching {
    pub(crate) sharing: Sharing,
}

impl Reattaching {
    /// Watches over a session until it has ended or another has taken its place.
    pub(crate) fn watch_over(&self, session: &Arc<Session>) {
        let (reattaching, live) = (self.clone(), session.watch());
        // This does not keep the session alive: it ends with its last user.
        let session = Arc::downgrade(session);
        tokio::spawn(async move { reattaching.whenever_ports_change(session, live).await });
    }

    async fn whenever_ports_change(self, session: Weak<Session>, mut live: watch::Receiver<Live>) {
        let mut answered = 0;
        // An error means that the session has ended.
        while let Ok(changes) = live.wait_for(|live| live.other_ports > answered).await.map(|l| l.other_ports)
        {
            answered = changes;
            let Some(session) = session.upgrade() else { return };
            let Sharing { registry, turns, .. } = &self.sharing;
            let _under_way = turns.begin();
            let _turn = turns.at(&session.facts.cluster, &session.facts.service).lock_owned().await;
            if !registry.has(&session) {
                return;
            }
            match self.attach_again(&session).await {
                Ok(next) => {
                    tracing::info!(session = %next.facts.id, service = %next.facts.service, "attached again");
                    let next = registry.replace(&session, next).await;
                    self.watch_over(&next);
                    return;
                }
                Err(failure) => {
                    tracing::warn!(session = %session.facts.id, %failure, "cannot attach again");
                    session.cannot_attach_again(&failure.to_string());
                }
            }
        }
    }

    /// Connects the same routes at a stand-in for the Service as it is now.
    async fn attach_again(&self, session: &Session) -> Result<Session, Failure> {
        let facts = &session.facts;
        selector::lead_back(&facts.cluster, &facts.service, &facts.stand_in, None).await?;
        let found = plan::find(facts.cluster.clone(), facts.service.clone()).await?;
        // It takes over the old session's claim, which may still be ending at agents that both have.
        let claimant = Claimant::since(&facts.user, &self.sharing.installation, facts.since_ms);
        let _coming = self.sharing.registry.coming(&claimant.id);
        // No user waits for it: the steps go to the log.
        let (events_tx, events_rx) = mpsc::channel(8);
        let (tell, telling) =
            (Teller::Connect(events_tx), tokio::spawn(log(facts.service.clone(), events_rx)));
        let next = async {
            let plan = plan::plan(found, session.users(), &tell).await?;
            connect::connect(plan, claimant, None, self.sharing.inbound(), &tell).await
        };
        let next = next.await;
        telling.abort();
        next
    }
}

async fn log(service: String, mut events_rx: mpsc::Receiver<v1::ConnectEvent>) {
    while let Some(event) = events_rx.recv().await {
        match event.kind {
            Some(v1::connect_event::Kind::Step(text)) => tracing::info!(%service, "attaching again: {text}"),
            Some(v1::connect_event::Kind::Warning(text)) => tracing::warn!(%service, "{text}"),
            _ => {}
        }
    }
}
