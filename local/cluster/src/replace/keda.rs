//! KEDA scales a workload that has no replicas up again, so its ScaledObject is paused meanwhile, by KEDA's own annotation.
//! <https://keda.sh/docs/latest/concepts/scaling-deployments/#pausing-autoscaling>

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::access::{self, Need, Right};
use crate::app::App;
use crate::change::until_settled;
use crate::client::{Cluster, list, unless_forbidden};
use crate::error::{Call, ClusterError};
use crate::ownership::MANAGER;

const PAUSED: &str = "autoscaling.keda.sh/paused";
const RESOURCE: &str = "scaledobjects";

/// The ScaledObject that scales a workload, by KEDA's autoscaler; none if that is unknown, or the object is paused.
///
/// # Errors
///
/// The errors of the call.
pub(super) async fn scaler(cluster: &Cluster, app: &App) -> Result<Option<String>, ClusterError> {
    let autoscalers = list::<HorizontalPodAutoscaler>(cluster, "horizontalpodautoscalers").await;
    let autoscalers = unless_forbidden(autoscalers)?.unwrap_or_default();
    Ok(autoscalers.iter().find_map(|autoscaler| owner(autoscaler, app)))
}

fn owner(autoscaler: &HorizontalPodAutoscaler, app: &App) -> Option<String> {
    let scales = &autoscaler.spec.as_ref()?.scale_target_ref;
    let is_it = scales.kind == app.kind.to_string() && scales.name == app.name;
    let mut owners = autoscaler.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.api_version.starts_with("keda.sh/"))?;
    is_it.then(|| owner.name.clone())
}

/// The rights to pause and resume.
pub(crate) fn rights() -> [Right; 2] {
    let right = |verb| Right { verb, group: "keda.sh", resource: RESOURCE, need: Need::Connect };
    [right("get"), right("patch")]
}

/// Whether the user may pause and resume.
///
/// # Errors
///
/// If the API server cannot be asked.
pub(super) async fn may_pause(cluster: &Cluster) -> Result<bool, ClusterError> {
    Ok(access::missing(cluster, &rights()).await?.is_empty())
}

/// Pauses it, unless it is paused.
///
/// # Errors
///
/// The errors of the calls.
pub(super) async fn pause(cluster: &Cluster, scaler: &str) -> Result<(), ClusterError> {
    annotate(cluster, scaler, |now| (!now.annotations().contains_key(PAUSED)).then(|| json!("true"))).await
}

/// Resumes it, if it is paused as [`pause`] does it.
///
/// # Errors
///
/// The errors of the calls.
pub(super) async fn resume(cluster: &Cluster, scaler: &str) -> Result<(), ClusterError> {
    let is_ours = |now: &DynamicObject| now.annotations().get(PAUSED).is_some_and(|value| value == "true");
    match annotate(cluster, scaler, |now| is_ours(now).then_some(Value::Null)).await {
        Err(error) if error.is_not_found() => Ok(()),
        done => done,
    }
}

async fn annotate(
    cluster: &Cluster,
    scaler: &str,
    decide: impl Fn(&DynamicObject) -> Option<Value>,
) -> Result<(), ClusterError> {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    let resource = ApiResource::from_gvk_with_plural(&kind, RESOURCE);
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let call = |verb| Call::new(verb, RESOURCE, &cluster.namespace, scaler);
    until_settled(|| async {
        let now = cluster.call(call("get"), api.get(scaler)).await?;
        let Some(value) = decide(&now) else { return Ok(()) };
        let version = &now.metadata.resource_version;
        let change = json!({"metadata": {"resourceVersion": version, "annotations": {PAUSED: value}}});
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        cluster.call(call("patch"), api.patch(scaler, &params, &Patch::Merge(change))).await.map(drop)
    })
    .await
}
