//! One connect, from its plan to "connected", and its undoing when a step fails or the user gives up.

use std::sync::Arc;
use std::time::Duration;

use bridge_cluster::app::App;
use bridge_cluster::clean;
use bridge_cluster::events;
use bridge_cluster::obstacles::Warning;
use bridge_cluster::replace;
use bridge_cluster::state::Claim;
use bridge_cluster::takeover::{Prepared, Step, Takeover, Waiter, Wanted, unless_given_up};
use bridge_deploy::ListenPort;
use bridge_proto::v1;

use super::failure::Failure;
use super::inbound::Inbound;
use super::lease::now_ms;
use super::plan::{Found, Plan};
use super::probe;
use super::registry;
use super::routes::{self, PortRoute};
use super::session::{Agent, Facts, Live, Session};
use super::teller::Teller;
use super::users::Users;

/// Limit on the time from a ready agent to a tunnel with the routes in force: a few round trips, unless the API server
/// is busy. As long as agents may take to be ready.
const TUNNELS_WITHIN: Duration = Duration::from_secs(30);
/// Half of the agents are enough to begin with; an agent that is not ready by then may never be.
const OTHERS_WITHIN: Duration = Duration::from_secs(5);

/// The developer and laptop that a session will belong to.
pub(crate) struct Claimant {
    pub(crate) id: String,
    user: String,
    installation: String,
    since_ms: u64,
}

impl Claimant {
    pub(crate) fn claim(self, routes: &[PortRoute]) -> Claim {
        Claim {
            id: self.id,
            user: self.user,
            installation: self.installation,
            since: self.since_ms,
            routes: routes::claimed(routes),
            ..Claim::default()
        }
    }

    /// The claimant of a session that begins now.
    pub(crate) fn new(user: &str, installation: &str) -> Self {
        Self::since(user, installation, now_ms())
    }

    /// The claimant of a session that continues an earlier one.
    pub(crate) fn since(user: &str, installation: &str, since_ms: u64) -> Self {
        let id = format!("{:08x}", rand::random::<u32>());
        Self { id, user: user.to_owned(), installation: installation.to_owned(), since_ms }
    }
}

/// Connects; on failure nothing of it stays in the cluster. `before`, which the session replaces, keeps its routes
/// until the new ones can be put in force: agents accept no match twice.
pub(crate) async fn connect(
    plan: Plan,
    claimant: Claimant,
    before: Option<&Session>,
    inbound: Inbound,
    tell: &Teller,
) -> Result<Session, Failure> {
    let Plan { found: Found { cluster, service, snapshot }, mode, agent, ports, users, routes, replaces } =
        plan;
    let claim = Claim { replaces: replaces.as_ref().map(App::typed), ..claimant.claim(&routes) };
    let replicas = users.replicas();
    let wanted = Wanted { cluster, service, snapshot, claim, agent, replicas };
    let takeover = Takeover::new(mode, wanted);
    let replaced = replaces.clone();
    let connecting =
        Connecting { takeover: &takeover, ports, users, routes, replaces, before, inbound, tell };
    // On the heap, like the undoing: these futures are large, and every caller's future would contain them.
    match Box::pin(connecting.take_over()).await {
        Ok(session) => Ok(session),
        Err(failure) => {
            let Wanted { service, claim, .. } = takeover.wanted();
            tracing::warn!(%service, session = %claim.id, %failure, "connect failed; undoing it");
            let undone = async {
                if let Some(app) = &replaced {
                    replace::restore(&takeover.wanted().cluster, app, &claim.id).await?;
                }
                takeover.undo().await
            };
            match Box::pin(undone).await {
                Ok(()) => Err(failure),
                Err(error) => Err(failure.and_left_behind(&error)),
            }
        }
    }
}

/// A connect in progress.
struct Connecting<'a> {
    takeover: &'a Takeover,
    ports: Vec<ListenPort>,
    users: Users,
    routes: Vec<PortRoute>,
    replaces: Option<App>,
    before: Option<&'a Session>,
    inbound: Inbound,
    tell: &'a Teller,
}

impl Connecting<'_> {
    async fn take_over(self) -> Result<Session, Failure> {
        let (takeover, tell) = (self.takeover, self.tell);
        let Wanted { service, snapshot, .. } = takeover.wanted();
        let prepared = takeover.prepare(tell).await?;
        let session = self.open_tunnels(&prepared).await?;

        tell.step(Step::Switching { service: service.clone() }).await?;
        let address = probe::address(snapshot, service)?;
        let arrivals = probe::listen(&session).await?;
        let switched = takeover.switch(&prepared).await?;
        let seen = probe::until_seen(&session, arrivals, address);
        let confirmed = async { Ok(takeover.confirm(switched).await?) };
        tokio::try_join!(seen, confirmed)?;

        let (tidied, ()) = tokio::join!(tidy(takeover, &prepared, &session, tell), record(&session));
        tidied?;
        if let Some(app) = &session.facts.replaces {
            let Wanted { cluster, claim, .. } = takeover.wanted();
            Box::pin(replace::replace(cluster, app, claim, tell)).await?;
        }
        Ok(session)
    }

    /// Starts a session and waits until all agents that are ready have its routes. It follows them while they start; if it
    /// replaces another session, that one keeps its routes until they are ready.
    async fn open_tunnels(self, prepared: &Prepared) -> Result<Session, Failure> {
        let tell = self.tell;
        let until_ready = self.takeover.until_ready(prepared, tell);
        let session = match self.before {
            None => {
                let session = self.session(prepared);
                until_ready.await?;
                session
            }
            Some(before) => {
                until_ready.await?;
                registry::unroute(before).await;
                self.session(prepared)
            }
        };
        tell.step(Step::OpeningTunnel).await?;
        unless_given_up(tell, all_attended(&session)).await?;
        Ok(session)
    }

    fn session(self, prepared: &Prepared) -> Session {
        let Wanted { cluster, service, claim, .. } = self.takeover.wanted();
        let facts = Facts {
            id: claim.id.clone(),
            user: claim.user.clone(),
            cluster: cluster.clone(),
            service: service.clone(),
            stand_in: prepared.stand_in.clone(),
            control_port: prepared.control_port,
            original: prepared.original.clone(),
            mode: Some(self.takeover.mode()),
            agents: prepared.agents.clone(),
            key: Arc::from(prepared.key.as_slice()),
            since_ms: claim.since,
            ports: self.ports,
            replaces: self.replaces,
            restore: prepared.restore,
            agent_image: self.users.agent_image().to_owned(),
        };
        Session::start(facts, self.users, self.routes, Arc::new(self.inbound))
    }
}

/// Waits for the other agents, and removes what an earlier connect left behind.
async fn tidy(
    takeover: &Takeover,
    prepared: &Prepared,
    session: &Session,
    tell: &Teller,
) -> Result<(), Failure> {
    let Wanted { cluster, service, .. } = takeover.wanted();
    let tidying = async {
        let unused = clean::retire_others(cluster, service, &prepared.stand_in);
        Ok(tokio::join!(unused, others_attended(session)).0)
    };
    match unless_given_up(tell, tidying).await? {
        Ok(_) => Ok(()),
        Err(error) => tell.warn(Warning::NotTidied { why: error.to_string() }.to_string()).await,
    }
}

/// Records as an Event on the Service what a session does now.
pub(crate) async fn record(session: &Session) {
    let Facts { cluster, service, user, .. } = &session.facts;
    let text = summary(user, &routes::status(&session.routes()));
    events::record(cluster, service, "BridgeConnected", &text).await;
}

/// The text of the Event that describes a session.
fn summary(user: &str, routes: &[v1::RouteStatus]) -> String {
    let listed = |copy: bool| {
        let of = routes.iter().filter(|route| route.copy == copy);
        of.map(|route| format!("port {}: {}", route.port, route.r#match)).collect::<Vec<_>>().join(", ")
    };
    match (listed(false).as_str(), listed(true).as_str()) {
        ("", "") => format!("{user} uses the pods' network; all requests go to the pods"),
        ("", copied) => {
            format!("all requests go to the pods; {user}'s laptop gets copies of some ({copied})")
        }
        (taken, "") => format!("{user}'s requests go to a laptop ({taken}); all others go to the pods"),
        (taken, copied) => format!(
            "{user}'s requests go to a laptop ({taken}); all others go to the pods, and copies of some to the laptop \
             ({copied})"
        ),
    }
}

/// Waits until every agent that is ready has the routes in force.
pub(crate) async fn all_attended(session: &Session) -> Result<(), Failure> {
    let attended = session.until(|live| {
        if live.agents.values().any(|agent| agent.other_version) {
            return true;
        }
        let mut ready = live.agents.values().filter(|agent| agent.ready && !agent.leaving).peekable();
        ready.peek().is_some() && ready.all(Agent::is_routed)
    });
    let attended = tokio::time::timeout(TUNNELS_WITHIN, attended).await;
    if let Some(agent) = session.live().agents.values().find(|agent| agent.other_version) {
        let (service, reason) = (session.facts.service.clone(), agent.trouble.clone());
        return Err(Failure::OtherVersion { service, reason });
    }
    attended.map_err(|_| Failure::NoTunnel { reason: session.live().why_no_tunnel() })
}

/// Waits until the agents beyond the first half have the routes, ready or not. One that becomes ready before its tunnel
/// is up would briefly give the developer's requests to the origin after "connected" was printed.
async fn others_attended(session: &Session) {
    let attended = session.until(Live::is_routed_everywhere);
    // On timeout, continue without: an agent that is not ready gets no traffic.
    let _ = tokio::time::timeout(OTHERS_WITHIN, attended).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_who_answers() {
        let route = |of: &str, copy| v1::RouteStatus {
            port: "http".into(),
            r#match: of.into(),
            copy,
            ..v1::RouteStatus::default()
        };
        let (taken, copied) = (route("x: 1", false), route("y: 2", true));
        for (routes, expected) in [
            (vec![], "alice uses the pods' network; all requests go to the pods"),
            (
                vec![taken.clone()],
                "alice's requests go to a laptop (port http: x: 1); all others go to the pods",
            ),
            (
                vec![copied.clone()],
                "all requests go to the pods; alice's laptop gets copies of some (port http: y: 2)",
            ),
            (
                vec![taken, copied],
                "alice's requests go to a laptop (port http: x: 1); all others go to the pods, and copies of some to \
                 the laptop (port http: y: 2)",
            ),
        ] {
            assert_eq!(summary("alice", &routes), expected);
        }
    }
}
