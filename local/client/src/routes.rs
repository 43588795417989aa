//! The routes of a session, for people.

use std::collections::BTreeSet;

use bridge_proto::v1;

/// The name of a match that takes everything.
const EVERYTHING: &str = "everything";

/// For people: "requests with x-bridge: alice come to port 8080".
#[must_use]
pub fn describe(routes: &[v1::RouteStatus]) -> String {
    let key = |route: &v1::RouteStatus| (route.r#match.clone(), route.copy);
    let mut kinds: Vec<_> = routes.iter().map(key).collect();
    kinds.dedup();
    let of = |kind: (String, bool)| {
        let ports = routes.iter().filter(|route| key(route) == kind).map(|route| route.local_port);
        let which = match kind.0.as_str() {
            "" | EVERYTHING => "all requests".to_owned(),
            chosen => format!("requests with {chosen}"),
        };
        let what = if kind.1 { format!("copies of {which}") } else { which };
        format!("{what} come to {}", listed(ports.collect()))
    };
    if kinds.is_empty() {
        return "no requests come here".to_owned();
    }
    kinds.into_iter().map(of).collect::<Vec<_>>().join("; ")
}

/// "port 80", "ports 80 and 81"
#[must_use]
pub fn listed(ports: BTreeSet<u32>) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    match ports.split_last() {
        None => "no port".to_owned(),
        Some((last, [])) => format!("port {last}"),
        Some((last, others)) => format!("ports {} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_described() {
        let to = |chosen: &str, local_port: u32| v1::RouteStatus {
            port: "http".to_owned(),
            service_port: 80,
            local_port,
            r#match: chosen.to_owned(),
            ..v1::RouteStatus::default()
        };
        let copies = |chosen: &str| v1::RouteStatus { copy: true, ..to(chosen, 3000) };
        for (routes, expected) in [
            (vec![], "no requests come here"),
            (vec![to("x: 1", 8080)], "requests with x: 1 come to port 8080"),
            (vec![to("x: 1", 8080), to("x: 1", 9090)], "requests with x: 1 come to ports 8080 and 9090"),
            (
                vec![to("x: 1", 8080), to("everything", 9999)],
                "requests with x: 1 come to port 8080; all requests come to port 9999",
            ),
            (vec![copies("x: 1")], "copies of requests with x: 1 come to port 3000"),
            (
                vec![to("x: 1", 8080), copies("everything")],
                "requests with x: 1 come to port 8080; copies of all requests come to port 3000",
            ),
        ] {
            assert_eq!(describe(&routes), expected);
        }
    }
}
