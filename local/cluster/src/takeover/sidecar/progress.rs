//! How far the roll-out of a workload is, as its status says. Pure.

use kube::api::DynamicObject;
use serde_json::Value;

use crate::app::AppKind;

/// A look at a roll-out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// No pod of an earlier template is left, and all are available.
    Complete,
    /// Kubernetes refuses to create pods, with the reason.
    Refused(String),
    /// The pods so far.
    Waiting { updated: u64, available: u64, all: u64 },
}

/// How far the roll-out of this workload's template is.
pub(super) fn look(kind: AppKind, workload: &DynamicObject) -> Look {
    let count = |pointer: &str| number(workload, pointer).unwrap_or_default();
    let text = |pointer: &str| workload.data.pointer(pointer).and_then(Value::as_str);
    let wanted = number(workload, "/spec/replicas").unwrap_or(1);
    let (updated, available, all) = match kind {
        AppKind::Deployment | AppKind::StatefulSet | AppKind::Rollout => {
            (count("/status/updatedReplicas"), count("/status/availableReplicas"), wanted)
        }
        AppKind::DaemonSet => (
            count("/status/updatedNumberScheduled"),
            count("/status/numberAvailable"),
            count("/status/desiredNumberScheduled"),
        ),
    };
    let none_is_old = match kind {
        AppKind::Deployment => updated == count("/status/replicas"),
        AppKind::Rollout => {
            let stable = text("/status/stableRS") == text("/status/currentPodHash");
            updated == count("/status/replicas") && stable && text("/status/phase") == Some("Healthy")
        }
        AppKind::StatefulSet => text("/status/currentRevision") == text("/status/updateRevision"),
        // It counts a node as updated only once the old pod is gone.
        AppKind::DaemonSet => true,
    };
    if is_observed(workload) && none_is_old && updated >= all && available >= all {
        return Look::Complete;
    }
    match refusal(kind, workload) {
        Some(reason) => Look::Refused(reason),
        None => Look::Waiting { updated, available, all },
    }
}

/// Whether the workload's controller has seen its last change.
pub(super) fn is_observed(workload: &DynamicObject) -> bool {
    // Argo's is a text.
    let seen = workload.data.pointer("/status/observedGeneration");
    let seen =
        seen.and_then(|seen| seen.as_u64().or_else(|| seen.as_str()?.parse().ok())).unwrap_or_default();
    workload.metadata.generation.is_none_or(|last| u64::try_from(last).is_ok_and(|last| seen >= last))
}

/// Only Deployments and Rollouts have this condition; and a Rollout may refuse its template itself.
fn refusal(kind: AppKind, workload: &DynamicObject) -> Option<String> {
    let status = |name: &str| workload.data.pointer(&format!("/status/{name}")).and_then(Value::as_str);
    if kind == AppKind::Rollout && is_observed(workload) && status("phase") == Some("Degraded") {
        return status("message").map(str::to_owned);
    }
    let conditions = workload.data.pointer("/status/conditions")?.as_array()?;
    let failure = conditions.iter().find(|it| it["type"] == "ReplicaFailure" && it["status"] == "True")?;
    Some(failure["message"].as_str().unwrap_or_default().to_owned())
}

fn number(workload: &DynamicObject, pointer: &str) -> Option<u64> {
    workload.data.pointer(pointer)?.as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(kind: AppKind, status: &Value) -> Look {
        let object =
            json!({"metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 2}, "status": status});
        look(kind, &serde_json::from_value(object).unwrap())
    }

    fn waiting(updated: u64, available: u64) -> Look {
        Look::Waiting { updated, available, all: 2 }
    }

    #[test]
    fn a_deployment_is_rolled_out_when_no_pod_of_the_old_template_is_left() {
        let counts = |seen: u64, updated: u64, all: u64, available: u64| json!({"observedGeneration": seen, "updatedReplicas": updated, "replicas": all, "availableReplicas": available});
        let mut refused = counts(2, 1, 3, 2);
        refused["conditions"] =
            json!([{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]);
        for (status, expected) in [
            (counts(1, 2, 2, 2), waiting(2, 2)),
            (counts(2, 1, 3, 2), waiting(1, 2)),
            (counts(2, 2, 3, 3), waiting(2, 3)),
            (counts(2, 2, 2, 2), Look::Complete),
            (refused, Look::Refused("exceeded quota".to_owned())),
        ] {
            assert_eq!(seen(AppKind::Deployment, &status), expected, "{status}");
        }
    }

    #[test]
    fn a_stateful_set_is_rolled_out_when_its_update_has_become_its_current_revision() {
        let counts = |seen: u64, current: &str, updated: u64, available: u64| json!({"observedGeneration": seen, "currentRevision": current, "updateRevision": "web-b", "updatedReplicas": updated, "availableReplicas": available});
        for (status, expected) in [
            (counts(1, "web-b", 2, 2), waiting(2, 2)),
            (counts(2, "web-a", 1, 2), waiting(1, 2)),
            (counts(2, "web-a", 2, 2), waiting(2, 2)),
            (counts(2, "web-b", 2, 1), waiting(2, 1)),
            (counts(2, "web-b", 2, 2), Look::Complete),
        ] {
            assert_eq!(seen(AppKind::StatefulSet, &status), expected, "{status}");
        }
    }

    #[test]
    fn a_rollout_is_complete_when_its_new_pods_have_become_the_stable_ones() {
        let counts = |seen: &str, stable: &str, updated: u64, all: u64| json!({"observedGeneration": seen, "phase": "Healthy", "stableRS": stable, "currentPodHash": "b", "updatedReplicas": updated, "replicas": all, "availableReplicas": all});
        let mut refused = counts("2", "b", 2, 2);
        (refused["phase"], refused["message"]) = (json!("Degraded"), json!("InvalidSpec"));
        let mut not_yet_seen = refused.clone();
        not_yet_seen["observedGeneration"] = json!("1");
        for (status, expected) in [
            (counts("1", "b", 2, 2), waiting(2, 2)),
            (counts("2", "a", 1, 3), waiting(1, 3)),
            (counts("2", "a", 2, 2), waiting(2, 2)),
            (counts("2", "b", 2, 3), waiting(2, 3)),
            (counts("2", "b", 2, 2), Look::Complete),
            (refused, Look::Refused("InvalidSpec".to_owned())),
            (not_yet_seen, waiting(2, 2)),
        ] {
            assert_eq!(seen(AppKind::Rollout, &status), expected, "{status}");
        }
    }

    #[test]
    fn a_daemon_set_is_rolled_out_when_each_node_has_an_updated_pod() {
        let counts = |seen: u64, updated: u64, available: u64| json!({"observedGeneration": seen, "desiredNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": available});
        for (status, expected) in [
            (counts(1, 2, 2), waiting(2, 2)),
            (counts(2, 1, 2), waiting(1, 2)),
            (counts(2, 2, 1), waiting(2, 1)),
            (counts(2, 2, 2), Look::Complete),
        ] {
            assert_eq!(seen(AppKind::DaemonSet, &status), expected, "{status}");
        }
    }
}
