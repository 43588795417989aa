//! Prints sessions. Field names are stable: later versions add fields, and remove none.

use std::time::Duration;

use bridge_proto::target::Target;
use bridge_proto::v1;
use serde::Serialize;

use super::output::{BOLD, GREEN, YELLOW, bytes, duration, line, milliseconds, styled};

/// The mode of a session that no Service leads to.
const ASIDE: &str = "aside";

/// One attachment of this user to one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) user: String,
    /// The Service; of a session aside, its target with the kind: "deploy/worker".
    pub(crate) target: String,
    pub(crate) namespace: String,
    pub(crate) context: String,
    /// routing, reconnecting, led-back, reset or disconnecting.
    state: &'static str,
    /// The problem and advice; when routing, empty unless the stand-in is stale.
    detail: String,
    /// Milliseconds since the epoch.
    since_ms: u64,
    /// When the connect ends by itself; null: it does not.
    ends_ms: Option<u64>,
    stand_in: String,
    /// stand-in, sidecar or aside.
    mode: String,
    /// The workload that has no pods while the session lives: "Deployment worker".
    replaces: Option<String>,
    /// Without this laptop for this long, the agents restore everything; null: they do not.
    restores_after_seconds: Option<u64>,
    routes: Vec<Route>,
    agents: Vec<Agent>,
    /// Requests and connections that came to this machine.
    streams: u64,
    bytes_to_laptop: u64,
    bytes_from_laptop: u64,
    /// Counts of the agents that are reached.
    requests: Requests,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Requests {
    to_laptop: Traffic,
    to_origin: Traffic,
    /// Connections that were relayed unread.
    opaque: u64,
    /// Copies that this laptop answered, and the number of those that were given up.
    copied: Traffic,
    copies_given_up: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Traffic {
    count: u64,
    /// With a status of 500 or more, or with no answer.
    failed: u64,
    /// None if there were none.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl From<v1::Traffic> for Traffic {
    fn from(traffic: v1::Traffic) -> Self {
        let ms = |us: u64| (us > 0).then_some(us as f64 / 1000.0);
        Traffic {
            count: traffic.requests,
            failed: traffic.failed,
            p50_ms: ms(traffic.p50_us),
            p99_ms: ms(traffic.p99_us),
        }
    }
}

impl Traffic {
    fn describe(&self) -> String {
        let mut text = format!("{} requests", self.count);
        if let (Some(half), Some(most)) = (self.p50_ms, self.p99_ms) {
            text.push_str(&format!(", p50 {}, p99 {}", milliseconds(half), milliseconds(most)));
        }
        if self.failed > 0 {
            text.push_str(&format!(", {} failed", self.failed));
        }
        text
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Route {
    port: String,
    local_port: u32,
    #[serde(rename = "match")]
    matching: String,
    /// The origin answers the requests, and this laptop gets copies.
    copy: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Agent {
    pod: String,
    /// A tunnel leads to it.
    attended: bool,
    detail: String,
}

impl From<v1::SessionStatus> for Session {
    fn from(status: v1::SessionStatus) -> Self {
        let state = match status.state() {
            v1::State::Routing => "routing",
            v1::State::Reconnecting => "reconnecting",
            v1::State::Reset => "reset",
            v1::State::Disconnecting => "disconnecting",
            v1::State::LedBack => "led-back",
            v1::State::Unspecified => "unknown",
        };
        let route = |route: v1::RouteStatus| Route {
            port: route.port,
            local_port: route.local_port,
            matching: route.r#match,
            copy: route.copy,
        };
        let agent =
            |agent: v1::AgentStatus| Agent { pod: agent.pod, attended: agent.attended, detail: agent.detail };
        Session {
            id: status.id,
            user: status.user,
            target: status.target,
            namespace: status.namespace,
            context: status.context,
            state,
            detail: status.detail,
            since_ms: status.since_ms,
            ends_ms: Some(status.ends_ms).filter(|ends| *ends > 0),
            stand_in: status.stand_in,
            mode: status.mode,
            replaces: Some(status.replaces).filter(|workload| !workload.is_empty()),
            restores_after_seconds: Some(status.restores_after_seconds).filter(|seconds| *seconds > 0),
            routes: status.routes.into_iter().map(route).collect(),
            agents: status.agents.into_iter().map(agent).collect(),
            streams: status.streams,
            bytes_to_laptop: status.bytes_to_laptop,
            bytes_from_laptop: status.bytes_from_laptop,
            requests: Requests {
                to_laptop: status.to_laptop.unwrap_or_default().into(),
                to_origin: status.to_origin.unwrap_or_default().into(),
                opaque: status.opaque,
                copied: status.copied.unwrap_or_default().into(),
                copies_given_up: status.copies_given_up,
            },
        }
    }
}

/// "Service orders" for "orders", "Deployment worker" for "deploy/worker".
pub(crate) fn title(target: &str) -> String {
    target.parse::<Target>().map_or_else(|_| format!("Service {target}"), |target| target.sentence())
}

impl Session {
    /// "Service orders in namespace shop (context kind-dev)"
    pub(crate) fn place(&self) -> String {
        format!("{} in namespace {} (context {})", title(&self.target), self.namespace, self.context)
    }

    /// The output at the end of `connect`: what happens to which requests, and how to stop.
    pub(crate) fn connected(&self, everything: bool, lasts: Option<Duration>, program: &str) -> String {
        let mut text = line(&format!("{} connected to {}", styled(GREEN, "✓"), styled(BOLD, &self.place())));
        let what = |route: &Route| match everything {
            true => "all requests that nobody else takes".to_owned(),
            false => format!("requests with  {}", route.matching),
        };
        let width = self.routes.iter().map(|route| what(route).chars().count()).max().unwrap_or(0);
        for route in &self.routes {
            let what = what(route);
            let copy = if route.copy { "the pods, and a copy → " } else { "" };
            text.push_str(&line(&format!(
                "  {what:width$}   → {copy}localhost:{} (port {})",
                route.local_port, route.port
            )));
        }
        let others = match (&self.replaces, everything) {
            (Some(workload), _) => format!("{workload} has no pods until you disconnect"),
            (None, true) => "requests claimed by others → their laptops, as before".to_owned(),
            (None, false) => "everyone else's requests → the pods, as before".to_owned(),
        };
        text.push_str(&line(&format!("  {others}. Only new connections reach you.")));
        if self.copies() {
            text.push_str(
                "  your answers to copies are dropped; WebSockets, and connections that are not HTTP, are not copied\n",
            );
        }
        text.push_str(&format!("  if this laptop is lost: {}\n", self.without_this_laptop()));
        let by_itself =
            lasts.map(|lasts| format!("; by itself after {}", duration(lasts))).unwrap_or_default();
        text.push_str(&line(&format!("  stop: {program} disconnect {}{by_itself}", self.target)));
        text
    }

    /// What happens without this laptop.
    fn without_this_laptop(&self) -> String {
        match (self.restores_after_seconds.map(Duration::from_secs), &self.replaces) {
            (Some(after), Some(_)) => {
                format!("requests fail; after {}, the agents bring the pods back", duration(after))
            }
            (None, Some(_)) => {
                format!("requests fail until someone runs `bridge clean {} --others`", self.target)
            }
            (Some(after), None) => {
                format!("all requests → the pods; after {}, the agents go", duration(after))
            }
            (None, None) => "all requests → the pods; the agents stay until `bridge clean`".to_owned(),
        }
    }

    fn copies(&self) -> bool {
        self.routes.iter().any(|route| route.copy)
    }

    /// A few lines for `status`.
    pub(crate) fn describe(&self, now_ms: u64) -> String {
        let since = duration(Duration::from_millis(now_ms.saturating_sub(self.since_ms)));
        let (sign, state) = match self.state {
            "routing" if self.mode == ASIDE => {
                (styled(GREEN, "✓"), format!("an agent beside it for {since}"))
            }
            "routing" => (styled(GREEN, "✓"), format!("routing for {since}")),
            state => (styled(YELLOW, "!"), format!("{state}, connected {since} ago")),
        };
        let mut text = line(&format!("{sign} {}: {state}", styled(BOLD, &self.place())));
        if !self.detail.is_empty() {
            text.push_str(&line(&format!("  {}", self.detail)));
        }
        if let Some(ends) = self.ends_ms {
            let left = duration(Duration::from_millis(ends.saturating_sub(now_ms)));
            text.push_str(&format!("  disconnects by itself in {left}\n"));
        }
        for route in &self.routes {
            let copies = if route.copy { " (copies)" } else { "" };
            text.push_str(&line(&format!(
                "  port {} → localhost:{}{copies}   {}",
                route.port, route.local_port, route.matching
            )));
        }
        if self.routes.is_empty() {
            text.push_str("  takes no requests: used only for its network\n");
        }
        if let Some(workload) = &self.replaces {
            text.push_str(&line(&format!("  {workload} has no pods until this session ends")));
        }
        for agent in &self.agents {
            let state = match (agent.attended, agent.detail.as_str()) {
                (true, "") => "tunnel up",
                (false, "") => "no tunnel",
                (_, detail) => detail,
            };
            text.push_str(&line(&format!("  agent {}: {state}", agent.pod)));
        }
        if self.mode == ASIDE {
            return text;
        }
        let Requests { to_laptop, to_origin, opaque, copied, copies_given_up } = &self.requests;
        text.push_str(&format!("  to your laptop: {}\n", to_laptop.describe()));
        if self.copies() || copied.count + copies_given_up > 0 {
            text.push_str(&format!("  copied to your laptop: {}\n", copied.describe()));
        }
        if *copies_given_up > 0 {
            text.push_str(&format!("  copies given up: {copies_given_up} (bridge requests says why)\n"));
        }
        text.push_str(&format!("  to the origin: {}\n", to_origin.describe()));
        if *opaque > 0 {
            text.push_str(&format!("  relayed unread: {opaque} connections (bridge requests says why)\n"));
        }
        text.push_str(&format!(
            "  {} streams to your laptop: {} sent, {} received\n",
            self.streams,
            bytes(self.bytes_to_laptop),
            bytes(self.bytes_from_laptop)
        ));
        text
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::output::{HOSTILE, is_harmless};

    pub(crate) fn orders() -> v1::SessionStatus {
        v1::SessionStatus {
            id: "s1".to_owned(),
            user: "alice".to_owned(),
            target: "orders".to_owned(),
            namespace: "shop".to_owned(),
            context: "kind-dev".to_owned(),
            since_ms: 1_000,
            routes: vec![v1::RouteStatus {
                port: "http".to_owned(),
                local_port: 3000,
                r#match: "baggage or tracestate: bridge=alice or x-bridge: alice".to_owned(),
                service_port: 80,
                ..v1::RouteStatus::default()
            }],
            agents: vec![v1::AgentStatus {
                pod: "orders-bridge-7f3a-x".to_owned(),
                attended: true,
                detail: String::new(),
            }],
            state: v1::State::Routing.into(),
            stand_in: "orders-bridge-7f3a".to_owned(),
            mode: "stand-in".to_owned(),
            replaces: String::new(),
            streams: 12,
            bytes_to_laptop: 1_234_567,
            bytes_from_laptop: 890,
            to_laptop: Some(v1::Traffic { requests: 12, failed: 1, p50_us: 3_400, p99_us: 48_000 }),
            to_origin: Some(v1::Traffic { requests: 3_456, failed: 0, p50_us: 900, p99_us: 12_000_000 }),
            opaque: 2,
            ..Default::default()
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn connect_ends_with_a_summary_of_the_routes() {
        insta::assert_snapshot!(plain(&Session::from(orders()).connected(false, None, "bridge")), @r"
        ✓ connected to Service orders in namespace shop (context kind-dev)
          requests with  baggage or tracestate: bridge=alice or x-bridge: alice   → localhost:3000 (port http)
          everyone else's requests → the pods, as before. Only new connections reach you.
          if this laptop is lost: all requests → the pods; the agents stay until `bridge clean`
          stop: bridge disconnect orders
        ");
        let restored = v1::SessionStatus { restores_after_seconds: 600, ..orders() };
        insta::assert_snapshot!(plain(&Session::from(restored).connected(true, Some(Duration::from_secs(1_800)), "kubectl bridge")), @r"
        ✓ connected to Service orders in namespace shop (context kind-dev)
          all requests that nobody else takes   → localhost:3000 (port http)
          requests claimed by others → their laptops, as before. Only new connections reach you.
          if this laptop is lost: all requests → the pods; after 10 min, the agents go
          stop: kubectl bridge disconnect orders; by itself after 30 min
        ");
    }

    #[test]
    fn status_says_what_works() {
        insta::assert_snapshot!(plain(&Session::from(orders()).describe(301_000)), @r"
        ✓ Service orders in namespace shop (context kind-dev): routing for 5 min
          port http → localhost:3000   baggage or tracestate: bridge=alice or x-bridge: alice
          agent orders-bridge-7f3a-x: tunnel up
          to your laptop: 12 requests, p50 3.4 ms, p99 48 ms, 1 failed
          to the origin: 3456 requests, p50 0.9 ms, p99 12.0 s
          relayed unread: 2 connections (bridge requests says why)
          12 streams to your laptop: 1.2 MB sent, 890 B received
        ");
    }

    #[test]
    fn a_connect_that_ends_by_itself_says_when() {
        let status = v1::SessionStatus { ends_ms: 601_000, ..orders() };
        let described = plain(&Session::from(status).describe(301_000));
        assert!(described.contains("\n  disconnects by itself in 5 min\n"), "{described}");
    }

    #[test]
    fn copies_are_told_from_requests() {
        let mut status = orders();
        status.routes[0].copy = true;
        status.to_laptop = None;
        status.copied = Some(v1::Traffic { requests: 12, failed: 1, p50_us: 3_400, p99_us: 48_000 });
        status.copies_given_up = 3;
        insta::assert_snapshot!(plain(&Session::from(status.clone()).connected(false, None, "bridge")), @r"
        ✓ connected to Service orders in namespace shop (context kind-dev)
          requests with  baggage or tracestate: bridge=alice or x-bridge: alice   → the pods, and a copy → localhost:3000 (port http)
          everyone else's requests → the pods, as before. Only new connections reach you.
          your answers to copies are dropped; WebSockets, and connections that are not HTTP, are not copied
          if this laptop is lost: all requests → the pods; the agents stay until `bridge clean`
          stop: bridge disconnect orders
        ");
        insta::assert_snapshot!(plain(&Session::from(status).describe(301_000)), @r"
        ✓ Service orders in namespace shop (context kind-dev): routing for 5 min
          port http → localhost:3000 (copies)   baggage or tracestate: bridge=alice or x-bridge: alice
          agent orders-bridge-7f3a-x: tunnel up
          to your laptop: 0 requests
          copied to your laptop: 12 requests, p50 3.4 ms, p99 48 ms, 1 failed
          copies given up: 3 (bridge requests says why)
          to the origin: 3456 requests, p50 0.9 ms, p99 12.0 s
          relayed unread: 2 connections (bridge requests says why)
          12 streams to your laptop: 1.2 MB sent, 890 B received
        ");
    }

    #[test]
    fn no_name_and_no_reason_steers_the_terminal() {
        let hostile = || HOSTILE.to_owned();
        let mut status = orders();
        (status.target, status.namespace, status.context) = (hostile(), hostile(), hostile());
        (status.detail, status.user) = (hostile(), hostile());
        (status.routes[0].port, status.routes[0].r#match) = (hostile(), hostile());
        (status.agents[0].pod, status.agents[0].detail) = (hostile(), hostile());
        let session = Session::from(status);
        assert!(is_harmless(&session.describe(2_000), 8), "{:?}", session.describe(2_000));
        assert!(
            is_harmless(&session.connected(false, None, "bridge"), 5),
            "{:?}",
            session.connected(false, None, "bridge")
        );
    }

    #[test]
    fn status_says_what_is_wrong() {
        let mut status = orders();
        status.set_state(v1::State::Reset);
        status.detail =
            "Helm gave the Service its selector back; requests go to the pods. bridge connect orders"
                .to_owned();
        status.agents[0].attended = false;
        insta::assert_snapshot!(plain(&Session::from(status).describe(2_000)), @r"
        ! Service orders in namespace shop (context kind-dev): reset, connected 1 s ago
          Helm gave the Service its selector back; requests go to the pods. bridge connect orders
          port http → localhost:3000   baggage or tracestate: bridge=alice or x-bridge: alice
          agent orders-bridge-7f3a-x: no tunnel
          to your laptop: 12 requests, p50 3.4 ms, p99 48 ms, 1 failed
          to the origin: 3456 requests, p50 0.9 ms, p99 12.0 s
          relayed unread: 2 connections (bridge requests says why)
          12 streams to your laptop: 1.2 MB sent, 890 B received
        ");
    }
}
