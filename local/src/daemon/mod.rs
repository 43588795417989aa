//! The daemon: serves the `bridge` command on a Unix socket and holds sessions.
//!
//! A stand-in for the real one: it greets, has no session, and stops.

use std::{io, path::PathBuf, process, sync::Arc, time::Duration};

use bridge_proto::{
    v1::{self, daemon_server},
    version,
};
use futures::{StreamExt, stream};
use tokio::{net::UnixListener, sync::Notify};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// How the daemon is run.
pub struct DaemonOptions {
    /// Where it listens; the file does not exist. Removed at the end.
    pub socket: PathBuf,
    pub log_file: PathBuf,
    /// How long it stays without a session.
    pub idle: Duration,
    /// Called once, when it listens.
    pub ready: Box<dyn FnOnce() + Send>,
}

/// Why it cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot serve")]
    Serve(#[from] tonic::transport::Error),
}

/// Serves until it is idle or told to stop.
pub async fn run(options: DaemonOptions) -> Result<(), RunError> {
    let listener = UnixListener::bind(&options.socket)
        .map_err(|source| RunError::Listen { path: options.socket.clone(), source })?;
    let connections = UnixListenerStream::new(listener).filter(|connection| {
        let ours = connection.as_ref().is_ok_and(|connection| bridge_os::peer::check(connection).is_ok());
        futures::future::ready(ours)
    });
    (options.ready)();
    let stop = Arc::new(Notify::new());
    let daemon = Daemon { stop: stop.clone(), log_file: options.log_file.display().to_string() };
    let served = tonic::transport::Server::builder()
        .add_service(daemon_server::DaemonServer::new(daemon))
        .serve_with_incoming_shutdown(connections, async {
            tokio::select! { () = stop.notified() => {}, () = tokio::time::sleep(options.idle) => {} }
        })
        .await;
    let _ = std::fs::remove_file(&options.socket);
    Ok(served?)
}

struct Daemon {
    stop: Arc<Notify>,
    log_file: String,
}

type Events<T> = stream::Empty<Result<T, Status>>;

#[tonic::async_trait]
impl daemon_server::Daemon for Daemon {
    async fn hello(&self, _: Request<v1::HelloRequest>) -> Result<Response<v1::HelloReply>, Status> {
        let log_file = self.log_file.clone();
        let reply =
            v1::HelloReply { version: Some(version::ours()), pid: process::id(), sessions: 0, log_file };
        Ok(Response::new(reply))
    }

    type ConnectStream = Events<v1::ConnectEvent>;
    async fn connect(&self, _: Request<v1::ConnectRequest>) -> Result<Response<Self::ConnectStream>, Status> {
        Err(Status::unimplemented("connect"))
    }

    type DisconnectStream = Events<v1::DisconnectEvent>;
    async fn disconnect(
        &self,
        _: Request<v1::DisconnectRequest>,
    ) -> Result<Response<Self::DisconnectStream>, Status> {
        Err(Status::unimplemented("disconnect"))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let memory_bytes = bridge_os::machine::resident_bytes().unwrap_or_default();
        Ok(Response::new(v1::StatusReply { sessions: Vec::new(), memory_bytes }))
    }

    async fn stop(&self, _: Request<v1::StopRequest>) -> Result<Response<v1::StopReply>, Status> {
        self.stop.notify_one();
        Ok(Response::new(v1::StopReply { stopping: true, sessions: 0 }))
    }
}
