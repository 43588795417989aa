//! Who set a Service's selector (`metadata.managedFields`), noted before we set it and put back afterwards: otherwise a
//! later server-side apply would find a conflict with "bridge" where there was none. Pure.

use serde_json::{Map, Value, json};

use crate::state::FieldOwner;

/// The name under which we change things.
pub(crate) const MANAGER: &str = "bridge";

/// The entries of `managed_fields` that own parts of the selector; ours not.
#[must_use]
pub(crate) fn selector_owners(managed_fields: &Value) -> Vec<FieldOwner> {
    let entries = managed_fields.as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| {
            let text = |key| entry.get(key).and_then(Value::as_str).map(str::to_owned);
            let fields = entry.pointer("/fieldsV1/f:spec/f:selector")?.clone();
            Some(FieldOwner { manager: text("manager")?, operation: text("operation")?, fields })
        })
        .filter(|owner| owner.manager != MANAGER)
        .collect()
}

/// `managed_fields` without our entries and with the selector given back to its owners. An owner that is not there any
/// more stays away.
#[must_use]
pub(crate) fn given_back(managed_fields: &Value, owners: &[FieldOwner]) -> Value {
    let entries = managed_fields.as_array().map(Vec::as_slice).unwrap_or_default();
    let is = |entry: &Value, key: &str, value: &str| entry.get(key).and_then(Value::as_str) == Some(value);
    entries
        .iter()
        .filter(|entry| !is(entry, "manager", MANAGER))
        .map(|entry| {
            let mut entry = entry.clone();
            let owner = owners
                .iter()
                .find(|o| is(&entry, "manager", &o.manager) && is(&entry, "operation", &o.operation));
            if let Some(owner) = owner {
                own_selector(&mut entry, &owner.fields);
            }
            entry
        })
        .collect()
}

fn own_selector(entry: &mut Value, fields: &Value) {
    let Some(entry) = entry.as_object_mut() else { return };
    let all = entry.entry("fieldsV1").or_insert_with(|| json!({}));
    let Some(all) = all.as_object_mut() else { return };
    let spec = all.entry("f:spec").or_insert_with(|| json!({}));
    let selector = spec.as_object_mut().map(|spec| spec.entry("f:selector").or_insert_with(|| json!({})));
    if let (Some(selector), Some(fields)) = (selector.and_then(Value::as_object_mut), fields.as_object()) {
        let fields: Map<_, _> = fields.clone();
        selector.extend(fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selector_goes_back_to_who_had_it() {
        let before = json!([
            {"manager": "kubectl", "operation": "Apply", "apiVersion": "v1",
             "fieldsV1": {"f:spec": {"f:ports": {}, "f:selector": {"f:app": {}}}}},
            {"manager": "other", "operation": "Update", "fieldsV1": {"f:metadata": {}}},
        ]);
        let owners = selector_owners(&before);
        let while_attached = json!([
            {"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:spec": {"f:ports": {}}}},
            {"manager": "other", "operation": "Update", "fieldsV1": {"f:metadata": {}}},
            {"manager": "bridge", "operation": "Update", "fieldsV1": {"f:spec": {"f:selector": {"f:app": {}}}}},
        ]);
        assert_eq!(selector_owners(&while_attached), [], "our own is not noted");
        assert_eq!(given_back(&while_attached, &owners), before);
    }

    #[test]
    fn without_the_owner_nothing_is_made_up() {
        let owners =
            [FieldOwner { manager: "gone".into(), operation: "Apply".into(), fields: json!({"f:app": {}}) }];
        let now = json!([{"manager": "other", "operation": "Update", "fieldsV1": {}}]);
        assert_eq!(given_back(&now, &owners), now);
        assert_eq!(given_back(&Value::Null, &owners), json!([]));
    }
}
