//! A session for the time of a command: the one that is there, or one that the command makes and ends. Commands that stay
//! keep it: if the daemon dies, it is made again.

mod again;
mod keep;

use bridge_proto::v1;
use tokio::signal::unix::{SignalKind, signal};

use self::again::Again;
use self::keep::{ByDaemon, Keeper, Kept, State};
use super::args::{ClusterArgs, ConnectArgs};
use super::clean;
use super::connect;
use super::daemon::{self, Daemon, Place};
use super::disconnect;
use super::error::{Exit, Failed};
use super::names::Target;
use super::request;
use crate::network::{Sessions, Via};

pub(crate) struct Attached {
    pub(crate) daemon: Daemon,
    pub(crate) place: Place,
    /// Its id, at first,
    pub(crate) session: String,
    /// and what it is by now.
    pub(crate) via: Via,
    pub(crate) target: String,
    pub(crate) namespace: String,
    pub(crate) context: String,
    /// This command has made it.
    pub(crate) made: bool,
    /// Where requests come in.
    pub(crate) routes: Vec<v1::RouteStatus>,
    /// What it was made by, if its local ports were nobody's choice.
    pub(crate) free: Option<v1::ConnectRequest>,
    keeping: Keeping,
}

/// What becomes of it if the daemon dies.
enum Keeping {
    NotYet(Sessions),
    By(Keeper),
}

impl Attached {
    /// The session with the target, as asked for: if nothing is asked of it, one that is there will do.
    pub(crate) async fn to(args: &ConnectArgs) -> Result<Self, Failed> {
        Self::with(args, |_| {}).await
    }

    /// The same for a command in whose place nothing will listen: the user's requests go on to the origin.
    pub(crate) async fn without_listening(target: Target, cluster: ClusterArgs) -> Result<Self, Failed> {
        let args = ConnectArgs::plain(target, cluster);
        Self::with(&args, |request| request.set_fallback(v1::Fallback::Origin)).await
    }

    async fn with(args: &ConnectArgs, change: impl FnOnce(&mut v1::ConnectRequest)) -> Result<Self, Failed> {
        let place = Place::find()?;
        let before = sessions(&place).await?;
        if args.is_plain()
            && let Some(there) = meant(&before, &args.target, &args.cluster)?
        {
            return Self::of(place, there, None).await;
        }
        let mut request = connect::request(args)?;
        request.for_command = true;
        change(&mut request);
        let connected = connect::connect(request.clone()).await?;
        let session = connected.session;
        let was_there = before.iter().any(|there| {
            there.target == session.target
                && there.namespace == session.namespace
                && there.context == session.context
        });
        let made = !was_there && !connected.found;
        Self::of(place, session, made.then_some(request)).await
    }

    /// The session with the target, or the only one there is.
    pub(crate) async fn existing(
        target: Option<&Target>,
        cluster: &ClusterArgs,
    ) -> Result<Option<Self>, Failed> {
        let place = Place::find()?;
        let all = sessions(&place).await?;
        let session = match target {
            Some(target) => meant(&all, target, cluster)?,
            None => only(&all, cluster)?,
        };
        match session {
            Some(session) => Self::of(place, session, None).await.map(Some),
            None => Ok(None),
        }
    }

    async fn of(
        place: Place,
        session: v1::SessionStatus,
        made_by: Option<v1::ConnectRequest>,
    ) -> Result<Self, Failed> {
        let daemon = daemon::started(&place).await?;
        let v1::SessionStatus { id, target, namespace, context, routes, .. } = session;
        let made = made_by.is_some();
        let free = made_by.filter(|request| request.ports.is_empty());
        let (sessions, via) = Via::to(&id);
        let keeping = Keeping::NotYet(sessions);
        Ok(Self { daemon, place, session: id, via, target, namespace, context, made, routes, free, keeping })
    }

    /// From now on until the end, the session is made again if the daemon dies.
    pub(crate) fn kept(self) -> Self {
        let Keeping::NotYet(sessions) = self.keeping else { return self };
        let hands = ByDaemon {
            place: self.place.clone(),
            client: self.daemon.client.clone(),
            target: self.target.clone(),
            namespace: self.namespace.clone(),
            context: self.context.clone(),
        };
        let again = Again::new(self.target.clone(), self.made);
        Self { keeping: Keeping::By(Keeper::begin(hands, again, sessions)), ..self }
    }

    /// This user's other sessions.
    pub(crate) async fn others(&self) -> Result<Vec<v1::SessionStatus>, Failed> {
        let mut all = sessions(&self.place).await?;
        all.retain(|session| session.id != self.session);
        Ok(all)
    }

    /// What the target's container sees.
    pub(crate) async fn surroundings(&mut self) -> Result<v1::SurroundingsOfTarget, Failed> {
        let query = v1::SurroundingsQuery { session: self.session.clone() };
        let reply = self.daemon.client.surroundings(query).await.map_err(|status| Failed::call(&status))?;
        Ok(reply.into_inner())
    }

    /// Gives the target back, if this command has taken it.
    pub(crate) async fn end(self) -> Result<(), Failed> {
        let Self { mut daemon, target, context, namespace, made, keeping, .. } = self;
        let kept = match keeping {
            Keeping::By(keeper) => keeper.end().await,
            Keeping::NotYet(_) => None,
        };
        let there = Kept { ours: made, state: State::There, made_by: None };
        let Kept { ours, state, made_by } = kept.unwrap_or(there);
        match state {
            State::There if ours => {
                let cluster = v1::Cluster { context, namespace, ..Default::default() };
                let request = v1::DisconnectRequest { target, cluster: Some(cluster), ..Default::default() };
                disconnect::disconnect(&mut daemon, request).await.map(drop)
            }
            State::Away if ours => put_back(&target, made_by.unwrap_or_default()).await,
            State::There | State::Away | State::Ended => Ok(()),
        }
    }
}

/// Resolves when the user has had enough (Ctrl-C), or whoever ends this process otherwise: what is to be given back can be.
pub(crate) async fn told_to_end() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            // It ends by that signal as it would have.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// Gives a target back that no daemon holds: from what is written in the cluster, as `bridge clean` does.
async fn put_back(target: &str, made_by: v1::ConnectRequest) -> Result<(), Failed> {
    let cluster = v1::Cluster { environment: request::environment(), ..made_by.cluster.unwrap_or_default() };
    let advice = format!("bridge clean {target} -n {} --context {}", cluster.namespace, cluster.context);
    clean::put_back(&request::access_to(cluster), target).await.map_err(|failed| {
        let why = failed.message;
        Failed::new(Exit::Left, format!("{target} was not connected again, nor given back: {why}"), advice)
    })
}

async fn sessions(place: &Place) -> Result<Vec<v1::SessionStatus>, Failed> {
    let Some(mut daemon) = daemon::running(place).await? else { return Ok(Vec::new()) };
    let status = daemon.client.status(v1::StatusRequest {}).await.map_err(|status| Failed::call(&status))?;
    Ok(status.into_inner().sessions)
}

fn only(sessions: &[v1::SessionStatus], args: &ClusterArgs) -> Result<Option<v1::SessionStatus>, Failed> {
    let cluster = request::cluster(args, &request::config()?)?;
    let mut there = sessions.iter().filter(|session| is_in(session, &cluster));
    let first = there.next();
    Ok(first.filter(|_| there.next().is_none()).cloned())
}

/// The session with the target; of several, the one in the namespace that kubectl would mean.
fn meant(
    sessions: &[v1::SessionStatus],
    target: &Target,
    args: &ClusterArgs,
) -> Result<Option<v1::SessionStatus>, Failed> {
    let config = request::config()?;
    let cluster = request::cluster(args, &config)?;
    let is_meant = |session: &&v1::SessionStatus| session.target == target.name() && is_in(session, &cluster);
    let fitting: Vec<_> = sessions.iter().filter(is_meant).collect();
    // Without a kubeconfig that can be read, no place is preferred.
    let here = || request::access(args, &config).ok()?.place().ok();
    Ok(one_of(&fitting, here)?.cloned())
}

/// The only one, else the one that is here: in this context and namespace.
fn one_of<'a>(
    fitting: &[&'a v1::SessionStatus],
    here: impl FnOnce() -> Option<(String, String)>,
) -> Result<Option<&'a v1::SessionStatus>, Failed> {
    if let [] | [_] = fitting {
        return Ok(fitting.first().copied());
    }
    let is_here = |session: &&&v1::SessionStatus, (context, namespace): &(String, String)| {
        session.context == *context && session.namespace == *namespace
    };
    let place = here();
    if let Some(one) =
        fitting.iter().find(|session| place.as_ref().is_some_and(|here| is_here(session, here)))
    {
        return Ok(Some(*one));
    }
    let place = |session: &&v1::SessionStatus| format!("{} ({})", session.namespace, session.context);
    let places: Vec<_> = fitting.iter().map(place).collect();
    let target = fitting.first().map_or("", |session| session.target.as_str());
    Err(Failed::new(
        Exit::Usage,
        format!("{target} is connected in several namespaces: {}", places.join(", ")),
        "say which: -n NAMESPACE, and --context where they are of several clusters",
    ))
}

/// What is not said is no matter.
fn is_in(session: &v1::SessionStatus, cluster: &v1::Cluster) -> bool {
    (cluster.namespace.is_empty() || cluster.namespace == session.namespace)
        && (cluster.context.is_empty() || cluster.context == session.context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(context: &str, namespace: &str) -> v1::SessionStatus {
        let of = |text: &str| text.to_owned();
        v1::SessionStatus {
            target: of("orders"),
            context: of(context),
            namespace: of(namespace),
            ..v1::SessionStatus::default()
        }
    }

    #[test]
    fn of_several_sessions_the_one_in_the_context_s_namespace_is_meant() {
        let (shop, test, other) = (session("dev", "shop"), session("dev", "test"), session("prod", "test"));
        let here = |namespace: &str| Some(("dev".to_owned(), namespace.to_owned()));
        let place = |fitting: &[&v1::SessionStatus], here: Option<(String, String)>| {
            one_of(fitting, || here).map(|one| one.map(|one| format!("{}/{}", one.context, one.namespace)))
        };
        assert_eq!(place(&[], here("shop")), Ok(None));
        assert_eq!(place(&[&other], here("shop")), Ok(Some("prod/test".to_owned())), "the only one");
        assert_eq!(place(&[&shop, &test, &other], here("test")), Ok(Some("dev/test".to_owned())));
        for elsewhere in [here("default"), None] {
            let failed = place(&[&shop, &other], elsewhere).unwrap_err();
            assert_eq!(failed.exit, Exit::Usage);
            assert_eq!(failed.message, "orders is connected in several namespaces: shop (dev), test (prod)");
        }
    }
}
