//! Whether a Service still leads to its agents, and if not, who changed it. Pure.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use crate::spec::selector;
use crate::state::Attachment;

/// The relation of a Service to its agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It leads there.
    InPlace,
    /// bridge has restored its own selector, because no agent was ready.
    LedBack,
    /// It has another selector; the field manager that set it, if known.
    Reset { by: Option<String> },
    /// It has other targetPorts than those that lead to the sidecars.
    Retargeted,
    /// It has ports for which no agent listens; it may lead there all the same.
    OtherPorts,
    /// It leads to its pods, and this workload's no longer have an agent.
    NoSidecar { workload: String },
    /// It is attached to another stand-in, or to none.
    Removed,
    /// There is no such Service any more.
    Deleted,
    /// The annotation cannot be read; why.
    Unreadable(String),
}

/// The relation of the Service (`None`: deleted) to the stand-in with this id.
#[must_use]
pub fn standing(service: Option<&Service>, stand_in: &str) -> Standing {
    let Some(service) = service else { return Standing::Deleted };
    match Attachment::of(service) {
        Err(error) => {
            let advice = error.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
            Standing::Unreadable(format!("{error}{advice}"))
        }
        Ok(Some(attachment)) if attachment.stand_in == stand_in => {
            match (attachment.is_in_place(service), attachment.has_ports_of(service)) {
                (_, false) => Standing::OtherPorts,
                (true, true) => Standing::InPlace,
                (false, true) if attachment.is_led_back(service) => Standing::LedBack,
                (false, true) if selector(service) == attachment.attached => Standing::Retargeted,
                (false, true) => Standing::Reset { by: last_to_select(service) },
            }
        }
        Ok(_) => Standing::Removed,
    }
}

/// The manager that last set parts of the selector.
fn last_to_select(service: &Service) -> Option<String> {
    let selects = |entry: &&ManagedFieldsEntry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:selector").is_some())
    };
    let entries = service.metadata.managed_fields.as_ref()?;
    let newest = entries.iter().filter(selects).max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    newest.manager.clone()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::state::ATTACHMENT;

    fn service(selector: &str, managed: serde_json::Value) -> Service {
        let attachment = Attachment {
            stand_in: "7f3a".into(),
            original: BTreeMap::from([("app".into(), "orders".into())]),
            attached: BTreeMap::from([("app".into(), "orders-bridge-7f3a".into())]),
            control: 7390,
            ..Attachment::default()
        };
        let service = json!({
            "metadata": {
                "name": "orders",
                "annotations": {ATTACHMENT: attachment.to_annotation()},
                "managedFields": managed,
            },
            "spec": {"selector": {"app": selector}},
        });
        serde_json::from_value(service).expect("a Service")
    }

    #[test]
    fn an_attachment_of_a_newer_bridge_is_named() {
        let mut newer = service("orders", json!([]));
        newer.metadata.annotations =
            Some(BTreeMap::from([(ATTACHMENT.to_owned(), r#"{"version": 9}"#.to_owned())]));
        let expected =
            "the attachment of Service orders was written by a newer bridge (version 9): upgrade bridge";
        assert_eq!(standing(Some(&newer), "7f3a"), Standing::Unreadable(expected.to_owned()));
    }

    #[test]
    fn the_last_to_set_the_selector_is_named() {
        let entry = |manager: &str, time: &str| {
            json!({"manager": manager, "operation": "Update", "time": time,
                   "fieldsV1": {"f:spec": {"f:selector": {"f:app": {}}}}})
        };
        let managed = json!([
            entry("argocd", "2026-01-01T00:00:02Z"),
            entry("kubectl", "2026-01-01T00:00:01Z"),
            {"manager": "other", "operation": "Update", "time": "2026-01-01T00:00:03Z", "fieldsV1": {"f:spec": {}}},
        ]);
        let reset = service("orders", managed);
        assert_eq!(standing(Some(&reset), "7f3a"), Standing::Reset { by: Some("argocd".into()) });
        assert_eq!(standing(Some(&reset), "0000"), Standing::Removed);
        assert_eq!(standing(Some(&service("orders-bridge-7f3a", json!([]))), "7f3a"), Standing::InPlace);
        assert_eq!(standing(None, "7f3a"), Standing::Deleted);
    }
}
