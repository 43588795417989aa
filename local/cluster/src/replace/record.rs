//! The annotation of a workload that is scaled to zero while a laptop takes its place, and the changes that write and
//! remove it, each in one with `spec.replicas`, under the workload's resourceVersion. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::annotation;
use crate::ownership;
use crate::state::{Claim, FieldOwner};

/// The annotation of the workload.
pub(crate) const REPLACED: &str = "bridge.dev/replaced";
/// The version that this program writes. A greater one is left alone.
const VERSION: u64 = 1;
/// Longer annotations are not read.
const MOST_BYTES: usize = 16 * 1024;

/// The session that replaces a workload, and the way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u64,
    /// The number of replicas to restore,
    pub(super) replicas: u32,
    /// and who owned that field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    owners: Vec<FieldOwner>,
    /// KEDA's ScaledObject that is paused meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scaler: Option<String>,
    /// Without routes. Keeps fields of newer programs.
    #[serde(flatten)]
    pub(super) session: Claim,
}

/// Why a workload is not scaled to zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    /// A session of another user or laptop replaces it.
    By(Box<Claim>),
    /// Its annotation cannot be read: why.
    Unreadable(String),
}

impl Record {
    /// Reads the record of a workload, if it has one.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub(super) fn of(workload: &ObjectMeta) -> Result<Option<Self>, String> {
        annotation::read(workload, REPLACED, VERSION, MOST_BYTES)
    }
}

/// The merge patch that scales a workload to zero for a session. A session of the same user on the same laptop takes over
/// from an earlier one, and what is to be restored stays. `None`: it is done already.
pub(super) fn scaled_to_zero(
    now: &DynamicObject,
    session: &Claim,
    scaler: Option<&str>,
) -> Result<Option<Value>, Refused> {
    let there = Record::of(&now.metadata).map_err(Refused::Unreadable)?;
    let known = there.as_ref().and_then(|there| there.scaler.clone());
    let scaler = scaler.map(str::to_owned).or(known);
    let record =
        |replicas, owners| Record { version: VERSION, replicas, owners, scaler, session: session.clone() };
    let record = match there {
        Some(there) if there.session == *session && replicas(now) == 0 => return Ok(None),
        Some(there)
            if (&there.session.user, &there.session.installation)
                != (&session.user, &session.installation) =>
        {
            return Err(Refused::By(Box::new(there.session)));
        }
        Some(there) => record(there.replicas, there.owners),
        None => record(replicas(now), ownership::replicas_owners(&managed_fields(now))),
    };
    let record = json!(record).to_string();
    Ok(Some(json!({
        "metadata": {"resourceVersion": now.metadata.resource_version, "annotations": {REPLACED: record}},
        "spec": {"replicas": 0},
    })))
}

/// The merge patch that scales a workload back if its session is one that `goes`. The record stays: it shows what is left
/// to do if this is cut off here. Replicas that someone has set since stay.
pub(super) fn scaled_back(now: &DynamicObject, goes: &impl Fn(&Claim) -> bool) -> Option<Value> {
    let there = of_one_that_goes(now, goes).filter(|there| replicas(now) == 0 && there.replicas > 0)?;
    Some(json!({
        "metadata": {"resourceVersion": now.metadata.resource_version},
        "spec": {"replicas": there.replicas},
    }))
}

/// KEDA's ScaledObject that is paused for such a workload.
pub(super) fn paused(now: &DynamicObject, goes: &impl Fn(&Claim) -> bool) -> Option<String> {
    of_one_that_goes(now, goes)?.scaler
}

/// The merge patch that removes the record of such a workload, and returns the field to its owners.
pub(super) fn forgotten(now: &DynamicObject, goes: &impl Fn(&Claim) -> bool) -> Option<Value> {
    let there = of_one_that_goes(now, goes)?;
    Some(json!({
        "metadata": {
            "resourceVersion": now.metadata.resource_version,
            "annotations": {REPLACED: null},
            "managedFields": ownership::replicas_given_back(&managed_fields(now), &there.owners),
        },
    }))
}

fn of_one_that_goes(now: &DynamicObject, goes: &impl Fn(&Claim) -> bool) -> Option<Record> {
    Record::of(&now.metadata).ok().flatten().filter(|there| goes(&there.session))
}

fn managed_fields(workload: &DynamicObject) -> Value {
    json!(workload.metadata.managed_fields)
}

/// The replicas of a workload; Kubernetes' default is one.
pub(super) fn replicas(workload: &DynamicObject) -> u32 {
    let replicas = workload.data.pointer("/spec/replicas").and_then(Value::as_u64);
    replicas.map_or(1, |replicas| u32::try_from(replicas).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::merge;

    fn session(id: &str, user: &str) -> Claim {
        Claim {
            id: id.into(),
            user: user.into(),
            installation: format!("laptop-of-{user}"),
            since: 1,
            ..Claim::default()
        }
    }

    fn object(value: &Value) -> DynamicObject {
        serde_json::from_value(value.clone()).unwrap()
    }

    const ANY: fn(&Claim) -> bool = |_| true;

    fn of(id: &'static str) -> impl Fn(&Claim) -> bool {
        move |session| session.id == id
    }

    fn worker(replicas: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "worker", "resourceVersion": "7", "annotations": {"theirs": "1"}},
            "spec": {"replicas": replicas}})
    }

    fn replaced(workload: &Value, session: &Claim) -> Value {
        let change = scaled_to_zero(&object(workload), session, None).unwrap().expect("a change");
        let mut after = workload.clone();
        merge(&mut after, &change);
        after
    }

    fn given_back(workload: &Value) -> Value {
        let mut after = workload.clone();
        if let Some(change) = scaled_back(&object(&after), &ANY) {
            merge(&mut after, &change);
        }
        let change = forgotten(&object(&after), &ANY).expect("a change");
        merge(&mut after, &change);
        // Of an object without any, none are returned.
        after["metadata"].as_object_mut().unwrap().remove("managedFields");
        after
    }

    #[test]
    fn a_workload_is_restored_as_it_was() {
        let before = worker(&json!(3));
        let after = replaced(&before, &session("1", "alice"));
        assert_eq!(after["spec"]["replicas"], 0);
        assert_eq!(scaled_to_zero(&object(&after), &session("1", "alice"), None), Ok(None), "once is enough");
        assert_eq!(forgotten(&object(&after), &of("2")), None, "another session's");
        assert_eq!(given_back(&after), before);
        assert_eq!(forgotten(&object(&before), &ANY), None);
        assert_eq!(
            given_back(&replaced(&worker(&Value::Null), &session("1", "alice")))["spec"]["replicas"],
            1
        );
    }

    #[test]
    fn the_next_session_of_the_same_laptop_takes_over_and_no_other() {
        let before = worker(&json!(3));
        let first = replaced(&before, &session("1", "alice"));
        let next = replaced(&first, &session("2", "alice"));
        assert_eq!(forgotten(&object(&next), &of("1")), None);
        assert_eq!(given_back(&next), before);
        let refused = scaled_to_zero(&object(&first), &session("3", "bob"), None).unwrap_err();
        assert_eq!(refused, Refused::By(Box::new(session("1", "alice"))));
    }

    #[test]
    fn replicas_that_someone_has_set_stay() {
        let mut scaled = replaced(&worker(&json!(3)), &session("1", "alice"));
        scaled["spec"]["replicas"] = json!(5);
        assert_eq!(given_back(&scaled), worker(&json!(5)));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_left_alone() {
        for text in
            [r#"{"version": 2}"#.to_owned(), "{".to_owned(), format!("\"{}\"", "x".repeat(MOST_BYTES))]
        {
            let mut odd = worker(&json!(0));
            odd["metadata"]["annotations"][REPLACED] = json!(text);
            assert_eq!(scaled_back(&object(&odd), &ANY), None);
            assert_eq!(forgotten(&object(&odd), &ANY), None);
            assert!(matches!(
                scaled_to_zero(&object(&odd), &session("1", "alice"), None),
                Err(Refused::Unreadable(_))
            ));
        }
    }
}
