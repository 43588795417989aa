//! Constant callers in a pod of their own, who count every request that does not succeed (`shop load`).

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::place::{admin, kubectl, kubectl_with, shop_image};

/// What a load has counted so far, or at its end: the JSON of `shop load`.
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

    /// From the begin of the first request that failed to the end of the last one, in seconds.
    #[must_use]
    pub fn trouble_s(&self) -> f64 {
        let failures = self.0["failures"].as_array().map(Vec::as_slice).unwrap_or_default();
        let number = |failure: &Value, field: &str| failure[field].as_f64().unwrap_or_default();
        match (failures.first(), failures.last()) {
            (Some(first), Some(last)) => {
                number(last, "at_s") + number(last, "took_ms") / 1000.0 - number(first, "at_s")
            }
            _ => 0.0,
        }
    }

    /// Goes on only if no request has failed.
    ///
    /// # Panics
    ///
    /// With the failures.
    #[track_caller]
    pub fn none_failed(&self, who: &str) {
        assert!(self.requests() > 0, "{who}: expected requests, and there was none");
        assert!(self.failed() == 0, "{who}: expected no failed request: {self}");
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A load under way.
#[derive(Debug)]
pub struct Load {
    namespace: String,
    pod: String,
    latest: Arc<Mutex<Report>>,
    follower: Option<(Child, JoinHandle<()>)>,
}

impl Load {
    pub(crate) fn start(namespace: &str, name: &str, args: &[&str]) -> Self {
        let pod = format!("load-{name}");
        let args: Vec<&str> = [&["load", "--progress", "100ms"], args].concat();
        let manifest = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod, "namespace": namespace, "labels": {"app": "load"}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 15,
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "load", "image": shop_image(), "imagePullPolicy": "IfNotPresent", "args": args,
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        }});
        let _ = kubectl_with(&["create", "-f", "-"], &manifest.to_string()).succeeds();
        let mut load = Self { namespace: namespace.to_owned(), pod, latest: Arc::default(), follower: None };
        let namespaced = format!("--namespace={namespace}");
        let pod = format!("pod/{}", load.pod);
        let _ = kubectl(&["wait", &namespaced, &pod, "--for=condition=Ready", "--timeout=40s"]).succeeds();
        load.follower = Some(load.follow());
        load.goes_on(10);
        load
    }

    /// Takes in each line of JSON; the last one is the final report.
    fn follow(&self) -> (Child, JoinHandle<()>) {
        let mut follower = admin()
            .args([&format!("--namespace={}", self.namespace), "logs", "--follow", &self.pod])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl starts");
        let lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
        let latest = self.latest.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Ok(report) = serde_json::from_str(&line) {
                    *latest.lock().unwrap_or_else(PoisonError::into_inner) = Report(report);
                }
            }
        });
        (follower, reader)
    }

    /// What was counted until a moment ago.
    #[must_use]
    pub fn so_far(&self) -> Report {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many more requests have been made.
    ///
    /// # Panics
    ///
    /// If they have not after half a minute.
    pub fn goes_on(&self, requests: u64) {
        let before = self.so_far().requests();
        crate::eventually(
            &format!("{requests} more requests of {}", self.pod),
            Duration::from_secs(30),
            || {
                let now = self.so_far();
                (now.requests() >= before + requests).then_some(()).ok_or_else(|| now.to_string())
            },
        );
    }

    /// Ends the load and returns what it has counted.
    ///
    /// # Panics
    ///
    /// If its report does not come.
    #[must_use]
    pub fn ends(mut self) -> Report {
        self.delete();
        let (follower, reader) = self.follower.as_mut().expect("taken only at the end");
        crate::eventually("the load ends", Duration::from_secs(30), || {
            reader.is_finished().then_some(()).ok_or("its log goes on".to_owned())
        });
        // It has ended; this reaps it.
        let _ = follower.wait();
        self.follower = None;
        self.so_far()
    }

    fn delete(&self) {
        let _ = kubectl(&[
            &format!("--namespace={}", self.namespace),
            "delete",
            "pod",
            &self.pod,
            "--wait=false",
        ]);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Some((mut follower, _)) = self.follower.take() {
            if std::thread::panicking() {
                eprintln!("{} had counted: {}", self.pod, self.so_far());
            }
            // Its end is not waited for: the namespace goes.
            let _ = follower.kill();
            let _ = follower.wait();
            self.delete();
        }
    }
}
