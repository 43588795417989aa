//! Services for tests of decisions.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use crate::state::Attachment;

/// `orders` with this selector, this attachment in its annotation, and these owners of its selector.
pub(super) fn orders(selector: &str, attachment: Option<&Attachment>, owners: &[&str]) -> Service {
    let owner = |manager: &&str| json!({"manager": manager, "operation": "Update", "fieldsV1": {"f:spec": {"f:selector": {"f:app": {}}}}});
    let annotations = attachment.map(|attachment| attachment.to_change()["metadata"]["annotations"].clone());
    let owners: Vec<Value> = owners.iter().map(owner).collect();
    let service = json!({
        "metadata": {"name": "orders", "annotations": annotations, "managedFields": owners},
        "spec": {"selector": {"app": selector}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    serde_json::from_value(service).unwrap()
}

pub(super) fn named(stand_in: &str, sessions: &[crate::state::Claim]) -> Attachment {
    let map = |value: &str| BTreeMap::from([("app".to_owned(), value.to_owned())]);
    Attachment {
        version: 1,
        stand_in: stand_in.into(),
        original: map("orders"),
        attached: map("orders-bridge-7f3a"),
        ports: BTreeMap::from([(80, 8080)]),
        sessions: sessions.to_vec(),
        ..Attachment::default()
    }
}
