//! A separate namespace for a test: Pod Security `restricted`, the sample application (or parts of it), and developers
//! with the Role of `deploy/rbac-developer.yaml` and nothing else.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api;
use crate::client::{Asked, Client};
use crate::laptop::{Laptop, Local, peak, port_on_loopback};
use crate::load::Load;
use crate::objects::{But, Objects};
use crate::place::{admin, file, in_node, kubectl, kubectl_with, shop_image};
use crate::policy::Policy;
use crate::process::{Done, USUAL};

/// Marks the namespaces of the suite, so that `tests/run` finds those of a killed one.
pub const LABEL: &str = "bridge.dev/end-to-end";

/// The label's value: the run of the suite, as several may go on at a time.
#[must_use]
pub fn run() -> String {
    std::env::var("BRIDGE_TEST_RUN").unwrap_or_else(|_| "by-hand".to_owned())
}

/// The manifests of the sample application that a world can have, each named after its Deployment.
const PARTS: [(&str, &str); 5] = [
    ("stock", "deploy/shop/10-stock.yaml"),
    ("prices", "deploy/shop/20-prices.yaml"),
    ("orders", "deploy/shop/30-orders.yaml"),
    ("web", "deploy/shop/40-web.yaml"),
    ("client", "deploy/shop/50-client.yaml"),
];

#[derive(Debug)]
pub struct World {
    pub namespace: String,
    kubeconfig: Value,
    /// The maximum number of a Deployment's pods.
    most_replicas: u32,
    client: Mutex<Option<Client>>,
}

impl World {
    /// A namespace with `orders` as it is deployed, which is two pods, and a pod to send requests from.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::of(name, &["orders", "client"], 2)
    }

    /// A namespace with these Deployments of the sample application, with one pod each: as many agents stand in for
    /// them, and pods are most of a run's cost.
    #[must_use]
    pub fn with(name: &str, parts: &[&str]) -> Self {
        Self::of(name, parts, 1)
    }

    /// Returns when all of them are ready.
    ///
    /// # Panics
    ///
    /// If they are not within a minute.
    fn of(name: &str, parts: &[&str], most_replicas: u32) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("{:x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace = format!("bridge-test-{name}-{unique}");
        let namespaced = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace,
            "labels": {LABEL: run(), "pod-security.kubernetes.io/enforce": "restricted"}}});
        let _ = api::create("/api/v1/namespaces", &namespaced);
        let world =
            Self { kubeconfig: kubeconfig(&namespace), namespace, most_replicas, client: Mutex::default() };

        let manifests: Vec<String> = parts.iter().map(|part| world.manifest(part)).collect();
        let role = std::fs::read_to_string(file("deploy/rbac-developer.yaml")).expect("the developer's Role");
        let applied = [vec![role, world.account("developer", Some("bridge-developer"))], manifests].concat();
        let _ = world.apply(&applied.join("\n---\n"));
        crate::eventually("the sample application is available", Duration::from_secs(50), || {
            let deployments = api::get(&format!("/apis/apps/v1/namespaces/{}/deployments", world.namespace));
            let all = deployments["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let missing: Vec<_> = all.iter().filter(|deployment| !is_available(deployment)).collect();
            missing.is_empty().then_some(()).ok_or_else(|| json!(missing).to_string())
        });
        if ["orders", "client"].iter().all(|part| parts.contains(part)) {
            world.leads_to_its_pods("orders");
        }
        world
    }

    /// Waits for the node: it learns of a Service's pods some time after they are ready.
    ///
    /// # Panics
    ///
    /// If it does not within seconds.
    pub fn leads_to_its_pods(&self, service: &str) {
        crate::eventually("the Service leads to its pods", Duration::from_secs(10), || {
            let asked = self.client(&["http", &format!("http://{service}/whoami")]);
            if asked.code == Some(0) { Ok(()) } else { Err(asked.to_string()) }
        });
    }

    /// A part's manifest, as it was applied in this namespace.
    ///
    /// # Panics
    ///
    /// If there is no such part.
    #[must_use]
    pub fn manifest(&self, part: &str) -> String {
        let (_, path) = PARTS.iter().find(|(name, _)| *name == part).expect("a part of shop");
        std::fs::read_to_string(file(path))
            .expect("a manifest")
            .replace("namespace: shop\n", &format!("namespace: {}\n", self.namespace))
            .replace("image: shop:dev\n", &format!("image: {}\n", shop_image()))
            .replace("replicas: 2\n", &format!("replicas: {}\n", self.most_replicas))
    }

    /// Applies YAML, as an admin does.
    pub fn apply(&self, yaml: &str) -> Done {
        let namespace = format!("--namespace={}", self.namespace);
        kubectl_with(&["apply", &namespace, "-f", "-"], yaml).succeeds()
    }

    /// Runs kubectl in this namespace, as the admin.
    #[must_use]
    pub fn kubectl(&self, args: &[&str]) -> Done {
        kubectl(&[&[format!("--namespace={}", self.namespace).as_str()], args].concat())
    }

    /// Creates a ServiceAccount, with this Role.
    fn account(&self, name: &str, role: Option<&str>) -> String {
        let metadata = json!({"name": name, "namespace": self.namespace});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata,
            "automountServiceAccountToken": false});
        let binding = role.map(|role| {
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}]})
        });
        binding.map_or_else(|| account.to_string(), |binding| format!("{account}\n---\n{binding}"))
    }

    /// From now on the developer has the rights of `deploy/rbac-sidecar.yaml`, too.
    ///
    /// # Panics
    ///
    /// If that file cannot be read.
    pub fn allows_sidecars(&self) {
        let role = std::fs::read_to_string(file("deploy/rbac-sidecar.yaml")).expect("the optional Role");
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "bridge-sidecar"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "bridge-sidecar"},
            "subjects": [{"kind": "User", "name": self.developer()}]});
        let _ = self.apply(&format!("{role}\n---\n{binding}"));
    }

    /// A developer's laptop, with its own daemon, home and installation.
    #[must_use]
    pub fn laptop(&self, me: &str) -> Laptop {
        Laptop::new(me, self.kubeconfig_of("developer"))
    }

    /// The laptop of a developer who has this Role of the namespace, or none at all.
    #[must_use]
    pub fn laptop_with_role(&self, me: &str, role: Option<&str>) -> Laptop {
        let _ = self.apply(&self.account(me, role));
        Laptop::new(me, self.kubeconfig_of(me))
    }

    fn kubeconfig_of(&self, account: &str) -> Value {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", self.namespace);
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 7200}});
        let token = api::create(&path, &request)["status"]["token"].take();
        let mut kubeconfig = self.kubeconfig.clone();
        kubeconfig["users"][0]["user"] = json!({"token": token});
        kubeconfig
    }

    /// One request from the pod `client`: `shop client …`.
    #[must_use]
    pub fn client(&self, args: &[&str]) -> Done {
        self.start_client(args).ends(USUAL)
    }

    /// The same, while the story goes on.
    #[must_use]
    pub fn start_client(&self, args: &[&str]) -> Asked {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        client.get_or_insert_with(|| Client::start(&self.namespace)).ask(args)
    }

    /// The next request is sent by another exec into the pod `client`, because a part of the cluster that carries execs was
    /// stopped.
    pub fn enters_the_client_again(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The name of what answers a request to orders with these headers ("x-bridge=alice").
    #[track_caller]
    #[must_use]
    pub fn who_answers(&self, headers: &[&str]) -> String {
        let headers = headers.iter().flat_map(|header| ["--header", header]);
        let args: Vec<&str> = ["http", "http://orders/whoami"].into_iter().chain(headers).collect();
        let answer = self.client(&args).succeeds().stdout;
        answer.trim().strip_prefix("orders ").map(str::to_owned).expect("orders NAME")
    }

    /// Waits until requests to orders with this header ("x-bridge=alice") are answered by one of this name, or whose name
    /// begins so ("orders-"), and returns how long it took.
    ///
    /// # Panics
    ///
    /// If they are not `within` that time.
    #[track_caller]
    pub fn comes_to(&self, header: &str, name: &str, within: Duration) -> Duration {
        let begun = Instant::now();
        let wanted = format!("orders {name}");
        crate::eventually(&format!("{name} answers requests with {header}"), within, || {
            let asked =
                self.client(&["http", "http://orders/whoami", "--header", header, "--timeout", "10s"]);
            asked.stdout.starts_with(&wanted).then(|| begun.elapsed()).ok_or_else(|| asked.to_string())
        })
    }

    /// Everyone else: constant callers of orders, with new connections, with kept ones, by WebSockets. Requests not
    /// answered by a pod count as failed.
    #[must_use]
    pub fn others(&self) -> Load {
        self.others_by("others", &["new", "keepalive", "ws"])
    }

    /// The same by these modes only, in another pod: kept connections are made now.
    #[must_use]
    pub fn others_by(&self, name: &str, modes: &[&str]) -> Load {
        let rate = if crate::soak() { "100" } else { "10" };
        let callers = |mode: &str| {
            let (url, expected) = match mode {
                "ws" => ("ws://orders/ws", "^orders-"),
                _ => ("http://orders/whoami", "^orders orders-"),
            };
            let args = ["--url", url, "--rate", rate, "--workers", "4", "--expect", expected];
            args.map(str::to_owned).to_vec()
        };
        let kinds: Vec<_> = modes.iter().map(|mode| (*mode, callers(mode))).collect();
        self.callers(name, &kinds)
    }

    /// Callers of several modes of `shop load`, each with its arguments, in a pod of their own.
    #[must_use]
    pub fn callers(&self, name: &str, modes: &[(&str, Vec<String>)]) -> Load {
        Load::start(&self.namespace, name, modes)
    }

    /// A port of the laptop that kubectl leads to a pod: "service/orders", "3000:80".
    #[must_use]
    pub fn port_forward(&self, target: &str, ports: &str) -> Local {
        let mut command = admin();
        command.args(["port-forward", &format!("--namespace={}", self.namespace), target, ports]);
        Local::start(command, format!("kubectl port-forward {target}"), port_on_loopback)
    }

    /// The requests of one developer: 20 new connections per second. Answers that do not match `expected` count as
    /// failed.
    #[must_use]
    pub fn requests_of(&self, me: &str, expected: &str) -> Load {
        let header = format!("x-bridge={me}");
        let url = "http://orders/whoami";
        let args = ["--url", url, "--rate", "20", "--header", &header, "--expect", expected];
        Load::start(&self.namespace, me, &[("new", args.map(str::to_owned).to_vec())])
    }

    /// From now on, pods with a container `c` for which `holds` (CEL) is not true are refused, with these words.
    #[must_use]
    pub fn refuses_pods(&self, holds: &str, words: &str) -> Policy {
        Policy::start(self, holds, words)
    }

    /// From now on, `deploy/policy.yaml` applies to the developer.
    #[must_use]
    pub fn holds_the_developer(&self) -> Policy {
        Policy::own_objects(self, &self.developer())
    }

    /// Runs kubectl in this namespace with the developer's rights.
    #[must_use]
    pub fn kubectl_as_developer(&self, args: &[&str]) -> Done {
        self.kubectl(&[&[format!("--as={}", self.developer()).as_str()], args].concat())
    }

    /// The RBAC user who has the Role of `deploy/rbac-developer.yaml`.
    fn developer(&self) -> String {
        format!("system:serviceaccount:{}:developer", self.namespace)
    }

    /// All objects of the namespace, except Events.
    #[must_use]
    pub fn objects(&self) -> Objects {
        Objects::of(&self.namespace)
    }

    /// Waits until all objects are as they were.
    ///
    /// # Panics
    ///
    /// With the fields that differ.
    pub fn is_again(&self, before: &Objects, within: Duration) {
        self.is_again_but(before, But::Nothing, within);
    }

    /// The same, after a Service was restored. A stand-in drains for half a minute at least, so only `make soak` waits
    /// for the last of it everywhere.
    ///
    /// # Panics
    ///
    /// With the fields that differ.
    pub fn is_given_back(&self, before: &Objects) {
        match crate::soak() {
            true => self.is_again(before, Duration::from_secs(60)),
            false => self.is_again_but(before, But::Draining, Duration::from_secs(10)),
        }
    }

    fn is_again_but(&self, before: &Objects, but: But, within: Duration) {
        if but == But::Nothing {
            // First, as reading all objects is work for the cluster.
            crate::eventually("the stand-ins' pods are gone", within, || {
                let pods = self.pods_of_stand_ins();
                pods.is_empty().then_some(()).ok_or_else(|| json!(pods).to_string())
            });
        }
        crate::eventually("all objects of the namespace are what they were", within, || {
            let differences = before.compare(&self.objects(), but);
            if differences.is_empty() {
                return Ok(());
            }
            crate::pause(Duration::from_millis(500));
            Err(differences.join("\n"))
        });
    }

    /// From now on no further pod is made; returns the quota's name.
    pub fn no_more_pods(&self) -> &'static str {
        const QUOTA: &str = "full";
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": QUOTA},
            "spec": {"hard": {"pods": "1"}}});
        let _ = self.apply(&quota.to_string());
        crate::eventually("the quota counts", Duration::from_secs(10), || {
            let quota = self.get(&format!("resourcequotas/{QUOTA}"));
            (quota["status"]["hard"]["pods"] == "1").then_some(()).ok_or_else(|| quota.to_string())
        });
        QUOTA
    }

    /// Panics unless nothing has changed.
    ///
    /// # Panics
    ///
    /// With the fields that differ.
    #[track_caller]
    pub fn is_unchanged(&self, before: &Objects) {
        let differences = before.compare(&self.objects(), But::Nothing);
        assert!(differences.is_empty(), "expected that nothing has changed:\n{}", differences.join("\n"));
    }

    /// The present Service.
    #[must_use]
    pub fn service(&self, name: &str) -> Value {
        self.get(&format!("services/{name}"))
    }

    /// An object of the core group, or a list: "pods/NAME".
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        api::get(&format!("/api/v1/namespaces/{}/{path}", self.namespace))
    }

    /// The peak of an agent's memory, in bytes. `None` if its node cannot be entered.
    #[must_use]
    pub fn agent_peak(&self, pod: &str) -> Option<u64> {
        let pod = self.get(&format!("pods/{pod}"));
        let uid = pod["metadata"]["uid"].as_str().expect("a uid");
        // The pause container of the pod is not its agent.
        let script = format!(
            "for c in $(grep -l 'pod{uid}' /proc/[0-9]*/cgroup); do s=${{c%cgroup}}status; grep -q '^Name:.pause' $s || cat $s; done"
        );
        peak(&in_node(&script)?.succeeds().stdout)
    }

    fn pods_of_stand_ins(&self) -> Vec<Value> {
        let mut pods = self.get("pods?labelSelector=bridge.dev%2Fstand-in");
        pods["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The names of the agents' pods that exist and are not terminating.
    #[must_use]
    pub fn agents(&self) -> Vec<String> {
        let pods = self.pods_of_stand_ins();
        let staying = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        staying.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seen = self.kubectl(&["get", "pods,services,deployments,configmaps,secrets", "-o", "wide"]);
            let events = self.kubectl(&[
                "get",
                "events",
                "--sort-by=.lastTimestamp",
                "-o",
                "custom-columns=\
                LAST:.lastTimestamp,OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message",
            ]);
            let troubles = kubectl(&[
                "get",
                "nodes",
                "-o",
                "jsonpath={range .items[*]}{.metadata.name}\
                {range .spec.taints[*]} {.key}{end}{\"\\n\"}{end}",
            ]);
            eprintln!("at the end of {}:\n{}", self.namespace, seen.stdout);
            eprintln!("events:\n{}\nnodes and their taints:\n{}", events.stdout, troubles.stdout);
        }
        let namespace = format!("/api/v1/namespaces/{}", self.namespace);
        api::discard(&namespace);
        // Agents drain for half a minute, which gains nothing here.
        api::discard(&format!("{namespace}/pods?gracePeriodSeconds=1"));
    }
}

fn is_available(deployment: &Value) -> bool {
    let conditions = deployment["status"]["conditions"].as_array();
    let available = |condition: &Value| condition["type"] == "Available" && condition["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(available))
}

/// The admin's kubeconfig with this namespace; the user is to be replaced.
fn kubeconfig(namespace: &str) -> Value {
    static ADMIN: OnceLock<Value> = OnceLock::new();
    let view = ["config", "view", "--raw", "--minify", "--flatten", "-o", "json"];
    let mut kubeconfig = ADMIN.get_or_init(|| kubectl(&view).succeeds().json()).clone();
    kubeconfig["contexts"][0]["context"]["namespace"] = json!(namespace);
    kubeconfig
}
