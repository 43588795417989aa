//! The daemon: found, started when needed, replaced when it is of another version and idle.
//!
//! Two locks in the runtime directory keep it unique: a command that starts it holds `start.lock`, the daemon holds
//! `daemon.lock` as long as it lives.

use std::fs::File;
use std::io;
use std::time::Duration;

use bridge_os::{detach, peer};
use bridge_proto::{
    v1::{self, failure::Cause},
    version,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;
use tower::service_fn;

use crate::calls::{DaemonClient, is_gone};
use crate::error::{ClientError, chain};
use crate::runtime_dir::{LOOK_EVERY, RuntimeDir, START};

/// From the call to the first answer; the daemon answers Hello without waiting for anything.
const ANSWER: Duration = Duration::from_secs(5);

/// A running daemon that this program can talk to.
#[derive(Debug)]
pub struct Daemon {
    pub client: DaemonClient,
    pub hello: v1::HelloReply,
}

impl Daemon {
    /// The daemon's state.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub async fn status(&mut self) -> Result<v1::StatusReply, ClientError> {
        Ok(self.client.status(v1::StatusRequest {}).await?.into_inner())
    }
}

/// The running daemon, if there is one; starts none.
///
/// # Errors
///
/// If there is one that does not answer, or that this program does not understand.
pub async fn running(runtime_dir: &RuntimeDir) -> Result<Option<Daemon>, ClientError> {
    let Some(daemon) = greet(runtime_dir).await? else { return Ok(None) };
    understood(&daemon.hello)?;
    Ok(Some(daemon))
}

/// This user's sessions; none without a daemon.
///
/// # Errors
///
/// As [`running`].
pub async fn sessions(runtime_dir: &RuntimeDir) -> Result<Vec<v1::SessionStatus>, ClientError> {
    let Some(mut daemon) = running(runtime_dir).await? else { return Ok(Vec::new()) };
    Ok(daemon.status().await?.sessions)
}

/// The running daemon, or one that is started now.
///
/// # Errors
///
/// As [`running`], and if it cannot be started.
pub async fn started(runtime_dir: &RuntimeDir) -> Result<Daemon, ClientError> {
    if let Some(daemon) = greet(runtime_dir).await?
        && !replaceable(&daemon.hello)
    {
        understood(&daemon.hello)?;
        return Ok(daemon);
    }
    let _start = runtime_dir.lock_start().await?;
    // Another program may have been faster.
    if let Some(mut daemon) = greet(runtime_dir).await?
        && (!replaceable(&daemon.hello) || !stop(&mut daemon).await?)
    {
        understood(&daemon.hello)?;
        return Ok(daemon);
    }
    let pid = start(runtime_dir).await?;
    let daemon = greet(runtime_dir)
        .await?
        .ok_or_else(|| ClientError::internal("the daemon exited as soon as it was ready"))?;
    if daemon.hello.pid != pid {
        detach::keep_former_log(&runtime_dir.log_file());
    }
    Ok(daemon)
}

/// In a daemon: the lock that it holds as long as it lives. `None`: another one of this version serves, and this one is
/// not needed. That happens if the command that started the other one was killed meanwhile.
///
/// # Errors
///
/// If another daemon keeps the lock and does not serve.
pub async fn only_daemon(runtime_dir: &RuntimeDir) -> Result<Option<File>, ClientError> {
    tokio::select! {
        biased;
        locked = runtime_dir.lock_alive() => locked.map(Some),
        () = another_serves(runtime_dir) => Ok(None),
    }
}

async fn another_serves(runtime_dir: &RuntimeDir) {
    while !greet(runtime_dir).await.is_ok_and(|there| there.is_some_and(|daemon| is_ours(&daemon.hello))) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether it is another version that holds nothing.
fn replaceable(hello: &v1::HelloReply) -> bool {
    hello.sessions == 0 && !is_ours(hello)
}

fn is_ours(hello: &v1::HelloReply) -> bool {
    let ours = version::ours();
    let is_ours = |theirs: &v1::Version| theirs.program == ours.program && theirs.revision == ours.revision;
    hello.version.as_ref().is_some_and(is_ours)
}

fn understood(hello: &v1::HelloReply) -> Result<(), ClientError> {
    let theirs = hello.version.clone().unwrap_or_default();
    version::agree("this bridge command", "the running daemon", &theirs).map(drop).map_err(|mismatch| {
        let advice = format!(
            "it holds {} session(s): run `bridge disconnect --all` with the bridge that made them, or `kill \
             {}` and `bridge clean`",
            hello.sessions, hello.pid
        );
        ClientError::new(Cause::OtherDaemon, mismatch.to_string(), advice)
    })
}

/// Stops the daemon. False: it has got a session since it was asked.
async fn stop(daemon: &mut Daemon) -> Result<bool, ClientError> {
    match daemon.client.stop(v1::StopRequest {}).await {
        Ok(reply) => {
            daemon.hello.sessions = reply.get_ref().sessions;
            Ok(reply.get_ref().stopping)
        }
        // It was gone before it could answer.
        Err(status) if status.code() == tonic::Code::Unavailable => Ok(true),
        Err(status) => Err(status.into()),
    }
}

/// `None`: nobody listens there.
async fn greet(runtime_dir: &RuntimeDir) -> Result<Option<Daemon>, ClientError> {
    let socket = runtime_dir.socket();
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
            // A killed daemon leaves a socket file without a listener.
            Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
            _ => return Err(ClientError::internal(format!("cannot talk to the daemon: {}", chain(&error)))),
        },
    };
    let mut client = DaemonClient::new(channel);
    let hello = client.hello(v1::HelloRequest { version: Some(version::ours()) });
    match tokio::time::timeout(ANSWER, hello).await {
        Ok(Ok(reply)) => Ok(Some(Daemon { client, hello: reply.into_inner() })),
        // It was just ending.
        Ok(Err(status)) if status.code() == tonic::Code::Unavailable || is_gone(&status) => Ok(None),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => {
            Err(ClientError::internal(format!("the daemon did not answer within {} s", ANSWER.as_secs())))
        }
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

/// Returns when one is ready: the process with the returned id, or one that was there before it.
async fn start(runtime_dir: &RuntimeDir) -> Result<u32, ClientError> {
    let program = std::env::current_exe()
        .map_err(|error| ClientError::internal(format!("cannot find bridge's own executable: {error}")))?;
    let started = detach::start(detach::Start {
        program,
        arguments: vec!["daemon".into()],
        environment: detach::lasting_environment(std::env::vars_os()),
        directory: "/".into(),
        log_file: runtime_dir.log_file(),
        timeout: START,
    });
    started
        .await
        .map_err(|error| ClientError::internal(format!("cannot start the daemon: {}", chain(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(program: &str, sessions: u32) -> v1::HelloReply {
        let version = v1::Version { program: program.to_owned(), ..version::ours() };
        v1::HelloReply { version: Some(version), sessions, pid: 7, ..Default::default() }
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
        let error = understood(&v1::HelloReply { version: Some(version), ..hello("", 2) }).unwrap_err();
        assert!(error.message().contains("too old for the running daemon 9.0.0"), "{error}");
        assert!(
            error.advice().contains("2 session(s)") && error.advice().contains("kill 7"),
            "{}",
            error.advice()
        );
    }
}
