//! The owners of a Service's selector (`metadata.managedFields`): recorded before we set it, and restored afterwards.
//! In the meantime nobody owns it, not even we, so that applying the Service causes no conflict: with our value in it,
//! even its previous owner would conflict with others. (The selector is one field, set as a whole.) Likewise nobody owns
//! a targetPort that we have set, and the replicas of a workload that a laptop replaces. Pure.

use serde_json::{Map, Value, json};

use crate::state::FieldOwner;

/// Our field manager.
pub(crate) const MANAGER: &str = "bridge";

/// Fields of the spec, as in an entry.
const SELECTOR: &str = "f:selector";
const REPLICAS: &str = "f:replicas";

/// The entries of `managed_fields` that own parts of the selector, without ours.
#[must_use]
pub(crate) fn selector_owners(managed_fields: &Value) -> Vec<FieldOwner> {
    owners(managed_fields, SELECTOR)
}

/// The entries of `managed_fields` that own the replicas, without ours.
#[must_use]
pub(crate) fn replicas_owners(managed_fields: &Value) -> Vec<FieldOwner> {
    owners(managed_fields, REPLICAS)
}

fn owners(managed_fields: &Value, field: &str) -> Vec<FieldOwner> {
    let pointer = format!("/fieldsV1/f:spec/{field}");
    let entries = managed_fields.as_array().map(Vec::as_slice).unwrap_or_default();
    entries
        .iter()
        .filter_map(|entry| {
            let text = |key| entry.get(key).and_then(Value::as_str).map(str::to_owned);
            let fields = entry.pointer(&pointer)?.clone();
            let only = without(&[field], entry).is_none().then(|| entry.clone());
            let (manager, operation) = (text("manager")?, text("operation")?);
            let subresource = text("subresource");
            Some(FieldOwner { manager, operation, subresource, fields, entry: only, more: Map::new() })
        })
        .filter(|owner| owner.manager != MANAGER)
        .collect()
}

/// `managed_fields` without our ownership of the selector and of ports, otherwise unchanged: then nobody owns them.
#[must_use]
pub(crate) fn disowned(managed_fields: &Value) -> Value {
    let entries = managed_fields.as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = |entry: &Value| is(entry, "manager", MANAGER);
    entries
        .iter()
        .filter_map(
            |entry| {
                if ours(entry) { without(&[SELECTOR, "f:ports"], entry) } else { Some(entry.clone()) }
            },
        )
        .collect()
}

/// `managed_fields` without our entries and with the selector returned to its owners. An owner of more fields whose
/// entry is gone stays away.
#[must_use]
pub(crate) fn given_back(managed_fields: &Value, owners: &[FieldOwner]) -> Value {
    returned(managed_fields, owners, SELECTOR)
}

/// The same with the replicas returned to their owners, unless someone else has set them since.
#[must_use]
pub(crate) fn replicas_given_back(managed_fields: &Value, owners: &[FieldOwner]) -> Value {
    let owners = if replicas_owners(managed_fields).is_empty() { owners } else { &[] };
    returned(managed_fields, owners, REPLICAS)
}

fn returned(managed_fields: &Value, owners: &[FieldOwner], field: &str) -> Value {
    let entries = managed_fields.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_of = |entry: &Value, owner: &FieldOwner| {
        is(entry, "manager", &owner.manager)
            && is(entry, "operation", &owner.operation)
            && entry.get("subresource").and_then(Value::as_str) == owner.subresource.as_deref()
    };
    let mut back: Vec<Value> =
        entries.iter().filter(|entry| !is(entry, "manager", MANAGER)).cloned().collect();
    for owner in owners {
        match (back.iter_mut().find(|entry| is_of(entry, owner)), &owner.entry) {
            (Some(entry), _) => own(entry, field, &owner.fields),
            (None, Some(entry)) => back.push(entry.clone()),
            (None, None) => {}
        }
    }
    Value::Array(back)
}

fn is(entry: &Value, key: &str, value: &str) -> bool {
    entry.get(key).and_then(Value::as_str) == Some(value)
}

/// An entry without these fields of the spec; `None` if it owned nothing else.
fn without(names: &[&str], entry: &Value) -> Option<Value> {
    let mut entry = entry.clone();
    let fields = entry.get_mut("fieldsV1").and_then(Value::as_object_mut)?;
    if let Some(spec) = fields.get_mut("f:spec").and_then(Value::as_object_mut) {
        spec.retain(|name, _| !names.contains(&name.as_str()));
        if spec.keys().all(|key| key == ".") {
            fields.remove("f:spec");
        }
    }
    (!fields.is_empty()).then_some(entry)
}

fn own(entry: &mut Value, field: &str, fields: &Value) {
    let Some(entry) = entry.as_object_mut() else { return };
    let all = entry.entry("fieldsV1").or_insert_with(|| json!({}));
    let Some(all) = all.as_object_mut() else { return };
    let spec = all.entry("f:spec").or_insert_with(|| json!({}));
    let owned = spec.as_object_mut().map(|spec| spec.entry(field).or_insert_with(|| json!({})));
    if let (Some(owned), Some(fields)) = (owned.and_then(Value::as_object_mut), fields.as_object()) {
        owned.extend(fields.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selector_goes_back_to_its_owners() {
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
    fn while_attached_the_selector_is_nobody_s() {
        let ours = |fields: Value| json!({"manager": "bridge", "operation": "Update", "fieldsV1": fields});
        let kubectl =
            json!({"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:ports": {}}}});
        let annotation = json!({"f:annotations": {"f:bridge.dev/attachment": {}}});
        let switched =
            json!([kubectl, ours(json!({"f:metadata": annotation, "f:spec": {"f:selector": {}}})),]);
        let left = json!([kubectl, ours(json!({"f:metadata": annotation}))]);
        assert_eq!(disowned(&switched), left);
        assert_eq!(disowned(&left), left, "once is enough");
        assert_eq!(disowned(&json!([ours(json!({"f:spec": {"f:selector": {}}}))])), json!([]));
        let theirs =
            json!([{"manager": "helm", "operation": "Apply", "fieldsV1": {"f:spec": {"f:selector": {}}}}]);
        assert_eq!(disowned(&theirs), theirs, "what others have set stays theirs");
    }

    #[test]
    fn an_owner_of_the_selector_alone_gets_the_whole_entry_back() {
        let patched = json!({
            "manager": "kubectl-patch", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:selector": {}}},
        });
        let owners = selector_owners(&json!([patched]));
        assert_eq!(given_back(&json!([]), &owners), json!([patched]), "its entry had gone with the selector");
    }

    #[test]
    fn replicas_go_back_to_their_owners_unless_someone_has_set_them_since() {
        let applied = json!({"manager": "helm", "operation": "Apply",
            "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {}}}});
        let scaled = json!({"manager": "kubectl", "operation": "Update", "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        let edited =
            json!({"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}});
        let before = json!([applied, edited, scaled]);
        let owners = replicas_owners(&before);
        let meanwhile = json!([
            {"manager": "helm", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {}}}}, edited,
            {"manager": "bridge", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ]);
        assert_eq!(replicas_given_back(&meanwhile, &owners), before);
        let other = json!([edited, {"manager": "hpa", "operation": "Update", "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
        assert_eq!(replicas_given_back(&other, &owners), other);
    }

    #[test]
    fn without_the_owner_nothing_is_made_up() {
        let owners = selector_owners(&json!([{
            "manager": "gone", "operation": "Apply", "fieldsV1": {"f:spec": {"f:selector": {}, "f:ports": {}}},
        }]));
        let now = json!([{"manager": "other", "operation": "Update", "fieldsV1": {}}]);
        assert_eq!(given_back(&now, &owners), now);
        assert_eq!(given_back(&Value::Null, &owners), json!([]));
    }
}
