//! Carries out the changes of a session's users (`users`): one joins, asks for something else, leaves. Each change has
//! its turn at the target: in place if the session works, else by a connect that replaces it. The last user out
//! restores the Service.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bridge_cluster::aside::clean;
use bridge_cluster::clean::Whose;
use bridge_cluster::client::{Access, Cluster};
use bridge_cluster::error::ClusterError;
use bridge_cluster::obstacles::{Against, Obstacle};
use bridge_cluster::takeover::claim::change_claim;
use bridge_cluster::takeover::{Step, Waiter, unless_given_up};
use bridge_cluster::target;
use bridge_proto::target::Target;
use bridge_proto::v1::{self, WishKind};
use tokio::sync::OwnedMutexGuard;

use super::aside;
use super::connect::{self, Claimant};
use super::failure::Failure;
use super::inbound::{Counters, Inbound};
use super::lease;
use super::listeners::{Listeners, Listening};
use super::meant;
use super::place::{Place, in_place_of, place};
use super::plan::{self, Found};
use super::reattach::Reattaching;
use super::registry::Registry;
use super::replacing;
use super::routes::{self, PortRoute};
use super::session::Session;
use super::teller::Teller;
use super::turns::Turns;
use super::users::{self, UserId, Users};

/// The pause between attempts to restore what nobody uses any more; it doubles up to a limit.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The parts of the daemon that sharing needs. A clone is a handle to the same.
#[derive(Clone)]
pub(crate) struct Sharing {
    pub(crate) registry: Registry,
    pub(crate) turns: Turns,
    pub(crate) listeners: Listeners,
    pub(crate) installation: Arc<str>,
}

/// A user who joins.
#[derive(Debug, Clone)]
pub(crate) enum Newcomer {
    /// A connect: it stays until a disconnect.
    Lasting(Box<v1::ConnectRequest>),
    Command(Box<v1::Wish>),
}

/// A user of a session.
pub(crate) struct Entered {
    pub(crate) session: Arc<Session>,
    pub(crate) id: UserId,
    /// The session existed already.
    pub(crate) found: bool,
}

impl Newcomer {
    fn request(&self) -> v1::ConnectRequest {
        match self {
            Self::Lasting(request) => (**request).clone(),
            Self::Command(wish) => wish.request.clone().unwrap_or_default(),
        }
    }

    /// The id of the session that is meant, if known.
    fn session(&self) -> &str {
        match self {
            Self::Lasting(_) => "",
            Self::Command(wish) => &wish.session,
        }
    }

    /// The requests that it wants; those of a connect before its daemon died count as its own.
    fn wants(&self) -> WishKind {
        match self {
            Self::Lasting(_) => WishKind::Named,
            Self::Command(wish) if wish.lasting.is_some() => WishKind::Named,
            Self::Command(wish) => match wish.request.as_ref().map(v1::ConnectRequest::mode) {
                // To be connected in a mode, a Service is needed.
                Some(mode) if mode != v1::Mode::Unspecified => WishKind::Named,
                _ => wish.kind(),
            },
        }
    }

    /// Whether it asks for routes, and not only for a session.
    fn names_something(&self) -> bool {
        match self {
            Self::Lasting(_) => true,
            Self::Command(wish) => wish.kind() == WishKind::Named,
        }
    }

    /// Adds the newcomer to the users. `cluster` is the access to the cluster to keep.
    fn among(&self, users: Users, id: UserId, cluster: &v1::Cluster) -> Users {
        let kept =
            |request: v1::ConnectRequest| v1::ConnectRequest { cluster: Some(cluster.clone()), ..request };
        match self {
            Self::Lasting(request) => users.with_lasting(id, kept((**request).clone())),
            Self::Command(wish) => {
                // A connect that was made since the former daemon died stays.
                let lasting = wish.lasting.clone().filter(|_| users.lasting().is_none());
                let users = match lasting {
                    Some(lasting) => users.with_lasting(UserId::new(), kept(lasting)),
                    None => users,
                };
                users.with_command(id, wish.kind(), kept(wish.request.clone().unwrap_or_default()))
            }
        }
    }
}

impl Sharing {
    /// Adds a user, with a session that does what the user asks for.
    pub(crate) async fn enter(&self, newcomer: &Newcomer, tell: &Teller) -> Result<Entered, Failure> {
        let request = newcomer.request();
        let asked = request.cluster.clone().unwrap_or_default();
        let kubeconfig = asked.kubeconfig.clone();
        let wants = newcomer.wants();
        let known = self.registry.by_id(newcomer.session()).filter(|there| {
            // A session aside has no requests to give.
            let will_do = there.facts.mode.is_some() || wants == WishKind::Network;
            there.facts.user == request.user && will_do
        });
        let (cluster, place) = match known {
            Some(there) => (there.facts.cluster.clone(), meant::place_of(&there.facts)?),
            None => {
                let cluster = Cluster::of(&access(asked)).await?;
                let place = Box::pin(self.place(&cluster, &request, wants)).await?;
                (cluster, place)
            }
        };
        let key = place.key();
        let _turn = self.turn(&cluster, &key, tell).await?;
        let there = self.registry.find(&cluster, &key, &request.user);
        let before = there.as_ref().map(|there| there.users()).unwrap_or_default();
        let id = UserId::new();
        let users = newcomer.among(before.clone(), id, &lasting(kubeconfig, &cluster));
        if let Some(there) = &there
            && self.changed_in_place(there, &users, newcomer, tell).await?
        {
            lease::begin(self, there, &before);
            return Ok(Entered { session: there.clone(), id, found: true });
        }
        let was_there = there.is_some();
        let session = match place {
            Place::Service(service) => {
                let found = Box::pin(plan::find(cluster, service)).await?;
                self.connect(found, newcomer, users, there, tell).await?
            }
            Place::Aside(target) => {
                let claimant = Claimant::new(&request.user, &self.installation);
                self.connect_aside(cluster, target, claimant, users, there, tell).await?
            }
        };
        lease::begin(self, &session, &before);
        Ok(Entered { session, id, found: was_there })
    }

    /// The place for a newcomer's session.
    async fn place(
        &self,
        cluster: &Cluster,
        request: &v1::ConnectRequest,
        wants: WishKind,
    ) -> Result<Place, Failure> {
        let target = meant::target(&request.target)?;
        let connected = |service: &str| self.registry.find(cluster, service, &request.user).is_some();
        // A missing Service is detected when it is read, unless there is a session with it.
        let service = match target.is_service() && !connected(&target.name) {
            true => Ok(target.name.clone()),
            false => target::resolve(cluster, &target).await,
        };
        if request.replace {
            return Ok(in_place_of(target, service)?);
        }
        Ok(place(target, wants, service, connected)?)
    }

    /// Routes one user's requests to other local ports.
    pub(crate) async fn lead(
        &self,
        session: &str,
        id: UserId,
        ports: Vec<v1::PortMapping>,
    ) -> Result<(), Failure> {
        let Some((there, _turn)) = self.used_by(session, id).await else { return Ok(()) };
        let users = there.users().led(id, ports);
        let routes = plan::routes_of(&users, &there.facts.ports, &there.facts.service)?;
        let before = there.routes();
        let new: Vec<PortRoute> = routes.iter().filter(|route| !before.contains(route)).cloned().collect();
        self.refuse_loops(&new)?;
        self.put_in_force(&there, users, routes).await.map(drop)
    }

    /// Notes the ports on which a user listens for connections into the cluster.
    pub(crate) fn listen(&self, id: UserId, listeners: v1::Listeners) -> Result<Listening, Failure> {
        let v1::Listeners { ports, what } = listeners;
        for session in self.registry.all() {
            let routes = session.routes();
            if let Some(route) = routes.iter().find(|route| ports.contains(&route.local_port)) {
                let (service, port) = (session.facts.service.clone(), route.local_port);
                return Err(Failure::RequestsCome { service, port });
            }
        }
        Ok(self.listeners.add(id, what, ports))
    }

    /// Removes a user with all that it asked for; the last one out restores the Service.
    pub(crate) async fn leave(&self, session: &str, id: UserId) -> Result<Option<v1::Disconnected>, Failure> {
        let Some((there, _turn)) = self.used_by(session, id).await else { return Ok(None) };
        let users = there.users().without(id);
        if users.is_empty() {
            there.note_users(users);
            return self.registry.disconnect(&there).await.map(Some);
        }
        let facts = &there.facts;
        Box::pin(replacing::has_pods_for(&there, &users)).await?;
        let routes = plan::routes_of(&users, &facts.ports, &facts.service)?;
        let claimed = routes::claimed(&routes);
        let other_claim = routes::claimed(&there.routes()) != claimed;
        // First the agents: that needs no API server.
        there.become_what(users, routes).await;
        if other_claim {
            match change_claim(&facts.cluster, &facts.service, &facts.id, &claimed).await {
                Ok(_) => connect::record(&there).await,
                Err(error) => {
                    tracing::warn!(session = %facts.id, %error, "the claim still covers requests that nobody uses");
                }
            }
        }
        Ok(None)
    }

    /// Restores a Service that nobody uses any more, as nobody else would: until it is done.
    pub(crate) async fn give_back(&self, session: &str) {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            if self.give_back_unused(session).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The same, once. True: nothing is left to do.
    async fn give_back_unused(&self, session: &str) -> bool {
        let Some(there) = self.registry.by_id(session) else { return true };
        let _turn = self.turns.at(&there.facts.cluster, &there.facts.service).lock_owned().await;
        let unused = self.registry.by_id(session).filter(|there| there.users().is_empty());
        let Some(there) = unused else { return true };
        self.registry.disconnect(&there).await.is_ok()
    }

    /// A user's session, by the id that it had when the user joined, and the turn at its target.
    async fn used_by(&self, session: &str, id: UserId) -> Option<(Arc<Session>, OwnedMutexGuard<()>)> {
        let there = self.registry.by_id(session)?;
        let turn = self.turns.at(&there.facts.cluster, &there.facts.service).lock_owned().await;
        let there = self.registry.by_id(session).filter(|there| there.users().has(id))?;
        Some((there, turn))
    }

    /// Waits for the turn at a Service, as long as the command does.
    async fn turn(
        &self,
        cluster: &Cluster,
        service: &str,
        tell: &Teller,
    ) -> Result<OwnedMutexGuard<()>, Failure> {
        let turn = self.turns.at(cluster, service);
        if let Ok(turn) = turn.clone().try_lock_owned() {
            return Ok(turn);
        }
        tell.step(Step::WaitingForTurn { service: service.to_owned() }).await?;
        unless_given_up(tell, async { Ok(turn.lock_owned().await) }).await
    }

    /// Changes a session in place to what its users ask for now. False: it cannot, and nothing was changed.
    async fn changed_in_place(
        &self,
        session: &Session,
        users: &Users,
        newcomer: &Newcomer,
        tell: &Teller,
    ) -> Result<bool, Failure> {
        let facts = &session.facts;
        if let (Some(there), Some(mode)) = (facts.mode, users.mode())
            && mode != there
        {
            let against = vec![Against { mode, reasons: vec![Obstacle::OtherMode(there)] }];
            return Err(ClusterError::Obstacles { service: facts.service.clone(), against }.into());
        }
        if facts.mode.is_none() && session.live().reset.is_some() {
            return Ok(false);
        }
        if users.replace() && facts.mode.is_none() && facts.replaces.is_none() {
            return Err(ClusterError::RunsBeside { target: facts.service.clone() }.into());
        }
        if users.replace() && facts.mode.is_some() && !session.users().replace() {
            return Ok(false);
        }
        Box::pin(replacing::has_pods_for(session, users)).await?;
        let (before, routes) = (session.routes(), plan::routes_of(users, &facts.ports, &facts.service)?);
        if before == routes && !newcomer.names_something() {
            session.note_users(users.clone());
            return Ok(true);
        }
        if session.status().state() != v1::State::Routing {
            return Ok(false);
        }
        self.say(newcomer, &before, &routes, tell).await?;
        self.put_in_force(session, users.clone(), routes).await
    }

    /// Claims and routes what users ask for. False: the claim is gone, and nothing was changed.
    async fn put_in_force(
        &self,
        session: &Session,
        users: Users,
        routes: Vec<PortRoute>,
    ) -> Result<bool, Failure> {
        session.agents_know(&routes)?;
        let facts = &session.facts;
        let claimed = routes::claimed(&routes);
        let other_claim = routes::claimed(&session.routes()) != claimed;
        if other_claim && !change_claim(&facts.cluster, &facts.service, &facts.id, &claimed).await? {
            return Ok(false);
        }
        session.become_what(users.settled(&facts.ports), routes).await;
        if other_claim {
            connect::record(session).await;
        }
        Ok(true)
    }

    /// Prints the warnings about routes before they are in force; refuses impossible ones.
    async fn say(
        &self,
        newcomer: &Newcomer,
        before: &[PortRoute],
        routes: &[PortRoute],
        tell: &Teller,
    ) -> Result<(), Failure> {
        let new: Vec<PortRoute> = routes.iter().filter(|route| !before.contains(route)).cloned().collect();
        self.refuse_loops(&new)?;
        let until = match newcomer {
            Newcomer::Lasting(_) => "from now on",
            Newcomer::Command(_) => "until this command ends",
        };
        if let Newcomer::Lasting(_) = newcomer {
            plan::say_where_nothing_listens(&new, tell).await?;
        }
        for users::Moved { requests, from, to } in users::moved(before, routes) {
            tell.warn(format!("requests with {requests} come to port {to} {until}, not to port {from}"))
                .await?;
        }
        Ok(())
    }

    /// Refuses routes to ports that lead back into the cluster.
    fn refuse_loops(&self, routes: &[PortRoute]) -> Result<(), Failure> {
        let local = |route: &PortRoute| route.local_port;
        match routes.iter().find_map(|route| Some((route, self.listeners.on(local(route))?))) {
            None => Ok(()),
            Some((route, listener)) => {
                Err(Failure::ListenerThere { port: local(route), listener, remote: route.name.clone() })
            }
        }
    }

    /// Connects a session for these users, in place of one that does not work.
    async fn connect(
        &self,
        found: Found,
        newcomer: &Newcomer,
        users: Users,
        there: Option<Arc<Session>>,
        tell: &Teller,
    ) -> Result<Arc<Session>, Failure> {
        let found = if users.replace() {
            found
        } else {
            Box::pin(replacing::restored(found, &self.whose(false))).await?
        };
        let plan = plan::plan(found, users, tell).await?;
        self.say(newcomer, &[], &plan.routes, tell).await?;
        let claimant = Claimant::new(&newcomer.request().user, &self.installation);
        let _coming = self.registry.coming(&claimant.id);
        let connected = connect::connect(plan, claimant, there.as_deref(), self.inbound(), tell).await;
        let session = match (connected, there) {
            (Ok(session), None) => self.registry.add(session),
            (Ok(session), Some(there)) => self.registry.replace(&there, session).await,
            (Err(failure), None) => return Err(failure),
            (Err(failure), Some(there)) => {
                if self.registry.retire_without_claim(&there).await {
                    let name = &there.facts.service;
                    // A caller that has gone reads neither this nor why it failed.
                    let _ = tell.warn(format!("the earlier session with {name} has ended, too")).await;
                }
                return Err(failure);
            }
        };
        tracing::info!(session = %session.facts.id, service = %session.facts.service, "connected");
        Reattaching { sharing: self.clone() }.watch_over(&session);
        Ok(session)
    }

    /// Connects a session aside for these users, in place of one whose agent is gone.
    async fn connect_aside(
        &self,
        cluster: Cluster,
        target: Target,
        claimant: Claimant,
        users: Users,
        there: Option<Arc<Session>>,
        tell: &Teller,
    ) -> Result<Arc<Session>, Failure> {
        let _coming = self.registry.coming(&claimant.id);
        let connecting = aside::connect(cluster, target, users, claimant, self.inbound(), tell);
        let session = Box::pin(connecting).await?;
        // Of an earlier daemon of this laptop.
        let facts = &session.facts;
        if let Err(error) =
            clean::clean(&facts.cluster, Some(facts.service.as_str()), &self.whose(false)).await
        {
            tracing::warn!(beside = %facts.service, %error, "cannot remove agents that are no longer used");
        }
        let session = match there {
            None => self.registry.add(session),
            Some(there) => self.registry.replace(&there, session).await,
        };
        tracing::info!(session = %session.facts.id, beside = %session.facts.service, "connected");
        Ok(session)
    }

    /// The sessions that count as gone: none that this daemon holds. `others`: whether those of other laptops do.
    pub(crate) fn whose(&self, others: bool) -> Whose {
        let registry = self.registry.clone();
        let alive = Arc::new(move |id: &str| registry.alive().contains(id));
        Whose::Laptop { installation: self.installation.to_string(), alive, others }
    }

    /// The state of a new session's streams.
    pub(crate) fn inbound(&self) -> Inbound {
        Inbound { counters: Counters::default(), listeners: self.listeners.clone() }
    }
}

/// The cluster and the credentials to use.
pub(crate) fn access(cluster: v1::Cluster) -> Access {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Access {
        kubeconfig: cluster.kubeconfig.into_iter().map(PathBuf::from).collect(),
        context: given(cluster.context),
        namespace: given(cluster.namespace),
        environment: cluster.environment.into_iter().collect(),
    }
}

/// The part of the caller's access to the cluster to keep: it leads to this cluster even if the current context
/// changes.
fn lasting(kubeconfig: Vec<String>, cluster: &Cluster) -> v1::Cluster {
    v1::Cluster {
        kubeconfig,
        context: cluster.context.clone(),
        namespace: cluster.namespace.clone(),
        ..v1::Cluster::default()
    }
}

#[cfg(test)]
#[path = "sharing_tests.rs"]
mod tests;
