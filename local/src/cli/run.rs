//! `bridge run` and `bridge shell`: run a local command as if it ran in the target's pod. The command is supervised
//! (`way` decides where its connections go), or gets a proxy if supervision is not possible.

mod way;

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use bridge_client::{Attached, chain};
use bridge_os::life::Life;
use bridge_proto::matching;
use bridge_proto::target::Target;
use bridge_proto::v1;
use bridge_supervise::{Obstacle, Remark, SuperviseError};
use tokio::sync::mpsc;

use self::way::{Way, Where};
use super::args::{AsideArgs, InsideArgs, RunArgs, ShellArgs};
use super::attach;
use super::detached;
use super::error::Failed;
use super::exit::Exit;
use super::files;
use super::inside::Inside;
use super::output;
use super::variables;
use bridge_inside::files::Files;
use bridge_inside::listening::Entrances;
use bridge_inside::network::Network;
use bridge_inside::proxy::{self, ANY_PORT, Proxy};

/// Ports on which the command begins to listen, and that were not processed yet.
const LISTENS_QUEUE: usize = 64;
/// More overlaps are one mistake, and not several.
const OVERLAPS: usize = 3;
/// Where instrumented programs find the baggage of what they begin themselves (OpenTelemetry's environment carrier).
const BAGGAGE: &str = "BAGGAGE";

/// Runs the command, here or detached; returns its exit code as ours.
pub(crate) async fn run(args: RunArgs) -> Result<u8, Failed> {
    if let Some(name) = &args.detach {
        return detached::start(name).await;
    }
    let Some(name) = &args.detached else { return here(&args, None).await };
    let own = detached::Own::take(name)?;
    let result = here(&args, Some(&own)).await;
    own.ends(&result);
    result
}

async fn here(args: &RunArgs, detached: Option<&detached::Own>) -> Result<u8, Failed> {
    let attached = match args.aside {
        AsideArgs { replace: true, .. } => attach::in_place_of(&args.connect).await?,
        AsideArgs { no_requests: true, .. } => attach::without_requests(&args.connect).await?,
        AsideArgs { .. } => attach::to(&args.connect).await?,
    };
    let mut attached = attached.kept(output::teller());
    let files = files::fetch(&attached, args.inside.files).await;
    let outcome = in_the_place_of(&mut attached, args, files.as_ref(), detached).await;
    if let Some(files) = files {
        files.remove().await;
    }
    let ended = attach::end(attached).await;
    let status = outcome?;
    ended?;
    Ok(exit_code(status))
}

/// Runs the user's shell.
pub(crate) async fn shell(args: ShellArgs) -> Result<u8, Failed> {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let command = vec![shell.unwrap_or_else(|| OsString::from("/bin/sh"))];
    let ShellArgs { connect, aside, inside } = args;
    run(RunArgs { connect, aside, inside, detach: None, detached: None, command }).await
}

async fn in_the_place_of(
    attached: &mut Attached,
    args: &RunArgs,
    files: Option<&Files>,
    detached: Option<&detached::Own>,
) -> Result<ExitStatus, Failed> {
    let Inside { network, environment, left_out } = Inside::of(attached, &args.inside).await?;
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(Failed::new(Exit::Usage, "no command to run", "bridge run SERVICE COMMAND"));
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(&environment);
    command.env("BRIDGE_TARGET", &attached.target);
    if !environment.contains_key(OsStr::new(BAGGAGE)) && std::env::var_os(BAGGAGE).is_none() {
        command.env(BAGGAGE, matching::member_of(&attached.user));
    }
    let entrances = Entrances::of(attached);
    output::note(&output::line(&format!(
        "  {} runs {}, with the cluster's network; {}",
        program.display(),
        place(&attached.target, args.aside.replace),
        entrances.describe()
    )));
    output::note(&variables::describe(&left_out));
    if let Some(shared) = entrances.shared_with(&attached.others().await?) {
        output::warn(&shared);
    }
    for overlap in network.overlaps.iter().take(OVERLAPS) {
        output::warn(&overlap.to_string());
    }
    if let Some(files) = files {
        files::give(files, args.inside.files, &mut command)?;
    }
    if let Some(detached) = detached {
        detached.begins(attached, &args.command)?;
    }
    let ended = async {
        match obstacle().await {
            None => supervised(command, entrances, network).await,
            Some(obstacle) => proxied(command, attached, network, &obstacle).await,
        }
    };
    tokio::select! {
        ended = ended => ended.map_err(|error| failed(&error)),
        never = ends_early(&args.inside) => match never {},
    }
}

/// Ends the command when its time is over, or with a process: its supervisor hands the signal on.
async fn ends_early(inside: &InsideArgs) -> Infallible {
    let why = tokio::select! {
        why = time_over(inside.lasts) => why,
        why = ended_with(inside.until_exit) => why,
    };
    output::note(&format!("  {why}\n"));
    bridge_os::signals::terminate_this_process();
    std::future::pending().await
}

async fn time_over(lasts: Option<Duration>) -> String {
    let Some(lasts) = lasts else { return std::future::pending().await };
    tokio::time::sleep(lasts).await;
    format!("its time of {} is over", output::duration(lasts))
}

async fn ended_with(process: Option<Life>) -> String {
    let Some(process) = process else { return std::future::pending().await };
    process.ended().await;
    format!("process {} has ended", process.pid)
}

/// A session aside names its target with the kind.
fn place(target: &str, replaced: bool) -> String {
    match target.parse::<Target>() {
        Ok(aside) if replaced => format!("in place of {}", aside.sentence()),
        Ok(aside) if target.contains('/') => format!("beside {}", aside.sentence()),
        _ => format!("in place of Service {target}"),
    }
}

/// The obstacle to supervision.
async fn obstacle() -> Option<Obstacle> {
    let probed = tokio::task::spawn_blocking(bridge_supervise::probe).await;
    probed.unwrap_or_else(|panic| Err(Obstacle::Other(io::Error::other(panic)))).err()
}

async fn supervised(
    command: Command,
    entrances: Entrances,
    network: Network,
) -> Result<ExitStatus, SuperviseError> {
    let Network { destinations, resolver, streams, flows, .. } = network;
    let (listens_tx, listens_rx) = mpsc::channel(LISTENS_QUEUE);
    let way = Way { streams, flows, resolver, listens_tx };
    let tell = |remark: &Remark| output::warn(&remark.to_string());
    let supervised = bridge_supervise::run(command, Arc::new(Where(destinations)), Arc::new(way), tell);
    tokio::select! {
        ended = supervised => ended,
        never = follow(entrances, listens_rx) => match never {},
    }
}

/// The fallback: the command gets a proxy, through its variables.
async fn proxied(
    mut command: Command,
    attached: &Attached,
    network: Network,
    obstacle: &Obstacle,
) -> Result<ExitStatus, SuperviseError> {
    let proxy = Proxy::bind(ANY_PORT).await.map_err(SuperviseError::Relay)?;
    let ports = vec![proxy.address.port().into()];
    attached.asked.listen(v1::Listeners { ports, what: "the proxy of bridge run".to_owned() });
    output::warn(&format!(
        "{}; using a proxy instead: only programs that honour ALL_PROXY, HTTP_PROXY or HTTPS_PROXY reach the \
         cluster, and only by TCP",
        chain(obstacle)
    ));
    command.envs(proxy::variables(proxy.address));
    tokio::select! {
        ended = bridge_supervise::run_alone(command) => ended,
        never = proxy.serve(Arc::new(network), output::teller()) => match never {},
    }
}

/// Follows the ports on which the command listens; ends with the command.
async fn follow(entrances: Entrances, listens_rx: mpsc::Receiver<SocketAddr>) -> Infallible {
    entrances.watch(listens_rx, output::teller()).await;
    std::future::pending().await
}

fn failed(error: &SuperviseError) -> Failed {
    match error {
        SuperviseError::Spawn { program, source } if !is_there(program, source) => {
            let message = format!("command not found: {}", program.display());
            Failed::new(Exit::NotFound, message, "")
        }
        SuperviseError::Spawn { .. } => Failed::new(Exit::NotRun, chain(error), ""),
        SuperviseError::Obstacle(_) => Failed::new(
            Exit::NotRun,
            format!("cannot give a command the cluster's network here: {}", chain(error)),
            "bridge env, bridge forward and bridge proxy work without it",
        ),
        _ => Failed::internal(chain(error)),
    }
}

/// A directory of PATH that may not be searched makes a missing program look like a forbidden one.
fn is_there(program: &Path, error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound => false,
        io::ErrorKind::PermissionDenied if program.components().count() == 1 => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
        }
        _ => true,
    }
}

/// As shells do.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
