//! One command that uses a session, from its wish to its end. However it ends (the command is done, or was killed, and
//! its socket closed), what it asked for ends with it.

use bridge_proto::v1::{self, use_event, use_request};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::listeners::Listening;
use super::session::Session;
use super::sharing::{Entered, Newcomer, Sharing};
use super::teller::Teller;
use super::users::UserId;

pub(super) struct Using {
    pub(super) sharing: Sharing,
    pub(super) events_tx: mpsc::Sender<v1::UseEvent>,
    /// Cancelled when the daemon ends: to the command it looks as if it had died.
    pub(super) ending: CancellationToken,
}

/// Why a command no longer uses a session.
enum Over {
    /// The command has ended, or is gone.
    Left,
    /// The session has ended.
    Ended,
}

/// The state of its session, as a command sees it.
#[derive(Clone, PartialEq)]
struct Seen {
    id: String,
    routes: Vec<v1::RouteStatus>,
    lasting: Option<v1::ConnectRequest>,
}

impl Using {
    pub(super) async fn serve(self, requests: Streaming<v1::UseRequest>) {
        let ending = self.ending.clone();
        ending.run_until_cancelled(self.until_its_end(requests)).await;
    }

    async fn until_its_end(self, mut requests: Streaming<v1::UseRequest>) {
        let entered = {
            let _under_way = self.sharing.turns.begin();
            let Some(wish) = wish(&mut requests).await else { return };
            let tell = Teller::Use(self.events_tx.clone());
            match self.sharing.enter(&Newcomer::Command(Box::new(wish)), &tell).await {
                Ok(entered) => entered,
                Err(failure) => {
                    tracing::warn!(%failure, "connect failed");
                    return self.say(use_event::Kind::Failed(failure.to_message())).await;
                }
            }
        };
        // This does not keep the session alive: it ends with its last user.
        let Entered { session, id, found } = entered;
        let session_id = session.facts.id.clone();
        let service = session.facts.service.clone();
        drop(session);
        match self.use_it(&session_id, id, found, &mut requests).await {
            Over::Ended => {
                let text = format!("the session with {service} has ended: it was disconnected");
                self.say(use_event::Kind::Ended(text)).await;
            }
            Over::Left => self.leave(&session_id, id).await,
        }
    }

    /// A command that has gone reads nothing more.
    async fn say(&self, kind: use_event::Kind) {
        let _ = self.events_tx.send(v1::UseEvent { kind: Some(kind), ..v1::UseEvent::default() }).await;
    }

    /// Reports the session's state, and serves further requests.
    async fn use_it(
        &self,
        session: &str,
        id: UserId,
        found: bool,
        requests: &mut Streaming<v1::UseRequest>,
    ) -> Over {
        let mut sessions = self.sharing.registry.count();
        let mut listening = None;
        let mut last = None;
        loop {
            let there = self.sharing.registry.by_id(session).filter(|there| there.users().has(id));
            let Some(there) = there else { return Over::Ended };
            let (mut users, mut routes) = (there.watch_users(), there.watch_routes());
            let now = seen(&there);
            if last.as_ref() != Some(&now) {
                let (session, lasting) = (Some(there.status()), now.lasting.clone());
                self.say(use_event::Kind::Using(v1::Using { session, found, lasting })).await;
                last = Some(now);
            }
            drop(there);
            tokio::select! {
                // The registry outlives this task.
                _ = sessions.changed() => {}
                // The next look finds that a session has ended.
                _ = users.changed() => {}
                _ = routes.changed() => {}
                asked = requests.message() => match asked {
                    Ok(Some(asked)) => self.heed(session, id, asked, &mut listening).await,
                    Ok(None) | Err(_) => return Over::Left,
                },
                () = self.events_tx.closed() => return Over::Left,
            }
        }
    }

    async fn heed(
        &self,
        session: &str,
        id: UserId,
        asked: v1::UseRequest,
        listening: &mut Option<Listening>,
    ) {
        let outcome = match asked.kind {
            Some(use_request::Kind::Ports(ports)) => self.sharing.lead(session, id, ports.ports).await,
            Some(use_request::Kind::Listeners(listeners)) => {
                // An earlier announcement no longer counts.
                drop(listening.take());
                match self.sharing.listen(id, listeners) {
                    Ok(now) => {
                        *listening = Some(now);
                        return self.say(use_event::Kind::Listening(v1::Listening {})).await;
                    }
                    Err(failure) => Err(failure),
                }
            }
            // There is only one wish; and a newer command may ask for more.
            Some(use_request::Kind::Wish(_)) | None => Ok(()),
        };
        if let Err(failure) = outcome {
            self.say(use_event::Kind::Refused(failure.to_message())).await;
        }
    }

    async fn leave(&self, session: &str, id: UserId) {
        let left = {
            let _under_way = self.sharing.turns.begin();
            self.sharing.leave(session, id).await
        };
        match left {
            Ok(None) => {}
            Ok(Some(disconnected)) => self.say(use_event::Kind::Disconnected(disconnected)).await,
            Err(failure) => {
                tracing::warn!(%session, %failure, "cannot restore the Service; retrying");
                self.say(use_event::Kind::Failed(failure.to_message())).await;
                self.sharing.give_back(session).await;
            }
        }
    }
}

/// The first message of the call.
async fn wish(requests: &mut Streaming<v1::UseRequest>) -> Option<v1::Wish> {
    let first: Result<Option<v1::UseRequest>, Status> = requests.message().await;
    match first.ok()??.kind? {
        use_request::Kind::Wish(wish) => Some(wish),
        _ => None,
    }
}

fn seen(session: &Session) -> Seen {
    let v1::SessionStatus { id, routes, .. } = session.status();
    Seen { id, routes, lasting: session.users().lasting().cloned() }
}
