//! Keeps a session going: a tunnel to each agent of the stand-in, reopened whenever it ends, and a watch on the
//! Service.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bridge_cluster::clean;
use bridge_cluster::mode::Mode;
use bridge_cluster::standing::Standing;
use bridge_cluster::takeover::selector;
use bridge_cluster::watch::{self as cluster_watch, AgentPod};
use futures::StreamExt;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::live::{Agent, Facts, Live};
use crate::tunnel::{self, Attended, Purpose};

/// The longest pause between two attempts to reach an agent: the wait after a laptop is opened.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Follows the cluster on behalf of a session.
pub(super) struct Upkeep {
    pub(super) facts: Facts,
    pub(super) purpose: Purpose,
    pub(super) live: watch::Sender<Live>,
}

impl Upkeep {
    pub(super) async fn run(self) {
        let Facts { cluster, service, stand_in, agents, .. } = &self.facts;
        let mut pods = std::pin::pin!(cluster_watch::agents(cluster, service, stand_in, agents));
        let mut services = cluster_watch::standing(cluster, service, stand_in, agents);
        let mut tunnels = JoinSet::new();
        let mut reached: BTreeMap<String, AbortHandle> = BTreeMap::new();
        let mut pause = Pause::new();
        loop {
            tokio::select! {
                Some(seen) = pods.next() => match seen {
                    Ok(pods) => {
                        pause = Pause::new();
                        self.follow(&pods, &mut reached, &mut tunnels);
                    }
                    Err(error) => self.blind(error.to_string(), &mut pause).await,
                },
                Some(seen) = services.next() => match seen {
                    Ok(standing) => {
                        self.note(&standing);
                        match standing {
                            Standing::OtherPorts => {
                                self.lead_back().await;
                                self.live.send_modify(|live| live.other_ports += u64::from(live.was_in_place));
                            }
                            Standing::Deleted if self.facts.mode == Some(Mode::Sidecar) => self.remove().await,
                            _ => {}
                        }
                    }
                    Err(error) => self.blind(error.to_string(), &mut pause).await,
                },
                Some(_) = tunnels.join_next() => {}
                else => return,
            }
        }
    }

    /// Notes that the watch failed; the next poll tries again, so it must not come at once.
    async fn blind(&self, error: String, pause: &mut Pause) {
        tracing::warn!(session = %self.facts.id, %error, "cannot watch the cluster");
        self.live.send_modify(|live| live.blind = Some(error));
        pause.wait().await;
    }

    /// Keeps a tunnel to each running pod, until the pod is gone.
    fn follow(
        &self,
        pods: &[AgentPod],
        reached: &mut BTreeMap<String, AbortHandle>,
        tunnels: &mut JoinSet<()>,
    ) {
        self.live.send_modify(|live| {
            live.blind = None;
            live.agents_known = true;
            live.agents.retain(|name, _| pods.iter().any(|pod| pod.name == *name));
            for pod in pods {
                let agent = live.agents.entry(pod.name.clone()).or_default();
                (agent.ready, agent.leaving) = (pod.ready, pod.leaving);
                agent.waits_for.clone_from(&pod.waits_for);
            }
        });
        reached.retain(|name, tunnel| {
            let there = pods.iter().any(|pod| pod.name == *name);
            if !there {
                tunnel.abort();
            }
            there
        });
        for pod in pods.iter().filter(|pod| pod.running && !pod.leaving) {
            if !reached.contains_key(&pod.name) {
                let kept = keep(self.purpose.clone(), pod.name.clone(), self.live.clone());
                reached.insert(pod.name.clone(), tunnels.spawn(kept));
            }
        }
    }

    /// No agent listens on the Service's new ports, so requests must not go to the agents.
    async fn lead_back(&self) {
        let Facts { cluster, service, stand_in, .. } = &self.facts;
        if let Err(error) = selector::lead_back(cluster, service, stand_in, None).await {
            tracing::error!(%service, %error, "cannot lead the Service back to the origin");
        }
    }

    /// What the sidecars need is gone with their Service.
    async fn remove(&self) {
        let Facts { cluster, service, .. } = &self.facts;
        if let Err(error) = clean::retire_unused(cluster, Some(service)).await {
            tracing::error!(%service, %error, "cannot take the sidecars out of the pods");
        }
    }

    /// Notes whether the Service still leads to the agents.
    fn note(&self, standing: &Standing) {
        let reset = match self.facts.mode {
            Some(_) => reset_text(standing, &self.facts.service),
            None => removed_text(standing, &self.facts.service),
        };
        self.live.send_if_modified(|live| {
            let led = (live.in_place, live.led_back);
            live.in_place = *standing == Standing::InPlace;
            live.led_back = *standing == Standing::LedBack;
            live.was_in_place |= live.in_place || live.led_back;
            let moved = led != (live.in_place, live.led_back);
            // During the take-over by another stand-in, only that is reported.
            let moving = live.other_ports > 0 && matches!(standing, Standing::OtherPorts | Standing::Removed);
            let known = live.reset.is_some() && moving;
            // A session begins before its Service is switched, and ends after it is restored.
            if !live.was_in_place || live.disconnecting || live.reset == reset || known {
                return moved;
            }
            if let Some(reset) = &reset {
                tracing::warn!(session = %self.facts.id, "{reset}");
            }
            live.reset = reset;
            true
        });
    }
}

/// The consequence for the user that the agent aside is gone.
fn removed_text(standing: &Standing, target: &str) -> Option<String> {
    (*standing != Standing::InPlace).then(|| {
        format!(
            "the agent beside {target} was removed: the cluster is out of reach; `bridge disconnect {target}` ends this \
             session, and the next command starts another agent"
        )
    })
}

/// The consequence for the user that the Service does not lead to the stand-in.
fn reset_text(standing: &Standing, name: &str) -> Option<String> {
    let again =
        format!("`bridge connect {name}` connects it again, `bridge disconnect {name}` ends this session");
    let to_origin = "all requests go to the origin";
    match standing {
        Standing::InPlace | Standing::LedBack => None,
        Standing::Reset { by } => {
            let by = by.as_deref().unwrap_or("someone");
            Some(format!("{by} changed the selector of Service {name}: {to_origin}; {again}"))
        }
        Standing::Retargeted => {
            Some(format!("someone changed the targetPorts of Service {name}: {to_origin}; {again}"))
        }
        Standing::NoSidecar { workload } => Some(format!(
            "someone changed the pod template of {workload}: its new pods answer all requests themselves; {again}"
        )),
        Standing::OtherPorts => Some(format!(
            "the ports of Service {name} changed: {to_origin} until bridge has connected it again"
        )),
        Standing::Removed => Some(format!("the agents of Service {name} were removed: {to_origin}; {again}")),
        Standing::Deleted => {
            Some(format!("Service {name} was deleted; `bridge disconnect {name}` ends this session"))
        }
        Standing::Unreadable(why) => Some(why.clone()),
    }
}

/// Keeps a tunnel to one agent once it is due, with a pause between attempts that grows while none lasts.
async fn keep(purpose: Purpose, pod: String, live: watch::Sender<Live>) {
    let _ = live.subscribe().wait_for(|live| live.is_due(&pod)).await;
    let mut pause = Pause::new();
    loop {
        let reached = OnceLock::new();
        let show = |attended: Attended| {
            reached.get_or_init(Instant::now);
            set(&live, &pod, |agent| {
                agent.trouble.clear();
                agent.attended = Some(attended);
            });
        };
        let error = tunnel::run(&purpose, &pod, show).await;
        let ended = error.to_string();
        set(&live, &pod, |agent| {
            agent.attended = None;
            agent.other_version = error.is_of_versions();
            agent.trouble.clone_from(&ended);
        });
        if live.borrow().agents.get(&pod).is_none_or(|agent| agent.leaving) {
            return;
        }
        tracing::info!(session = %purpose.session.id, %pod, reason = %ended, "the tunnel ended");
        if reached.get().is_some_and(|since| since.elapsed() > LONGEST_PAUSE) {
            pause = Pause::new();
        }
        pause.wait().await;
    }
}

fn set(live: &watch::Sender<Live>, pod: &str, change: impl FnOnce(&mut Agent)) {
    live.send_if_modified(|live| match live.agents.get_mut(pod) {
        Some(agent) => {
            change(agent);
            true
        }
        None => false,
    });
}

/// A pause that doubles, with jitter so that many laptops do not come back at once.
pub(super) struct Pause {
    next: Option<Duration>,
}

impl Pause {
    /// A pause that is zero at first.
    pub(super) fn new() -> Self {
        Self { next: None }
    }

    pub(super) async fn wait(&mut self) {
        let pause = self.next.unwrap_or_default();
        self.next = Some(self.next.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE)));
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..=1.0))).await;
    }
}
