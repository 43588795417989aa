//! A session for the duration of a command: the command is one of its users, from its wish to its end. Commands that
//! stay running keep the session: if the daemon dies, they have another daemon open it again.

mod again;
mod call;
mod keep;

use bridge_proto::v1::{self, WishKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use self::again::Again;
pub(crate) use self::call::Asked;
use self::call::Call;
use self::keep::{ByDaemon, Keeper, Kept, Known};
use super::args::{ClusterArgs, ConnectArgs};
use super::clean;
use super::connect::{self, Said};
use super::daemon::{self, Daemon, Place};
use super::error::Failed;
use super::exit::Exit;
use super::names::Target;
use super::output::Progress;
use super::request;
use bridge_inside::network::Via;

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
    /// Where requests come in, by now.
    pub(crate) routes: watch::Receiver<Vec<v1::RouteStatus>>,
    /// What this command asks of it.
    pub(crate) asked: Asked,
    keeping: Keeping,
}

/// What becomes of it if the daemon dies.
enum Keeping {
    NotYet(Box<(Call, Again, Known)>),
    By(Keeper),
}

/// Whose sessions will do.
enum Whose<'a> {
    /// Of this name only.
    Named(&'a str),
    /// Of this name rather than of another.
    Rather(Option<String>),
}

impl Attached {
    /// The session with the target, as asked for: if nothing is asked of it, one of the same name that is there will do.
    pub(crate) async fn to(args: &ConnectArgs) -> Result<Self, Failed> {
        let place = Place::find()?;
        let mut request = connect::request(args)?;
        request.for_command = true;
        if !args.is_plain() {
            return Self::by(place, v1::Wish { request: Some(request), ..v1::Wish::default() }).await;
        }
        let there =
            meant(&sessions(&place).await?, &args.target, &args.cluster, &Whose::Named(&request.user))?;
        Self::by(place, wish(WishKind::Whatever, request, there)).await
    }

    /// The same for a command in whose place nothing will listen: it takes no requests, and whoever's session will do.
    pub(crate) async fn without_listening(target: Target, cluster: ClusterArgs) -> Result<Self, Failed> {
        if let Some(there) = Self::existing(Some(&target), &cluster).await? {
            return Ok(there);
        }
        let mut request = connect::request(&ConnectArgs::plain(target, cluster))?;
        request.for_command = true;
        Self::by(Place::find()?, wish(WishKind::Network, request, None)).await
    }

    /// The session with the target, or the only one there is.
    pub(crate) async fn existing(
        target: Option<&Target>,
        cluster: &ClusterArgs,
    ) -> Result<Option<Self>, Failed> {
        let place = Place::find()?;
        let all = sessions(&place).await?;
        let session = match target {
            Some(target) => meant(&all, target, cluster, &Whose::Rather(request::me()))?,
            None => only(&all, cluster)?,
        };
        let Some(there) = session else { return Ok(None) };
        let request = v1::ConnectRequest {
            cluster: Some(request::cluster(cluster, &request::config()?)?),
            user: there.user.clone(),
            for_command: true,
            ..v1::ConnectRequest::default()
        };
        Self::by(place, wish(WishKind::Network, request, Some(there))).await.map(Some)
    }

    async fn by(place: Place, mut wish: v1::Wish) -> Result<Self, Failed> {
        let mut daemon = daemon::started(&place).await?;
        let (call, using) = begun(&mut daemon, &wish).await?;
        let v1::SessionStatus { id, target, namespace, context, routes, .. } =
            using.session.unwrap_or_default();
        // Where it is, whatever the kubeconfig says by now; and another daemon will know another id.
        wish.session.clear();
        if let Some(request) = &mut wish.request {
            request.target.clone_from(&target);
            let cluster = request.cluster.get_or_insert_default();
            (cluster.context, cluster.namespace) = (context.clone(), namespace.clone());
        }
        let asked = Asked::by(&call, wish);
        let (sessions, via) = Via::to(&id);
        let (routes_tx, routes) = watch::channel(routes);
        let again = Again::new(target.clone(), using.lasting);
        let keeping = Keeping::NotYet(Box::new((call, again, Known { sessions, routes_tx })));
        Ok(Self { daemon, place, session: id, via, target, namespace, context, routes, asked, keeping })
    }

    /// From now on until the end, the session is made again if the daemon dies.
    pub(crate) fn kept(self) -> Self {
        let Keeping::NotYet(beginning) = self.keeping else { return self };
        let (call, again, known) = *beginning;
        let hands =
            ByDaemon { place: self.place.clone(), target: self.target.clone(), asked: self.asked.clone() };
        Self { keeping: Keeping::By(Keeper::begin(hands, again, known, call)), ..self }
    }

    /// Says that this command listens on a port for what it passes on into the cluster. Refused, if requests come there.
    pub(crate) async fn listens(&mut self, ports: Vec<u32>, what: &str) -> Result<(), Failed> {
        self.asked.listen(v1::Listeners { ports, what: what.to_owned() });
        match &mut self.keeping {
            Keeping::NotYet(beginning) => beginning.0.may_listen().await,
            // The keeper says it, if it is refused.
            Keeping::By(_) => Ok(()),
        }
    }

    /// The local ports to which requests of this user's sessions come.
    pub(crate) async fn taken(&self) -> Result<Vec<u32>, Failed> {
        let all = sessions(&self.place).await?;
        Ok(all.iter().flat_map(|session| &session.routes).map(|route| route.local_port).collect())
    }

    /// This user's other sessions.
    pub(crate) async fn others(&self) -> Result<Vec<v1::SessionStatus>, Failed> {
        let mut all = sessions(&self.place).await?;
        let own = self.via.now();
        all.retain(|session| own.as_deref() != Some(session.id.as_str()));
        Ok(all)
    }

    /// What the target's container sees.
    pub(crate) async fn surroundings(&mut self) -> Result<v1::SurroundingsOfTarget, Failed> {
        let query = v1::SurroundingsQuery { session: self.session.clone() };
        let reply = self.daemon.client.surroundings(query).await.map_err(|status| Failed::call(&status))?;
        Ok(reply.into_inner())
    }

    /// This command uses it no more. The last one that does gives the target back.
    pub(crate) async fn end(self) -> Result<(), Failed> {
        let kept = match self.keeping {
            Keeping::By(keeper) => keeper.end().await.unwrap_or(Kept::Ended),
            Keeping::NotYet(beginning) => Kept::There(beginning.0),
        };
        match kept {
            Kept::There(call) => call.end().await,
            Kept::Away { lasts: false } => {
                let request = self.asked.wish().request.unwrap_or_default();
                put_back(&self.target, request.cluster.unwrap_or_default()).await
            }
            Kept::Away { lasts: true } | Kept::Ended => Ok(()),
        }
    }
}

/// What is asked for, of the session that is there.
fn wish(kind: WishKind, request: v1::ConnectRequest, there: Option<v1::SessionStatus>) -> v1::Wish {
    let session = there.map(|there| there.id).unwrap_or_default();
    v1::Wish { request: Some(request), kind: kind.into(), session, lasting: None }
}

/// Asks for it, showing each step.
async fn begun(daemon: &mut Daemon, wish: &v1::Wish) -> Result<(Call, v1::Using), Failed> {
    let progress = Progress::new();
    let show = |said: &Said| match said {
        Said::Step(step) => progress.step(step),
        Said::Warning(warning) => progress.warn(warning),
    };
    tokio::select! {
        begun = Call::begin(&mut daemon.client, wish.clone(), show) => begun,
        // Dropping the call is what tells the daemon.
        _ = tokio::signal::ctrl_c() => {
            let target = wish.request.as_ref().map_or("", |request| request.target.as_str());
            let message = format!("interrupted: undoing what was started for {target}");
            Err(Failed::new(Exit::Interrupted, message, ""))
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
async fn put_back(target: &str, cluster: v1::Cluster) -> Result<(), Failed> {
    let cluster = v1::Cluster { environment: request::environment(), ..cluster };
    let advice = format!("bridge clean {target} -n {} --context {}", cluster.namespace, cluster.context);
    clean::put_back(&request::access_to(cluster), target).await.map_err(|failed| {
        let why = failed.message;
        Failed::new(Exit::Left, format!("cannot reconnect {target}, nor restore it: {why}"), advice)
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
    whose: &Whose<'_>,
) -> Result<Option<v1::SessionStatus>, Failed> {
    let config = request::config()?;
    let cluster = request::cluster(args, &config)?;
    let is_meant = |session: &&v1::SessionStatus| session.target == target.name() && is_in(session, &cluster);
    let fitting = of(whose, sessions.iter().filter(is_meant).collect());
    // Without a kubeconfig that can be read, no place is preferred.
    let here = || request::access(args, &config).ok()?.place().ok();
    Ok(one_of(&fitting, here)?.cloned())
}

/// Those that will do, by their names.
fn of<'a>(whose: &Whose<'_>, sessions: Vec<&'a v1::SessionStatus>) -> Vec<&'a v1::SessionStatus> {
    let named = |name: &str| sessions.iter().filter(|session| session.user == name).copied().collect();
    match whose {
        Whose::Named(name) => named(name),
        Whose::Rather(name) => {
            let own: Vec<_> = name.as_deref().map(named).unwrap_or_default();
            if own.is_empty() { sessions } else { own }
        }
    }
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
        "choose one: -n NAMESPACE, and --context if they are in several clusters",
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
    fn another_name_is_another_session_unless_the_network_is_all_that_is_wanted() {
        let named = |user: &str| v1::SessionStatus { user: user.to_owned(), ..session("dev", "shop") };
        let (alice, bob) = (named("alice"), named("bob"));
        let found = |whose: &Whose<'_>, sessions: &[&v1::SessionStatus]| {
            of(whose, sessions.to_vec()).iter().map(|session| session.user.clone()).collect::<Vec<_>>()
        };
        assert_eq!(found(&Whose::Named("bob"), &[&alice, &bob]), ["bob"]);
        assert_eq!(found(&Whose::Named("bob"), &[&alice]), Vec::<String>::new());
        let rather = |name: Option<&str>| Whose::Rather(name.map(str::to_owned));
        assert_eq!(found(&rather(Some("bob")), &[&alice, &bob]), ["bob"]);
        assert_eq!(found(&rather(Some("bob")), &[&alice]), ["alice"]);
        assert_eq!(found(&rather(None), &[&alice]), ["alice"]);
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
