//! Constant callers in a pod of their own, who count every request that does not succeed (`shop load`).

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::api;
use crate::place::shop_image;

/// The counts of callers so far, or at their end: the JSON of `shop load`.
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

    /// The number of requests that this one has answered.
    #[must_use]
    pub fn answered_by(&self, name: &str) -> u64 {
        self.0["by_answerer"][name].as_u64().unwrap_or_default()
    }

    /// From the first failure to the beginning of the last request that failed, in seconds.
    ///
    /// # Panics
    ///
    /// If it is not in the report.
    #[must_use]
    pub fn trouble_s(&self) -> f64 {
        self.0["trouble_s"].as_f64().expect("the seconds of trouble in the report of `shop load`")
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The counts of the callers of each kind, in the order in which they were named.
type Counted = Arc<Mutex<Vec<(String, Report)>>>;

/// The time that a load has for its reports after it was stopped.
const GRACE_S: u32 = 15;

/// A running load: a pod, and its log.
#[derive(Debug)]
pub struct Load {
    namespace: String,
    pod: String,
    counted: Counted,
    log: Log,
}

/// The connection of the log that is followed; `None` once it is to end.
type Log = Arc<Mutex<Option<UnixStream>>>;

impl Load {
    /// Starts a pod with callers of several modes, each with its arguments, and returns when all have had answers.
    pub(crate) fn start(namespace: &str, name: &str, modes: &[(&str, Vec<String>)]) -> Self {
        // A pod that was deleted keeps its name for a while.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let pod = format!("load-{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let callers = modes.iter().map(|(mode, args)| {
            let mode = ["--mode", mode, "--progress", "500ms"].map(str::to_owned);
            [&mode[..], args].concat()
        });
        let callers = callers.collect::<Vec<_>>().join(&"--and".to_owned());
        let args = [vec!["load".to_owned(), "--stay".to_owned()], callers].concat();
        let container = json!({"name": "callers", "image": shop_image(), "imagePullPolicy": "IfNotPresent", "args": args,
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
        let manifest = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod, "labels": {"app": "load"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        }});
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let _ = api::create(&pods, &manifest);
        crate::eventually(&format!("{pod} runs"), Duration::from_secs(40), || {
            let status = api::get(&format!("{pods}/{pod}"))["status"].take();
            (status["phase"] == "Running").then_some(()).ok_or_else(|| status.to_string())
        });
        let counted: Vec<_> = modes.iter().map(|(mode, _)| ((*mode).to_owned(), Report::default())).collect();
        let counted = Counted::new(Mutex::new(counted));
        let (lines, connection) =
            follow(&pods, &pod).unwrap_or_else(|error| panic!("the log of {pod}: {error}"));
        let log = Log::new(Mutex::new(Some(connection)));
        std::thread::spawn({
            let (counted, log, pod) = (counted.clone(), log.clone(), pod.clone());
            move || {
                let mut lines = Some(lines);
                while let Some(followed) = lines {
                    followed.for_each(|line| count(&counted, &line));
                    lines = follow_again(&log, &pods, &pod);
                }
            }
        });
        let load = Self { namespace: namespace.to_owned(), pod, counted, log };
        load.goes_on(10);
        load
    }

    /// The counts of the callers of each kind until a moment ago.
    #[must_use]
    pub fn so_far(&self) -> Vec<(String, Report)> {
        lock(&self.counted).clone()
    }

    /// Waits until callers of each kind have made this many more requests.
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

    /// Ends the load and returns the counts of the callers of the first kind.
    ///
    /// # Panics
    ///
    /// If the reports do not come.
    #[must_use]
    pub fn ends(self) -> Report {
        self.end();
        self.so_far().swap_remove(0).1
    }

    /// Ends the load, and panics if any request has failed.
    ///
    /// # Panics
    ///
    /// With the failures.
    #[track_caller]
    pub fn has_lost_nothing(self) {
        self.end();
        for (name, report) in self.so_far() {
            println!("{} {name}: {} requests, {} failed", self.pod, report.requests(), report.failed());
            assert!(report.requests() > 0, "{name}: expected requests, and there was none");
            assert!(report.failed() == 0, "{name}: expected no failed request: {report}");
        }
    }

    #[track_caller]
    fn end(&self) {
        self.delete(GRACE_S);
        crate::eventually("the load's final reports", Duration::from_secs(10), || {
            let going_on = self.so_far().into_iter().find(|(_, report)| report.0["ended"] != true);
            going_on.map_or(Ok(()), |(mode, report)| Err(format!("{mode}: {report}")))
        });
    }

    fn delete(&self, grace_s: u32) {
        let pod = format!("/api/v1/namespaces/{}/pods/{}", self.namespace, self.pod);
        api::discard(&format!("{pod}?gracePeriodSeconds={grace_s}"));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} had counted: {:?}", self.pod, self.so_far());
        }
        // Its end is not waited for: the namespace goes.
        if let Some(connection) = lock(&self.log).take() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.delete(1);
    }
}

type Lines = Box<dyn Iterator<Item = String> + Send>;

fn follow(pods: &str, pod: &str) -> std::io::Result<(Lines, UnixStream)> {
    let (lines, connection) = api::follow(&format!("{pods}/{pod}/log?follow=true"))?;
    Ok((Box::new(lines), connection))
}

/// Follows a log that has ended, unless it was to end: a story may have stopped what carries it.
fn follow_again(log: &Log, pods: &str, pod: &str) -> Option<Lines> {
    loop {
        let mut connection = lock(log);
        connection.as_ref()?;
        if let Ok((lines, again)) = follow(pods, pod) {
            *connection = Some(again);
            return Some(lines);
        }
        drop(connection);
        crate::pause(Duration::from_millis(300));
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes in a line of the log: a report. The final one stays, as earlier messages on stderr may come after it.
fn count(counted: &Mutex<Vec<(String, Report)>>, line: &str) {
    let Ok(report) = serde_json::from_str::<Value>(line) else { return };
    let mut counted = lock(counted);
    let latest = counted.iter_mut().find(|(mode, _)| report["mode"] == mode.as_str());
    if let Some((_, latest)) = latest.filter(|(_, latest)| latest.0["ended"] != true) {
        *latest = Report(report);
    }
}
