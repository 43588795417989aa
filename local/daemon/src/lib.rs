//! The daemon: one per user, holds the sessions and their tunnels, and serves the `bridge` command on a Unix socket.
//!
//! `service` takes the calls, `meant` decides which sessions a call names, `watching` reports their changes. Sessions
//! are shared by their users (`users`, pure; `sharing` carries out who joins and leaves, `using` serves one of them,
//! `turns` puts changes of one target in order). `connect` carries out one connect (with its `plan`, `routes` and
//! `probe`; `teller` reports the steps, `restarting` rolls the origin out afterwards), `session` keeps the result alive, `reattach` moves it when the Service gets
//! other ports, `registry` ends it. `tunnel` and `inbound` carry the requests (never to `listeners` of bridge itself),
//! `outbound` and `streams` connect processes of this machine to the cluster; `failure` explains what went wrong.
//! `listing`, `examining`, `cleaning` and `logs` need no session. `program` is the agent that is sent to the cluster,
//! `installation` this laptop's name in claims.

mod arrivals;
mod aside;
mod cleaning;
mod connect;
mod describing;
mod examining;
mod failure;
mod files;
mod inbound;
pub mod installation;
mod lease;
mod listeners;
mod listing;
mod logs;
mod meant;
mod outbound;
mod place;
mod plan;
mod probe;
pub mod program;
mod reattach;
mod registry;
mod replacing;
mod requests;
mod restarting;
mod routes;
mod service;
mod session;
mod sharing;
mod streams;
mod teller;
mod traffic;
mod tunnel;
mod turns;
mod users;
mod using;
mod watching;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bridge_os::packets::PacketListener;
use bridge_proto::v1::daemon_server::DaemonServer;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::listeners::Listeners;
use self::registry::Registry;
use self::sharing::Sharing;
use self::turns::Turns;

/// Limit on the shutdown when the user's machine shuts down: it disconnects the sessions.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Limit on calls after that: some (`bridge requests -f`) would never end.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// The daemon's settings.
pub struct DaemonOptions {
    /// The socket to listen on; the file does not exist. Removed at the end.
    pub socket: PathBuf,
    /// The socket for connections into the cluster; likewise.
    pub streams: PathBuf,
    pub log_file: PathBuf,
    /// This laptop's name in claims: see [`crate::installation`].
    pub installation: String,
    /// The time without a session after which it ends.
    pub idle: Duration,
    /// Called once, when it listens.
    pub ready: Box<dyn FnOnce() + Send>,
}

/// Why the daemon cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    #[error("cannot serve")]
    Serve(#[from] tonic::transport::Error),
}

/// Serves until it is idle or stopped. On SIGTERM or SIGINT it disconnects its sessions first.
///
/// # Errors
///
/// [`RunError`], before it has served anything.
pub async fn run(options: DaemonOptions) -> Result<(), RunError> {
    let listener = UnixListener::bind(&options.socket)
        .map_err(|source| RunError::Listen { path: options.socket.clone(), source })?;
    let streams = PacketListener::bind(&options.streams)
        .map_err(|source| RunError::Listen { path: options.streams.clone(), source })?;
    let connections = futures::stream::unfold(listener, |listener| async {
        let accept = || async { Ok(listener.accept().await?.0) };
        let connection = arrivals::next(accept).await;
        Some((io::Result::Ok(connection), listener))
    });
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    (options.ready)();

    let (registry, turns) = (Registry::new(), Turns::new());
    let streams = tokio::spawn(streams::run(streams, registry.clone()));
    let (stop, ending) = (Arc::new(Notify::new()), CancellationToken::new());
    let daemon = service::Daemon {
        registry: registry.clone(),
        sharing: Sharing {
            registry: registry.clone(),
            turns: turns.clone(),
            listeners: Listeners::default(),
            installation: options.installation.into(),
        },
        log_file: options.log_file,
        stop: stop.clone(),
        ending: ending.clone(),
    };
    let told_to_end = async {
        tokio::select! {
            () = stop.notified() => {}
            () = idle_for(&registry, &turns, options.idle) => tracing::info!("no session for a while: exiting"),
            _ = terminate.recv() => tracing::info!("stopping"),
            _ = interrupt.recv() => tracing::info!("interrupted"),
        }
        ending.cancel();
    };
    let serving = tonic::transport::Server::builder()
        .add_service(DaemonServer::new(daemon))
        .serve_with_incoming_shutdown(connections, told_to_end);
    let served = tokio::select! {
        served = serving => served,
        () = last_calls(&ending) => Ok(()),
    };
    streams.abort();
    let _ = std::fs::remove_file(&options.socket);
    let _ = std::fs::remove_file(&options.streams);
    let ending = futures::future::join_all(registry.all().into_iter().map(|session| {
        let registry = registry.clone();
        async move {
            if let Err(failure) = registry.disconnect(&session).await {
                tracing::warn!(service = %session.facts.service, %failure, "disconnect failed");
            }
        }
    }));
    // `bridge clean` does the rest; until then the agents send everything to the origin.
    let _ = tokio::time::timeout(END_WITHIN, ending).await;
    Ok(served?)
}

/// Resolves when calls have had their time since shutdown began.
async fn last_calls(ending: &CancellationToken) {
    ending.cancelled().await;
    tokio::time::sleep(LAST_CALLS).await;
}

/// Resolves when for `idle` there was no session and nothing that a command waits for.
async fn idle_for(registry: &Registry, turns: &Turns, idle: Duration) {
    let (mut count, mut under_way) = (registry.count(), turns.under_way());
    loop {
        // Registry and turns outlive this task.
        let _ = count.wait_for(|sessions| *sessions == 0).await;
        let _ = under_way.wait_for(|count| *count == 0).await;
        tokio::select! {
            () = tokio::time::sleep(idle) => return,
            _ = count.wait_for(|sessions| *sessions > 0) => {}
            _ = under_way.wait_for(|count| *count > 0) => {}
        }
    }
}
