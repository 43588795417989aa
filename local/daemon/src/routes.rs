//! Turns requests of users into routes and claims: which requests to which port of the Service go to which local port.
//! Pure.

use bridge_cluster::state::ClaimedRoute;
use bridge_deploy::ListenPort;
use bridge_proto::matching::{BadMatch, Condition, Match};
use bridge_proto::v1;

/// One port of the Service that is routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortRoute {
    pub(crate) service_port: u16,
    /// The port by name, else by number.
    pub(crate) name: String,
    /// The port that the agents listen on.
    pub(crate) target_port: u16,
    pub(crate) local_port: u32,
    pub(crate) matching: Match,
    pub(crate) fallback: v1::Fallback,
    pub(crate) keep_cache_headers: bool,
    /// The origin answers the requests, and the laptop gets copies.
    pub(crate) copies: bool,
}

impl PortRoute {
    /// The route as a message to the agents.
    pub(crate) fn to_message(&self) -> v1::Route {
        v1::Route {
            target_port: self.target_port.into(),
            local_port: self.local_port,
            r#match: Some(self.matching.to_message()),
            fallback: self.fallback.into(),
            keep_cache_headers: self.keep_cache_headers,
            copy: self.copies,
        }
    }
}

/// Why there can be no such routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RouteProblem {
    /// Several ports, and none was named.
    Ambiguous {
        ports: Vec<String>,
    },
    NoSuch {
        wanted: String,
        ports: Vec<String>,
    },
    Match(BadMatch),
}

/// The match that a request asks for: everything, the headers that it names, or the user's default; the latter two
/// narrowed by path and method.
pub(crate) fn match_of(request: &v1::ConnectRequest) -> Result<Match, BadMatch> {
    let chosen = match &request.r#match {
        _ if request.everything => return Ok(Match::Everything),
        Some(chosen) if !chosen.any_of.is_empty() => Match::read(chosen)?,
        _ => Match::of_user(&request.user, request.kubernetes_route_as),
    };
    let narrowing: Result<Vec<_>, _> = request.narrowed_by.iter().map(Condition::read).collect();
    chosen.narrowed_by(&narrowing?)
}

/// The routes for a Service with these ports.
pub(crate) fn routes(
    request: &v1::ConnectRequest,
    ports: &[ListenPort],
) -> Result<Vec<PortRoute>, RouteProblem> {
    let only = || match ports {
        [one] => Ok(one),
        _ => Err(RouteProblem::Ambiguous { ports: ports.iter().map(name).collect() }),
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
        request.ports.iter().map(find).collect::<Result<Vec<_>, RouteProblem>>()?
    };
    let matching = match_of(request).map_err(RouteProblem::Match)?;
    let route = |(port, local_port): (&ListenPort, u32)| PortRoute {
        service_port: port.service_port,
        name: port.name.clone().unwrap_or_else(|| port.service_port.to_string()),
        target_port: port.agent,
        local_port,
        matching: matching.clone(),
        fallback: request.fallback(),
        keep_cache_headers: request.keep_cache_headers,
        copies: request.copy,
    };
    Ok(chosen.into_iter().map(route).collect())
}

fn by_name<'a>(wanted: &str, ports: &'a [ListenPort]) -> Result<&'a ListenPort, RouteProblem> {
    ports
        .iter()
        .find(|port| port.name.as_deref() == Some(wanted) || port.service_port.to_string() == wanted)
        .ok_or_else(|| RouteProblem::NoSuch {
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

/// The claims at the Service that the routes need.
pub(crate) fn claimed(routes: &[PortRoute]) -> Vec<ClaimedRoute> {
    let claimed = |route: &PortRoute| ClaimedRoute {
        port: route.service_port,
        any_of: route.matching.texts(),
        copy: route.copies,
        ..ClaimedRoute::default()
    };
    routes.iter().map(claimed).collect()
}

/// The routes for people.
pub(crate) fn status(routes: &[PortRoute]) -> Vec<v1::RouteStatus> {
    let status = |route: &PortRoute| v1::RouteStatus {
        port: route.name.clone(),
        local_port: route.local_port,
        r#match: route.matching.to_string(),
        service_port: route.service_port.into(),
        copy: route.copies,
        taken: Some(route.matching.to_message()),
    };
    routes.iter().map(status).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::ConnectRequest {
        v1::ConnectRequest { user: "alice".into(), ..Default::default() }
    }

    fn port(service_port: u16, name: &str, listen: u16) -> ListenPort {
        let name = Some(name.to_owned()).filter(|name| !name.is_empty());
        ListenPort { service_port, name, listen, agent: listen }
    }

    #[test]
    fn the_only_port_leads_to_the_same_port_of_the_laptop() {
        let routes = routes(&request(), &[port(80, "http", 8080)]).expect("one port");
        assert_eq!((routes[0].service_port, routes[0].target_port, routes[0].local_port), (80, 8080, 8080));
        assert_eq!(status(&routes)[0].r#match, "baggage or tracestate: bridge=alice or x-bridge: alice");
    }

    #[test]
    fn one_of_several_ports_must_be_named() {
        let ports = [port(80, "http", 8080), port(81, "", 9090)];
        let all = vec!["http (80)".to_owned(), "81".to_owned()];
        assert_eq!(routes(&request(), &ports), Err(RouteProblem::Ambiguous { ports: all.clone() }));
        let mapped = |remote: &str| {
            let ports = vec![v1::PortMapping { local: 3000, remote: remote.into() }];
            v1::ConnectRequest { ports, ..request() }
        };
        assert_eq!(routes(&mapped("81"), &ports).expect("by number")[0].service_port, 81);
        assert_eq!(routes(&mapped("http"), &ports).expect("by name")[0].service_port, 80);
        let wanted = "grpc".to_owned();
        assert_eq!(routes(&mapped("grpc"), &ports), Err(RouteProblem::NoSuch { wanted, ports: all }));
    }

    #[test]
    fn a_command_stands_for_all_ports_as_a_pod_does() {
        let ports = [port(80, "http", 8080), port(81, "", 9090)];
        let routes =
            routes(&v1::ConnectRequest { for_command: true, ..request() }, &ports).expect("no port is meant");
        let all: Vec<_> = routes.iter().map(|route| (route.service_port, route.local_port)).collect();
        assert_eq!(all, [(80, 8080), (81, 9090)]);
    }

    #[test]
    fn a_route_that_copies_says_so_wherever_it_is_written() {
        for copy in [false, true] {
            let routes = routes(&v1::ConnectRequest { copy, ..request() }, &[port(80, "http", 8080)]);
            let routes = routes.expect("one port");
            let said = (routes[0].to_message().copy, claimed(&routes)[0].copy, status(&routes)[0].copy);
            assert_eq!(said, (copy, copy, copy));
        }
    }

    #[test]
    fn everything_is_not_narrowed_and_unknown_conditions_are_refused() {
        let method = Condition::Method("GET".into()).to_message();
        let narrowed = v1::ConnectRequest { narrowed_by: vec![method], ..request() };
        let expected = [
            "baggage: bridge=alice and method GET",
            "tracestate: bridge=alice and method GET",
            "x-bridge: alice and method GET",
        ];
        assert_eq!(
            match_of(&narrowed).map(|chosen| chosen.texts()),
            Ok(expected.map(str::to_owned).to_vec())
        );
        let everything = v1::ConnectRequest { everything: true, ..narrowed };
        assert_eq!(match_of(&everything), Ok(Match::Everything));
        let newer = v1::ConnectRequest { narrowed_by: vec![v1::Condition { kind: None }], ..request() };
        let refused = routes(&newer, &[port(80, "http", 8080)]);
        assert_eq!(refused, Err(RouteProblem::Match(BadMatch::UnknownCondition)));
    }
}
