//! The common part of the watches.

use std::hash::Hash;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Store, reflector};
use kube::runtime::watcher;

use crate::client::Cluster;
use crate::error::{Call, ClusterError};

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// All objects of a watch, by name, at each change. Errors do not end it: the watcher continues with the next poll.
pub(super) fn changes<K, Events>(
    cluster: &Cluster,
    resource: &'static str,
    events: Events,
) -> impl Stream<Item = Result<Vec<K>, ClusterError>> + Send + use<K, Events>
where
    K: kube::Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    Events: Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
{
    changes_of(cluster, resource, (), events)
}

/// The same of a kind that is known only at run time.
pub(super) fn changes_of<K, Events>(
    cluster: &Cluster,
    resource: &'static str,
    kind: K::DynamicType,
    events: Events,
) -> impl Stream<Item = Result<Vec<K>, ClusterError>> + Send + use<K, Events>
where
    K: kube::Resource<DynamicType: Clone + Eq + Hash + Send + Sync> + Clone + Send + Sync + 'static,
    Events: Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
{
    let (namespace, server) = (cluster.namespace.clone(), cluster.server.clone());
    let writer = Writer::new(kind);
    let all = writer.as_reader();
    reflector(writer, events).filter_map(move |event| {
        let now = match event {
            // A list is on its way; until it is complete, the known objects count.
            Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
            Ok(_) => Some(Ok(by_name(&all))),
            Err(error) => {
                let call = Call::all("watch", resource, &namespace);
                Some(Err(of_watcher(&error, call, &server)))
            }
        };
        futures::future::ready(now)
    })
}

fn by_name<K>(all: &Store<K>) -> Vec<K>
where
    K: kube::Resource<DynamicType: Clone + Eq + Hash> + Clone + 'static,
{
    let mut all: Vec<K> = all.state().iter().map(|object| K::clone(object)).collect();
    all.sort_by(|one, other| one.meta().name.cmp(&other.meta().name));
    all
}

fn of_watcher(error: &watcher::Error, call: Call, server: &str) -> ClusterError {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => ClusterError::of(error, call, Some(server)),
        watcher::Error::WatchError(status) => {
            ClusterError::Api { call, code: status.code, reason: status.message.clone() }
        }
        watcher::Error::NoResourceVersion => ClusterError::Api { call, code: 0, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use kube::{Api, ResourceExt};
    use serde_json::{Value, json};

    use super::*;
    use crate::pretended::ApiServer;

    const PODS: &str = "/api/v1/namespaces/shop/pods";

    fn pod(name: &str, app: &str) -> (&'static str, Value) {
        (PODS, json!({"metadata": {"name": name, "labels": {"app": app}}, "spec": {"containers": []}}))
    }

    #[tokio::test]
    async fn each_change_yields_all_objects_by_name() {
        let server = ApiServer::with([pod("b", "orders"), pod("a", "orders"), pod("c", "prices")]);
        let cluster = server.cluster();
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), "shop");
        let of_orders = watcher::Config::default().labels("app=orders");
        let mut changes = std::pin::pin!(changes(&cluster, "pods", watcher(pods.clone(), of_orders)));
        let mut next = async || {
            let all = changes.next().await.expect("it goes on").expect("no error");
            all.iter()
                .map(|pod| format!("{}{}", pod.name_any(), if is_ready(pod) { "!" } else { "" }))
                .collect()
        };
        let expected = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();

        let now: Vec<String> = next().await;
        assert_eq!(now, expected(&["a", "b"]), "those of the list");
        server.change("pods/c", |pod| pod["metadata"]["labels"]["seen"] = json!("no"));
        server.change("pods/b", |pod| {
            pod["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]})
        });
        assert_eq!(
            next().await,
            expected(&["a", "b!"]),
            "one is ready, and another one changed that nobody asked for"
        );
        let _ = pods.delete("a", &kube::api::DeleteParams::default()).await.expect("it is there");
        assert_eq!(next().await, expected(&["b!"]), "one is gone");
    }
}
