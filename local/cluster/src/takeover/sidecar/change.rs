//! The changes of a workload: the pod template and the record of the sidecar in it, in one. Pure.

use bridge_deploy::Undo;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use crate::error::ClusterError;
use crate::mode::Mode;
use crate::obstacle::{Against, Obstacle};
use crate::ours::Of;
use crate::record::{Record, SIDECAR, VERSION};

/// The lists of a pod's spec that sidecars change.
const LISTS: [&str; 3] = ["containers", "initContainers", "volumes"];

/// The merge patch that gives the pods the sidecar, which `make` adds to the workload's own template; `None`: they have
/// it. It replaces a sidecar that an interrupted disconnect left. `workload`: "Deployment orders".
///
/// # Errors
///
/// [`ClusterError::Obstacles`] if the workload has another Service's sidecar, or one that cannot be read, and the errors
/// of `make`.
pub(super) fn with(
    workload: &str,
    now: &DynamicObject,
    of: &Of,
    make: impl Fn(&Value) -> Result<(Value, Undo), ClusterError>,
) -> Result<Option<Value>, ClusterError> {
    let template = template(now);
    let workload = || workload.to_owned();
    let refused = |reason| {
        let against = vec![Against { mode: Mode::Sidecar, reasons: vec![reason] }];
        ClusterError::Obstacles { service: of.service.clone(), against }
    };
    let there = Record::of(&now.metadata)
        .map_err(|reason| refused(Obstacle::UnreadableSidecar { workload: workload(), reason }))?;
    let own = match &there {
        Some(there) if there.service != of.service => {
            let service = there.service.clone();
            return Err(refused(Obstacle::OtherSidecar { workload: workload(), service }));
        }
        Some(there) if there.is_of(&of.uid, &of.id) && there.undo.stands_in(template) => return Ok(None),
        Some(there) => there.undo.undone(template),
        None => template.clone(),
    };
    let (changed, undo) = make(&own)?;
    let record = Record {
        version: VERSION,
        service: of.service.clone(),
        service_uid: of.uid.clone(),
        id: of.id.clone(),
        undo,
        more: Map::new(),
    };
    Ok(Some(change(now, template, &changed, &json!(record.to_annotation()))))
}

/// The merge patch that takes the sidecar out of the pods; `None`: they have none of this attachment.
pub(super) fn without(now: &DynamicObject, of: &Of) -> Option<Value> {
    let there = Record::of(&now.metadata).ok().flatten().filter(|there| there.is_of(&of.uid, &of.id))?;
    let template = template(now);
    Some(change(now, template, &there.undo.undone(template), &Value::Null))
}

fn template(workload: &DynamicObject) -> &Value {
    workload.data.pointer("/spec/template").unwrap_or(&Value::Null)
}

fn change(now: &DynamicObject, before: &Value, after: &Value, record: &Value) -> Value {
    let list = |template: &Value, name: &str| template.pointer(&format!("/spec/{name}")).cloned();
    let changed = LISTS.iter().filter(|name| list(before, name) != list(after, name));
    let lists: Map<String, Value> =
        changed.map(|name| ((*name).to_owned(), list(after, name).unwrap_or(Value::Null))).collect();
    let mut change = json!({
        "metadata": {
            "resourceVersion": now.metadata.resource_version,
            "annotations": {SIDECAR: record},
        },
    });
    if !lists.is_empty() {
        change["spec"] = json!({"template": {"spec": lists}});
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::merge;

    const WEB: &str = "Deployment web";

    fn of(id: &str) -> Of {
        Of { service: "web".into(), uid: "u".into(), id: id.into() }
    }

    fn workload() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "resourceVersion": "7", "annotations": {"theirs": "1"}},
            "spec": {"template": {"spec": {"containers": [
                {"name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}]},
            ]}}},
        })
    }

    fn object(value: &Value) -> DynamicObject {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn made(id: &str) -> impl Fn(&Value) -> Result<(Value, Undo), ClusterError> {
        move |template| {
            let ports = serde_json::from_value::<Vec<bridge_deploy::ServicePort>>(
                json!([{"port": 80, "targetPort": "http"}]),
            );
            let ports = bridge_deploy::sidecar_ports(&ports.unwrap(), &[template])?;
            let sidecar = bridge_deploy::Sidecar {
                service: "web",
                id,
                pod_template: template,
                ports: &ports,
                agent: &bridge_deploy::AgentSource::Image("agent:1".into()),
                ipv6: false,
                openshift: false,
                cpu_limit: None,
                restore: None,
                node_addresses: bridge_deploy::NodeAddresses::All,
            };
            Ok(bridge_deploy::with_sidecar(&sidecar)?)
        }
    }

    fn added(workload: &Value, id: &str) -> Value {
        let change = with(WEB, &object(workload), &of(id), made(id)).unwrap().expect("it has none");
        let mut after = workload.clone();
        merge(&mut after, &change);
        after
    }

    #[test]
    fn the_sidecar_comes_and_goes_with_its_record() {
        let after = added(&workload(), "7f3a");
        assert_eq!(after["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 2);
        assert_eq!(with(WEB, &object(&after), &of("7f3a"), made("7f3a")), Ok(None), "once is enough");
        let mut before = after.clone();
        merge(&mut before, &without(&object(&after), &of("7f3a")).unwrap());
        assert_eq!(before, workload());
        assert_eq!(without(&object(&before), &of("7f3a")), None);
    }

    #[test]
    fn a_left_sidecar_is_replaced_in_one_change() {
        let left = added(&workload(), "7f3a");
        let after = added(&left, "9c21");
        assert_eq!(after["spec"], added(&workload(), "9c21")["spec"]);
        assert_eq!(without(&object(&after), &of("7f3a")), None, "the other is the one that goes");
    }

    #[test]
    fn a_sidecar_that_someone_took_half_away_is_made_again() {
        let mut reset = added(&workload(), "7f3a");
        reset["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"] = json!("http");
        assert_eq!(added(&reset, "7f3a")["spec"], added(&workload(), "7f3a")["spec"]);
    }

    #[test]
    fn another_services_sidecar_stays() {
        let after = added(&workload(), "7f3a");
        let other = Of { service: "other".into(), ..of("9c21") };
        let refused = with(WEB, &object(&after), &other, made("9c21")).unwrap_err().to_string();
        assert!(refused.contains("already has the sidecar of Service web"), "{refused}");
    }
}
