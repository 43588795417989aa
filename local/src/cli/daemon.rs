//! The daemon as commands see it: found, started when needed, replaced when it is of another version and idle; and
//! `bridge daemon` itself.
//!
//! Two locks in the runtime directory keep it one: `start.lock` is held by the command that starts it, `daemon.lock` by
//! the daemon as long as it lives.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bridge_os::{detach, memory, peer, runtime};
use bridge_proto::{
    v1::{self, daemon_client::DaemonClient},
    version,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use tracing_subscriber::EnvFilter;

use super::error::{Failed, chain};
use super::exit::Exit;
use bridge_daemon::DaemonOptions;
use bridge_inside::network::is_gone;

/// From the call to the first answer; the daemon answers Hello without waiting for anything.
const ANSWER: Duration = Duration::from_secs(5);
/// An old daemon may still be ending.
const START: Duration = Duration::from_secs(15);

/// The files of the runtime directory.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    directory: PathBuf,
}

impl Place {
    pub(crate) fn find() -> Result<Self, Failed> {
        let directory = runtime::directory().map_err(|error| {
            let advice = "set XDG_RUNTIME_DIR to a directory that you own, with mode 0700, or unset it";
            Failed::new(Exit::Internal, chain(&error), advice)
        })?;
        Ok(Place { directory })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("daemon.sock")
    }

    /// Where connections into the cluster are asked for.
    pub(crate) fn streams(&self) -> PathBuf {
        self.directory.join("streams.sock")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.directory.join("daemon.log")
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Waits for the lock, and holds it until the file is dropped.
    async fn lock(&self, name: &str) -> Result<File, Failed> {
        let path = self.directory.join(name);
        let locked = tokio::task::spawn_blocking({
            let path = path.clone();
            move || {
                let file =
                    fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
                file.lock()?;
                Ok::<_, io::Error>(file)
            }
        });
        match tokio::time::timeout(START, locked).await {
            Ok(Ok(Ok(file))) => Ok(file),
            Ok(Ok(Err(error))) => Err(Failed::internal(format!("cannot lock {}: {error}", path.display()))),
            Ok(Err(error)) => Err(Failed::internal(format!("cannot lock {}: {error}", path.display()))),
            Err(_) => {
                Err(Failed::internal(format!("{} is still held by another bridge process", path.display())))
            }
        }
    }
}

/// A running daemon that this command can talk to.
pub(crate) struct Daemon {
    pub(crate) client: DaemonClient<Channel>,
    pub(crate) hello: v1::HelloReply,
}

/// The running daemon, if there is one; starts none.
pub(crate) async fn running(place: &Place) -> Result<Option<Daemon>, Failed> {
    let Some(daemon) = greet(place).await? else { return Ok(None) };
    understood(&daemon.hello)?;
    Ok(Some(daemon))
}

/// The running daemon, or one that is started now.
pub(crate) async fn started(place: &Place) -> Result<Daemon, Failed> {
    if let Some(daemon) = greet(place).await?
        && !replaceable(&daemon.hello)
    {
        understood(&daemon.hello)?;
        return Ok(daemon);
    }
    let _start = place.lock("start.lock").await?;
    // Another command may have been faster.
    if let Some(mut daemon) = greet(place).await?
        && (!replaceable(&daemon.hello) || !stop(&mut daemon).await?)
    {
        understood(&daemon.hello)?;
        return Ok(daemon);
    }
    start(place).await?;
    greet(place).await?.ok_or_else(|| Failed::internal("the daemon exited as soon as it was ready"))
}

/// Another program version that holds nothing.
fn replaceable(hello: &v1::HelloReply) -> bool {
    let ours = version::ours();
    let is_ours = |theirs: &v1::Version| theirs.program == ours.program && theirs.revision == ours.revision;
    hello.sessions == 0 && !hello.version.as_ref().is_some_and(is_ours)
}

fn understood(hello: &v1::HelloReply) -> Result<(), Failed> {
    let theirs = hello.version.clone().unwrap_or_default();
    version::agree("this bridge command", "the running daemon", &theirs).map(drop).map_err(|mismatch| {
        let advice = format!(
            "it holds {} session(s): run `bridge disconnect --all` with the bridge that made them, or `kill \
             {}` and `bridge clean`",
            hello.sessions, hello.pid
        );
        Failed::new(Exit::Internal, mismatch.to_string(), advice)
    })
}

/// Whether it stops: a session may have been made since it was asked.
async fn stop(daemon: &mut Daemon) -> Result<bool, Failed> {
    match daemon.client.stop(v1::StopRequest {}).await {
        Ok(reply) => {
            daemon.hello.sessions = reply.get_ref().sessions;
            Ok(reply.get_ref().stopping)
        }
        // It was gone before it could answer.
        Err(status) if status.code() == tonic::Code::Unavailable => Ok(true),
        Err(status) => Err(Failed::call(&status)),
    }
}

/// None: nobody listens there.
async fn greet(place: &Place) -> Result<Option<Daemon>, Failed> {
    let socket = place.socket();
    let connect = service_fn(move |_| {
        let socket = socket.clone();
        async move {
            let stream = UnixStream::connect(socket).await?;
            peer::check(&stream)?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let channel = match Endpoint::from_static("http://bridge.local").connect_with_connector(connect).await {
        Ok(channel) => channel,
        Err(error) => match io_kind(&error) {
            // A socket file without a listener is what a killed daemon leaves.
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
            _ => return Err(Failed::internal(format!("cannot talk to the daemon: {}", chain(&error)))),
        },
    };
    let mut client = DaemonClient::new(channel);
    let hello = client.hello(v1::HelloRequest { version: Some(version::ours()) });
    match tokio::time::timeout(ANSWER, hello).await {
        Ok(Ok(reply)) => Ok(Some(Daemon { client, hello: reply.into_inner() })),
        // It was just ending.
        Ok(Err(status)) if status.code() == tonic::Code::Unavailable || is_gone(&status) => Ok(None),
        Ok(Err(status)) => Err(Failed::call(&status)),
        Err(_) => Err(Failed::internal(format!("the daemon did not answer within {} s", ANSWER.as_secs()))),
    }
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

async fn start(place: &Place) -> Result<(), Failed> {
    let program = std::env::current_exe()
        .map_err(|error| Failed::internal(format!("cannot find bridge's own executable: {error}")))?;
    let started = detach::start(detach::Start {
        program,
        arguments: vec!["daemon".into()],
        environment: detach::lasting_environment(std::env::vars_os()),
        log_file: place.log_file(),
        timeout: START,
    });
    started
        .await
        .map(drop)
        .map_err(|error| Failed::internal(format!("cannot start the daemon: {}", chain(&error))))
}

/// `bridge daemon`: runs until it is idle or told to stop.
pub(crate) async fn run(idle: Duration) -> Result<(), Failed> {
    let detached = detach::Detached::new();
    memory::give_back_what_is_freed();
    // It has keys and tokens of all clusters that are connected. A system that does not know this has the daemon all the same.
    let _ = memory::keep_to_ourselves();
    let asked = std::env::var("BRIDGE_LOG").unwrap_or_default();
    let filter = log_filter(if asked.is_empty() { "info" } else { &asked });
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();

    // Whoever has started this waits to hear that it is ready, or why it is not.
    let waiting = Arc::new(Mutex::new(Some(detached)));
    let served = serve(idle, {
        let waiting = waiting.clone();
        Box::new(move || {
            if let Some(detached) = taken(&waiting) {
                detached.ready();
            }
        })
    });
    let result = served.await;
    if let (Err(failed), Some(detached)) = (&result, taken(&waiting)) {
        detached.failed(&failed.message);
    }
    result
}

/// What is logged: as BRIDGE_LOG says, but for the crates that would bring secrets into the log. kube shows answers that it
/// cannot read and the environment of credential plugins, HTTP's crates show heads and bodies.
fn log_filter(asked: &str) -> EnvFilter {
    const SECRETIVE: [(&str, &str); 5] = [
        ("kube", "off"),
        ("hyper", "info"),
        ("h2", "info"),
        ("tungstenite", "info"),
        ("tokio_tungstenite", "info"),
    ];
    let is_of = |directive: &str| SECRETIVE.iter().any(|(name, _)| directive.trim_start().starts_with(name));
    let kept: Vec<&str> = asked.split(',').filter(|directive| !is_of(directive)).collect();
    let kept = if kept.is_empty() { "info".to_owned() } else { kept.join(",") };
    let filter = EnvFilter::try_new(kept).unwrap_or_else(|_| EnvFilter::new("info"));
    // A name means all crates that begin with it.
    let levels = SECRETIVE.iter().filter_map(|(name, level)| format!("{name}={level}").parse().ok());
    levels.fold(filter, EnvFilter::add_directive)
}

fn taken(waiting: &Mutex<Option<detach::Detached>>) -> Option<detach::Detached> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
}

async fn serve(idle: Duration, ready: Box<dyn FnOnce() + Send>) -> Result<(), Failed> {
    let place = Place::find()?;
    // Held to the end of the process. The former daemon removes its socket before its lock goes.
    let _alive = place.lock("daemon.lock").await?;
    let (socket, streams) = (place.socket(), place.streams());
    for file in [&socket, &streams] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failed::internal(format!("cannot remove {}: {error}", file.display())));
            }
            _ => {}
        }
    }
    let installation =
        bridge_daemon::installation::name().map_err(|error| Failed::internal(chain(&error)))?;
    bridge_daemon::run(DaemonOptions {
        socket,
        streams,
        log_file: place.log_file(),
        installation,
        idle,
        ready,
    })
    .await
    .map_err(|error| Failed::internal(chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(program: &str, sessions: u32) -> v1::HelloReply {
        let version = v1::Version { program: program.to_owned(), ..version::ours() };
        v1::HelloReply { version: Some(version), sessions, pid: 7, ..Default::default() }
    }

    #[test]
    fn crates_that_show_secrets_are_silent_whatever_is_asked_for() {
        for asked in [
            "info",
            "trace",
            "kube_client=trace,hyper::proto=trace,debug",
            "h2=debug",
            "!!",
            "bridge=trace,=x",
        ] {
            let filter = log_filter(asked).to_string();
            let directives: Vec<&str> = filter.split(',').collect();
            for silent in ["kube=off", "hyper=info", "h2=info"] {
                assert!(directives.contains(&silent), "{asked}: {filter}");
            }
            assert!(!filter.contains("kube_client") && !filter.contains("hyper::"), "{asked}: {filter}");
        }
        assert!(log_filter("bridge_local=trace,kube=trace").to_string().contains("bridge_local=trace"));
    }

    #[test]
    fn only_an_idle_daemon_of_another_version_is_replaced() {
        assert!(!replaceable(&hello(&version::ours().program, 0)));
        assert!(replaceable(&hello("0.0.1", 0)));
        assert!(!replaceable(&hello("0.0.1", 1)));
    }

    #[test]
    fn one_that_holds_sessions_is_used_if_it_is_understood() {
        assert!(understood(&hello("0.0.1", 1)).is_ok());
        let version = v1::Version { program: "9.0.0".to_owned(), revision: 99, oldest: 99 };
        let failed = understood(&v1::HelloReply { version: Some(version), ..hello("", 2) }).unwrap_err();
        assert!(failed.message.contains("too old for the running daemon 9.0.0"), "{}", failed.message);
        assert!(
            failed.advice.contains("2 session(s)") && failed.advice.contains("kill 7"),
            "{}",
            failed.advice
        );
    }
}
