//! From what was asked for to routes and claims: which requests to which port of the Service go to which local port.
//! Pure.

use bridge_cluster::state::ClaimedRoute;
use bridge_deploy::ListenPort;
use bridge_proto::v1::{self, condition, test};

/// The header that says whose requests these are, unless another is chosen.
const HEADER: &str = "x-bridge";
/// The same as a member of W3C baggage, which instrumented services hand on.
const BAGGAGE_KEY: &str = "bridge";
/// What Bridge to Kubernetes has callers send.
const KUBERNETES_ROUTE_AS: &str = "kubernetes-route-as";

/// One port of the Service that is routed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PortRoute {
    pub(crate) service_port: u16,
    /// The port by name, else by number.
    pub(crate) name: String,
    pub(crate) route: v1::Route,
}

/// Why the ports that were asked for cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortProblem {
    /// Several ports, and it was not said which.
    Ambiguous {
        ports: Vec<String>,
    },
    NoSuch {
        wanted: String,
        ports: Vec<String>,
    },
}

/// The match that a request asks for: everything, the headers it names, or the user's default; the latter two narrowed
/// by path and method.
pub(crate) fn match_of(request: &v1::ConnectRequest) -> v1::Match {
    let mut chosen = match &request.r#match {
        _ if request.everything => return v1::Match::default(),
        Some(chosen) if !chosen.any_of.is_empty() => chosen.clone(),
        _ => default_match(&request.user, request.kubernetes_route_as),
    };
    for alternative in &mut chosen.any_of {
        alternative.all_of.extend_from_slice(&request.narrowed_by);
    }
    chosen
}

fn default_match(user: &str, kubernetes_route_as: bool) -> v1::Match {
    let header = |name: &str| {
        condition::Kind::Header(v1::HeaderCondition { name: name.to_owned(), value: user.to_owned() })
    };
    let baggage = v1::BaggageCondition { key: BAGGAGE_KEY.to_owned(), value: user.to_owned() };
    let compat = kubernetes_route_as.then(|| header(KUBERNETES_ROUTE_AS));
    let kinds = [header(HEADER), condition::Kind::Baggage(baggage)].into_iter().chain(compat);
    let alternative = |kind| v1::Alternative { all_of: vec![v1::Condition { kind: Some(kind) }] };
    v1::Match { any_of: kinds.map(alternative).collect() }
}

/// Each alternative of a match as its text: "x-bridge: alice". Equal ones have equal texts, however they were typed.
pub(crate) fn alternatives(chosen: &v1::Match) -> Vec<String> {
    let all_of = |alternative: &v1::Alternative| {
        let mut all: Vec<&v1::Condition> = alternative.all_of.iter().collect();
        // Headers first, as they are what people look for.
        all.sort_by_key(|condition| (is_narrowing(condition), text(condition)));
        all.dedup_by_key(|condition| text(condition));
        all.into_iter().map(text).collect::<Vec<_>>().join(" and ")
    };
    chosen.any_of.iter().map(all_of).collect()
}

fn is_narrowing(condition: &v1::Condition) -> bool {
    matches!(&condition.kind, Some(condition::Kind::Path(_) | condition::Kind::Method(_)))
}

/// As it is typed, but for exact headers, which look as they do in a request.
fn text(condition: &v1::Condition) -> String {
    match &condition.kind {
        Some(condition::Kind::Header(header)) => format!("{}: {}", header.name.to_lowercase(), header.value),
        Some(condition::Kind::HeaderTest(header)) => {
            format!("{}{}", header.name.to_lowercase(), test_text(header.test.as_ref()))
        }
        Some(condition::Kind::Baggage(member)) => format!("baggage: {}={}", member.key, member.value),
        Some(condition::Kind::Path(v1::Test { kind: Some(test::Kind::Exact(path)) })) => {
            format!("path {path}")
        }
        Some(condition::Kind::Path(test)) => format!("path {}", test_text(Some(test))),
        Some(condition::Kind::Method(method)) => format!("method {method}"),
        None => "a condition of a newer version".to_owned(),
    }
}

fn test_text(test: Option<&v1::Test>) -> String {
    match test.and_then(|test| test.kind.as_ref()) {
        Some(test::Kind::Exact(value)) => format!("={value}"),
        Some(test::Kind::Prefix(prefix)) => format!("^={prefix}"),
        Some(test::Kind::Pattern(pattern)) => format!("~={pattern}"),
        None => " a test of a newer version".to_owned(),
    }
}

/// The routes for a Service with these ports.
pub(crate) fn routes(
    request: &v1::ConnectRequest,
    ports: &[ListenPort],
) -> Result<Vec<PortRoute>, PortProblem> {
    let only = || match ports {
        [one] => Ok(one),
        _ => Err(PortProblem::Ambiguous { ports: ports.iter().map(name).collect() }),
    };
    let as_in_the_pods = |port: &'_ ListenPort| u32::from(port.listen);
    let chosen = if request.ports.is_empty() && request.for_command {
        ports.iter().map(|port| (port, as_in_the_pods(port))).collect()
    } else if request.ports.is_empty() {
        let port = only()?;
        vec![(port, as_in_the_pods(port))]
    } else {
        let find = |mapping: &v1::PortMapping| {
            let port = if mapping.remote.is_empty() { only()? } else { by_name(&mapping.remote, ports)? };
            Ok((port, mapping.local))
        };
        request.ports.iter().map(find).collect::<Result<Vec<_>, PortProblem>>()?
    };
    let chosen_match = match_of(request);
    let route = |(port, local_port): (&ListenPort, u32)| PortRoute {
        service_port: port.service_port,
        name: port.name.clone().unwrap_or_else(|| port.service_port.to_string()),
        route: v1::Route {
            target_port: u32::from(port.listen),
            local_port,
            r#match: Some(chosen_match.clone()),
            fallback: request.fallback,
            keep_cache_headers: request.keep_cache_headers,
        },
    };
    Ok(chosen.into_iter().map(route).collect())
}

fn by_name<'a>(wanted: &str, ports: &'a [ListenPort]) -> Result<&'a ListenPort, PortProblem> {
    ports
        .iter()
        .find(|port| port.name.as_deref() == Some(wanted) || port.service_port.to_string() == wanted)
        .ok_or_else(|| PortProblem::NoSuch {
            wanted: wanted.to_owned(),
            ports: ports.iter().map(name).collect(),
        })
}

fn name(port: &ListenPort) -> String {
    match &port.name {
        Some(name) => format!("{name} ({})", port.service_port),
        None => port.service_port.to_string(),
    }
}

/// What the routes claim at the Service.
pub(crate) fn claimed(routes: &[PortRoute]) -> Vec<ClaimedRoute> {
    let any_of = |route: &PortRoute| route.route.r#match.as_ref().map(alternatives).unwrap_or_default();
    let claimed = |route: &PortRoute| ClaimedRoute {
        port: route.service_port,
        any_of: any_of(route),
        ..ClaimedRoute::default()
    };
    routes.iter().map(claimed).collect()
}

/// The routes for people.
pub(crate) fn status(routes: &[PortRoute]) -> Vec<v1::RouteStatus> {
    routes
        .iter()
        .zip(claimed(routes))
        .map(|(route, claimed)| v1::RouteStatus {
            port: route.name.clone(),
            local_port: route.route.local_port,
            r#match: claimed.match_text(),
            service_port: route.service_port.into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::ConnectRequest {
        v1::ConnectRequest { user: "alice".into(), ..Default::default() }
    }

    fn port(service_port: u16, name: &str, listen: u16) -> ListenPort {
        ListenPort { service_port, name: Some(name.to_owned()).filter(|n| !n.is_empty()), listen }
    }

    #[test]
    fn the_only_port_leads_to_the_same_port_of_the_laptop() {
        let routes = routes(&request(), &[port(80, "http", 8080)]).expect("one port");
        assert_eq!(
            (routes[0].service_port, routes[0].route.target_port, routes[0].route.local_port),
            (80, 8080, 8080)
        );
        assert_eq!(status(&routes)[0].r#match, "x-bridge: alice or baggage: bridge=alice");
    }

    #[test]
    fn one_of_several_ports_must_be_named() {
        let ports = [port(80, "http", 8080), port(81, "", 9090)];
        let all = vec!["http (80)".to_owned(), "81".to_owned()];
        assert_eq!(routes(&request(), &ports), Err(PortProblem::Ambiguous { ports: all.clone() }));
        let mapped = |remote: &str| {
            let ports = vec![v1::PortMapping { local: 3000, remote: remote.into() }];
            v1::ConnectRequest { ports, ..request() }
        };
        assert_eq!(routes(&mapped("81"), &ports).expect("by number")[0].service_port, 81);
        assert_eq!(routes(&mapped("http"), &ports).expect("by name")[0].service_port, 80);
        let wanted = "grpc".to_owned();
        assert_eq!(routes(&mapped("grpc"), &ports), Err(PortProblem::NoSuch { wanted, ports: all }));
    }

    #[test]
    fn a_command_stands_for_all_ports_as_a_pod_does() {
        let ports = [port(80, "http", 8080), port(81, "", 9090)];
        let routes =
            routes(&v1::ConnectRequest { for_command: true, ..request() }, &ports).expect("no port is meant");
        let all: Vec<_> = routes.iter().map(|route| (route.service_port, route.route.local_port)).collect();
        assert_eq!(all, [(80, 8080), (81, 9090)]);
    }

    fn condition(kind: condition::Kind) -> v1::Condition {
        v1::Condition { kind: Some(kind) }
    }

    fn path(kind: test::Kind) -> v1::Condition {
        condition(condition::Kind::Path(v1::Test { kind: Some(kind) }))
    }

    #[test]
    fn path_and_method_narrow_what_comes() {
        let get = condition(condition::Kind::Method("GET".into()));
        let narrowed = v1::ConnectRequest {
            narrowed_by: vec![get, path(test::Kind::Prefix("/v1/".into()))],
            ..request()
        };
        let expected = [
            "x-bridge: alice and method GET and path ^=/v1/",
            "baggage: bridge=alice and method GET and path ^=/v1/",
        ];
        assert_eq!(alternatives(&match_of(&narrowed)), expected);
        let everything = v1::ConnectRequest { everything: true, ..narrowed };
        assert!(match_of(&everything).any_of.is_empty());
    }

    #[test]
    fn callers_of_bridge_to_kubernetes_are_understood_on_request() {
        let compatible = v1::ConnectRequest { kubernetes_route_as: true, ..request() };
        let expected = ["x-bridge: alice", "baggage: bridge=alice", "kubernetes-route-as: alice"];
        assert_eq!(alternatives(&match_of(&compatible)), expected);
    }

    #[test]
    fn different_conditions_have_different_texts() {
        let header = |test| {
            let test = Some(v1::Test { kind: Some(test) });
            condition(condition::Kind::HeaderTest(v1::HeaderTest { name: "Path".into(), test }))
        };
        let exact = |value: &str| test::Kind::Exact(value.into());
        let prefix = |value: &str| test::Kind::Prefix(value.into());
        let pattern = |value: &str| test::Kind::Pattern(value.into());
        for (condition, expected) in [
            (header(prefix("/a")), "path^=/a"),
            (header(pattern("/a")), "path~=/a"),
            (path(exact("/a")), "path /a"),
            (path(prefix("/a")), "path ^=/a"),
            (path(pattern("^/a$")), "path ~=^/a$"),
        ] {
            assert_eq!(text(&condition), expected);
        }
    }

    #[test]
    fn the_text_of_a_match_does_not_depend_on_how_it_was_typed() {
        let header = |name: &str, value: &str| v1::Condition {
            kind: Some(condition::Kind::Header(v1::HeaderCondition {
                name: name.into(),
                value: value.into(),
            })),
        };
        let one = |all_of| v1::Match { any_of: vec![v1::Alternative { all_of }] };
        let typed = one(vec![header("X-B", "2"), header("x-a", "1")]);
        let other = one(vec![header("X-A", "1"), header("X-b", "2")]);
        assert_eq!(alternatives(&typed), alternatives(&other));
        assert!(alternatives(&v1::Match::default()).is_empty(), "everything");
    }
}
