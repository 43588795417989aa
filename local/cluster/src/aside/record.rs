//! The annotation of an agent's Deployment: the session that it is for. Pure.

use bridge_deploy::{ASIDE_LABEL, MANAGED_BY_LABEL, SESSION_ANNOTATION};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::annotation;
use crate::state::Claim;

/// The version that this program writes. A greater one is left alone.
pub(super) const VERSION: u64 = 1;
/// Longer annotations are not read.
const MOST_BYTES: usize = 16 * 1024;

/// The session of an agent aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub version: u64,
    /// As users type it, with its kind: "deploy/worker", "svc/orders".
    pub target: String,
    /// Without routes.
    #[serde(flatten)]
    pub session: Claim,
}

impl Record {
    /// Reads the session of a Deployment, if that is one of ours.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub(super) fn of(deployment: &ObjectMeta) -> Result<Option<Self>, String> {
        let label = |name: &str| deployment.labels.as_ref().and_then(|labels| labels.get(name));
        let is_ours = label(MANAGED_BY_LABEL).is_some_and(|by| by == "bridge")
            && label(ASIDE_LABEL).is_some_and(|id| is_named(deployment, id));
        match is_ours {
            true => annotation::read(deployment, SESSION_ANNOTATION, VERSION, MOST_BYTES),
            false => Ok(None),
        }
    }

    /// The annotation's value.
    pub(super) fn to_annotation(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// Anyone can write labels, but nobody can change a name.
fn is_named(deployment: &ObjectMeta, id: &str) -> bool {
    let name = deployment.name.as_deref().unwrap_or_default();
    bridge_deploy::is_stand_in_id(id) && name.ends_with(&format!("-bridge-{id}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(session: &Value) -> ObjectMeta {
        serde_json::from_value(json!({
            "name": "worker-bridge-7f3a",
            "labels": {MANAGED_BY_LABEL: "bridge", ASIDE_LABEL: "7f3a"},
            "annotations": {SESSION_ANNOTATION: session.to_string()},
        }))
        .unwrap()
    }

    fn written() -> Value {
        json!({"version": 1, "target": "deploy/worker", "id": "s1", "user": "alice", "installation": "i", "since": 1,
            "routes": [], "shell": true})
    }

    #[test]
    fn it_reads_back_as_it_was_written_and_keeps_unknown_fields() {
        let record = Record::of(&deployment(&written())).unwrap().unwrap();
        assert_eq!((record.target.as_str(), record.session.user.as_str()), ("deploy/worker", "alice"));
        assert_eq!(serde_json::from_str::<Value>(&record.to_annotation()).unwrap(), written());
    }

    #[test]
    fn another_s_deployment_has_none() {
        let renamed = ObjectMeta { name: Some("worker".into()), ..deployment(&written()) };
        assert_eq!(Record::of(&renamed), Ok(None), "labels and annotation are copied");
        let bare = ObjectMeta { labels: None, ..deployment(&written()) };
        assert_eq!(Record::of(&bare), Ok(None));
    }

    #[test]
    fn one_that_cannot_be_read_is_not_taken_for_none() {
        let newer = Record::of(&deployment(&json!({"version": 2}))).unwrap_err();
        assert_eq!(newer, "a newer bridge wrote it (version 2)");
        assert!(Record::of(&deployment(&json!("x"))).is_err());
        assert!(Record::of(&deployment(&json!("x".repeat(MOST_BYTES)))).unwrap_err().contains("16 KiB"));
    }
}
