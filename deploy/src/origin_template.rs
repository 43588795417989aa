//! Identifies the origin's template from which a stand-in was made: a short text for an annotation, the same from every
//! program and API server for the same template.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// On the stand-in's Deployment; see [`origin_template`].
pub const ORIGIN_TEMPLATE_ANNOTATION: &str = "bridge.dev/origin-template";

/// The scheme of the text. Programs with another scheme must choose another prefix: otherwise each would take the
/// other's stand-in for stale, and both would roll it in turn.
const SCHEME: &str = "v1-";

/// The pod template (`metadata` and `spec`) as a short text: equal for equal templates, whatever the order of their
/// fields.
#[must_use]
pub fn origin_template(pod_template: &Value) -> String {
    let digest = Sha256::digest(canonical(pod_template).to_string().as_bytes());
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{SCHEME}{hash}")
}

/// Whether a stand-in with this annotation was made from another template than this one. Without the annotation it was:
/// it is older than the annotation. With an annotation of an unknown scheme it counts as current.
#[must_use]
pub fn is_stale(annotation: Option<&str>, pod_template: &Value) -> bool {
    annotation.is_none_or(|made_of| made_of.starts_with(SCHEME) && made_of != origin_template(pod_template))
}

/// Fields in order, without those that have no value: some API servers write `creationTimestamp: null`.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, field)| !field.is_null()).collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields = fields.into_iter().map(|(name, field)| (name.clone(), canonical(field)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_recognised_from_any_api_server() {
        let one = json!({"metadata": {"creationTimestamp": null, "labels": {"a": "1", "b": "2"}},
            "spec": {"containers": [{"name": "c", "image": "shop:1"}]}});
        let same = json!({"spec": {"containers": [{"image": "shop:1", "name": "c"}]},
            "metadata": {"labels": {"b": "2", "a": "1"}}});
        let known = origin_template(&one);
        // Stand-ins of other programs have this text: it must not change.
        assert_eq!(known, "v1-963c1cfcea2ea4ed");
        assert!(!is_stale(Some(&known), &same), "the order of fields says nothing");
    }

    #[test]
    fn a_stand_in_of_another_template_is_stale() {
        let template = |image: &str, names: [&str; 2]| json!({"spec": {"containers": names.map(|name| json!({"name": name, "image": image}))}});
        let made_of = origin_template(&template("shop:1", ["a", "b"]));
        for (now, stale) in [
            (template("shop:1", ["a", "b"]), false),
            (template("shop:2", ["a", "b"]), true),
            (template("shop:1", ["b", "a"]), true),
        ] {
            assert_eq!(is_stale(Some(&made_of), &now), stale, "{now}");
        }
        assert!(is_stale(None, &template("shop:1", ["a", "b"])), "made before there was the annotation");
        assert!(
            !is_stale(Some("v2-1"), &template("shop:1", ["a", "b"])),
            "two programs would roll it in turn"
        );
    }
}
