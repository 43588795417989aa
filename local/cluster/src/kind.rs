//! The kinds of objects that a user can name, as the API knows them.

use bridge_proto::target::Kind;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use serde_json::Value;

pub(crate) fn api(kind: Kind) -> ApiResource {
    match kind {
        Kind::Service => ApiResource::erase::<Service>(&()),
        Kind::Deployment => ApiResource::erase::<Deployment>(&()),
        Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
        Kind::DaemonSet => ApiResource::erase::<DaemonSet>(&()),
        Kind::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
        Kind::Pod => ApiResource::erase::<Pod>(&()),
        Kind::CronJob => ApiResource::erase::<CronJob>(&()),
        Kind::Rollout => {
            let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout");
            ApiResource::from_gvk_with_plural(&kind, Kind::Rollout.resource())
        }
    }
}

/// The template of the pods that an object of this kind makes; `data`: the object without its metadata.
pub(crate) fn pod_template(kind: Kind, data: &Value) -> Option<&Value> {
    data.pointer(match kind {
        Kind::CronJob => "/spec/jobTemplate/spec/template",
        _ => "/spec/template",
    })
}
