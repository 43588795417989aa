//! `bridge run` and `bridge shell`: a command of this machine as if it stood in the target's pod.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use bridge_proto::tunnel::Refused;
use bridge_proto::v1::Cause;
use bridge_supervise::{Carry, Flow, Refusal, Remark, SuperviseError, Transport, Verdict};
use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::args::{RunArgs, ShellArgs};
use super::attached::Attached;
use super::error::{Exit, Failed, chain};
use super::files;
use super::inside::Network;
use super::listening::Entrances;
use super::output;
use crate::files::Files;
use crate::network::{self, ClusterDns, Destinations, Dialled, FlowError, Flows, Place, Resolver, Streams};

/// Ports on which the command begins to listen, and that nobody has looked at.
const LISTENS_QUEUE: usize = 64;

/// Runs the command; its exit code is ours.
pub(crate) async fn run(args: RunArgs) -> Result<u8, Failed> {
    let mut attached = Attached::to(&args.connect).await?;
    let files = files::fetch(&attached, args.inside.files).await;
    let outcome = supervised(&mut attached, &args, files.as_ref()).await;
    if let Some(files) = files {
        files.remove().await;
    }
    let ended = attached.end().await;
    let status = outcome?;
    ended?;
    Ok(exit_code(status))
}

/// The user's shell.
pub(crate) async fn shell(args: ShellArgs) -> Result<u8, Failed> {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let command = vec![shell.unwrap_or_else(|| OsString::from("/bin/sh"))];
    let ShellArgs { connect, inside } = args;
    run(RunArgs { connect, inside, command }).await
}

async fn supervised(
    attached: &mut Attached,
    args: &RunArgs,
    files: Option<&Files>,
) -> Result<ExitStatus, Failed> {
    let network = Network::of(attached, &args.inside).await?;
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(Failed::new(Exit::Usage, "there is no command to run", "bridge run SERVICE COMMAND"));
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(&network.environment);
    command.env("BRIDGE_TARGET", &attached.target);
    let entrances = Entrances::of(attached);
    output::note(&format!(
        "  {} runs in the place of Service {}, with the cluster's network; {}\n",
        program.display(),
        attached.target,
        entrances.describe()
    ));
    if let Some(files) = files {
        command.env(files::ROOT, files.root());
        files::say(files);
    }
    let Network { destinations, resolver, streams, flows, .. } = network;
    let (listens_tx, listens_rx) = mpsc::channel(LISTENS_QUEUE);
    let way = Way { streams, flows, resolver, listens_tx };
    let tell = |remark: &Remark| output::warn(&output::printable(&remark.to_string()));
    let supervised = bridge_supervise::run(command, Arc::new(Where(destinations)), Arc::new(way), tell);
    tokio::select! {
        ended = supervised => ended.map_err(|error| failed(&error)),
        never = follow(entrances, listens_rx) => match never {},
    }
}

/// Follows where the command listens; it ends when the command has.
async fn follow(entrances: Entrances, listens_rx: mpsc::Receiver<SocketAddr>) -> Infallible {
    entrances.watch(listens_rx).await;
    std::future::pending().await
}

fn failed(error: &SuperviseError) -> Failed {
    match error {
        SuperviseError::Spawn { program, source } if !is_there(program, source) => {
            let message = format!("there is no program {}", program.display());
            Failed::new(Exit::NotFound, message, "")
        }
        SuperviseError::Spawn { .. } => Failed::new(Exit::NotRun, chain(error), ""),
        SuperviseError::Obstacle(_) => Failed::new(
            Exit::NotRun,
            format!("a command cannot be given the cluster's network here: {}", chain(error)),
            "bridge env, bridge forward and bridge proxy need none of this",
        ),
        _ => Failed::internal(chain(error)),
    }
}

/// A folder of PATH that may not be searched makes a missing program look like a forbidden one.
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

/// As a shell does it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

/// Which destinations are the cluster's, as the supervisor asks for it.
struct Where(Arc<Destinations>);

impl bridge_supervise::Destinations for Where {
    fn of(&self, destination: SocketAddr, _: Transport) -> Verdict {
        match self.0.of(destination) {
            Place::Laptop => Verdict::Leave,
            Place::Cluster => Verdict::Relay,
            Place::Resolver => Verdict::Resolve,
        }
    }
}

/// The way into the cluster, through the daemon.
struct Way {
    streams: Arc<Streams>,
    flows: Flows,
    resolver: Arc<Resolver<ClusterDns>>,
    listens_tx: mpsc::Sender<SocketAddr>,
}

impl bridge_supervise::Way for Way {
    type Stream = Connected;

    async fn dial(&self, destination: SocketAddr) -> Result<Connected, Refusal> {
        self.streams.dial(destination).await.map(Connected).map_err(|refused| refusal(&refused))
    }

    async fn flow(&self, destination: SocketAddr) -> Result<Flow, Refusal> {
        let opened = self.flows.open(destination).await.map_err(|error| match error {
            FlowError::Away => Refusal::NetworkUnreachable,
            FlowError::Refused => Refusal::HostUnreachable,
        })?;
        let network::Flow { datagrams_tx, datagrams_rx } = opened;
        Ok(Flow { datagrams_tx, datagrams_rx })
    }

    async fn resolve(&self, query: Bytes, resolver: SocketAddr) -> Bytes {
        self.resolver.answer(query, resolver).await.message
    }

    fn listens(&self, address: SocketAddr) {
        // What finds no room is one of many, and of none can be said that it is the one.
        let _ = self.listens_tx.try_send(address);
    }
}

struct Connected(Dialled);

impl Carry for Connected {
    async fn carry(self, local: TcpStream) {
        // If the daemon is gone, the connection is closed here, which is what its program sees.
        let _ = self.0.carry(&local).await;
    }
}

fn refusal(refused: &Refused) -> Refusal {
    match refused.cause {
        Cause::Refused => Refusal::Refused,
        Cause::TimedOut => Refusal::TimedOut,
        Cause::Forbidden => Refusal::Forbidden,
        Cause::TunnelLost | Cause::NoRoom => Refusal::NetworkUnreachable,
        _ => Refusal::HostUnreachable,
    }
}
