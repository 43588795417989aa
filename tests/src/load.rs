//! Constant callers in a pod of their own, who count every request that does not succeed (`shop load`).

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::place::{admin, kubectl, kubectl_with, shop_image};

/// What callers have counted so far, or at their end: the JSON of `shop load`.
#[derive(Debug, Clone, Default)]
pub struct Report(Value);

impl Report {
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0["requests"].as_u64().unwrap_or_default()
    }

    #[must_use]
    pub fn failed(&self) -> u64 {
        self.0["failed"].as_u64().unwrap_or_default()
    }

    /// The slowest answer, in milliseconds.
    #[must_use]
    pub fn slowest_ms(&self) -> f64 {
        self.0["max_ms"].as_f64().unwrap_or_default()
    }

    /// How many requests this one has answered.
    #[must_use]
    pub fn answered_by(&self, name: &str) -> u64 {
        self.0["by_answerer"][name].as_u64().unwrap_or_default()
    }

    /// From the begin of the first request that failed to the begin of the last one, in seconds.
    #[must_use]
    pub fn trouble_s(&self) -> f64 {
        let failures = self.0["failures"].as_array().map(Vec::as_slice).unwrap_or_default();
        let begun = |failure: Option<&Value>| failure.and_then(|failure| failure["at_s"].as_f64());
        begun(failures.last()).zip(begun(failures.first())).map_or(0.0, |(last, first)| last - first)
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Callers of one kind: a container of the pod.
#[derive(Debug)]
struct Callers {
    name: String,
    latest: Arc<Mutex<Report>>,
    follower: Child,
    reader: JoinHandle<()>,
}

/// A load under way.
#[derive(Debug)]
pub struct Load {
    namespace: String,
    pod: String,
    callers: Vec<Callers>,
}

impl Load {
    /// Starts a pod with callers of several kinds, each with its arguments, and returns when all have had answers.
    pub(crate) fn start(namespace: &str, name: &str, kinds: &[(&str, Vec<String>)]) -> Self {
        let pod = format!("load-{name}");
        let containers = kinds.iter().map(|(name, args)| {
            let args =
                [vec!["load".to_owned(), "--progress".to_owned(), "500ms".to_owned()], args.clone()].concat();
            json!({"name": name, "image": shop_image(), "imagePullPolicy": "IfNotPresent", "args": args,
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}})
        });
        let manifest = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod, "namespace": namespace, "labels": {"app": "load"}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 15,
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": containers.collect::<Vec<_>>(),
        }});
        let _ = kubectl_with(&["create", "-f", "-"], &manifest.to_string()).succeeds();
        let mut load = Self { namespace: namespace.to_owned(), pod, callers: Vec::new() };
        let in_namespace = format!("--namespace={namespace}");
        let ready = ["wait", &in_namespace, "pod", &load.pod, "--for=condition=Ready", "--timeout=40s"];
        let _ = kubectl(&ready).succeeds();
        load.callers = kinds.iter().map(|(name, _)| load.follow(name)).collect();
        load.goes_on(10);
        load
    }

    /// Takes in each line of JSON; the last one is the final report.
    fn follow(&self, name: &str) -> Callers {
        let mut follower = admin()
            .args([&format!("--namespace={}", self.namespace), "logs", "--follow", &self.pod, "-c", name])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl starts");
        let lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
        let latest = Arc::<Mutex<Report>>::default();
        let reader = std::thread::spawn({
            let latest = latest.clone();
            move || {
                for line in lines.map_while(Result::ok) {
                    if let Ok(report) = serde_json::from_str(&line) {
                        *latest.lock().unwrap_or_else(PoisonError::into_inner) = Report(report);
                    }
                }
            }
        });
        Callers { name: name.to_owned(), latest, follower, reader }
    }

    /// What the callers of each kind have counted until a moment ago.
    #[must_use]
    pub fn so_far(&self) -> Vec<(&str, Report)> {
        let report =
            |callers: &Callers| callers.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.callers.iter().map(|callers| (callers.name.as_str(), report(callers))).collect()
    }

    /// Waits until callers of each kind have made so many more requests.
    ///
    /// # Panics
    ///
    /// If they have not after half a minute.
    pub fn goes_on(&self, requests: u64) {
        let before: Vec<u64> = self.so_far().iter().map(|(_, report)| report.requests()).collect();
        let what = format!("{requests} more requests of {} of each kind", self.pod);
        crate::eventually(&what, Duration::from_secs(30), || {
            let now = self.so_far();
            let enough =
                now.iter().zip(&before).all(|((_, now), before)| now.requests() >= before + requests);
            enough.then_some(()).ok_or_else(|| format!("{now:?}"))
        });
    }

    /// Ends the load and returns what the callers of the first kind have counted.
    ///
    /// # Panics
    ///
    /// If the reports do not come.
    #[must_use]
    pub fn ends(mut self) -> Report {
        self.end();
        self.so_far().swap_remove(0).1
    }

    /// Ends the load, and goes on only if no request has failed.
    ///
    /// # Panics
    ///
    /// With the failures.
    #[track_caller]
    pub fn has_lost_nothing(mut self) {
        self.end();
        for (name, report) in self.so_far() {
            println!("{} {name}: {} requests, {} failed", self.pod, report.requests(), report.failed());
            assert!(report.requests() > 0, "{name}: expected requests, and there was none");
            assert!(report.failed() == 0, "{name}: expected no failed request: {report}");
        }
    }

    fn end(&mut self) {
        self.delete();
        crate::eventually("the load ends", Duration::from_secs(30), || {
            let ended = self.callers.iter().all(|callers| callers.reader.is_finished());
            ended.then_some(()).ok_or("its log goes on".to_owned())
        });
    }

    fn delete(&self) {
        let in_namespace = format!("--namespace={}", self.namespace);
        let _ = kubectl(&[&in_namespace, "delete", "pod", &self.pod, "--wait=false", "--ignore-not-found"]);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} had counted: {:?}", self.pod, self.so_far());
        }
        let under_way = self.callers.iter().any(|callers| !callers.reader.is_finished());
        for callers in &mut self.callers {
            // Its end is not waited for: it may have come, or the namespace goes.
            let _ = callers.follower.kill();
            let _ = callers.follower.wait();
        }
        if under_way {
            self.delete();
        }
    }
}
