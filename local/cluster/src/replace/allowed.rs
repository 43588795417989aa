//! Whether a workload can be replaced: bridge can scale it, nobody scales it up again, nothing demands its pods, and no
//! other Service needs them.

use bridge_proto::target::Target;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use serde_json::Value;

use super::{KINDS, keda};
use crate::app::App;
use crate::client::{Cluster, list, unless_forbidden};
use crate::error::ClusterError;
use crate::objects::services;
use crate::obstacle::Obstacle;
use crate::snapshot::{Snapshot, own_selector};
use crate::target::is_ours;
use crate::workload::{Labels, Workload, pod_labels, selects};

/// The workload that a target is, if it can be replaced. `uid` and `template`: the target's.
///
/// # Errors
///
/// [`ClusterError::NotReplaced`] with the reason, and those of the calls.
pub(crate) async fn replaceable(
    cluster: &Cluster,
    target: &Target,
    uid: &str,
    template: &Value,
) -> Result<App, ClusterError> {
    let kind = KINDS.iter().find(|(kind, _)| *kind == target.kind).map(|(_, kind)| *kind);
    let kind = kind.ok_or_else(|| ClusterError::NotReplaced {
        target: target.sentence(),
        reason: Obstacle::NotScaled(target.kind.to_string()),
    })?;
    let app = App { kind, name: target.name.clone(), uid: uid.to_owned() };
    not_against_others(cluster, &app, &pod_labels(template)).await?;
    Ok(app)
}

/// The workload behind a Service, if it can be replaced while the Service leads to a laptop.
///
/// # Errors
///
/// As [`replaceable`].
pub async fn replaceable_behind(cluster: &Cluster, snapshot: &Snapshot) -> Result<App, ClusterError> {
    let origin = snapshot.origin();
    let title = || origin.map_or_else(|| snapshot.service.name_any(), Workload::title);
    let refused = |reason| ClusterError::NotReplaced { target: title(), reason };
    let app = origin.and_then(Workload::app).filter(|app| KINDS.iter().any(|(_, kind)| *kind == app.kind));
    let (Some(app), Some(origin)) = (app, origin) else {
        let kind = origin.map_or_else(|| "other workload".to_owned(), |origin| origin.kind.clone());
        return Err(refused(Obstacle::NotScaled(kind)));
    };
    let labels = pod_labels(&origin.template);
    let (this, all) = (snapshot.service.name_any(), services(cluster).await?);
    let is_served = |service: &&Service| {
        !is_ours(&service.metadata) && own_selector(service).is_ok_and(|selector| selects(&selector, &labels))
    };
    let served: Vec<String> = all.iter().filter(is_served).map(Service::name_any).collect();
    if served.iter().any(|name| *name != this) {
        return Err(refused(Obstacle::ServesSeveral(served.join(", "))));
    }
    not_against_others(cluster, &app, &labels).await?;
    Ok(app)
}

/// Refuses a workload that something else would scale up again, or that has to have pods. `labels`: its pods'.
async fn not_against_others(cluster: &Cluster, app: &App, labels: &Labels) -> Result<(), ClusterError> {
    let refused = |reason| Err(ClusterError::NotReplaced { target: app.to_string(), reason });
    let (scaler, budgets) = tokio::join!(
        keda::scaler(cluster, app),
        list::<PodDisruptionBudget>(cluster, "poddisruptionbudgets"),
    );
    if let Some(scaler) = scaler?
        && !keda::may_pause(cluster).await?
    {
        return refused(Obstacle::ScaledBy(scaler));
    }
    let budgets = unless_forbidden(budgets)?.unwrap_or_default();
    match budgets.iter().find(|budget| demands_pods(budget, labels)) {
        Some(budget) => refused(Obstacle::Budget(budget.name_any())),
        None => Ok(()),
    }
}

/// Whether a budget is for pods with these labels, and is violated if there are none.
fn demands_pods(budget: &PodDisruptionBudget, labels: &Labels) -> bool {
    let Some(spec) = &budget.spec else { return false };
    let selector = spec.selector.clone().and_then(|selector| Selector::try_from(selector).ok());
    let selected = selector.is_some_and(|selector| selector.matches(labels));
    let number = |value: &IntOrString| match value {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => text.trim_end_matches('%').parse().ok(),
    };
    let at_least = spec.min_available.as_ref().and_then(number).is_some_and(|pods| pods > 0);
    // All of them may be missing only if it is 100 %.
    let at_most =
        spec.max_unavailable.as_ref().is_some_and(|most| *most != IntOrString::String("100%".to_owned()));
    selected && (at_least || at_most)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_budget_demands_pods_unless_all_of_them_may_be_missing() {
        let labels = Labels::from([("app".into(), "orders".into())]);
        let of =
            |spec: Value| serde_json::from_value(json!({"metadata": {"name": "b"}, "spec": spec})).unwrap();
        let mine = json!({"matchLabels": {"app": "orders"}});
        for (spec, expected) in [
            (json!({"selector": mine, "minAvailable": 1}), true),
            (json!({"selector": mine, "minAvailable": "50%"}), true),
            (json!({"selector": mine, "minAvailable": 0}), false),
            (json!({"selector": mine, "minAvailable": "0%"}), false),
            (json!({"selector": mine, "maxUnavailable": 1}), true),
            (json!({"selector": mine, "maxUnavailable": "100%"}), false),
            (json!({"selector": {"matchLabels": {"app": "web"}}, "minAvailable": 1}), false),
            (json!({"selector": {}, "minAvailable": 1}), true),
            (json!({"minAvailable": 1}), false),
            (
                json!({"selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}, "minAvailable": 1}),
                true,
            ),
        ] {
            assert_eq!(demands_pods(&of(spec.clone()), &labels), expected, "{spec}");
        }
    }
}
