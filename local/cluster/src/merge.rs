//! Merges a patch into an object (RFC 7396). Pure.

use serde_json::{Map, Value};

/// Merges `change` into `into`.
pub(crate) fn merge(into: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        into.clone_from(change);
        return;
    };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    let Value::Object(into) = into else { return };
    for (key, value) in change {
        if value.is_null() {
            into.remove(key);
        } else {
            merge(into.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_patch_names_is_replaced_and_null_removes() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "d": [1, 2], "e": "x"});
        merge(&mut object, &json!({"a": {"b": null, "f": {"g": null, "h": 1}}, "d": [3], "e": {"i": 1}}));
        assert_eq!(object, json!({"a": {"c": 2, "f": {"h": 1}}, "d": [3], "e": {"i": 1}}));
    }
}
