//! Keeps a stand-in from harming others: it follows the origin, and while no agent of it is ready, the Service leads to
//! the origin. Every session with the Service does this; each finds what another has done.

mod patience;

use std::time::Duration;

use bridge_cluster::error::ClusterError;
use bridge_cluster::events;
use bridge_cluster::follow::{self, Followed, Follower};
use bridge_cluster::takeover::selector;
use bridge_cluster::watch::{self as cluster_watch, Origin, Rollout};
use futures::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::patience::{Patience, Seen, Step};
use super::live::{Facts, Live};
use super::upkeep::Pause;
use crate::program;

/// The reason in the attachment.
const WHY: &str = "no agent was ready";
/// The pause after a call that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Acts for a session.
pub(super) struct Lead {
    pub(super) facts: Facts,
    pub(super) live: watch::Sender<Live>,
}

impl Lead {
    pub(super) async fn run(self) {
        let Facts { cluster, service, stand_in, original, .. } = &self.facts;
        let mut origins = std::pin::pin!(cluster_watch::origin(cluster, original));
        let mut rollouts = std::pin::pin!(cluster_watch::rollout(cluster, service, stand_in));
        let mut live_rx = self.live.subscribe();
        let (mut origin, mut rollout): (Origin, Option<Rollout>) = (Origin::default(), None);
        let mut following = Following::new(&self.facts);
        let (mut patience, mut rest, mut pause) = (Patience::default(), Instant::now(), Pause::new());
        loop {
            following.go_on(&origin, &live_rx.borrow_and_update(), &self.facts);
            self.say(following.describe(rollout.as_ref()), rollout.as_ref());
            let seen = seen(&live_rx.borrow(), &origin, rollout.as_ref());
            let now = Instant::now();
            let look_again = match patience.step(seen, now) {
                Step::Nothing => None,
                Step::Wait(due) => Some(due),
                Step::LeadBack | Step::SwitchAgain if now < rest => Some(rest),
                Step::LeadBack => {
                    self.lead_back().await;
                    rest = Instant::now() + AGAIN_AFTER;
                    Some(rest)
                }
                Step::SwitchAgain => {
                    self.switch_again().await;
                    rest = Instant::now() + AGAIN_AFTER;
                    Some(rest)
                }
            };
            let due = [look_again, following.due()].into_iter().flatten().min();
            tokio::select! {
                Some(now) = origins.next() => match now {
                    Ok(now) => (origin, pause) = (now, Pause::new()),
                    Err(_) => pause.wait().await,
                },
                Some(now) = rollouts.next() => match now {
                    Ok(now) => {
                        (rollout, pause) = (now, Pause::new());
                        following.rollout_seen();
                    }
                    Err(_) => pause.wait().await,
                },
                Some(followed) = following.under_way.join_next() => {
                    if let Ok(followed) = followed {
                        self.followed(&followed);
                        following.done(followed);
                    }
                }
                Ok(()) = live_rx.changed() => {}
                () = until(due) => {}
            }
        }
    }

    async fn lead_back(&self) {
        let Facts { cluster, service, stand_in, .. } = &self.facts;
        let done = selector::lead_back(cluster, service, stand_in, Some(WHY)).await;
        let text = format!("{WHY}: all requests go to the Service's pods until one is");
        self.tell(done, "BridgeLedBack", &text).await;
    }

    async fn switch_again(&self) {
        let Facts { cluster, service, stand_in, .. } = &self.facts;
        let done = selector::switch_again(cluster, service, stand_in).await;
        self.tell(done, "BridgeSwitchedAgain", "agents are ready again: requests go through them").await;
    }

    async fn tell(&self, done: Result<bool, ClusterError>, reason: &str, text: &str) {
        let Facts { cluster, service, .. } = &self.facts;
        match done {
            Ok(true) => {
                tracing::warn!(%service, "{text}");
                events::record(cluster, service, reason, text).await;
            }
            // Another daemon has done it, or another tool owns the Service: the watch will show.
            Ok(false) => {}
            Err(error) => tracing::error!(%service, %error, "cannot switch the Service"),
        }
    }

    /// Updates the session's state.
    fn say(&self, stale: Option<String>, rollout: Option<&Rollout>) {
        let refused = rollout.and_then(|rollout| rollout.refused.clone());
        self.live.send_if_modified(|live| {
            let changed = live.stale != stale || live.refused != refused;
            (live.stale, live.refused) = (stale, refused);
            changed
        });
    }

    fn followed(&self, followed: &Result<Outcome, ClusterError>) {
        let service = &self.facts.service;
        match followed {
            Ok(Outcome::Followed(Followed::Rolls)) => {
                tracing::info!(%service, "the agents are rolled to the origin's new template");
            }
            // The session moves to a stand-in that listens there.
            Ok(Outcome::Followed(Followed::OtherPorts)) => {
                self.live.send_modify(|live| live.other_ports += u64::from(live.was_in_place));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%service, %error, "the agents cannot follow the origin"),
        }
    }
}

fn seen(live: &Live, origin: &Origin, rollout: Option<&Rollout>) -> Seen {
    let acts = live.agents_known && !live.disconnecting;
    let count =
        |leaving: bool| live.agents.values().filter(|agent| agent.ready && agent.leaving == leaving).count();
    Seen {
        in_place: acts && live.in_place,
        led_back: acts && live.led_back,
        ready: count(false),
        leaving: count(true),
        wanted: rollout.map_or(usize::MAX / 2, |rollout| rollout.wanted),
        origin_ready: origin.ready,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The result of a look at the origin's template.
#[derive(Debug)]
enum Outcome {
    /// The template is another one, and no pod of it is ready yet.
    Behind,
    Followed(Followed),
}

/// The revision of the origin's newest pod, and whether one of that revision is ready.
type Revision = (String, bool);

/// How far the agents have followed the origin.
struct Following {
    /// `None`: this daemon carries no agent.
    follower: Option<Follower>,
    /// The revision last looked at, successfully or not.
    looked_at: Option<Revision>,
    under_way: JoinSet<Result<Outcome, ClusterError>>,
    /// The stand-in is behind: why, and what happens next.
    behind: Option<String>,
    /// The stand-in was rolled, and that was not seen yet.
    rolled: bool,
    again_at: Option<Instant>,
    pause: Duration,
}

impl Following {
    fn new(facts: &Facts) -> Self {
        let agent = program::source(&facts.agent_image).ok();
        Self::by(agent.map(|agent| Follower { user: facts.user.clone(), agent }))
    }

    fn by(follower: Option<Follower>) -> Self {
        Self {
            follower,
            looked_at: None,
            under_way: JoinSet::new(),
            behind: None,
            rolled: false,
            again_at: None,
            pause: AGAIN_AFTER,
        }
    }

    /// Looks at the origin's template whenever its newest pod has a new revision, and when a pod of that revision
    /// becomes ready: the revision works, so the agents may follow.
    fn go_on(&mut self, origin: &Origin, live: &Live, facts: &Facts) {
        let Some(follower) = &self.follower else { return };
        let Some(revision) = &origin.revision else { return };
        let now = (revision.clone(), origin.revision_ready);
        let again = self.again_at.is_some_and(|due| Instant::now() >= due);
        let known = self.looked_at.as_ref() == Some(&now) && !again;
        let may = live.was_in_place && !live.disconnecting && self.under_way.is_empty();
        if known || !may {
            return;
        }
        self.again_at = None;
        let ready = now.1;
        self.looked_at = Some(now);
        let (facts, follower) = (facts.clone(), follower.clone());
        self.under_way.spawn(async move {
            let Facts { cluster, service, stand_in, original, .. } = &facts;
            if !follow::is_behind(cluster, service, stand_in, original).await? {
                return Ok(Outcome::Followed(Followed::Same));
            }
            if !ready {
                return Ok(Outcome::Behind);
            }
            follow::follow(cluster, service, stand_in, &follower).await.map(Outcome::Followed)
        });
    }

    fn done(&mut self, outcome: Result<Outcome, ClusterError>) {
        const BEHIND: &str = "stale: the agents use an old template of the origin";
        self.rolled = matches!(outcome, Ok(Outcome::Followed(Followed::Rolls)));
        let failed = outcome.is_err();
        self.behind = match outcome {
            Ok(Outcome::Behind) => {
                Some(format!("{BEHIND}, and will follow when a pod of the new one is ready"))
            }
            Ok(Outcome::Followed(Followed::Rolls)) => Some(format!("{BEHIND}, and are being replaced")),
            Ok(Outcome::Followed(Followed::Cannot(why))) => {
                Some(format!("{BEHIND}, and cannot follow: {why}"))
            }
            Ok(Outcome::Followed(Followed::Same | Followed::OtherPorts | Followed::Gone)) => None,
            // Waiting gives no rights.
            Err(error) if error.is_forbidden() => Some(format!("{BEHIND}, and cannot follow: {error}")),
            Err(error) => {
                self.again_at = Some(Instant::now() + self.pause);
                Some(format!("{BEHIND}, and cannot follow yet: {error}"))
            }
        };
        self.pause = if failed { (self.pause * 2).min(LONGEST_PAUSE) } else { AGAIN_AFTER };
    }

    /// When to look again although nothing has changed.
    fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        self.again_at.filter(|due| *due > now)
    }

    /// From now on the Deployment shows the progress.
    fn rollout_seen(&mut self) {
        if std::mem::take(&mut self.rolled) {
            self.behind = None;
        }
    }

    fn describe(&self, rollout: Option<&Rollout>) -> Option<String> {
        let outdated = rollout.is_some_and(|rollout| rollout.outdated);
        self.behind.clone().or_else(|| {
            outdated.then(|| "stale: agents with an old template of the origin are being replaced".to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_is_stale_until_the_last_of_its_agents_has_followed() {
        let mut following = Following::by(None);
        let rollout = |outdated| Some(Rollout { wanted: 2, outdated, complete: !outdated, refused: None });
        assert_eq!(following.describe(rollout(false).as_ref()), None);
        for (outcome, said) in [
            (Outcome::Behind, "when a pod of the new one is ready"),
            (Outcome::Followed(Followed::Cannot("it has no container".to_owned())), "it has no container"),
            (Outcome::Followed(Followed::Rolls), "are being replaced"),
        ] {
            following.done(Ok(outcome));
            let detail = following.describe(rollout(false).as_ref()).unwrap_or_default();
            assert!(detail.starts_with("stale: ") && detail.contains(said), "expected {said:?}: {detail}");
        }
        following.rollout_seen();
        let detail = following.describe(rollout(true).as_ref()).unwrap_or_default();
        assert!(detail.starts_with("stale: "), "agents of the earlier template are there: {detail}");
        assert_eq!(following.describe(rollout(false).as_ref()), None, "all have followed");
    }
}
