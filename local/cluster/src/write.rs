//! Writes a change of a workload, with nobody as the owner of what changed.

use std::sync::atomic::{AtomicBool, Ordering};

use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::app::App;
use crate::change::until_settled;
use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::ownership::{self, MANAGER};

/// Changes a workload as `decide` decides, and again if someone else was quicker. Afterwards nobody owns the changed
/// fields, so that applying it causes no conflict. Returns whether there was something to change.
pub(crate) async fn write(
    cluster: &Cluster,
    app: &App,
    decide: impl Fn(&DynamicObject) -> Result<Option<Value>, ClusterError>,
) -> Result<bool, ClusterError> {
    let (api, changed) = (app.kind.api(&cluster.client, &cluster.namespace), AtomicBool::new(false));
    let (resource, name) = (app.kind.resource(), app.name.as_str());
    let patch = async |change: Value| {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let call = Call::new("patch", resource, &cluster.namespace, name);
        cluster.call(call, api.patch(name, &params, &Patch::Merge(change))).await
    };
    until_settled(|| async {
        let call = Call::new("get", resource, &cluster.namespace, name);
        let now = cluster.call(call, api.get(name)).await?;
        let now = match decide(&now)? {
            Some(change) => {
                let after = patch(change).await?;
                changed.store(true, Ordering::Relaxed);
                after
            }
            None => now,
        };
        match disowned(&now) {
            Some(change) => patch(change).await.map(drop),
            None => Ok(()),
        }
    })
    .await?;
    Ok(changed.into_inner())
}

/// The merge patch after which we own no field; `None`: we own none.
fn disowned(now: &DynamicObject) -> Option<Value> {
    let owners = json!(now.metadata.managed_fields);
    let wanted = ownership::given_back(&owners, &[]);
    let version = &now.metadata.resource_version;
    let change = json!({"metadata": {"resourceVersion": version, "managedFields": wanted}});
    (owners.is_array() && wanted != owners).then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: &Value) -> DynamicObject {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn nobody_owns_the_changed_fields() {
        let entry =
            |manager: &str| json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {}}});
        let mut owned = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
        assert_eq!(disowned(&object(&owned)), None);
        owned["metadata"]["managedFields"] = json!([entry("kubectl"), entry("bridge")]);
        let change = disowned(&object(&owned)).unwrap();
        assert_eq!(change["metadata"]["managedFields"].as_array().unwrap().len(), 1);
        owned["metadata"]["managedFields"] = json!([entry("kubectl")]);
        assert_eq!(disowned(&object(&owned)), None);
    }
}
