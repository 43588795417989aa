//! A session's state: its facts, its agents, and the status that follows from them. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bridge_cluster::app::App;
use bridge_cluster::client::Cluster;
use bridge_cluster::mode::Mode;
use bridge_cluster::watch::AgentsOf;
use bridge_cluster::workload::Labels;
use bridge_deploy::{ListenPort, Restore};
use bridge_proto::v1;

use crate::tunnel::Attended;

/// The part that is fixed while a session lives.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) cluster: Cluster,
    /// The Service; of a session aside, its target with the kind: "deploy/worker".
    pub(crate) service: String,
    pub(crate) stand_in: String,
    /// The way in which its Service is connected; `None`: it is aside, and no Service leads to its agent.
    pub(crate) mode: Option<Mode>,
    /// Which pods are agents.
    pub(crate) agents: AgentsOf,
    /// The workload that has no pods while this session lives.
    pub(crate) replaces: Option<App>,
    /// When the agents restore everything without this laptop; `None`: they do not.
    pub(crate) restore: Option<Restore>,
    pub(crate) control_port: u16,
    /// The Service's own selector.
    pub(crate) original: Labels,
    pub(crate) key: Arc<[u8]>,
    pub(crate) since_ms: u64,
    /// The Service's ports that the stand-in knows.
    pub(crate) ports: Vec<ListenPort>,
    /// The image with the agent; empty: the origin's own image.
    pub(crate) agent_image: String,
}

/// One agent's pod, and the tunnel to it.
#[derive(Clone, Default)]
pub(crate) struct Agent {
    pub(crate) ready: bool,
    pub(crate) leaving: bool,
    pub(crate) attended: Option<Attended>,
    /// Why there is no tunnel.
    pub(crate) trouble: String,
    /// There will be none: the agent's version and this one have no protocol in common.
    pub(crate) other_version: bool,
    /// Why it is not ready.
    pub(crate) waits_for: Option<String>,
}

/// The part that changes.
#[derive(Clone, Default)]
pub(crate) struct Live {
    pub(crate) agents: BTreeMap<String, Agent>,
    /// The pods were seen; before that, an empty list means nothing.
    pub(crate) agents_known: bool,
    /// The Service leads to the stand-in now.
    pub(crate) in_place: bool,
    /// It leads to the origin because no agent was ready, until some are.
    pub(crate) led_back: bool,
    /// Why Kubernetes creates no pods of agents.
    pub(crate) refused: Option<String>,
    /// The agents follow an earlier template of the origin: why, and what happens next.
    pub(crate) stale: Option<String>,
    /// The agents have no origin: they are ready once they have the routes.
    pub(crate) without_origin: bool,
    /// The workload that the session replaces has pods again, or is gone.
    pub(crate) taken: Option<String>,
    /// The Service has led to the stand-in.
    pub(crate) was_in_place: bool,
    /// It does so no more: who changed it, and what to do.
    pub(crate) reset: Option<String>,
    pub(crate) disconnecting: bool,
    /// The number of times the Service was seen with ports that the stand-in does not know.
    pub(crate) other_ports: u64,
    /// Why the cluster cannot be watched.
    pub(crate) blind: Option<String>,
}

impl Agent {
    /// Whether the session's routes are in force there.
    pub(crate) fn is_routed(&self) -> bool {
        self.attended.as_ref().is_some_and(|attended| attended.routed > 0)
    }

    /// Why no requests go through it to the laptop; empty: they do.
    pub(super) fn detail(&self) -> String {
        match &self.attended {
            _ if self.leaving => "it is terminating; its requests go to the origin".to_owned(),
            Some(attended) if attended.draining => {
                "it is shutting down; its requests go to the origin".to_owned()
            }
            Some(_) => String::new(),
            None => self.waits_for.clone().unwrap_or_else(|| self.trouble.clone()),
        }
    }
}

impl Live {
    /// Whether to dial an agent. The first one is dialled once it is ready: on a busy node, a dial delays its start, and
    /// the kubelet's first probe finds nobody listening and comes again after a second. The others need the routes
    /// before they are ready.
    pub(super) fn is_due(&self, pod: &str) -> bool {
        let ready = self.agents.get(pod).is_some_and(|agent| agent.ready);
        ready || self.agents.values().any(Agent::is_routed) || (self.without_origin && self.was_in_place)
    }

    /// The tunnel to an agent that takes new work.
    pub(crate) fn tunnel(&self) -> Option<&Attended> {
        let mut attended = self.agents.values().filter_map(|agent| agent.attended.as_ref());
        attended.find(|attended| !attended.draining)
    }

    /// Why no tunnel has come up to agents that were ready.
    pub(crate) fn why_no_tunnel(&self) -> String {
        let stay = || self.agents.iter().filter(|(_, agent)| !agent.leaving);
        let untold = || match stay().find(|(_, agent)| agent.ready && !agent.is_routed()) {
            Some((pod, Agent { attended: Some(_), .. })) => format!("{pod} has not taken the routes"),
            Some((pod, _)) => format!("the API server has opened no connection to {pod}"),
            None => "the API server has named no pod of theirs that is ready".to_owned(),
        };
        match stay().find(|(_, agent)| !agent.trouble.is_empty()) {
            Some((pod, agent)) => format!("{pod}: {}", agent.trouble),
            None => self.blind.clone().unwrap_or_else(untold),
        }
    }

    /// Whether all agents that stay have the routes, ready or not.
    pub(crate) fn is_routed_everywhere(&self) -> bool {
        self.agents.values().filter(|agent| !agent.leaving).all(Agent::is_routed)
    }

    /// The state of a session aside at this target, and the sentence for it.
    pub(super) fn state_aside(&self, target: &str) -> (v1::State, String) {
        if self.disconnecting {
            return (v1::State::Disconnecting, String::new());
        }
        if let Some(reset) = &self.reset {
            return (v1::State::Reset, reset.clone());
        }
        if self.tunnel().is_some() {
            return (v1::State::Routing, self.taken.clone().unwrap_or_default());
        }
        let why = self.why_not_reached().or_else(|| Some(self.why_not_ready()).filter(|why| !why.is_empty()));
        let why = why.unwrap_or_default();
        (v1::State::Reconnecting, format!("cannot reach the agent beside {target}{why}; retrying"))
    }

    /// The state of a session at this Service, and the sentence for it.
    pub(super) fn state(&self, service: &str) -> (v1::State, String) {
        if self.disconnecting {
            return (v1::State::Disconnecting, String::new());
        }
        if let Some(reset) = &self.reset {
            return (v1::State::Reset, reset.clone());
        }
        if self.led_back {
            return (v1::State::LedBack, self.why_led_back(service));
        }
        if self.tunnel().is_some() {
            let detail = self.taken.as_ref().or(self.stale.as_ref());
            return (v1::State::Routing, detail.cloned().unwrap_or_default());
        }
        let serve = self.agents.values().any(|agent| agent.ready);
        if self.in_place && self.agents_known && !serve {
            let why = self.why_not_ready();
            return (
                v1::State::Reconnecting,
                format!(
                    "no agent of {service} is ready{why}: requests fail (for 3 s at most, if a pod of the \
                     origin is ready)"
                ),
            );
        }
        let why = self.why_not_reached().unwrap_or_default();
        let meanwhile = if serve || !self.in_place { "; until then, requests go to the origin" } else { "" };
        (v1::State::Reconnecting, format!("cannot reach an agent of {service}{why}; retrying{meanwhile}"))
    }

    /// In parentheses, if it is known.
    fn why_not_reached(&self) -> Option<String> {
        let trouble = self.agents.values().map(|agent| &agent.trouble).find(|trouble| !trouble.is_empty());
        trouble.or(self.blind.as_ref()).map(|why| format!(" ({why})"))
    }

    fn why_led_back(&self, service: &str) -> String {
        if self.agents.values().any(|agent| agent.ready && !agent.leaving) {
            return format!(
                "agents of {service} are ready again: all requests go to the origin until they have stayed ready for a \
                 moment"
            );
        }
        let why = self.why_not_ready();
        format!("no agent of {service} is ready{why}: all requests go to the origin until one is")
    }

    /// In parentheses, what Kubernetes says.
    fn why_not_ready(&self) -> String {
        let of_pods = || self.agents.values().find_map(|agent| agent.waits_for.as_ref());
        self.refused.as_ref().or_else(of_pods).map(|why| format!(" ({why})")).unwrap_or_default()
    }
}

#[cfg(test)]
impl Facts {
    /// The facts of a session of `user` with a Service.
    pub(crate) fn pretended(cluster: Cluster, service: &str, user: &str) -> Facts {
        Self {
            id: format!("{user}-at-{service}"),
            user: user.into(),
            cluster,
            service: service.into(),
            stand_in: "7f3a".into(),
            mode: Some(Mode::StandIn),
            agents: AgentsOf::StandIn { deployment: "uid".into() },
            control_port: 7390,
            key: Arc::from([].as_slice()),
            since_ms: 1,
            original: BTreeMap::from([("app".into(), service.into())]),
            replaces: None,
            restore: None,
            agent_image: String::new(),
            ports: vec![ListenPort {
                service_port: 80,
                name: Some("http".into()),
                listen: 8080,
                agent: 8080,
            }],
        }
    }
}

#[cfg(test)]
impl Live {
    /// A state with one agent, which has a tunnel.
    pub(super) fn pretended() -> Self {
        let attended = Some(Attended::pretended());
        let agent = Agent { ready: true, attended, ..Agent::default() };
        Self {
            agents: BTreeMap::from([("agent-1".to_owned(), agent)]),
            was_in_place: true,
            ..Self::default()
        }
    }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
