//! All objects of a namespace, field by field, for "everything is as it was".
//!
//! Left out are fields that the cluster changes on its own or at every write: status, resourceVersion, generation, the times in
//! managedFields, the order of endpoints; Events, which are there to stay; and the pods of a test's own callers.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

use crate::api;

/// The objects of the namespace, by "Kind/name".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objects(BTreeMap<String, Value>);

/// Set or not on an EndpointSlice, by what its controller saw last.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The differences to ignore in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum But {
    Nothing,
    /// Leaving objects of a draining stand-in: its pods, and objects handed over to them.
    Draining,
}

impl Objects {
    pub(crate) fn of(namespace: &str) -> Self {
        let listed = collections().iter().flat_map(|collection| {
            let listed = api::get(&collection.path.replace("NAMESPACE", namespace));
            let items = listed["items"].as_array().cloned().unwrap_or_default();
            items.into_iter().map(|object| (collection.kind.clone(), object))
        });
        let loads = |object: &Value| object["metadata"]["labels"]["app"] == "load";
        let named = |(kind, mut object): (String, Value)| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let name = format!("{kind}/{name}");
            normalise(&mut object);
            (name, object)
        };
        Self(listed.filter(|(_, object)| !loads(object)).map(named).collect())
    }

    /// The differences, one line for each field.
    #[must_use]
    pub fn compare(&self, now: &Self, but: But) -> Vec<String> {
        let mut differences = Vec::new();
        for (name, before) in &self.0 {
            match now.0.get(name) {
                Some(now) => compare(name, before, now, &mut differences),
                None => differences.push(format!("{name} is gone")),
            }
        }
        let new = now.0.iter().filter(|(name, _)| !self.0.contains_key(*name));
        let new = new.filter(|(_, object)| but == But::Nothing || !drains(object));
        differences.extend(new.map(|(name, _)| format!("{name} is new")));
        differences
    }

    /// Only one of them.
    ///
    /// # Panics
    ///
    /// If it does not exist.
    #[must_use]
    pub fn only(&self, name: &str) -> Self {
        let object = self.0.get(name).unwrap_or_else(|| panic!("no {name}")).clone();
        Self(BTreeMap::from([(name.to_owned(), object)]))
    }

    /// All except one.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(key, _)| *key != name)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    }
}

/// The path where the objects of a kind are listed.
struct Collection {
    kind: String,
    path: String,
}

/// All kinds that can be listed.
fn collections() -> &'static [Collection] {
    static COLLECTIONS: OnceLock<Vec<Collection>> = OnceLock::new();
    COLLECTIONS.get_or_init(|| {
        let groups = api::get("/apis");
        let groups = groups["groups"].as_array().into_iter().flatten();
        let versions = groups.filter_map(|group| group["preferredVersion"]["groupVersion"].as_str());
        let roots = versions.map(|version| format!("/apis/{version}"));
        std::iter::once("/api/v1".to_owned()).chain(roots).flat_map(|root| listed_in(&root)).collect()
    })
}

fn listed_in(root: &str) -> Vec<Collection> {
    let known = api::get(root);
    let resources = known["resources"].as_array().into_iter().flatten();
    let lists = |resource: &&Value| {
        let verbs = resource["verbs"].as_array();
        resource["namespaced"] == true && verbs.is_some_and(|verbs| verbs.iter().any(|verb| verb == "list"))
    };
    let collection = |resource: &Value| {
        let (name, kind) = (resource["name"].as_str()?, resource["kind"].as_str()?);
        // Endpoints are a copy of EndpointSlices.
        let left_out = ["Event", "Endpoints", "PodMetrics"].contains(&kind);
        let path = format!("{root}/namespaces/NAMESPACE/{name}");
        (!left_out).then(|| Collection { kind: kind.to_owned(), path })
    };
    resources.filter(lists).filter_map(collection).collect()
}

/// Whether the cluster deletes an object when the last pod of a stand-in is gone.
fn drains(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let labels = &metadata["labels"];
    let origin = labels["kubernetes.io/service-name"].as_str().is_some_and(|name| name.ends_with("-origin"));
    let owners = metadata["ownerReferences"].as_array();
    let handed_over = owners.is_some_and(|owners| owners.iter().any(|owner| owner["kind"] == "Pod"));
    let ours = !labels["bridge.dev/stand-in"].is_null();
    origin || (ours && (handed_over || !metadata["deletionTimestamp"].is_null()))
}

fn normalise(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    let metadata = &mut object["metadata"];
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.remove("resourceVersion");
        metadata.remove("generation");
    }
    remove(metadata, "annotations", "", TRIGGER_TIME);
    if let Some(managers) = metadata["managedFields"].as_array_mut() {
        for manager in managers.iter_mut().filter_map(Value::as_object_mut) {
            manager.remove("time");
            if let Some(owned) = manager.get_mut("fieldsV1").and_then(|fields| fields.get_mut("f:metadata")) {
                remove(owned, "f:annotations", "f:", TRIGGER_TIME);
            }
        }
        // The server sorts them by time.
        managers.sort_by_key(Value::to_string);
    }
    if let Some(endpoints) = object["endpoints"].as_array_mut() {
        endpoints.sort_by_key(Value::to_string);
    }
}

/// Removes a key of a map, and a map that has nothing else.
fn remove(object: &mut Value, map: &str, prefix: &str, key: &str) {
    let Some(object) = object.as_object_mut() else { return };
    let Some(entries) = object.get_mut(map).and_then(Value::as_object_mut) else { return };
    let removed = entries.remove(&format!("{prefix}{key}")).is_some();
    if removed && entries.keys().all(|key| key == ".") {
        object.remove(map);
    }
}

fn compare(path: &str, before: &Value, now: &Value, differences: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(was), Value::Object(is)) => {
            for (key, before) in was {
                compare(&format!("{path}.{key}"), before, is.get(key).unwrap_or(&Value::Null), differences);
            }
            for (key, now) in is.iter().filter(|(key, _)| !was.contains_key(*key)) {
                compare(&format!("{path}.{key}"), &Value::Null, now, differences);
            }
        }
        (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
            for (index, (before, now)) in was.iter().zip(is).enumerate() {
                compare(&format!("{path}[{index}]"), before, now, differences);
            }
        }
        _ if before == now => {}
        _ => differences.push(format!("{path} was {before}, is {now}")),
    }
}
