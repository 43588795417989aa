//! Plans a connect before anything is changed: the Service, the pods behind it, and the routes that
//! result from its users' wishes.

use bridge_cluster::app::App;
use bridge_cluster::choose::{Asked, Choice, choose};
use bridge_cluster::client::Cluster;
use bridge_cluster::error::ClusterError;
use bridge_cluster::mode::Mode;
use bridge_cluster::obstacles::{self, Warning};
use bridge_cluster::replace::replaceable_behind;
use bridge_cluster::snapshot::{self, Snapshot};
use bridge_cluster::takeover::{Step, Waiter};
use bridge_deploy::{AgentSource, ListenPort};
use bridge_proto::matching::Match;
use bridge_proto::v1;

use super::failure::Failure;
use super::inbound;
use super::program;
use super::routes::{PortRoute, RouteProblem};
use super::teller::Teller;
use super::users::Users;

/// The Service as it is.
pub(crate) struct Found {
    pub(crate) cluster: Cluster,
    pub(crate) service: String,
    pub(crate) snapshot: Snapshot,
}

/// The decisions for a connect.
pub(crate) struct Plan {
    pub(crate) found: Found,
    pub(crate) mode: Mode,
    pub(crate) agent: AgentSource,
    pub(crate) ports: Vec<ListenPort>,
    pub(crate) users: Users,
    pub(crate) routes: Vec<PortRoute>,
    /// The workload that has no pods meanwhile.
    pub(crate) replaces: Option<App>,
}

/// Reads the Service and the pods behind it. Changes nothing.
pub(crate) async fn find(cluster: Cluster, service: String) -> Result<Found, Failure> {
    let snapshot = snapshot::read(&cluster, &service).await?;
    Ok(Found { cluster, service, snapshot })
}

/// Plans for these users, and prints the warnings that are known before anything is changed.
pub(crate) async fn plan(found: Found, users: Users, tell: &Teller) -> Result<Plan, Failure> {
    let agent = program::source(users.agent_image())?;
    let refused = |against| ClusterError::Obstacles { service: found.service.clone(), against };
    let asked = Asked { mode: users.mode(), ..Asked::with(&agent) };
    let Choice { mode, instead_of } = choose(&found.snapshot, asked).map_err(refused)?;
    if !instead_of.is_empty() {
        tell.step(Step::Chose { mode, instead_of }).await?;
    }
    for warning in obstacles::warnings(&found.snapshot, mode) {
        tell.warn(warning.to_string()).await?;
    }
    if mode == Mode::Sidecar && users.replicas().is_some() {
        tell.warn(Warning::NoReplicas.to_string()).await?;
    }
    let replaces = match users.replace() {
        true => Some(Box::pin(replaceable_behind(&found.cluster, &found.snapshot)).await?),
        false => None,
    };
    if replaces.is_some() && found.snapshot.account.is_none() {
        tell.warn(Warning::NotRestored { service: found.service.clone() }.to_string()).await?;
    }
    let ports = found.snapshot.ports(mode)?;
    let routes = routes_of(&users, &ports, &found.service)?;
    let users = users.settled(&ports);
    Ok(Plan { found, mode, agent, ports, users, routes, replaces })
}

/// The routes that result from users' wishes, at a Service with these ports.
pub(crate) fn routes_of(
    users: &Users,
    ports: &[ListenPort],
    service: &str,
) -> Result<Vec<PortRoute>, Failure> {
    users.routes(ports).map_err(|problem| {
        let service = service.to_owned();
        match problem {
            RouteProblem::Ambiguous { ports } => ClusterError::AmbiguousPort { service, ports }.into(),
            RouteProblem::NoSuch { wanted, ports } => {
                ClusterError::NoSuchPort { service, wanted, ports }.into()
            }
            RouteProblem::Match(bad) => Failure::BadMatch(bad),
        }
    })
}

pub(crate) async fn say_where_nothing_listens(routes: &[PortRoute], tell: &Teller) -> Result<(), Failure> {
    for route in routes {
        let port = route.local_port;
        let local = u16::try_from(port).map_err(|_| Failure::BadPort(port))?;
        if inbound::connect(local).await.is_err() {
            tell.warn(format!("nothing listens on port {port} of your laptop yet: {}", until_then(route)))
                .await?;
        }
    }
    Ok(())
}

/// The consequence while nothing listens: whose requests fail, and how.
fn until_then(route: &PortRoute) -> String {
    if route.copies {
        return "until then nothing is copied".to_owned();
    }
    let whose = if route.matching == Match::Everything { "everyone's" } else { "your" };
    match route.fallback {
        v1::Fallback::Origin => format!("until then {whose} requests go to the pods"),
        v1::Fallback::Answer => format!("until then {whose} requests get a 503"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_the_requests_that_find_no_listener() {
        let mine = Match::of_user("alice", false);
        for (matching, fallback, expected) in [
            (&mine, v1::Fallback::Answer, "until then your requests get a 503"),
            (&mine, v1::Fallback::Origin, "until then your requests go to the pods"),
            (&Match::Everything, v1::Fallback::Answer, "until then everyone's requests get a 503"),
            (&Match::Everything, v1::Fallback::Origin, "until then everyone's requests go to the pods"),
        ] {
            let route = PortRoute {
                service_port: 80,
                name: "http".into(),
                target_port: 8080,
                local_port: 3000,
                matching: matching.clone(),
                fallback,
                keep_cache_headers: false,
                copies: false,
            };
            assert_eq!(until_then(&route), expected);
            assert_eq!(until_then(&PortRoute { copies: true, ..route }), "until then nothing is copied");
        }
    }
}
