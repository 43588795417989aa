//! One connect, from what was asked for to "connected", and its undoing when a step fails or the user gives up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bridge_cluster::attach;
use bridge_cluster::clean;
use bridge_cluster::client::Cluster;
use bridge_cluster::detach;
use bridge_cluster::error::ClusterError;
use bridge_cluster::events;
use bridge_cluster::follow::{self, Followed, Follower};
use bridge_cluster::snapshot::{self, Snapshot};
use bridge_cluster::state::{Attachment, Claim, selector};
use bridge_cluster::{objects, obstacles, target};
use bridge_deploy::{AgentSource, ListenPort};
use bridge_proto::matching::Match;
use bridge_proto::v1;
use tokio::sync::mpsc;

use super::failure::Failure;
use super::inbound::Inbound;
use super::probe;
use super::program;
use super::registry;
use super::routes::{self, PortRoute, RouteProblem};
use super::session::{Facts, Session};
use super::users::Users;

/// From a ready agent to a tunnel with the routes in force: a few round trips.
const TUNNELS_WITHIN: Duration = Duration::from_secs(10);
/// Half of the agents suffice to begin with; an agent that is not ready by then may never be.
const OTHERS_WITHIN: Duration = Duration::from_secs(5);

/// Where a connect tells what it does: to a command that waits for it.
#[derive(Clone)]
pub(crate) enum Teller {
    Connect(mpsc::Sender<v1::ConnectEvent>),
    Use(mpsc::Sender<v1::UseEvent>),
}

/// What is told.
enum Told {
    Step(String),
    Warning(String),
}

impl From<Told> for v1::ConnectEvent {
    fn from(told: Told) -> Self {
        let kind = match told {
            Told::Step(text) => v1::connect_event::Kind::Step(text),
            Told::Warning(text) => v1::connect_event::Kind::Warning(text),
        };
        Self { kind: Some(kind), ..Self::default() }
    }
}

impl From<Told> for v1::UseEvent {
    fn from(told: Told) -> Self {
        let kind = match told {
            Told::Step(text) => v1::use_event::Kind::Step(text),
            Told::Warning(text) => v1::use_event::Kind::Warning(text),
        };
        Self { kind: Some(kind) }
    }
}

impl Teller {
    /// A step that begins now. [`Failure::GivenUp`] if nobody listens any more: the user pressed Ctrl-C.
    pub(crate) async fn step(&self, text: impl Into<String>) -> Result<(), Failure> {
        self.tell(Told::Step(text.into())).await
    }

    pub(crate) async fn warn(&self, text: impl Into<String>) -> Result<(), Failure> {
        self.tell(Told::Warning(text.into())).await
    }

    async fn tell(&self, told: Told) -> Result<(), Failure> {
        match self {
            Self::Connect(events_tx) => events_tx.send(told.into()).await.map_err(|_| Failure::GivenUp),
            Self::Use(events_tx) => events_tx.send(told.into()).await.map_err(|_| Failure::GivenUp),
        }
    }

    /// Says a step if there is room; progress may be dropped.
    fn hint(&self, text: &str) {
        let step = Told::Step(text.to_owned());
        // A full channel or a user who has gone: the next real step finds out.
        let _ = match self {
            Self::Connect(events_tx) => events_tx.try_send(step.into()).is_ok(),
            Self::Use(events_tx) => events_tx.try_send(step.into()).is_ok(),
        };
    }

    /// Resolves when nobody listens any more.
    pub(crate) async fn given_up(&self) -> Failure {
        match self {
            Self::Connect(events_tx) => events_tx.closed().await,
            Self::Use(events_tx) => events_tx.closed().await,
        }
        Failure::GivenUp
    }
}

/// The Service that is meant, as it stands.
pub(crate) struct Found {
    pub(crate) cluster: Cluster,
    pub(crate) service: String,
    snapshot: Snapshot,
    /// Where a stand-in is there already.
    attachment: Option<Attachment>,
}

/// The Service that is meant.
pub(crate) async fn meant(cluster: &Cluster, wanted: &str) -> Result<String, Failure> {
    Ok(target::resolve(cluster, &wanted.parse()?).await?)
}

/// Reads the Service and what stands behind it. Changes nothing.
pub(crate) async fn find(cluster: Cluster, service: String) -> Result<Found, Failure> {
    let now = objects::read(&cluster, &service).await?;
    let attachment = Attachment::of(&now)?
        .filter(|attachment| attachment.is_in_place(&now) || attachment.original == selector(&now));
    let original = attachment.as_ref().map(|attachment| &attachment.original);
    let snapshot = snapshot::read(&cluster, &service, original).await?;
    Ok(Found { cluster, service, snapshot, attachment })
}

/// Whose session it will be.
pub(crate) struct Claimant {
    pub(crate) id: String,
    user: String,
    installation: String,
    since_ms: u64,
}

impl Claimant {
    /// Of a session that begins now.
    pub(crate) fn new(user: &str, installation: &str) -> Self {
        Self::since(user, installation, now_ms())
    }

    /// Of a session that goes on from one which has begun before.
    pub(crate) fn since(user: &str, installation: &str, since_ms: u64) -> Self {
        let id = format!("{:08x}", rand::random::<u32>());
        Self { id, user: user.to_owned(), installation: installation.to_owned(), since_ms }
    }
}

/// What is to be made.
pub(crate) struct Plan {
    agent: AgentSource,
    ports: Vec<ListenPort>,
    users: Users,
    pub(crate) routes: Vec<PortRoute>,
}

/// Connects; on failure nothing of it stays in the cluster. `before`, whose place the session takes, keeps
/// its routes until the new ones can be put in force: agents accept no match twice.
pub(crate) async fn connect(
    found: Found,
    plan: Plan,
    claimant: Claimant,
    before: Option<&Session>,
    inbound: Inbound,
    tell: &Teller,
) -> Result<Session, Failure> {
    let claim = Claim {
        id: claimant.id,
        user: claimant.user,
        installation: claimant.installation,
        since: claimant.since_ms,
        routes: routes::claimed(&plan.routes),
        ..Claim::default()
    };
    let (cluster, service, id) = (found.cluster.clone(), found.service.clone(), claim.id.clone());
    match take_over(found, plan, claim, before, inbound, tell).await {
        Ok(session) => Ok(session),
        Err(failure) => {
            tracing::warn!(%service, session = %id, %failure, "connect failed; undoing it");
            match detach::release(&cluster, &service, |claim| claim.id == id).await {
                Ok(_) => Err(failure),
                Err(error) => Err(failure.and_left_behind(&error)),
            }
        }
    }
}

/// What users' wishes come to at a Service with these ports.
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

/// What is to be made for these users, and what can be said before anything is changed.
pub(crate) async fn plan(found: &Found, users: Users, tell: &Teller) -> Result<Plan, Failure> {
    let agent = program::source(users.agent_image())?;
    let carried = match &agent {
        AgentSource::Carried(program) => Some(program.architecture.as_str()),
        AgentSource::Image(_) => None,
    };
    let obstacles = obstacles::obstacles(&found.snapshot, carried);
    if !obstacles.is_empty() {
        return Err(ClusterError::Obstacles { service: found.service.clone(), obstacles }.into());
    }
    for warning in obstacles::warnings(&found.snapshot) {
        tell.warn(warning.to_string()).await?;
    }
    let ports = found.snapshot.listen_ports()?;
    let routes = routes_of(&users, &ports, &found.service)?;
    let users = users.settled(&ports);
    Ok(Plan { agent, ports, users, routes })
}

pub(crate) async fn say_where_nothing_listens(routes: &[PortRoute], tell: &Teller) -> Result<(), Failure> {
    for route in routes {
        let port = route.local_port;
        let local = u16::try_from(port).map_err(|_| Failure::BadPort(port))?;
        if super::inbound::connect(local).await.is_err() {
            tell.warn(format!("nothing listens on port {port} of your laptop yet: {}", until_then(route)))
                .await?;
        }
    }
    Ok(())
}

/// Who is concerned while nothing listens, and how.
fn until_then(route: &PortRoute) -> String {
    let whose = if route.matching == Match::Everything { "everyone's" } else { "your" };
    match route.fallback {
        v1::Fallback::Origin => format!("until then {whose} requests go to the pods"),
        v1::Fallback::Answer => format!("until then {whose} requests get a 503"),
    }
}

async fn take_over(
    found: Found,
    plan: Plan,
    claim: Claim,
    before: Option<&Session>,
    inbound: Inbound,
    tell: &Teller,
) -> Result<Session, Failure> {
    let Found { cluster, service, snapshot, attachment } = found;
    let Plan { agent, ports: listen_ports, users, routes } = plan;
    let replicas = users.replicas();
    let id = format!("{:04x}", rand::random::<u16>());
    let follower = Follower { user: claim.user.clone(), agent: agent.clone() };
    let mut stand_in = snapshot.stand_in(&id, &claim.user, replicas, agent)?;
    let ports: BTreeMap<u16, u16> =
        listen_ports.iter().map(|port| (port.service_port, port.listen)).collect();

    if let Some(there) = attachment.filter(|there| !there.listens_as(&ports)) {
        // Its agents listen on other ports than the origin serves by now: another takes its place.
        detach::lead_back(&cluster, &service, &there.stand_in, None).await?;
    }
    let fresh = |now: &_| attach::fresh(now, &stand_in, ports.clone());
    let attachment = attach::claim(&cluster, &service, fresh, &claim).await?;
    stand_in.id.clone_from(&attachment.stand_in);
    let name = stand_in.names().stand_in;
    tell.step(format!("starting agents for Service {service} (Deployment {name})")).await?;
    let created = attach::create(&cluster, &stand_in, &attachment).await?;
    if created.stale {
        tokio::select! {
            followed = bring_up_to_date(&cluster, &service, &stand_in.id, &follower, tell) => followed?,
            given_up = tell.given_up() => return Err(given_up),
        }
    }
    tokio::select! {
        ready = attach::wait_ready(&cluster, &service, &stand_in.id, &created, |text| tell.hint(text)) => ready?,
        given_up = tell.given_up() => return Err(given_up),
    }

    tell.step("opening the tunnel").await?;
    let facts = Facts {
        id: claim.id.clone(),
        user: claim.user.clone(),
        cluster: cluster.clone(),
        service: service.clone(),
        stand_in: attachment.stand_in.clone(),
        control_port: attachment.control,
        original: attachment.original.clone(),
        deployment: created.deployment.clone(),
        key: Arc::from(created.key.as_slice()),
        since_ms: claim.since,
        ports: listen_ports,
        agent_image: users.agent_image().to_owned(),
    };
    if let Some(before) = before {
        registry::unroute(before).await;
    }
    let session = Session::start(facts, users, routes, Arc::new(inbound));
    tokio::select! {
        attended = all_attended(&session) => attended?,
        given_up = tell.given_up() => return Err(given_up),
    }
    tell.step(format!("switching Service {service} to the agents")).await?;
    let arrivals = probe::listen(&session).await?;
    let switched = attach::switch(&cluster, &service, &attachment.stand_in, &created).await?;
    let seen = probe::until_seen(&session, arrivals, probe::address(&snapshot, &service)?);
    let disowned = async { attach::disown(&cluster, switched).await.map_err(Failure::from) };
    tokio::try_join!(seen, disowned)?;
    let (tidied, ()) = tokio::select! {
        done = async { tokio::join!(clean::retire_unused(&cluster, Some(&service)), others_attended(&session)) } => done,
        given_up = tell.given_up() => return Err(given_up),
    };
    if let Err(error) = tidied {
        tell.warn(format!("cannot clean up after an earlier connect (`bridge clean` tries again): {error}"))
            .await?;
    }
    record(&session).await;
    Ok(session)
}

/// Has a stand-in that was there, made of an earlier template of the origin, follow. Nobody fails by it, and if the new
/// agents do not become ready, the old ones go on.
async fn bring_up_to_date(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    follower: &Follower,
    tell: &Teller,
) -> Result<(), Failure> {
    tell.step("the origin has been rolled out since: replacing the agents of its old template").await?;
    let why = match follow::follow(cluster, service, stand_in, follower).await {
        Ok(Followed::Rolls) => match attach::wait_rolled(cluster, service, stand_in).await? {
            true => return Ok(()),
            false => "the new ones are not ready yet".to_owned(),
        },
        Ok(Followed::Cannot(why)) => why,
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    tell.warn(format!("keeping agents of an old template of the origin for now: {why}")).await
}

/// Records what a session does by now.
pub(crate) async fn record(session: &Session) {
    let Facts { cluster, service, .. } = &session.facts;
    events::record(cluster, service, "BridgeConnected", &told(session)).await;
}

/// What the Service's Events say of a session.
fn told(session: &Session) -> String {
    let routes = routes::status(&session.routes());
    let routes: Vec<_> =
        routes.iter().map(|route| format!("port {}: {}", route.port, route.r#match)).collect();
    if routes.is_empty() {
        return format!("{} uses the pods' network; all requests go to the pods", session.facts.user);
    }
    format!(
        "{}'s requests go to a laptop ({}); all others go to the pods",
        session.facts.user,
        routes.join(", ")
    )
}

/// Waits until every agent that is ready has the routes in force.
async fn all_attended(session: &Session) -> Result<(), Failure> {
    let attended = session.until(|live| {
        if live.agents.values().any(|agent| agent.other_version) {
            return true;
        }
        let mut ready = live.agents.values().filter(|agent| agent.ready && !agent.leaving).peekable();
        ready.peek().is_some() && ready.all(|agent| agent.attended.as_ref().is_some_and(|a| a.routed > 0))
    });
    let attended = tokio::time::timeout(TUNNELS_WITHIN, attended).await;
    if let Some(agent) = session.live().agents.values().find(|agent| agent.other_version) {
        let (service, reason) = (session.facts.service.clone(), agent.trouble.clone());
        return Err(Failure::OtherVersion { service, reason });
    }
    attended.map_err(|_| {
        let live = session.live();
        let trouble = live.agents.iter().find(|(_, agent)| !agent.trouble.is_empty());
        let reason = trouble.map(|(pod, agent)| format!("{pod}: {}", agent.trouble));
        Failure::NoTunnel { reason: reason.or(live.blind).unwrap_or_else(|| "no agent answered".to_owned()) }
    })
}

/// Waits for the agents that came after the first half: one that is ready before its tunnel is there would, for that
/// moment, give the developer's requests to the origin after "connected" was said.
async fn others_attended(session: &Session) {
    let attended = session.until(|live| {
        let mut staying = live.agents.values().filter(|agent| !agent.leaving);
        staying.all(|agent| agent.ready && agent.attended.as_ref().is_some_and(|a| a.routed > 0))
    });
    // Without: one that is not ready gets no traffic.
    let _ = tokio::time::timeout(OTHERS_WITHIN, attended).await;
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_says_whose_requests_find_nobody() {
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
            };
            assert_eq!(until_then(&route), expected);
        }
    }
}
