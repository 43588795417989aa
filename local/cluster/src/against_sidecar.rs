//! The reasons against the mode `sidecar`: those against a stand-in, without the ones that an agent in the origin's own
//! pods overcomes; and its own.

use bridge_deploy::{SIDECAR_CONTAINER, TargetPort, resolve_ports};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::json;

use crate::{
    access::Right,
    obstacle::Obstacle,
    obstacles::{network_policy, obstacles, of_template},
    snapshot::Snapshot,
    spec::tcp_ports,
    state::Attachment,
    target::name_of,
    workload::Workload,
};

/// All reasons, the most fundamental first.
pub(crate) fn against_sidecar(snapshot: &Snapshot, carried: Option<&str>) -> Vec<Obstacle> {
    let mut found = obstacles(snapshot, carried);
    let has_tcp_port = tcp_ports(&snapshot.service).next().is_some();
    found.retain(|reason| match reason {
        Obstacle::NotTcp(_) => !has_tcp_port,
        reason => !is_overcome(reason),
    });
    if !found.is_empty() {
        return found;
    }
    found.extend(snapshot.workloads.iter().filter_map(|workload| of_workload(snapshot, workload)));
    if let [_, _, ..] = snapshot.workloads.as_slice() {
        let mut of_each = snapshot.workloads.iter().flat_map(|one| of_template(snapshot, one, carried));
        found.extend(of_each.next());
    }
    found.extend(unnamed_ports(snapshot));
    let policies = numbered_policies(snapshot);
    if !policies.is_empty() {
        found.push(Obstacle::NumberedPolicies(policies));
    }
    found
}

/// Whether it is no reason against an agent that has the pod's own address, labels and node.
fn is_overcome(reason: &Obstacle) -> bool {
    use Obstacle::{
        ClientIpAffinity, CookieAffinity, LocalTraffic, NetworkPolicies, PodsBehindLoadBalancer,
        SeveralWorkloads,
    };
    matches!(
        reason,
        ClientIpAffinity
            | CookieAffinity(_)
            | LocalTraffic { .. }
            | PodsBehindLoadBalancer(_)
            | SeveralWorkloads(_)
            | NetworkPolicies(_)
    )
}

fn of_workload(snapshot: &Snapshot, workload: &Workload) -> Option<Obstacle> {
    let title = workload.title();
    let Some(kind) = workload.app_kind() else { return Some(Obstacle::NotRolled(title)) };
    if workload.paused {
        return Some(Obstacle::Paused(title));
    }
    if workload.in_steps {
        return Some(Obstacle::InSteps(title));
    }
    match workload.strategy.as_deref() {
        Some("Recreate") => return Some(Obstacle::Recreate(title)),
        Some("OnDelete") => return Some(Obstacle::OnDelete(title)),
        _ if workload.partition > 0 => {
            return Some(Obstacle::Partition { workload: title, partition: workload.partition });
        }
        _ => {}
    }
    let lacking = |right: &&Right| right.resource == kind.resource();
    let verbs: Vec<_> = snapshot.lacking.iter().filter(lacking).map(|right| right.verb).collect();
    if !verbs.is_empty() {
        let namespace = snapshot.service.metadata.namespace.clone().unwrap_or_default();
        return Some(Obstacle::NoSidecarRight {
            workload: title,
            verbs,
            resource: kind.resource(),
            namespace,
        });
    }
    match &workload.sidecar {
        Ok(None) => None,
        Ok(Some(record)) if record.service == name_of(&snapshot.service) => None,
        Ok(Some(record)) => Some(Obstacle::OtherSidecar { workload: title, service: record.service.clone() }),
        Err(reason) => Some(Obstacle::UnreadableSidecar { workload: title, reason: reason.clone() }),
    }
}

/// The Service's ports that lead to a number without a name. A name is found in each pod, with and without a sidecar;
/// a number would lead past all sidecars, or nowhere where there is none.
fn unnamed_ports(snapshot: &Snapshot) -> Vec<Obstacle> {
    let (Ok(facts), Ok(chosen)) = (snapshot.facts(), snapshot.sidecar_ports()) else { return Vec::new() };
    let names_it = |port: u16, name: &TargetPort, target: u16| {
        let mut named = facts.ports.iter().find(|other| other.is_tcp() && other.port == port).cloned();
        if let Some(named) = &mut named {
            named.target_port = Some(name.clone());
        }
        let pods = snapshot.pods.iter().filter(|pod| !has_sidecar(pod)).map(|pod| json!({"spec": pod.spec}));
        let leads = |pod| {
            let found = resolve_ports(named.as_slice(), &pod).ok()?;
            Some(found.first()?.listen == target)
        };
        pods.map(leads).all(|leads| leads == Some(true))
    };
    let unnamed = chosen.listen.iter().filter(|port| match chosen.repointed.get(&port.service_port) {
        None => false,
        Some(name @ TargetPort::Name(_)) => {
            !is_attached(snapshot) && !names_it(port.service_port, name, port.listen)
        }
        Some(TargetPort::Number(_)) => true,
    });
    unnamed.map(|port| Obstacle::UnnamedPort { port: port.service_port, target: port.listen }).collect()
}

fn is_attached(snapshot: &Snapshot) -> bool {
    Attachment::of(&snapshot.service).is_ok_and(|there| there.is_some_and(|there| !there.targets.is_empty()))
}

fn has_sidecar(pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    pod.spec.iter().flat_map(|spec| &spec.containers).any(|container| container.name == SIDECAR_CONTAINER)
}

/// The policies that admit traffic to the pods at numbered ports, or let others send to the pods' ports by number.
fn numbered_policies(snapshot: &Snapshot) -> Vec<String> {
    let ports = snapshot.sidecar_ports().map(|chosen| chosen.listen).unwrap_or_default();
    let selects_a_pod = |policy: &NetworkPolicy| {
        let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        selector.is_none_or(|selector| {
            snapshot.pods.iter().any(|pod| network_policy::selects(selector, pod.labels()))
        })
    };
    // A range of ports counts only if it leaves the agents' ports out.
    let leaves_out = |numbered: &NetworkPolicyPort| {
        let Some(IntOrString::Int(first)) = numbered.port else { return false };
        let last = numbered.end_port.unwrap_or(first);
        let covers = |port: u16| (first..=last).contains(&i32::from(port));
        ports.iter().any(|port| covers(port.listen) && !covers(port.agent))
    };
    let names_numbers = |policy: &&NetworkPolicy| {
        let Some(spec) = &policy.spec else { return false };
        let mut admitted = spec.ingress.iter().flatten().flat_map(|rule| rule.ports.iter().flatten());
        let mut sent_to = spec.egress.iter().flatten().flat_map(|rule| rule.ports.iter().flatten());
        selects_a_pod(policy) && admitted.any(leaves_out) || sent_to.any(leaves_out)
    };
    let mut names: Vec<String> =
        snapshot.policies.iter().flatten().filter(names_numbers).map(name_of).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::access::sidecar_rights;
    use crate::app::AppKind;
    use crate::snapshot::tests::orders_with;

    const DEPLOYMENT: &str = "/workloads/0/object";

    fn found(changes: &[(&str, Value)]) -> Vec<Obstacle> {
        against_sidecar(&orders_with(changes), Some("amd64"))
    }

    #[test]
    fn what_a_stand_in_cannot_do_a_sidecar_can() {
        let udp = json!([{"port": 80, "targetPort": "http"}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
        let policy =
            json!([{"metadata": {"name": "p"}, "spec": {"podSelector": {"matchLabels": {"app": "orders"}}}}]);
        for (pointer, value) in [
            ("/service/spec/sessionAffinity", json!("ClientIP")),
            ("/service/spec/internalTrafficPolicy", json!("Local")),
            ("/service/spec/ports", udp),
            ("/service/metadata/annotations", json!({"alb.ingress.kubernetes.io/target-type": "ip"})),
            ("/policies", policy),
        ] {
            let changes = [(pointer, value)];
            assert_ne!(obstacles(&orders_with(&changes), Some("amd64")), [], "{pointer}");
            assert_eq!(found(&changes), [], "{pointer}");
        }
    }

    #[test]
    fn some_reasons_are_against_both() {
        for (pointer, value, expected) in [
            ("/service/spec/clusterIP", json!("None"), Obstacle::Headless),
            (
                "/service/spec/ports",
                json!([{"port": 53, "protocol": "UDP"}]),
                Obstacle::NotTcp(vec!["53/UDP".into()]),
            ),
            ("/workloads/0/object/spec/template/spec/hostNetwork", json!(true), Obstacle::HostNetwork),
        ] {
            assert_eq!(found(&[(pointer, value)]), [expected], "{pointer}");
        }
    }

    #[test]
    fn only_a_workload_that_rolls_out_gets_a_sidecar() {
        for kind in ["StatefulSet", "DaemonSet"] {
            assert_eq!(found(&[("/workloads/0/kind", json!(kind))]), [], "{kind}");
        }
        let title = |kind: &str| format!("{kind} orders");
        let partition = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
        for (kind, field, value, expected) in [
            ("ReplicaSet", "replicas", json!(1), Obstacle::NotRolled(title("ReplicaSet"))),
            ("Deployment", "paused", json!(true), Obstacle::Paused(title("Deployment"))),
            ("Deployment", "strategy", json!({"type": "Recreate"}), Obstacle::Recreate(title("Deployment"))),
            (
                "StatefulSet",
                "updateStrategy",
                json!({"type": "OnDelete"}),
                Obstacle::OnDelete(title("StatefulSet")),
            ),
            (
                "DaemonSet",
                "updateStrategy",
                json!({"type": "OnDelete"}),
                Obstacle::OnDelete(title("DaemonSet")),
            ),
            (
                "StatefulSet",
                "updateStrategy",
                partition,
                Obstacle::Partition { workload: title("StatefulSet"), partition: 1 },
            ),
        ] {
            let changes =
                [("/workloads/0/kind", json!(kind)), (&*format!("{DEPLOYMENT}/spec/{field}"), value)];
            assert_eq!(found(&changes), [expected]);
        }
    }

    #[test]
    fn without_the_right_it_says_what_an_admin_can_do() {
        let lacks = |kind: AppKind| {
            let mut snapshot = orders_with(&[("/workloads/0/kind", json!("StatefulSet"))]);
            snapshot.lacking = sidecar_rights(kind);
            against_sidecar(&snapshot, Some("amd64"))
        };
        let said: Vec<String> = lacks(AppKind::StatefulSet).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "you may not patch and watch statefulsets in namespace shop, which a sidecar in StatefulSet orders needs: \
              an admin can allow it (deploy/rbac-sidecar.yaml)"
            ]
        );
        assert_eq!(lacks(AppKind::DaemonSet), [], "it needs no right on others");
    }

    #[test]
    fn a_workload_has_one_sidecar() {
        let annotated = |service: &str, version: u64| {
            let record =
                json!({"version": version, "service": service, "serviceUid": "u", "id": "7f3a", "undo": []});
            let annotations = json!({crate::record::SIDECAR: record.to_string()});
            found(&[(&format!("{DEPLOYMENT}/metadata/annotations"), annotations)])
        };
        assert_eq!(annotated("orders", 1), []);
        let other = Obstacle::OtherSidecar { workload: "Deployment orders".into(), service: "web".into() };
        assert_eq!(annotated("web", 1), [other]);
        assert!(matches!(annotated("orders", 2).as_slice(), [Obstacle::UnreadableSidecar { .. }]));
    }

    #[test]
    fn a_port_is_found_by_a_name_that_every_pod_has() {
        let numbered = ("/service/spec/ports/0/targetPort", json!(8080));
        let ports = |name: Value| json!([{"name": "main", "ports": [{"name": name, "containerPort": 8080}]}]);
        let pods = |first: Value, second: Value| {
            [("/pods/0/spec/containers", ports(first)), ("/pods/1/spec/containers", ports(second))]
        };
        let unnamed = || Obstacle::UnnamedPort { port: 80, target: 8080 };
        let [first, second] = pods(json!("http"), json!("http"));
        assert_eq!(found(&[numbered.clone(), first, second]), []);
        let [first, second] = pods(json!("http"), Value::Null);
        assert_eq!(found(&[numbered.clone(), first, second]), [unnamed()], "a pod of an earlier template");
        let template = (&*format!("{DEPLOYMENT}/spec/template/spec/containers"), ports(Value::Null));
        assert_eq!(found(&[numbered, template]), [unnamed()]);
    }

    #[test]
    fn policies_that_name_the_number_would_keep_callers_from_the_agent() {
        let policy = |spec: Value| json!([{"metadata": {"name": "p"}, "spec": spec}]);
        let ingress = |app: &str, port: Value| {
            let selector = json!({"matchLabels": {"app": app}});
            policy(json!({"podSelector": selector, "ingress": [{"ports": [port]}]}))
        };
        let egress = |port: Value| policy(json!({"podSelector": {}, "egress": [{"ports": [port]}]}));
        let named = || vec![Obstacle::NumberedPolicies(vec!["p".into()])];
        for (policies, expected) in [
            (ingress("orders", json!({"port": 8080})), named()),
            (ingress("orders", json!({"port": "http"})), vec![]),
            (ingress("orders", json!({"port": 9090})), vec![]),
            (ingress("web", json!({"port": 8080})), vec![]),
            (ingress("orders", json!({"port": 8000, "endPort": 8999})), named()),
            (ingress("orders", json!({"port": 1, "endPort": 65535})), vec![]),
            (egress(json!({"port": 8080})), named()),
            (egress(json!({"port": 53})), vec![]),
        ] {
            assert_eq!(found(&[("/policies", policies.clone())]), expected, "{policies}");
        }
    }
}
