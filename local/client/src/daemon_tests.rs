//! Stories of a client and a real daemon without sessions: both in this process, the socket in a directory of the test.

use std::os::unix::net::UnixListener;
use std::sync::Mutex;
use std::time::Duration;

use bridge_daemon::DaemonOptions;
use bridge_proto::v1::{self, failure::Cause};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::attached::Attached;
use crate::connect::connect;
use crate::disconnect::disconnect;
use crate::find::{Daemon, only_daemon, running, sessions, started};
use crate::runtime_dir::RuntimeDir;
use crate::said::Said;

/// A laptop with a daemon, until that ends.
struct Laptop {
    runtime_dir: RuntimeDir,
    serving: JoinHandle<()>,
    _directory: TempDir,
}

async fn laptop() -> Laptop {
    let directory = tempfile::tempdir().unwrap();
    let runtime_dir = RuntimeDir::at(directory.path());
    let (ready_tx, ready_rx) = oneshot::channel();
    let options = DaemonOptions {
        socket: runtime_dir.socket(),
        streams: runtime_dir.streams(),
        log_file: runtime_dir.log_file(),
        installation: "laptop".to_owned(),
        idle: Duration::from_secs(600),
        ready: Box::new(move || ready_tx.send(()).unwrap()),
    };
    let serving = tokio::spawn(async move { bridge_daemon::run(options).await.unwrap() });
    ready_rx.await.unwrap();
    Laptop { runtime_dir, serving, _directory: directory }
}

impl Laptop {
    async fn daemon(&self) -> Daemon {
        running(&self.runtime_dir).await.unwrap().unwrap()
    }
}

/// A connect with a missing kubeconfig.
fn impossible() -> v1::ConnectRequest {
    let kubeconfig = vec!["/nowhere/config".to_owned()];
    let cluster = v1::Cluster { kubeconfig, ..v1::Cluster::default() };
    v1::ConnectRequest {
        cluster: Some(cluster),
        target: "orders".to_owned(),
        user: "alice".to_owned(),
        ..v1::ConnectRequest::default()
    }
}

#[tokio::test]
async fn without_a_daemon_nothing_is_connected_and_a_dead_one_s_socket_is_no_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let runtime_dir = RuntimeDir::at(directory.path());
    assert!(running(&runtime_dir).await.unwrap().is_none());
    // A daemon that was killed leaves its socket.
    drop(UnixListener::bind(runtime_dir.socket()).unwrap());
    assert!(runtime_dir.socket().exists());
    assert!(running(&runtime_dir).await.unwrap().is_none());
    assert_eq!(sessions(&runtime_dir).await.unwrap(), []);
}

#[tokio::test]
async fn a_daemon_that_runs_is_used_and_no_other_is_started() {
    let laptop = laptop().await;
    for mut daemon in [laptop.daemon().await, started(&laptop.runtime_dir).await.unwrap()] {
        assert_eq!(daemon.hello.pid, std::process::id());
        assert_eq!(daemon.status().await.unwrap().sessions, []);
    }
    assert_eq!(sessions(&laptop.runtime_dir).await.unwrap(), []);
}

#[tokio::test]
async fn of_two_daemons_that_are_started_the_later_one_is_not_needed() {
    let laptop = laptop().await;
    let lock = laptop.runtime_dir.lock_alive().await.unwrap();
    assert!(only_daemon(&laptop.runtime_dir).await.unwrap().is_none(), "the first one serves");

    // One that ends serves no more, and the next one waits for its lock.
    laptop.serving.abort();
    std::fs::remove_file(laptop.runtime_dir.socket()).unwrap();
    let next = only_daemon(&laptop.runtime_dir);
    tokio::pin!(next);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut next).await;
    assert!(early.is_err(), "{early:?}");
    drop(lock);
    assert!(next.await.unwrap().is_some());
}

#[tokio::test]
async fn a_failure_of_the_daemon_has_its_cause() {
    let laptop = laptop().await;
    let mut daemon = laptop.daemon().await;
    let said = Mutex::new(Vec::new());
    let say = |said_now: &Said| said.lock().unwrap().push(said_now.clone());

    let error = connect(&mut daemon, impossible(), say).await.unwrap_err();
    assert_eq!(error.cause(), Cause::NoKubeconfig);
    assert_eq!(error.message(), "no kubeconfig found: looked for /nowhere/config");
    assert!(error.advice().starts_with("pass --kubeconfig"), "{}", error.advice());

    let wish = v1::Wish { request: Some(impossible()), ..v1::Wish::default() };
    let begun = Attached::begin(laptop.daemon().await, laptop.runtime_dir.clone(), wish, say).await;
    assert_eq!(begun.err().map(|error| error.cause()), Some(Cause::NoKubeconfig));

    let request = v1::DisconnectRequest { session: "s1".to_owned(), ..v1::DisconnectRequest::default() };
    let error = disconnect(&mut daemon, request, say).await.unwrap_err();
    assert_eq!(error.cause(), Cause::NoSession);

    assert_eq!(*said.lock().unwrap(), [], "nothing was begun");
}

#[tokio::test]
async fn a_daemon_that_was_stopped_is_gone() {
    let laptop = laptop().await;
    let mut daemon = laptop.daemon().await;
    let reply = daemon.client.stop(v1::StopRequest {}).await.unwrap();
    assert!(reply.get_ref().stopping);
    drop(daemon);
    laptop.serving.await.unwrap();
    assert!(running(&laptop.runtime_dir).await.unwrap().is_none());
}
