//! Waits for the roll-out of a workload with the sidecar. Its old pods serve until it is their turn.

use std::time::Duration;

use futures::StreamExt;
use kube::api::DynamicObject;
use tokio::time::Instant;

use super::progress::{Look, look};
use super::refusals::refused;
use crate::app::{App, AppKind};
use crate::client::Cluster;
use crate::error::ClusterError;
use crate::watch;

/// The time after which a roll-out without progress is given up: pods of some workloads take long to start.
const STALLED_AFTER: Duration = Duration::from_secs(120);
/// Kubernetes' own default of `terminationGracePeriodSeconds`.
const USUAL_GRACE_S: u64 = 30;

/// Waits until all pods of the workload have its current template, and reports the progress.
///
/// # Errors
///
/// [`ClusterError::NotRolledOut`] with the reason, soon if Kubernetes refuses the pods, else after [`STALLED_AFTER`]
/// without progress; and those of the watch.
pub(super) async fn rolled_out(
    cluster: &Cluster,
    app: &App,
    progress: impl Fn(&str),
) -> Result<(), ClusterError> {
    tokio::select! {
        done = complete(cluster, app, progress) => done,
        reason = refused(cluster, app) => Err(failed(app, reason)),
    }
}

fn failed(app: &App, reason: String) -> ClusterError {
    ClusterError::NotRolledOut { workload: app.to_string(), reason }
}

async fn complete(cluster: &Cluster, app: &App, progress: impl Fn(&str)) -> Result<(), ClusterError> {
    let mut states = std::pin::pin!(watch::app(cluster, app));
    let mut last = None;
    let mut patience = STALLED_AFTER;
    let mut progressed = Instant::now();
    loop {
        let state = match tokio::time::timeout_at(progressed + patience, states.next()).await {
            Ok(Some(state)) => state?,
            Ok(None) => return Ok(()),
            Err(_) => {
                let events = watch::last_warning(cluster, &app.name).await.unwrap_or_default();
                return Err(failed(app, format!("no progress within {} s; {events}", patience.as_secs())));
            }
        };
        let Some(state) = state else { return Err(failed(app, "it was deleted".to_owned())) };
        patience = patience_with(app.kind, &state);
        let look = look(app.kind, &state);
        match &look {
            Look::Complete => return Ok(()),
            Look::Refused(reason) => return Err(failed(app, reason.clone())),
            Look::Waiting { updated, available, all } if Some(&look) != last.as_ref() => {
                progress(&format!("{app}: {updated} of {all} pods with an agent, {available} available"));
                progressed = Instant::now();
            }
            Look::Waiting { .. } => {}
        }
        last = Some(look);
    }
}

/// Where a pod ends before the next one begins, its end takes time as well.
fn patience_with(kind: AppKind, workload: &DynamicObject) -> Duration {
    let grace = workload.data.pointer("/spec/template/spec/terminationGracePeriodSeconds");
    let grace = grace.and_then(serde_json::Value::as_u64).unwrap_or(USUAL_GRACE_S);
    match kind {
        AppKind::Deployment | AppKind::Rollout => STALLED_AFTER,
        AppKind::StatefulSet | AppKind::DaemonSet => STALLED_AFTER + Duration::from_secs(grace),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_ends_slowly_is_no_roll_out_without_progress() {
        let workload = |spec: serde_json::Value| {
            let object = json!({"metadata": {"name": "web"}, "spec": {"template": {"spec": spec}}});
            serde_json::from_value::<DynamicObject>(object).unwrap()
        };
        let slow = workload(json!({"terminationGracePeriodSeconds": 300}));
        for (kind, workload, seconds) in [
            (AppKind::Deployment, &slow, 120),
            (AppKind::StatefulSet, &slow, 420),
            (AppKind::DaemonSet, &workload(json!({})), 150),
        ] {
            assert_eq!(patience_with(kind, workload), Duration::from_secs(seconds), "{kind}");
        }
    }
}
