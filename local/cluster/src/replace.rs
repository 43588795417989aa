//! Scaling a workload to zero while a laptop takes its place (`--replace`), so that consumers, loops and migrations do
//! not run twice. If a Service selects its pods, everything that comes to it goes to the laptop meanwhile.
//!
//! The workload has the [`record`] itself, in an annotation: the number of replicas, and the session. So it is restored
//! from there alone, at the session's end ([`restore`]) or by anyone's [`clean`]. Of autoscalers, Kubernetes' own leaves
//! a workload without replicas alone; KEDA's is paused ([`keda`]).

mod allowed;
pub(crate) mod keda;
mod record;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bridge_proto::target::{Kind, Target};
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::api::{DynamicObject, ListParams};
use kube::core::Selector;
use serde_json::Value;

use crate::app::{App, AppKind};
use crate::client::{Cluster, unless_forbidden};
use crate::error::{Call, ClusterError};
use crate::obstacle::Obstacle;
use crate::state::Claim;
use crate::takeover::clean::Whose;
use crate::takeover::{Step, Waiter, unless_given_up};
use crate::watch;
use crate::write::write;

pub(crate) use self::allowed::replaceable;
pub use self::allowed::replaceable_behind;
use self::record::{Record, Refused, forgotten, paused, scaled_back, scaled_to_zero};

/// The kinds that can be without pods and come back.
const KINDS: [(Kind, AppKind); 2] =
    [(Kind::Deployment, AppKind::Deployment), (Kind::StatefulSet, AppKind::StatefulSet)];

/// The limit on waiting for the pods of a restored workload.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// A workload that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// "deploy/worker"
    pub target: String,
    pub user: String,
    pub replicas: u32,
}

/// The results of cleaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cleaned {
    pub(crate) restored: Vec<Restored>,
    /// Annotations that could not be read, and were left alone.
    pub(crate) unreadable: Vec<ClusterError>,
}

impl Restored {
    /// "deploy/worker: restored its replicas (3), which alice had replaced"
    #[must_use]
    pub fn sentence(&self) -> String {
        self.with("restored")
    }

    /// The same of a dry run: "deploy/worker: would restore …"
    #[must_use]
    pub fn intention(&self) -> String {
        self.with("would restore")
    }

    fn with(&self, restored: &str) -> String {
        let Self { target, user, replicas } = self;
        format!("{target}: {restored} its replicas ({replicas}), which {user} had replaced")
    }
}

/// Scales the workload to zero for a session, and waits until its pods have ended.
///
/// # Errors
///
/// [`ClusterError::Replaced`] if another session does, [`ClusterError::NotReplaced`] with the reason, and those of the
/// calls and of the waiter. What was done is undone by [`restore`].
pub async fn replace<W: Waiter>(
    cluster: &Cluster,
    app: &App,
    session: &Claim,
    waiter: &W,
) -> Result<(), W::Error> {
    waiter.step(Step::ScalingToZero { workload: app.to_string() }).await?;
    let scaler = keda::scaler(cluster, app).await?;
    let scale =
        || write(cluster, app, |now| decide(&cluster.namespace, app, now, session, scaler.as_deref()));
    scale().await?;
    if let Some(scaler) = &scaler {
        keda::pause(cluster, scaler).await?;
        // It may have been quicker.
        scale().await?;
    }
    unless_given_up(waiter, async {
        let progress = |left| waiter.hint(Step::WaitingForPods { workload: app.to_string(), left });
        Ok(emptied(cluster, app, progress).await?)
    })
    .await
}

fn decide(
    namespace: &str,
    app: &App,
    now: &DynamicObject,
    session: &Claim,
    scaler: Option<&str>,
) -> Result<Option<serde_json::Value>, ClusterError> {
    if now.metadata.uid.as_ref() != Some(&app.uid) {
        let call = Call::new("patch", app.kind.resource(), namespace, &app.name);
        return Err(ClusterError::NotFound { call });
    }
    scaled_to_zero(now, session, scaler).map_err(|refused| match refused {
        Refused::By(other) => ClusterError::Replaced { workload: app.to_string(), holder: other.user },
        Refused::Unreadable(reason) => ClusterError::NotReplaced {
            target: app.to_string(),
            reason: Obstacle::UnreadableReplaced(reason),
        },
    })
}

/// Waits until no pod of the workload is left, the ending ones included.
async fn emptied(cluster: &Cluster, app: &App, progress: impl Fn(usize)) -> Result<(), ClusterError> {
    let api = app.kind.api(&cluster.client, &cluster.namespace);
    let call = Call::new("get", app.kind.resource(), &cluster.namespace, &app.name);
    let workload = cluster.call(call, api.get(&app.name)).await?;
    let Some(selector) = selector(&workload) else { return Ok(()) };
    let mut pods = std::pin::pin!(watch::pod_changes(cluster, &selector));
    while let Some(pods) = pods.next().await {
        match pods?.len() {
            0 => return Ok(()),
            left => progress(left),
        }
    }
    Ok(())
}

/// Waits until all pods of a workload are ready that it is to have, for a bounded time: callers need them, but not all.
/// Whether it is to have any.
///
/// # Errors
///
/// The errors of the calls.
pub async fn until_back(cluster: &Cluster, app: &App) -> Result<bool, ClusterError> {
    let all_ready = async {
        let mut states = std::pin::pin!(watch::app(cluster, app));
        while let Some(now) = states.next().await {
            let Some(workload) = now? else { return Ok(false) };
            let wanted = record::replicas(&workload);
            if ready(&workload) >= wanted {
                return Ok(wanted > 0);
            }
        }
        Ok(true)
    };
    tokio::time::timeout(BACK_WITHIN, all_ready).await.unwrap_or(Ok(true))
}

fn ready(workload: &DynamicObject) -> u32 {
    let ready = workload.data.pointer("/status/readyReplicas").and_then(Value::as_u64);
    ready.and_then(|ready| u32::try_from(ready).ok()).unwrap_or_default()
}

/// The replicas that a workload is to have, at each change; `None`: it does not exist.
pub fn replicas(
    cluster: &Cluster,
    app: &App,
) -> impl Stream<Item = Result<Option<u32>, ClusterError>> + Send + use<> {
    watch::app(cluster, app).map(|now| Ok(now?.as_ref().map(record::replicas)))
}

/// The label selector of a workload's pods, as text; no other workload has the same.
fn selector(workload: &DynamicObject) -> Option<String> {
    let selector = workload.data.pointer("/spec/selector")?.clone();
    let selector: LabelSelector = serde_json::from_value(selector).ok()?;
    Some(Selector::try_from(selector).ok()?.to_string()).filter(|text| !text.is_empty())
}

/// Restores a workload that a session with this id has replaced. Without it, there is nothing to do.
///
/// # Errors
///
/// The errors of the calls.
pub async fn restore(cluster: &Cluster, app: &App, session: &str) -> Result<(), ClusterError> {
    give_back(cluster, app, |claim| claim.id == session).await
}

async fn give_back(cluster: &Cluster, app: &App, goes: impl Fn(&Claim) -> bool) -> Result<(), ClusterError> {
    let given_back = async {
        let scaler = Mutex::new(None);
        write(cluster, app, |now| {
            *scaler.lock().unwrap_or_else(PoisonError::into_inner) = paused(now, &goes);
            Ok(scaled_back(now, &goes))
        })
        .await?;
        if let Some(scaler) = scaler.into_inner().unwrap_or_else(PoisonError::into_inner) {
            keda::resume(cluster, &scaler).await?;
        }
        write(cluster, app, |now| Ok(forgotten(now, &goes))).await.map(drop)
    };
    match given_back.await {
        Err(error) if error.is_not_found() => Ok(()),
        done => done,
    }
}

/// Restores the workloads of sessions that are gone. `only`: this one, with its kind: "deploy/worker".
///
/// # Errors
///
/// The errors of the calls; what was done until then stays done.
pub(crate) async fn clean(
    cluster: &Cluster,
    only: Option<&str>,
    whose: &Whose,
) -> Result<Cleaned, ClusterError> {
    let mut cleaned = Cleaned::default();
    for (kind, app_kind) in KINDS {
        for workload in workloads(cluster, app_kind).await? {
            let target = Target { kind, name: workload.name.clone().unwrap_or_default() };
            let typed = target.with_kind();
            if only.is_some_and(|only| only != typed) {
                continue;
            }
            let record = match Record::of(&workload) {
                Ok(None) => continue,
                Ok(Some(record)) => record,
                Err(reason) => {
                    let reason = Obstacle::UnreadableReplaced(reason);
                    cleaned.unreadable.push(ClusterError::NotRestored { target: target.sentence(), reason });
                    continue;
                }
            };
            if !whose.is_gone(&record.session) {
                continue;
            }
            let uid = workload.uid.clone().unwrap_or_default();
            let app = App { kind: app_kind, name: target.name, uid };
            give_back(cluster, &app, |claim| whose.is_gone(claim)).await?;
            let Record { session, replicas, .. } = record;
            cleaned.restored.push(Restored { target: typed, user: session.user, replicas });
        }
    }
    Ok(cleaned)
}

async fn workloads(cluster: &Cluster, kind: AppKind) -> Result<Vec<ObjectMeta>, ClusterError> {
    let api = kind.api(&cluster.client, &cluster.namespace);
    let call = Call::all("list", kind.resource(), &cluster.namespace);
    let all = unless_forbidden(cluster.call(call, api.list_metadata(&ListParams::default())).await)?;
    Ok(all.into_iter().flat_map(|all| all.items).map(|object| object.metadata).collect())
}
