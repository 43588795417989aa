//! Records who connected and disconnected as Events on the Service, if the developer may create Events. The
//! annotation has the same facts, so a failure to write one is only logged.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;

use crate::client::Cluster;
use crate::error::Call;

/// Records an Event at a Service: `reason` in CamelCase, `message` for people, without secrets.
pub async fn record(cluster: &Cluster, service: &str, reason: &str, message: &str) {
    let namespace = &cluster.namespace;
    let now = Time(Timestamp::now());
    let event = Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{service}.bridge-")),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            name: Some(service.to_owned()),
            namespace: Some(namespace.clone()),
            ..ObjectReference::default()
        },
        type_: Some("Normal".to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        source: Some(EventSource { component: Some("bridge".to_owned()), host: None }),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        ..Event::default()
    };
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), namespace);
    let call = Call::all("create", "events", namespace);
    if let Err(error) = cluster.call(call, api.create(&PostParams::default(), &event)).await {
        tracing::info!(%service, %error, "no Event was recorded");
    }
}
