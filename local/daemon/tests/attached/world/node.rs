//! The cluster's own part: it starts pods for the Deployments of agents (real agents, on loopback), and connects a
//! Service's port to what its selector means.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bridge_agent::{Agent, Config, Forward, Outward};
use bridge_cluster::pretended::ApiServer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{DEPLOYMENTS, PODS, REPLICA_SETS, SERVICE, SERVICES};

/// The pause before a pod that did not start is tried again.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A clone is a handle to the same.
#[derive(Clone)]
pub(crate) struct Node(Arc<Inner>);

struct Inner {
    server: ApiServer,
    origin: SocketAddr,
    /// The ports on which agents listen for callers: the Service's target ports so far.
    listen: Mutex<Vec<Reserved>>,
    /// The address of the pods' resolver.
    resolver: SocketAddr,
    keys: TempDir,
    agents: Mutex<BTreeMap<String, Agent>>,
    state: Mutex<State>,
}

/// A port that the kernel gives to no one else, and on which agents can listen one after the other.
pub(crate) struct Reserved {
    _bound: TcpSocket,
    pub(crate) port: u16,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        // On all addresses, as an agent: one that an ended connection still has on another address is not free.
        let on_all = |socket: std::io::Result<TcpSocket>, address: IpAddr| {
            let socket = socket?;
            // Another socket that binds this port by number may have it as well, as long as this one does not listen.
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::new(address, 0)).map(|()| socket)
        };
        let bound = on_all(TcpSocket::new_v6(), Ipv6Addr::UNSPECIFIED.into())
            .or_else(|_| on_all(TcpSocket::new_v4(), Ipv4Addr::UNSPECIFIED.into()))
            .unwrap();
        let port = bound.local_addr().unwrap().port();
        Self { _bound: bound, port }
    }
}

#[derive(Default)]
struct State {
    pods: usize,
    /// Whether pods are kept from starting.
    held: bool,
    /// The pod of the origin, while its Deployment is scaled to zero.
    origin: Option<Value>,
}

impl Node {
    /// Runs until the test ends. `proxy`: the listener for the Service's callers.
    pub(crate) fn start(
        server: ApiServer,
        origin: SocketAddr,
        listen: Reserved,
        resolver: SocketAddr,
        proxy: TcpListener,
    ) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let (listen, agents, state) = (Mutex::new(vec![listen]), Mutex::default(), Mutex::default());
        let node = Self(Arc::new(Inner { server, origin, listen, resolver, keys, agents, state }));
        tokio::spawn(node.clone().control());
        tokio::spawn(node.clone().proxy(proxy));
        node
    }

    /// Reserves another port that agents can listen on.
    pub(crate) fn reserve(&self) -> u16 {
        let reserved = Reserved::new();
        let port = reserved.port;
        self.0.listen.lock().unwrap().push(reserved);
        port
    }

    /// The Service as it is now, and its target port.
    fn service(&self) -> (Value, u16) {
        let service = self.0.server.get(&format!("services/{SERVICE}")).unwrap();
        let port = service["spec"]["ports"][0]["targetPort"].as_u64().unwrap();
        (service, port.try_into().unwrap())
    }

    /// The address of a pod's port for daemons.
    pub(crate) fn control_of(&self, pod: &str) -> Option<SocketAddr> {
        let agents = self.0.agents.lock().unwrap();
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), agents.get(pod)?.control))
    }

    /// Keeps pods from starting, or lets them start.
    pub(crate) fn hold(&self, held: bool) {
        self.0.state.lock().unwrap().held = held;
        self.0.server.put(&format!("{PODS}/other"), json!({"metadata": {"name": "other"}}));
    }

    /// Deletes the agents' pods and ends their processes at once.
    pub(crate) fn kill_agents(&self) {
        let agents = std::mem::take(&mut *self.0.agents.lock().unwrap());
        for pod in agents.keys() {
            self.0.server.remove(&format!("{PODS}/{pod}"));
        }
    }

    /// Gives each Deployment of agents its pod, and removes the pods of those that are gone.
    async fn control(self) {
        let mut changes = self.0.server.watch();
        loop {
            changes.mark_unchanged();
            self.scale_origin();
            let deployments = self.0.server.all(DEPLOYMENTS);
            let of_agents: Vec<&Value> = deployments
                .iter()
                .filter(|one| {
                    let labels = &one["metadata"]["labels"];
                    labels["bridge.dev/stand-in"].is_string() || is_aside(labels)
                })
                .collect();
            let is_wanted = |pod: &str| {
                of_agents.iter().any(|one| pod.starts_with(one["metadata"]["name"].as_str().unwrap()))
            };
            let mut gone = Vec::new();
            self.0.agents.lock().unwrap().retain(|pod, _| {
                let wanted = is_wanted(pod);
                if !wanted {
                    gone.push(pod.clone());
                }
                wanted
            });
            for pod in gone {
                self.0.server.remove(&format!("{PODS}/{pod}"));
            }
            let mut waiting = false;
            for deployment in &of_agents {
                waiting |= self.run(deployment).await;
            }
            let bound = if waiting { BACK_OFF } else { Duration::MAX };
            if let Ok(Err(_)) = tokio::time::timeout(bound, changes.changed()).await {
                return;
            }
        }
    }

    /// Gives the origin as many pods as it is to have: one, or none.
    fn scale_origin(&self) {
        let server = &self.0.server;
        let Some(origin) = server.get(&format!("deployments/{SERVICE}")) else { return };
        let (wanted, pod) = (origin["spec"]["replicas"].as_u64().unwrap(), server.get("pods/orders-rs-1"));
        let path = format!("{PODS}/orders-rs-1");
        let kept = &mut self.0.state.lock().unwrap().origin;
        match (wanted, pod) {
            (0, Some(pod)) => {
                *kept = Some(pod);
                server.remove(&path);
            }
            (1.., None) => match kept.take() {
                Some(pod) => server.put(&path, pod),
                None => return,
            },
            _ => return,
        }
        server.change(&format!("deployments/{SERVICE}"), |origin| {
            origin["status"]["readyReplicas"] = wanted.into();
        });
    }

    /// Gives a Deployment its pod. Returns whether to try again.
    async fn run(&self, deployment: &Value) -> bool {
        let name = deployment["metadata"]["name"].as_str().unwrap();
        let pod = {
            let mut state = self.0.state.lock().unwrap();
            if state.held || self.0.agents.lock().unwrap().keys().any(|pod| pod.starts_with(name)) {
                return false;
            }
            state.pods += 1;
            format!("{name}-rs-{}", state.pods)
        };
        let Some(key_file) = self.key(&pod, name) else { return true };
        let replica_set = json!({"metadata": {"name": format!("{name}-rs"), "uid": format!("{name}-rs-uid"),
            "ownerReferences": [owner("Deployment", &deployment["metadata"])]}});
        let agent = Agent::start(Config {
            forward: match is_aside(&deployment["metadata"]["labels"]) {
                true => Vec::new(),
                false => vec![Forward { listen: self.service().1, origin: self.0.origin }],
            },
            control: 0,
            readiness: 0,
            metrics: None,
            key_file,
            name: pod.clone(),
            outward: Outward {
                also_allowed: vec!["127.0.0.0/8".parse().unwrap()],
                resolver: Some(self.0.resolver),
                ..Outward::default()
            },
            restore: None,
            memory: None,
        });
        // There is one node with one such port: while another stand-in's agent is still there, this one waits for its end.
        let agent = match agent.await {
            Ok(agent) => agent,
            Err(error) => {
                eprintln!("{pod} does not start yet: {error:?}");
                return true;
            }
        };
        self.0.agents.lock().unwrap().insert(pod.clone(), agent);
        let replica_sets = format!("{REPLICA_SETS}/{name}-rs");
        self.0.server.put(&replica_sets, replica_set.clone());
        let mut labels = deployment["spec"]["template"]["metadata"]["labels"].clone();
        labels["pod-template-hash"] = "rs".into();
        let object = json!({
            "metadata": {"name": pod, "namespace": "shop", "labels": labels,
                "ownerReferences": [owner("ReplicaSet", &replica_set["metadata"])]},
            "spec": {"containers": [{"name": "agent"}]},
            "status": {"phase": "Running", "podIP": "127.0.0.1",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "agent", "ready": true, "image": "", "imageID": "", "restartCount": 0,
                    "state": {"running": {}}}]},
        });
        self.0.server.put(&format!("{PODS}/{pod}"), object);
        false
    }

    /// The file with the key of a stand-in, as the kubelet mounts it.
    fn key(&self, pod: &str, stand_in: &str) -> Option<std::path::PathBuf> {
        let secret = self.0.server.get(&format!("secrets/{stand_in}-key"))?;
        let key = BASE64_STANDARD.decode(secret["data"]["key"].as_str()?).unwrap();
        let file = self.0.keys.path().join(pod);
        std::fs::write(&file, key).unwrap();
        Some(file)
    }

    /// The Service's port: each connection goes where the selector leads at that moment.
    async fn proxy(self, proxy: TcpListener) {
        loop {
            let (mut caller, _) = proxy.accept().await.unwrap();
            let (service, port) = self.service();
            let to_origin = service["spec"]["selector"] == json!({"app": SERVICE});
            // A Service without pods refuses connections.
            if to_origin && self.0.server.get("pods/orders-rs-1").is_none() {
                continue;
            }
            let agent = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
            let to = if to_origin { self.0.origin } else { agent };
            tokio::spawn(async move {
                // An unreachable pod's connection is closed, as a node refuses it.
                let Ok(mut pod) = TcpStream::connect(to).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut caller, &mut pod).await;
            });
        }
    }
}

fn is_aside(labels: &Value) -> bool {
    labels["bridge.dev/aside"].is_string()
}

pub(crate) fn owner(kind: &str, metadata: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"],
        "controller": true})
}

/// A Service with one pod behind it, as a user has deployed it.
pub(crate) fn deployed(server: &ApiServer, port: u16, target_port: u16) {
    let named = |name: &str, uid: &str| json!({"name": name, "namespace": "shop", "uid": uid});
    let labels = json!({"app": SERVICE});
    let container = json!({"name": "app", "image": "orders:1",
        "ports": [{"name": "http", "containerPort": target_port}]});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    let mut pod = json!({"metadata": named("orders-rs-1", "pod-uid"), "spec": {"containers": [container]},
        "status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}});
    pod["metadata"]["labels"] = labels.clone();
    pod["metadata"]["ownerReferences"] = json!([owner("ReplicaSet", &named("orders-rs", "rs-uid"))]);
    let mut replica_set = json!({"metadata": named("orders-rs", "rs-uid"), "spec": {"template": template}});
    replica_set["metadata"]["ownerReferences"] =
        json!([owner("Deployment", &named(SERVICE, "deployment-uid"))]);
    let version = json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "linux/amd64"});
    server.put("/version", version);
    server.put("/api/v1/namespaces/shop", json!({"metadata": {"name": "shop"}}));
    server.put(&format!("{PODS}/orders-rs-1"), pod);
    server.put(&format!("{REPLICA_SETS}/orders-rs"), replica_set);
    server.put(
        &format!("{DEPLOYMENTS}/{SERVICE}"),
        json!({"metadata": named(SERVICE, "deployment-uid"),
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}}),
    );
    server.put(
        &format!("{SERVICES}/{SERVICE}"),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": named(SERVICE, "service-uid"),
            "spec": {"selector": labels, "clusterIP": "127.0.0.1", "type": "ClusterIP",
                "ports": [{"name": "http", "port": port, "targetPort": target_port, "protocol": "TCP"}]}}),
    );
}
