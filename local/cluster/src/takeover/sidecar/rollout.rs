//! Waits for the roll-out of a Deployment with the sidecar. Its old pods serve until new ones are ready.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;

use crate::client::Cluster;
use crate::error::ClusterError;
use crate::watch;

/// The time after which a roll-out without progress is given up: pods of some workloads take long to start.
const STALLED_AFTER: Duration = Duration::from_secs(120);

/// A look at a roll-out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    Complete,
    /// Kubernetes refuses to create pods, with the reason.
    Refused(String),
    /// The pods so far.
    Waiting {
        updated: i32,
        available: i32,
        all: i32,
    },
}

/// Waits until all pods of the Deployment have its current template, and reports the progress.
///
/// # Errors
///
/// [`ClusterError::NotRolledOut`] with the reason, at once if Kubernetes refuses the pods, else after
/// [`STALLED_AFTER`] without progress; and those of the watch.
pub(super) async fn rolled_out(
    cluster: &Cluster,
    name: &str,
    progress: impl Fn(&str),
) -> Result<(), ClusterError> {
    let failed = |reason| ClusterError::NotRolledOut { workload: format!("Deployment {name}"), reason };
    let mut states = std::pin::pin!(watch::deployments(cluster, name));
    let mut last = None;
    let mut give_up = tokio::time::Instant::now() + STALLED_AFTER;
    loop {
        let state = match tokio::time::timeout_at(give_up, states.next()).await {
            Ok(Some(state)) => state?,
            Ok(None) => return Ok(()),
            Err(_) => {
                let events = watch::last_warning(cluster, name).await.unwrap_or_default();
                let seconds = STALLED_AFTER.as_secs();
                return Err(failed(format!("no progress within {seconds} s; {events}")));
            }
        };
        let look = state.first().map(look);
        match &look {
            Some(Look::Complete) => return Ok(()),
            Some(Look::Refused(reason)) => return Err(failed(reason.clone())),
            Some(Look::Waiting { updated, available, all }) if look != last => {
                progress(&format!(
                    "Deployment {name}: {updated} of {all} pods with an agent, {available} available"
                ));
                give_up = tokio::time::Instant::now() + STALLED_AFTER;
            }
            Some(Look::Waiting { .. }) => {}
            None => return Err(failed("it was deleted".to_owned())),
        }
        last = look;
    }
}

fn look(deployment: &Deployment) -> Look {
    let rollout = watch::rollout_of(deployment);
    if rollout.complete {
        return Look::Complete;
    }
    if let Some(reason) = rollout.refused {
        return Look::Refused(reason);
    }
    let status = deployment.status.clone().unwrap_or_default();
    Look::Waiting {
        updated: status.updated_replicas.unwrap_or_default(),
        available: status.available_replicas.unwrap_or_default(),
        all: i32::try_from(rollout.wanted).unwrap_or(i32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_roll_out_is_complete_when_no_pod_of_the_old_template_is_left() {
        let deployment = |status: Value| -> Deployment {
            serde_json::from_value(json!({
                "metadata": {"name": "web", "generation": 2},
                "spec": {"replicas": 2, "selector": {}, "template": {}},
                "status": status,
            }))
            .unwrap()
        };
        let counts = |updated: i32, all: i32, available: i32| json!({"observedGeneration": 2, "updatedReplicas": updated, "replicas": all, "availableReplicas": available});
        let waiting = |updated, available| Look::Waiting { updated, available, all: 2 };
        let mut refused = counts(1, 3, 2);
        refused["conditions"] =
            json!([{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]);
        for (status, expected) in [
            (
                json!({"observedGeneration": 1, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}),
                waiting(2, 2),
            ),
            (counts(1, 3, 2), waiting(1, 2)),
            (counts(2, 3, 3), waiting(2, 3)),
            (counts(2, 2, 2), Look::Complete),
            (refused, Look::Refused("exceeded quota".to_owned())),
        ] {
            assert_eq!(look(&deployment(status.clone())), expected, "{status}");
        }
    }
}
