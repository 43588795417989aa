//! The routes of a session, for people.

use std::collections::BTreeSet;

use bridge_proto::v1;

/// The name of a match that takes everything.
const EVERYTHING: &str = "everything";

/// For people: "requests with x-bridge: alice come to port 8080".
#[must_use]
pub fn describe(routes: &[v1::RouteStatus]) -> String {
    let mut matches: Vec<&str> = routes.iter().map(|route| route.r#match.as_str()).collect();
    matches.dedup();
    let of = |chosen: &str| {
        let ports = routes.iter().filter(|route| route.r#match == chosen).map(|route| route.local_port);
        let which = if matches!(chosen, "" | EVERYTHING) {
            "all requests".to_owned()
        } else {
            format!("requests with {chosen}")
        };
        format!("{which} come to {}", listed(ports.collect()))
    };
    if matches.is_empty() {
        return "no requests come here".to_owned();
    }
    matches.into_iter().map(of).collect::<Vec<_>>().join("; ")
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
        };
        for (routes, expected) in [
            (vec![], "no requests come here"),
            (vec![to("x: 1", 8080)], "requests with x: 1 come to port 8080"),
            (vec![to("x: 1", 8080), to("x: 1", 9090)], "requests with x: 1 come to ports 8080 and 9090"),
            (
                vec![to("x: 1", 8080), to("everything", 9999)],
                "requests with x: 1 come to port 8080; all requests come to port 9999",
            ),
        ] {
            assert_eq!(describe(&routes), expected);
        }
    }
}
