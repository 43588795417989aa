//! The annotation on a workload whose pods have a sidecar: the attachment that it belongs to, and the way back. It is
//! written and removed in one change with the pod template, under the workload's resourceVersion. Pure.

use bridge_deploy::Undo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::annotation;

/// The annotation of the workload.
pub(crate) const SIDECAR: &str = "bridge.dev/sidecar";
/// The version that this program writes. A greater one is left alone.
pub(crate) const VERSION: u64 = 1;
/// Longer annotations are not read.
const MOST_BYTES: usize = 64 * 1024;

/// A sidecar in the template of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub version: u64,
    /// The connected Service, and its uid.
    pub service: String,
    pub service_uid: String,
    /// The id of the attachment: "7f3a".
    pub id: String,
    /// The way back to the workload's own template.
    pub undo: Undo,
    /// Other fields, of newer programs.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Record {
    /// Reads the sidecar of a workload, if it has one.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub fn of(workload: &ObjectMeta) -> Result<Option<Self>, String> {
        annotation::read(workload, SIDECAR, VERSION, MOST_BYTES)
    }

    /// Whether it belongs to this attachment.
    #[must_use]
    pub fn is_of(&self, service_uid: &str, id: &str) -> bool {
        self.service_uid == service_uid && self.id == id
    }

    /// The annotation's value.
    pub(crate) fn to_annotation(&self) -> String {
        serde_json::json!(Self { version: VERSION, ..self.clone() }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn read(annotation: &str) -> Result<Option<Record>, String> {
        let annotations = BTreeMap::from([(SIDECAR.to_owned(), annotation.to_owned())]);
        Record::of(&ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() })
    }

    #[test]
    fn it_reads_back_as_it_was_written_and_keeps_unknown_fields() {
        let written = json!({
            "version": 1, "service": "web", "serviceUid": "u", "id": "7f3a", "undo": [], "since": 5,
        });
        let record = read(&written.to_string()).unwrap().unwrap();
        assert!(record.is_of("u", "7f3a") && !record.is_of("u", "9c21") && !record.is_of("other", "7f3a"));
        assert_eq!(serde_json::from_str::<Value>(&record.to_annotation()).unwrap(), written);
    }

    #[test]
    fn one_that_cannot_be_read_is_not_taken_for_none() {
        assert_eq!(Record::of(&ObjectMeta::default()), Ok(None));
        for (annotation, why) in [
            (json!({"version": 2}).to_string(), "a newer bridge wrote it (version 2)"),
            ("x".repeat(MOST_BYTES + 1), "64 KiB"),
            ("{".to_owned(), ""),
        ] {
            let error = read(&annotation).unwrap_err();
            assert!(error.contains(why), "expected {why:?}: {error}");
        }
    }
}
