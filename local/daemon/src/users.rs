//! A session's users and the sum of what they ask for. Pure: users in, routes out.
//!
//! A user that names something gets it for as long as it lives. If two want the same requests at different local ports,
//! the later one has them; when it leaves, the earlier one. A command that names nothing takes what is there; its own
//! default counts only while nobody has named anything.

use bridge_cluster::mode::Mode;
use bridge_deploy::ListenPort;
use bridge_proto::matching::Match;
use bridge_proto::v1::{self, WishKind};

use super::routes::{self, PortRoute, RouteProblem};

/// A user's number in this daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UserId(u64);

impl UserId {
    pub(crate) fn new() -> Self {
        Self(rand::random())
    }
}

#[derive(Debug, Clone, PartialEq)]
struct User {
    id: UserId,
    /// It stays until a disconnect; there is one at most.
    lasting: bool,
    kind: WishKind,
    request: v1::ConnectRequest,
    /// The user chose its local ports.
    ports_chosen: bool,
}

impl User {
    /// Who replaces a Service's pods takes all of its requests.
    fn names_something(&self) -> bool {
        self.kind == WishKind::Named || self.request.replace
    }
}

/// The users of a session, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Users(Vec<User>);

/// Requests that come to another local port than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moved {
    /// For people: "x-bridge: alice".
    pub(crate) requests: String,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

impl Users {
    /// Adds a command that uses the session.
    pub(crate) fn with_command(mut self, id: UserId, kind: WishKind, request: v1::ConnectRequest) -> Self {
        let ports_chosen = !request.ports.is_empty();
        self.0.push(User { id, lasting: false, kind, request, ports_chosen });
        self
    }

    /// Adds a connect; it replaces an earlier one. Ports that it does not name stay as they are.
    pub(crate) fn with_lasting(mut self, id: UserId, mut request: v1::ConnectRequest) -> Self {
        let mut ports_chosen = !request.ports.is_empty();
        if let Some(earlier) = self.0.extract_if(.., |user| user.lasting).next()
            && !ports_chosen
            && routes::match_of(&earlier.request) == routes::match_of(&request)
        {
            request.ports = earlier.request.ports;
            ports_chosen = earlier.ports_chosen;
        }
        self.0.push(User { id, lasting: true, kind: WishKind::Named, request, ports_chosen });
        self
    }

    pub(crate) fn without(mut self, id: UserId) -> Self {
        self.0.retain(|user| user.id != id);
        self
    }

    /// The same users, with one user's requests routed to these local ports.
    pub(crate) fn led(mut self, id: UserId, ports: Vec<v1::PortMapping>) -> Self {
        if let Some(user) = self.0.iter_mut().find(|user| user.id == id) {
            user.ports_chosen = !ports.is_empty();
            user.request.ports = ports;
        }
        self
    }

    /// The same users, with each port by name: the only port may get company.
    pub(crate) fn settled(mut self, ports: &[ListenPort]) -> Self {
        for User { request, .. } in &mut self.0 {
            let all_of_them = request.for_command && request.ports.is_empty();
            if !all_of_them && let Ok(routes) = routes::routes(request, ports) {
                let mapping =
                    |route: PortRoute| v1::PortMapping { local: route.local_port, remote: route.name };
                request.ports = routes.into_iter().map(mapping).collect();
            }
        }
        self
    }

    pub(crate) fn has(&self, id: UserId) -> bool {
        self.0.iter().any(|user| user.id == id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The request of the connect.
    pub(crate) fn lasting(&self) -> Option<&v1::ConnectRequest> {
        self.0.iter().find(|user| user.lasting).map(|user| &user.request)
    }

    /// The same users, with the end of a connect that lasts for a time of which nothing has passed yet.
    pub(crate) fn timed(mut self, now_ms: u64) -> Self {
        for User { request, .. } in self.0.iter_mut().filter(|user| user.request.lasts_ms > 0) {
            request.ends_ms = now_ms.saturating_add(std::mem::take(&mut request.lasts_ms));
        }
        self
    }

    /// The connect that ends by itself, and when.
    pub(crate) fn lease(&self) -> Option<(UserId, u64)> {
        let lasting = self.0.iter().find(|user| user.lasting)?;
        Some((lasting.id, lasting.request.ends_ms)).filter(|(_, ends_ms)| *ends_ms > 0)
    }

    /// The image with the agent; empty: none was named.
    pub(crate) fn agent_image(&self) -> &str {
        let mut images = self.0.iter().rev().map(|user| user.request.agent_image.as_str());
        images.find(|image| !image.is_empty()).unwrap_or_default()
    }

    /// The only mode that is accepted; `None`: any. A sidecar ends with its pod, so no sidecar replaces it.
    pub(crate) fn mode(&self) -> Option<Mode> {
        if self.replace() {
            return Some(Mode::StandIn);
        }
        self.0.iter().rev().find_map(|user| match user.request.mode() {
            v1::Mode::Unspecified => None,
            v1::Mode::StandIn => Some(Mode::StandIn),
            v1::Mode::Sidecar => Some(Mode::Sidecar),
        })
    }

    /// Whether the target has no pods meanwhile.
    pub(crate) fn replace(&self) -> bool {
        self.0.iter().any(|user| user.request.replace)
    }

    /// The number of agents; `None`: not given.
    pub(crate) fn replicas(&self) -> Option<u32> {
        self.0.iter().rev().map(|user| user.request.replicas).find(|replicas| *replicas > 0)
    }

    /// The session's routes, at a Service with these ports: the latest user first, and everything last.
    pub(crate) fn routes(&self, ports: &[ListenPort]) -> Result<Vec<PortRoute>, RouteProblem> {
        // Aside, no Service leads to an agent.
        if ports.is_empty() {
            return Ok(Vec::new());
        }
        let mut sum: Vec<(PortRoute, bool)> = Vec::new();
        for user in self.deciding() {
            for route in routes::routes(&user.request, ports)? {
                match sum.iter_mut().find(|(there, _)| takes_the_same(there, &route)) {
                    None => sum.push((route, user.ports_chosen)),
                    // The later one's port was not chosen.
                    Some((there, chosen)) if !*chosen && user.ports_chosen => {
                        there.local_port = route.local_port;
                        *chosen = true;
                    }
                    Some(_) => {}
                }
            }
        }
        sum.sort_by_key(|(route, _)| route.matching == Match::Everything);
        Ok(sum.into_iter().map(|(route, _)| route).collect())
    }

    /// The users whose wishes count, the latest first.
    fn deciding(&self) -> impl Iterator<Item = &User> {
        let anything_named = self.0.iter().any(User::names_something);
        self.0.iter().rev().filter(move |user| match anything_named {
            true => user.names_something(),
            false => user.kind == WishKind::Whatever,
        })
    }
}

fn takes_the_same(one: &PortRoute, other: &PortRoute) -> bool {
    one.service_port == other.service_port && one.matching == other.matching
}

/// The requests that a change of routes leads to another local port.
pub(crate) fn moved(before: &[PortRoute], after: &[PortRoute]) -> Vec<Moved> {
    let moved = |now: &PortRoute| {
        let was = before.iter().find(|was| takes_the_same(was, now))?;
        let (from, to) = (was.local_port, now.local_port);
        (from != to).then(|| Moved { requests: now.matching.to_string(), from, to })
    };
    after.iter().filter_map(moved).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses what a user types: "3000:http everything x=1 origin", in any order; a bare number is for the only port.
    fn request(typed: &str) -> v1::ConnectRequest {
        let mut request = v1::ConnectRequest { user: "alice".into(), ..v1::ConnectRequest::default() };
        for word in typed.split_whitespace() {
            if word == "everything" {
                request.everything = true;
            } else if word == "origin" {
                request.set_fallback(v1::Fallback::Origin);
            } else if let Some((name, value)) = word.split_once('=') {
                let header = v1::HeaderCondition { name: name.into(), value: value.into() };
                let kind = Some(v1::condition::Kind::Header(header));
                let all_of = vec![v1::Condition { kind }];
                request.r#match = Some(v1::Match { any_of: vec![v1::Alternative { all_of }] });
            } else {
                let (local, remote) = word.split_once(':').unwrap_or((word, ""));
                request.ports.push(v1::PortMapping { local: local.parse().unwrap(), remote: remote.into() });
            }
        }
        request
    }

    fn ports() -> Vec<ListenPort> {
        vec![ListenPort { service_port: 80, name: Some("http".into()), listen: 8080, agent: 8080 }]
    }

    /// The routes for people: "x: 1 → 8080".
    fn does(users: &Users) -> Vec<String> {
        let routes = users.routes(&ports()).unwrap();
        let route = |route: v1::RouteStatus| format!("{} → {}", route.r#match, route.local_port);
        routes::status(&routes).into_iter().map(route).collect()
    }

    /// Users by what they typed: "connect …", "run …" with something named, "plain", "env".
    fn users(typed: &[&str]) -> (Users, Vec<UserId>) {
        let mut ids = Vec::new();
        let users = typed.iter().fold(Users::default(), |users, typed| {
            let (command, rest) = typed.split_once(' ').unwrap_or((typed, ""));
            let id = UserId::new();
            ids.push(id);
            let of_command = v1::ConnectRequest { for_command: true, ..request(rest) };
            match command {
                "connect" => users.with_lasting(id, request(rest)),
                "run" => users.with_command(id, WishKind::Named, of_command),
                "plain" => users.with_command(id, WishKind::Whatever, of_command),
                "env" => users.with_command(id, WishKind::Network, of_command),
                other => panic!("{other}"),
            }
        });
        (users, ids)
    }

    const DEFAULT: &str = "baggage or tracestate: bridge=alice or x-bridge: alice";

    #[test]
    fn the_time_of_a_connect_begins_once() {
        let lasts = v1::ConnectRequest { lasts_ms: 3_000, ..request("3000") };
        let made = UserId::new();
        let users = Users::default().with_lasting(made, lasts);
        assert_eq!(users.lease(), None, "the time has not begun");
        let timed = users.timed(1_000);
        assert_eq!(timed.lease(), Some((made, 4_000)));
        assert_eq!(timed.timed(2_000).lease(), Some((made, 4_000)), "it began before");
        assert_eq!(Users::default().with_lasting(made, request("3000")).timed(1_000).lease(), None);
    }

    #[test]
    fn a_session_does_what_all_of_its_users_ask_for() {
        let by_default = |port: u32| format!("{DEFAULT} → {port}");
        for (typed, expected) in [
            (&[][..], vec![]),
            (&["connect"], vec![by_default(8080)]),
            (&["connect 3000"], vec![by_default(3000)]),
            // What a command adds is there beside what was there, everything last.
            (&["connect 3000", "run everything 9999"], vec![by_default(3000), "everything → 9999".into()]),
            (&["run everything 9999", "connect 3000"], vec![by_default(3000), "everything → 9999".into()]),
            (&["connect x=1", "run y=2 9999"], vec!["y: 2 → 9999".into(), "x: 1 → 8080".into()]),
            // The same requests at another port are the last one's.
            (&["connect x=1 3000", "run x=1 9999"], vec!["x: 1 → 9999".into()]),
            (&["run x=1 9999", "connect x=1 3000"], vec!["x: 1 → 3000".into()]),
            // A default port gives way to a chosen one.
            (&["connect x=1 3000", "run x=1 origin"], vec!["x: 1 → 3000".into()]),
            // A user who names nothing takes what is there,
            (&["connect x=1 3000", "plain"], vec!["x: 1 → 3000".into()]),
            (&["plain", "run x=1"], vec!["x: 1 → 8080".into()]),
            // and its own default where there is nothing.
            (&["plain", "plain"], vec![by_default(8080)]),
            (&["env", "plain"], vec![by_default(8080)]),
            // A user who wants only the network takes no request.
            (&["env"], vec![]),
            (&["connect x=1", "env"], vec!["x: 1 → 8080".into()]),
        ] {
            assert_eq!(does(&users(typed).0), expected, "{typed:?}");
        }
    }

    #[test]
    fn a_user_s_changes_end_with_it_and_no_others_do() {
        for (typed, goes, expected) in [
            (&["connect x=1 3000", "run everything 9999"][..], 1, vec!["x: 1 → 3000"]),
            (&["connect x=1 3000", "run x=1 9999"], 1, vec!["x: 1 → 3000"]),
            (&["run x=1 1000", "run x=1 2000", "run x=1 3000"], 2, vec!["x: 1 → 2000"]),
            (&["run x=1 1000", "run x=1 2000", "run x=1 3000"], 1, vec!["x: 1 → 3000"]),
            (&["run x=1 1000", "run y=2 2000"], 0, vec!["y: 2 → 2000"]),
            (&["plain", "run x=1"], 1, vec![&*format!("{DEFAULT} → 8080")]),
            (&["env", "run x=1"], 0, vec!["x: 1 → 8080"]),
            (&["env", "run x=1"], 1, vec![]),
        ] {
            let (users, ids) = users(typed);
            let left = users.without(ids[goes]);
            assert_eq!(does(&left), expected, "{typed:?} without number {goes}");
            assert!(!left.has(ids[goes]) && !left.is_empty());
        }
        let (one, ids) = users(&["plain"]);
        assert!(one.without(ids[0]).is_empty(), "the last user out");
    }

    #[test]
    fn of_two_commands_in_any_order_the_first_that_ends_takes_nothing_from_the_other() {
        for typed in [["plain", "plain"], ["env", "plain"], ["run x=1", "run x=1"]] {
            let (both, ids) = users(&typed);
            for id in &ids {
                let left = both.clone().without(*id);
                let other = typed[usize::from(*id == ids[0])];
                assert_eq!(does(&left), does(&users(&[other]).0), "{typed:?}");
            }
        }
    }

    #[test]
    fn another_connect_takes_the_place_of_the_first_and_keeps_the_ports_that_it_does_not_name() {
        for (typed, expected) in [
            (&["connect x=1 3000", "connect y=2 4000"][..], "y: 2 → 4000"),
            (&["connect x=1 3000", "connect x=1"], "x: 1 → 3000"),
            (&["connect x=1 3000", "connect y=2"], "y: 2 → 8080"),
        ] {
            let (users, _) = users(typed);
            assert_eq!(does(&users), [expected], "{typed:?}");
            assert!(users.lasting().is_some());
        }
        assert_eq!(users(&["run x=1"]).0.lasting(), None);
    }

    #[test]
    fn a_command_s_requests_are_led_to_where_it_listens_and_no_other_s() {
        let (two, ids) = users(&["plain", "plain"]);
        let led = two.led(ids[0], vec![v1::PortMapping { local: 5000, remote: "http".into() }]);
        assert_eq!(does(&led), [format!("{DEFAULT} → 5000")], "though the other came later: it chose none");
        let (named, ids) = users(&["connect x=1 3000", "plain"]);
        let led = named.led(ids[1], vec![v1::PortMapping { local: 5000, remote: "http".into() }]);
        assert_eq!(does(&led), ["x: 1 → 3000"], "what was chosen stays");
    }

    #[test]
    fn ports_are_kept_by_name_so_that_the_only_one_may_get_company() {
        let (users, _) = users(&["connect x=1", "run y=1 3000", "plain"]);
        let settled = users.settled(&ports());
        let metrics =
            ListenPort { service_port: 9090, name: Some("metrics".into()), listen: 9090, agent: 9090 };
        let routes = settled.routes(&[ports(), vec![metrics]].concat()).expect("each port has a name");
        let led: Vec<_> = routes.iter().map(|route| (route.name.as_str(), route.local_port)).collect();
        assert_eq!(led, [("http", 3000), ("http", 8080)]);
    }

    #[test]
    fn requests_that_come_to_another_port_are_known() {
        let routes = |typed: &[&str]| users(typed).0.routes(&ports()).unwrap();
        let before = routes(&["connect x=1 3000"]);
        let after = routes(&["connect x=1 3000", "run x=1 9999", "run everything 9998"]);
        let expected = Moved { requests: "x: 1".into(), from: 3000, to: 9999 };
        assert_eq!(moved(&before, &after), [expected]);
        assert_eq!(moved(&before, &before), []);
    }
}
