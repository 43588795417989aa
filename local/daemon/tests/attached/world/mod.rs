//! The words of the stories: a `World` is a cluster in this process, with a pretended API server and real agents; a
//! `Laptop` is a developer with a daemon, which can be killed, and a program that listens.

mod command;
mod node;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bridge_client::{ClientError, Daemon};
use bridge_cluster::pretended::{ApiServer, Served};
use bridge_daemon::{DaemonOptions, RunError};
use bridge_proto::v1::{self, daemon_client::DaemonClient};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tonic::Streaming;
use tonic::transport::Endpoint;

use self::node::{Node, Reserved};

pub(crate) const SERVICE: &str = "orders";
const SERVICES: &str = "/api/v1/namespaces/shop/services";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";
const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/shop/replicasets";
const ANNOTATION: &str = "bridge.dev/attachment";
/// Milliseconds are usual. Longer than the product's own limits, so that a story that fails shows the product's reason.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) server: ApiServer,
    pub(crate) served: Served,
    pub(crate) node: Node,
    /// The pods' resolver: what is sent to it is the test's to answer.
    pub(crate) resolver: UdpSocket,
    /// The Service's.
    port: u16,
}

impl World {
    pub(crate) async fn new() -> Self {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = answers("a pod").await;
        let listen = Reserved::new();
        let port = proxy.local_addr().unwrap().port();
        let server = ApiServer::default();
        node::deployed(&server, port, listen.port);
        let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let node = Node::start(server.clone(), origin, listen, resolver.local_addr().unwrap(), proxy);
        let of_pods = node.clone();
        let served = Served::start(server.clone(), move |pod, _| of_pods.control_of(pod)).await;
        Self { server, served, node, resolver, port }
    }

    /// A developer with a daemon of that name, and a program that answers with it.
    pub(crate) async fn laptop(&self, me: &str) -> Laptop {
        self.laptop_with(me, Duration::from_secs(3600)).await
    }

    /// A laptop whose daemon ends after this time without work.
    pub(crate) async fn laptop_with(&self, me: &str, idle: Duration) -> Laptop {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("kubeconfig"), self.served.kubeconfig(me)).unwrap();
        let program = answers(&format!("{me}'s laptop")).await.port();
        let mut laptop = Laptop { me: me.to_owned(), home, program, idle, running: None };
        laptop.start_daemon().await;
        laptop
    }

    /// The name of what answers a request through the Service with this header.
    pub(crate) async fn asks(&self, header: &str) -> String {
        let asking = async {
            let mut connection = TcpStream::connect(("127.0.0.1", self.port)).await?;
            let request = format!("GET / HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n{header}\r\n\r\n");
            connection.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer =
            tokio::time::timeout(SOON, asking).await.expect("an answer, or the end of the connection");
        match answer {
            Ok(answer) => answer.split_once("\r\n\r\n").map_or(answer.clone(), |(_, body)| body.to_owned()),
            Err(error) => error.to_string(),
        }
    }

    /// Asks until this one answers.
    pub(crate) async fn comes_to(&self, header: &str, expected: &str) {
        let mut last = String::new();
        let asking = async {
            let mut every = tokio::time::interval(Duration::from_millis(20));
            loop {
                every.tick().await;
                last = self.asks(header).await;
                if last == expected {
                    return;
                }
            }
        };
        let came = tokio::time::timeout(SOON, asking).await;
        assert!(came.is_ok(), "expected an answer of {expected:?} to {header:?}, instead: {last:?}");
    }

    fn service(&self) -> Value {
        self.server.get(&format!("services/{SERVICE}")).unwrap()
    }

    /// The claims at the Service: "alice".
    pub(crate) fn claims(&self) -> Vec<String> {
        let service = self.service();
        let Some(text) = service["metadata"]["annotations"][ANNOTATION].as_str() else { return Vec::new() };
        let attachment: Value = serde_json::from_str(text).unwrap();
        let users = attachment["sessions"].as_array().unwrap().iter();
        let mut users: Vec<_> = users.map(|claim| claim["user"].as_str().unwrap().to_owned()).collect();
        users.sort();
        users
    }

    /// Edits the attachment, as another user.
    pub(crate) fn attachment_becomes(&self, edit: impl FnOnce(&mut Value)) {
        self.server.change(&format!("services/{SERVICE}"), |service| {
            let text = &mut service["metadata"]["annotations"][ANNOTATION];
            let mut attachment: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
            edit(&mut attachment);
            *text = attachment.to_string().into();
        });
    }

    /// The names of the existing stand-ins.
    pub(crate) fn stand_ins(&self) -> Vec<String> {
        let deployments = self.server.all(DEPLOYMENTS).into_iter();
        let names = deployments.map(|one| one["metadata"]["name"].as_str().unwrap().to_owned());
        names.filter(|name| name.contains("-bridge-")).collect()
    }

    /// The names of the agents aside.
    pub(crate) fn agents_aside(&self) -> Vec<String> {
        let deployments = self.server.all(DEPLOYMENTS).into_iter();
        let asides = deployments.filter(|one| one["metadata"]["labels"]["bridge.dev/aside"].is_string());
        asides.map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    /// A Deployment that no Service selects.
    pub(crate) fn has_a_worker(&self) {
        let labels = json!({"app": "worker"});
        let spec = json!({"containers": [{"name": "app", "image": "worker:1"}]});
        let template = json!({"metadata": {"labels": labels}, "spec": spec});
        let worker = json!({"metadata": {"name": "worker", "namespace": "shop", "uid": "worker-uid"},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}});
        self.server.put(&format!("{DEPLOYMENTS}/worker"), worker);
    }

    /// The number of its replicas.
    pub(crate) fn replicas_of_worker(&self) -> Value {
        self.replicas_of("worker")
    }

    pub(crate) fn replicas_of(&self, deployment: &str) -> Value {
        self.server.get(&format!("deployments/{deployment}")).unwrap()["spec"]["replicas"].clone()
    }

    /// Waits until the Service is restored.
    pub(crate) async fn comes_to_be_given_back(&self) {
        let mut changes = self.server.watch();
        let gone = async {
            while !(self.claims().is_empty() && self.stand_ins().is_empty()) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(SOON, gone).await.expect("it is given back");
        self.is_given_back();
    }

    /// Sets the Service's selector back, as another user.
    pub(crate) fn is_reset(&self) {
        self.server.change(&format!("services/{SERVICE}"), |service| {
            service["spec"]["selector"] = json!({"app": SERVICE});
        });
    }

    /// Replaces the Service by the original, without the annotation, as another user.
    pub(crate) fn loses_its_attachment(&self) {
        self.server.change(&format!("services/{SERVICE}"), |service| {
            service["spec"]["selector"] = json!({"app": SERVICE});
            service["metadata"].as_object_mut().unwrap().remove("annotations");
        });
    }

    /// The Service's pods listen on another port from now on.
    pub(crate) fn moves_to_another_port(&self) {
        let port = self.node.reserve();
        self.server.change(&format!("services/{SERVICE}"), |service| {
            service["spec"]["ports"][0]["targetPort"] = port.into();
        });
    }

    /// The Service is as it was, and nothing of bridge is left but what is draining.
    pub(crate) fn is_given_back(&self) {
        assert_eq!(self.service()["spec"]["selector"], json!({"app": SERVICE}), "the selector");
        assert_eq!(self.claims(), Vec::<String>::new());
        assert_eq!(self.stand_ins(), Vec::<String>::new());
    }
}

pub(crate) struct Laptop {
    me: String,
    home: TempDir,
    program: u16,
    idle: Duration,
    running: Option<(Runtime, JoinHandle<Result<(), RunError>>)>,
}

impl Drop for Laptop {
    fn drop(&mut self) {
        self.kill_daemon();
    }
}

impl Laptop {
    /// The daemon is gone with all its tasks, without a goodbye.
    pub(crate) fn kill_daemon(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) async fn start_daemon(&mut self) {
        self.running = Some(start_daemon(&self.home, &self.me, self.idle).await);
    }

    /// Waits until the daemon has ended on its own.
    pub(crate) async fn daemon_ends(mut self) {
        let (_, serving) = self.running.as_mut().unwrap();
        let ended = tokio::time::timeout(SOON, serving).await.expect("the daemon ends");
        ended.unwrap().unwrap();
    }

    pub(crate) async fn daemon(&self) -> Daemon {
        let socket = self.home.path().join("daemon.sock");
        let connect = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel =
            Endpoint::from_static("http://bridge.local").connect_with_connector(connect).await.unwrap();
        Daemon { client: DaemonClient::new(channel), hello: v1::HelloReply::default() }
    }

    pub(crate) fn streams_socket(&self) -> PathBuf {
        self.home.path().join("streams.sock")
    }

    pub(crate) fn cluster(&self) -> Option<v1::Cluster> {
        let kubeconfig = vec![self.home.path().join("kubeconfig").display().to_string()];
        Some(v1::Cluster { kubeconfig, ..v1::Cluster::default() })
    }

    /// The request of `bridge connect orders`.
    pub(crate) fn request(&self) -> v1::ConnectRequest {
        v1::ConnectRequest {
            cluster: self.cluster(),
            target: SERVICE.into(),
            user: self.me.clone(),
            ports: vec![v1::PortMapping { local: self.program.into(), remote: String::new() }],
            agent_image: "bridge:test".into(),
            ..v1::ConnectRequest::default()
        }
    }

    pub(crate) async fn connects(&self) -> Result<v1::SessionStatus, ClientError> {
        self.connects_with(self.request()).await
    }

    pub(crate) async fn connects_with(
        &self,
        request: v1::ConnectRequest,
    ) -> Result<v1::SessionStatus, ClientError> {
        let mut daemon = self.daemon().await;
        let said = std::sync::Mutex::new(Vec::new());
        let say = |what: &bridge_client::Said| said.lock().unwrap().push(format!("{what:?}"));
        let connecting = tokio::time::timeout(SOON, bridge_client::connect(&mut daemon, request, say)).await;
        connecting.unwrap_or_else(|_| panic!("expected an outcome, instead: {:?}", said.lock().unwrap()))
    }

    pub(crate) async fn disconnects(&self) -> Result<v1::Disconnected, ClientError> {
        self.disconnects_from(SERVICE).await
    }

    pub(crate) async fn disconnects_from(&self, target: &str) -> Result<v1::Disconnected, ClientError> {
        let target = target.to_owned();
        let request =
            v1::DisconnectRequest { target, cluster: self.cluster(), ..v1::DisconnectRequest::default() };
        bridge_client::disconnect(&mut self.daemon().await, request, |_| {}).await
    }

    /// Cleans; returns the actions as sentences, and the users whose sessions it leaves.
    pub(crate) async fn cleans(&self, others: bool) -> (Vec<String>, Vec<String>) {
        let request = v1::CleanRequest { cluster: self.cluster(), others, ..v1::CleanRequest::default() };
        let reply = self.daemon().await.client.clean(request).await.unwrap().into_inner();
        assert_eq!((reply.failed, reply.unreadable.len()), (None, 0));
        (reply.done, reply.kept.into_iter().map(|kept| kept.user).collect())
    }

    /// The actions that a dry run of cleaning names, and the objects: "patch services/orders".
    pub(crate) async fn rehearses_cleaning(&self) -> (Vec<String>, Vec<String>) {
        let request =
            v1::CleanRequest { cluster: self.cluster(), dry_run: true, ..v1::CleanRequest::default() };
        let reply = self.daemon().await.client.clean(request).await.unwrap().into_inner();
        assert_eq!(reply.failed, None);
        let change =
            |change: v1::ObjectChange| format!("{} {}/{}", change.verb, change.resource, change.name);
        (reply.done, reply.changes.into_iter().map(change).collect())
    }

    /// The results of `bridge doctor`: "services OK: 1 of 1 …".
    pub(crate) async fn examines(&self) -> Vec<String> {
        let request = v1::ExamineRequest { cluster: self.cluster() };
        let checks = self.daemon().await.client.examine(request).await.unwrap().into_inner();
        let line = |check: Result<v1::Check, tonic::Status>| {
            let check = check.unwrap();
            format!("{} {}: {}", check.name, check.outcome().as_str_name(), check.detail)
        };
        tokio_stream::StreamExt::collect(tokio_stream::StreamExt::map(checks, line)).await
    }

    /// Asks the daemon to stop; returns whether it does.
    pub(crate) async fn stops(&self) -> bool {
        self.daemon().await.client.stop(v1::StopRequest {}).await.unwrap().into_inner().stopping
    }

    /// The agents' logs, and what they log from now on.
    pub(crate) async fn follows_logs(&self) -> Streaming<v1::LogsEvent> {
        let request = v1::LogsRequest {
            cluster: self.cluster(),
            target: SERVICE.into(),
            follow: true,
            ..v1::LogsRequest::default()
        };
        self.daemon().await.client.logs(request).await.unwrap().into_inner()
    }

    /// Waits until the only session is in this state, for this reason.
    pub(crate) async fn comes_to_be(&self, state: v1::State, why: &str) {
        let expected = format!("one session that is {state:?}: {why:?}");
        let is_there = |sessions: &[v1::SessionStatus]| matches!(sessions, [session] if session.state() == state && session.detail.contains(why));
        self.comes_to_have(&expected, is_there).await;
    }

    pub(crate) async fn comes_to_have_no_session(&self) {
        self.comes_to_have("no session", |sessions| sessions.is_empty()).await;
    }

    pub(crate) async fn comes_to_have(
        &self,
        expected: &str,
        is_there: impl Fn(&[v1::SessionStatus]) -> bool,
    ) {
        let mut daemon = self.daemon().await;
        let mut last = Vec::new();
        let watching = async {
            let mut events = daemon.client.watch(v1::WatchRequest {}).await.unwrap().into_inner();
            while let Some(event) = events.message().await.unwrap() {
                last = event.sessions;
                if is_there(&last) {
                    return;
                }
            }
            panic!("the daemon ended")
        };
        let came = tokio::time::timeout(SOON, watching).await;
        assert!(came.is_ok(), "expected {expected}, instead: {last:?}");
    }
}

async fn start_daemon(
    home: &TempDir,
    me: &str,
    idle: Duration,
) -> (Runtime, JoinHandle<Result<(), RunError>>) {
    let path = |name: &str| home.path().join(name);
    let (socket, streams): (PathBuf, PathBuf) = (path("daemon.sock"), path("streams.sock"));
    for left in [&socket, &streams] {
        let _ = std::fs::remove_file(left);
    }
    let (ready_tx, ready) = tokio::sync::oneshot::channel();
    let options = DaemonOptions {
        socket,
        streams,
        log_file: path("daemon.log"),
        installation: format!("laptop-of-{me}"),
        idle,
        ready: Box::new(move || ready_tx.send(()).unwrap()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let serving = runtime.spawn(bridge_daemon::run(options));
    ready.await.expect("the daemon listens");
    (runtime, serving)
}

/// A program that answers each request with its name.
pub(crate) async fn answers(name: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{name}", name.len());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match connection.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let _ = connection.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}
