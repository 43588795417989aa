//! A command's session: chosen by the arguments, and shown. `bridge_client` does the rest.

use bridge_client::{Attached, Daemon, Ended, RuntimeDir, one_of, running, started};
use bridge_proto::target::Target;
use bridge_proto::v1::{self, WishKind};

use super::args::{ClusterArgs, ConnectArgs};
use super::clean;
use super::error::Failed;
use super::exit::Exit;
use super::interrupt;
use super::list::places;
use super::output::Progress;
use super::request;

/// The session with the target, as asked for: without requests, an existing one of the same user will do.
pub(crate) async fn to(args: &ConnectArgs) -> Result<Attached, Failed> {
    let runtime_dir = RuntimeDir::find()?;
    let mut request = request::complete(args)?;
    request.for_command = true;
    if !args.is_plain() {
        return begin(runtime_dir, v1::Wish { request: Some(request), ..v1::Wish::default() }).await;
    }
    let there =
        one_of(meant(&runtime_dir, Some(&args.target), &args.cluster, Whose::Named(&request.user)).await?)?;
    begin(runtime_dir, wish(WishKind::Whatever, request, there)).await
}

/// The same for a command in whose place nothing will listen.
pub(crate) async fn without_listening(target: Target, cluster: ClusterArgs) -> Result<Attached, Failed> {
    without_requests(&ConnectArgs::plain(target, cluster)).await
}

/// The same for a command that takes no requests: any session will do, else one aside.
pub(crate) async fn without_requests(args: &ConnectArgs) -> Result<Attached, Failed> {
    if let Some(there) = existing(Some(&args.target), &args.cluster).await? {
        return Ok(there);
    }
    let mut request = request::complete(args)?;
    request.for_command = true;
    begin(RuntimeDir::find()?, wish(WishKind::Network, request, None)).await
}

/// The same for a command in whose place the target's pods end.
pub(crate) async fn in_place_of(args: &ConnectArgs) -> Result<Attached, Failed> {
    let request = v1::ConnectRequest { for_command: true, ..request::in_place(args)? };
    begin(RuntimeDir::find()?, wish(WishKind::Network, request, None)).await
}

/// A session from which a Service can be called: with the Service itself, else with any other of its namespace, else one
/// aside.
pub(crate) async fn near(service: &Target, cluster: &ClusterArgs) -> Result<Attached, Failed> {
    let runtime_dir = RuntimeDir::find()?;
    let me = request::me();
    let there = meant(&runtime_dir, Some(service), cluster, Whose::Rather(me.as_deref())).await?;
    let there = match there.into_iter().next() {
        Some(there) => Some(there),
        None => neighbour(&runtime_dir, cluster).await?,
    };
    match there {
        Some(there) => used(runtime_dir, there, cluster).await,
        None => without_listening(service.clone(), cluster.clone()).await,
    }
}

/// A session in the namespace that is meant: which one that is, the daemon says.
async fn neighbour(
    runtime_dir: &RuntimeDir,
    cluster: &ClusterArgs,
) -> Result<Option<v1::SessionStatus>, Failed> {
    let Some(mut daemon) = running(runtime_dir).await? else { return Ok(None) };
    let cluster = request::cluster(cluster, &request::config()?)?;
    let there = places::of(&mut daemon, cluster, false).await?;
    let place = request::named(there.context, there.namespace);
    let request = v1::FindRequest { cluster: Some(place), ..v1::FindRequest::default() };
    Ok(bridge_client::meant(&mut daemon, request).await?.into_iter().next())
}

/// The session with the target, or the only one.
pub(crate) async fn existing(
    target: Option<&Target>,
    cluster: &ClusterArgs,
) -> Result<Option<Attached>, Failed> {
    let runtime_dir = RuntimeDir::find()?;
    let me = request::me();
    let whose = Whose::Rather(me.as_deref());
    let mut sessions = meant(&runtime_dir, target, cluster, whose).await?;
    let session = match target {
        Some(_) => one_of(sessions)?,
        // Without a target the only session is meant, if there is just one.
        None => sessions.pop().filter(|_| sessions.is_empty()),
    };
    let Some(there) = session else { return Ok(None) };
    used(runtime_dir, there, cluster).await.map(Some)
}

/// An existing session, for its network.
async fn used(
    runtime_dir: RuntimeDir,
    there: v1::SessionStatus,
    cluster: &ClusterArgs,
) -> Result<Attached, Failed> {
    let request = v1::ConnectRequest {
        cluster: Some(request::cluster(cluster, &request::config()?)?),
        user: there.user.clone(),
        for_command: true,
        ..v1::ConnectRequest::default()
    };
    begin(runtime_dir, wish(WishKind::Network, request, Some(there))).await
}

/// Stops using the session; shows each step. A target that no daemon holds is restored from here.
pub(crate) async fn end(attached: Attached) -> Result<(), Failed> {
    let progress = Progress::new();
    let ended = attached.end(|said| progress.say(said)).await;
    drop(progress);
    match ended? {
        Ended::Done => Ok(()),
        Ended::Orphaned { target, cluster } => restore(&target, cluster).await,
    }
}

/// The owner of acceptable sessions.
#[derive(Clone, Copy)]
enum Whose<'a> {
    /// This user only.
    Named(&'a str),
    /// This user rather than another.
    Rather(Option<&'a str>),
}

/// The sessions with the target, of several rather those in kubectl's namespace; or with any target.
async fn meant(
    runtime_dir: &RuntimeDir,
    target: Option<&Target>,
    args: &ClusterArgs,
    whose: Whose<'_>,
) -> Result<Vec<v1::SessionStatus>, Failed> {
    let Some(mut daemon) = running(runtime_dir).await? else { return Ok(Vec::new()) };
    let (user, rather) = match whose {
        Whose::Named(name) => (name, false),
        Whose::Rather(name) => (name.unwrap_or_default(), true),
    };
    let request = v1::FindRequest {
        target: target.map(Target::to_string).unwrap_or_default(),
        cluster: Some(request::cluster(args, &request::config()?)?),
        user: user.to_owned(),
        rather,
        rather_here: target.is_some(),
    };
    Ok(bridge_client::meant(&mut daemon, request).await?)
}

/// The wish for an existing session.
fn wish(kind: WishKind, request: v1::ConnectRequest, there: Option<v1::SessionStatus>) -> v1::Wish {
    let session = there.map(|there| there.id).unwrap_or_default();
    v1::Wish { request: Some(request), kind: kind.into(), session, lasting: None }
}

async fn begin(runtime_dir: RuntimeDir, wish: v1::Wish) -> Result<Attached, Failed> {
    let daemon = started(&runtime_dir).await?;
    shown(daemon, runtime_dir, wish).await
}

/// Asks for it, and shows each step.
async fn shown(daemon: Daemon, runtime_dir: RuntimeDir, wish: v1::Wish) -> Result<Attached, Failed> {
    let target = wish.request.as_ref().map(|request| request.target.clone()).unwrap_or_default();
    let progress = Progress::new();
    tokio::select! {
        begun = Attached::begin(daemon, runtime_dir, wish, |said| progress.say(said)) => Ok(begun?),
        interrupted = interrupt::interrupted(&target) => Err(interrupted),
    }
}

/// Restores from the cluster's records, as `bridge clean` does.
async fn restore(target: &str, cluster: v1::Cluster) -> Result<(), Failed> {
    let advice = format!("bridge clean {target} -n {} --context {}", cluster.namespace, cluster.context);
    clean::put_back(cluster, target).await.map_err(|failed| {
        let why = failed.message;
        Failed::new(Exit::Left, format!("cannot reconnect {target}, nor restore it: {why}"), advice)
    })
}
