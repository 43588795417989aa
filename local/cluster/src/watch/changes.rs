//! What the watches have in common.

use std::collections::BTreeMap;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher;

use crate::client::Cluster;
use crate::error::{Call, ClusterError};

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// All objects of a watch, at each change. Errors do not end it: the watcher goes on with the next poll.
pub(super) fn changes<K, Events>(
    cluster: &Cluster,
    resource: &'static str,
    events: Events,
) -> impl Stream<Item = Result<Vec<K>, ClusterError>> + Send + use<K, Events>
where
    K: kube::Resource + Clone + Send,
    Events: Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
{
    let (namespace, server) = (cluster.namespace.clone(), cluster.server.clone());
    let mut all: BTreeMap<String, K> = BTreeMap::new();
    let mut listing: BTreeMap<String, K> = BTreeMap::new();
    events.filter_map(move |event| {
        let key = |object: &K| object.meta().name.clone().unwrap_or_default();
        let changed = match event {
            Ok(watcher::Event::Init) => {
                listing.clear();
                false
            }
            Ok(watcher::Event::InitApply(object)) => {
                listing.insert(key(&object), object);
                false
            }
            Ok(watcher::Event::InitDone) => {
                all = std::mem::take(&mut listing);
                true
            }
            Ok(watcher::Event::Apply(object)) => {
                all.insert(key(&object), object);
                true
            }
            Ok(watcher::Event::Delete(object)) => {
                all.remove(&key(&object));
                true
            }
            Err(error) => {
                let call = Call::all("watch", resource, &namespace);
                return futures::future::ready(Some(Err(of_watcher(&error, call, &server))));
            }
        };
        futures::future::ready(changed.then(|| Ok(all.values().cloned().collect())))
    })
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
