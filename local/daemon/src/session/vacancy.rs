//! Watches the workload that a session replaces: someone may scale it up meanwhile.

use bridge_cluster::app::App;
use bridge_cluster::replace;
use futures::StreamExt;
use tokio::sync::watch;

use super::live::{Facts, Live};
use super::upkeep::Pause;

/// Reports to a session.
pub(super) struct Vacancy {
    pub(super) facts: Facts,
    pub(super) live: watch::Sender<Live>,
}

impl Vacancy {
    pub(super) async fn run(self) {
        let Some(app) = &self.facts.replaces else { return };
        let mut states = std::pin::pin!(replace::replicas(&self.facts.cluster, app));
        let (mut was_empty, mut pause) = (false, Pause::new());
        while let Some(seen) = states.next().await {
            match seen {
                Ok(replicas) => {
                    was_empty |= replicas == Some(0);
                    pause = Pause::new();
                    self.say(if was_empty { taken(app, replicas) } else { None });
                }
                // The watch of the agents reports that the cluster cannot be reached.
                Err(_) => pause.wait().await,
            }
        }
    }

    fn say(&self, taken: Option<String>) {
        self.live.send_if_modified(|live| {
            // A Service gets its pods back before its session ends.
            let taken = taken.filter(|_| self.facts.mode.is_none() || live.without_origin);
            let changed = live.taken != taken;
            live.taken = taken;
            changed
        });
    }
}

/// Why the place of a workload is no longer the session's alone.
fn taken(app: &App, replicas: Option<u32>) -> Option<String> {
    match replicas {
        Some(0) => None,
        Some(replicas) => {
            Some(format!("someone has scaled {app} to {replicas}: its pods run beside your command"))
        }
        None => Some(format!("{app} was deleted: nothing will be restored")),
    }
}
