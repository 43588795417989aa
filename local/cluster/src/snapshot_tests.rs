use k8s_openapi::api::core::v1::Pod;

use super::*;

/// The Service orders with two ready pods of a Deployment, without obstacles.
pub(crate) const ORDERS: &str = "
service:
  metadata: {name: orders, namespace: shop, uid: u1}
  spec:
    type: ClusterIP
    clusterIP: 10.96.0.5
    selector: {app: orders}
    sessionAffinity: None
    internalTrafficPolicy: Cluster
    ports: [{name: http, port: 80, protocol: TCP, targetPort: http}]
pods:
  - metadata:
      name: orders-1
      labels: {app: orders, version: v1}
      ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: orders-x, uid: u2, controller: true}]
    spec: {nodeName: node-b, containers: [{name: main}]}
    status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}
  - metadata:
      name: orders-2
      labels: {app: orders, version: v1}
      ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: orders-x, uid: u2, controller: true}]
    spec: {nodeName: node-a, containers: [{name: main}]}
    status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}
workloads:
  - kind: Deployment
    object:
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: orders}
      spec:
        replicas: 3
        template:
          metadata: {labels: {app: orders, version: v1}}
          spec:
            containers:
              - {name: main, image: 'shop:1', ports: [{name: http, containerPort: 8080}], newField: 1}
namespace: {metadata: {name: shop, labels: {kubernetes.io/metadata.name: shop}}}
policies: []
quotas: []
limits: []
";

#[derive(serde::Deserialize)]
struct World {
    service: Service,
    pods: Vec<Pod>,
    workloads: Vec<Declared>,
    namespace: Option<Namespace>,
    policies: Option<Vec<NetworkPolicy>>,
    quotas: Option<Vec<ResourceQuota>>,
    limits: Option<Vec<LimitRange>>,
}

#[derive(serde::Deserialize)]
struct Declared {
    kind: String,
    object: DynamicObject,
}

pub(crate) fn snapshot(world: serde_json::Value) -> Snapshot {
    let World { service, pods, workloads, namespace, policies, quotas, limits } =
        serde_json::from_value(world).unwrap();
    let workload = |declared: Declared| Workload {
        kind: declared.kind,
        ..Workload::of(Kind::Deployment, &declared.object)
    };
    Snapshot {
        selector: service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default(),
        service,
        pods,
        workloads: workloads.into_iter().map(workload).collect(),
        policies,
        fronts: Fronts { ingresses: Some(Vec::new()), others: Vec::new() },
        namespace,
        quotas,
        limits,
        account: None,
        lacking: Vec::new(),
    }
}

/// [`ORDERS`], with the given fields set at JSON pointers, or removed by null.
pub(crate) fn orders_with(changes: &[(&str, serde_json::Value)]) -> Snapshot {
    let mut world: serde_json::Value = serde_saphyr::from_str(ORDERS).unwrap();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = world.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer} has no parent"));
        let key = key.replace("~1", "/");
        match parent {
            serde_json::Value::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
            parent => parent[key] = value.clone(),
        }
    }
    snapshot(world)
}

#[test]
fn a_stand_in_is_made_from_the_pods_behind_the_service() {
    let snapshot = orders_with(&[]);
    let agent = AgentSource::Image("agent:1".into());
    let stand_in = snapshot.stand_in("7f3a", "anna", None, agent.clone()).unwrap();
    assert_eq!((stand_in.container.as_str(), stand_in.replicas), ("main", 3));
    assert_eq!(stand_in.preferred_nodes, ["node-a", "node-b"]);
    assert_eq!(stand_in.pod_template["spec"]["containers"][0]["newField"], 1, "unknown fields stay");
    assert_eq!(snapshot.stand_in("7f3a", "anna", Some(1), agent).unwrap().replicas, 1);
    assert_eq!(snapshot.listen_ports().unwrap()[0].listen, 8080);
}

#[test]
fn a_snapshot_of_an_attached_service_has_its_own_selector() {
    let mut snapshot = orders_with(&[("/service/spec/selector/app", "orders-bridge-7f3a".into())]);
    snapshot.selector = Labels::from([("app".into(), "orders".into())]);
    assert_eq!(snapshot.facts().unwrap().selector, snapshot.selector);
}

#[test]
fn a_cpu_limit_is_set_where_a_quota_counts_them_and_nothing_sets_one() {
    let quota = |key: &str| serde_json::json!([{"spec": {"hard": {key: "4"}}}]);
    let range = |type_: &str, key: &str| serde_json::json!([{"spec": {"limits": [{"type": type_, key: {"cpu": "1"}}]}}]);
    let none = serde_json::json!([]);
    for (quotas, limits, expected) in [
        (none.clone(), none.clone(), None),
        (quota("requests.cpu"), none.clone(), None),
        (quota("limits.cpu"), none, Some("500m")),
        (quota("limits.cpu"), range("Container", "default"), None),
        (quota("limits.cpu"), range("Container", "max"), None),
        (quota("limits.cpu"), range("Pod", "max"), Some("500m")),
        (quota("limits.cpu"), serde_json::Value::Null, Some("500m")),
    ] {
        let snapshot = orders_with(&[("/quotas", quotas), ("/limits", limits)]);
        assert_eq!(snapshot.cpu_limit().as_deref(), expected);
    }
}

#[test]
fn openshift_is_known_by_its_namespaces() {
    assert!(!orders_with(&[]).openshift());
    let annotations = serde_json::json!({"openshift.io/sa.scc.uid-range": "1000/10000"});
    assert!(orders_with(&[("/namespace/metadata/annotations", annotations)]).openshift());
}

#[test]
fn pods_that_end_do_not_count() {
    let pod = |yaml: &str| -> Pod { serde_saphyr::from_str(yaml).unwrap() };
    for (yaml, serving) in [
        ("{status: {phase: Running}}", true),
        ("{status: {phase: Pending}}", true),
        ("{status: {phase: Succeeded}}", false),
        ("{status: {phase: Failed}}", false),
        ("{metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}, status: {phase: Running}}", false),
    ] {
        assert_eq!(is_serving(&pod(yaml)), serving, "{yaml}");
    }
}

#[test]
fn replica_sets_of_one_deployment_are_one_workload() {
    let workload = orders_with(&[]).workloads.remove(0);
    assert_eq!(merged(vec![workload.clone(), workload.clone()]), [workload]);
}

#[test]
fn pods_of_an_unknown_controller_are_their_own_template() {
    let snapshot = orders_with(&[]);
    let owner = Owner { kind: "Rollout".into(), api_group: "argoproj.io".into(), name: "orders".into() };
    let mut pods = snapshot.pods;
    for pod in &mut pods {
        let reference = &mut pod.metadata.owner_references.as_mut().unwrap()[0];
        (reference.kind, reference.api_version, reference.name) =
            ("Rollout".into(), "argoproj.io/v1".into(), "orders".into());
    }
    let workload = of_pods(Some(owner), &pods);
    assert_eq!(workload.title(), "Rollout orders");
    assert_eq!(workload.template["metadata"]["labels"]["app"], "orders");
    assert_eq!(workload.template["spec"]["containers"][0]["name"], "main");
    assert_eq!(of_pods(None, &pods[..0]).kind, "Pod");
}
