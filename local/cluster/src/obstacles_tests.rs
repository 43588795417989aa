use serde_json::{Value, json};

use super::*;
use crate::snapshot::tests::orders_with;

fn found(changes: &[(&str, Value)]) -> Vec<Obstacle> {
    obstacles(&orders_with(changes), Some("amd64"))
}

#[test]
fn an_ordinary_service_has_no_obstacles() {
    assert_eq!(found(&[]), []);
    assert_eq!(warnings(&orders_with(&[]), Mode::StandIn), []);
}

#[test]
fn obstacles_of_the_service() {
    let cases: [(&str, Value, Obstacle); 7] = [
        ("/service/spec/selector", Value::Null, Obstacle::NoSelector),
        ("/service/spec/clusterIP", json!("None"), Obstacle::Headless),
        ("/service/spec/sessionAffinity", json!("ClientIP"), Obstacle::ClientIpAffinity),
        (
            "/service/spec/internalTrafficPolicy",
            json!("Local"),
            Obstacle::LocalTraffic { field: "internalTrafficPolicy" },
        ),
        (
            "/service/spec/externalTrafficPolicy",
            json!("Local"),
            Obstacle::LocalTraffic { field: "externalTrafficPolicy" },
        ),
        (
            "/service/spec/ports",
            json!([{"port": 80}, {"port": 53, "protocol": "UDP"}, {"port": 9, "protocol": "SCTP"}]),
            Obstacle::NotTcp(vec!["53/UDP".into(), "9/SCTP".into()]),
        ),
        ("/service/spec/ports", json!([]), Obstacle::NoPorts),
    ];
    for (pointer, value, obstacle) in cases {
        assert_eq!(found(&[(pointer, value)]), [obstacle]);
    }
    let external =
        [("/service/spec/type", json!("ExternalName")), ("/service/spec/externalName", json!("db.example"))];
    assert_eq!(found(&external), [Obstacle::ExternalName("db.example".into())]);
}

#[test]
fn a_headless_service_that_governs_a_stateful_set_gives_its_pods_names() {
    let stateful = [
        ("/workloads/0/kind", json!("StatefulSet")),
        ("/workloads/0/object/spec/serviceName", json!("orders")),
    ];
    let headless = [stateful.as_slice(), &[("/service/spec/clusterIP", json!("None"))]].concat();
    assert_eq!(found(&headless), [Obstacle::NamedPods("orders".into())]);
    assert_eq!(found(&stateful), []);
    assert_eq!(warnings(&orders_with(&stateful), Mode::StandIn), [Warning::NamedPods("orders".into())]);
}

#[test]
fn a_load_balancer_with_pods_as_targets_is_known_by_what_it_does() {
    let annotated =
        |name: &str, value: &str| found(&[("/service/metadata/annotations", json!({name: value}))]);
    // GKE writes this at every Service.
    assert_eq!(annotated("cloud.google.com/neg", r#"{"ingress":true}"#), []);
    assert_eq!(annotated("cloud.google.com/neg", "not JSON"), []);
    for (name, value) in [
        ("cloud.google.com/neg", r#"{"exposed_ports":{"80":{}}}"#),
        ("cloud.google.com/neg-status", r#"{"network_endpoint_groups":{"80":"k8s1-x"},"zones":["a"]}"#),
        ("service.beta.kubernetes.io/aws-load-balancer-nlb-target-type", "ip"),
        ("service.beta.kubernetes.io/aws-load-balancer-type", "nlb-ip"),
        ("alb.ingress.kubernetes.io/target-type", "ip"),
    ] {
        assert!(matches!(annotated(name, value).as_slice(), [Obstacle::PodsBehindLoadBalancer(_)]), "{name}");
    }
    assert_eq!(annotated("service.beta.kubernetes.io/aws-load-balancer-nlb-target-type", "instance"), []);
    for gate in ["cloud.google.com/load-balancer-neg-ready", "target-health.elbv2.k8s.aws/tgb-1"] {
        let gates = json!([{"conditionType": gate}]);
        assert_eq!(
            found(&[("/pods/0/spec/readinessGates", gates)]),
            [Obstacle::PodsBehindLoadBalancer(format!("readiness gate {gate}"))]
        );
    }
}

#[test]
fn selectors_that_a_controller_writes() {
    for (changes, controller) in [
        (vec![("/service/spec/selector/rollouts-pod-template-hash", json!("abc"))], "Argo Rollouts"),
        (vec![("/service/spec/selector/pod-template-hash", json!("abc"))], "the Deployment controller"),
        (
            vec![(
                "/service/metadata/annotations",
                json!({"argo-rollouts.argoproj.io/managed-by-rollouts": "orders"}),
            )],
            "Argo Rollouts",
        ),
        (vec![("/service/metadata/labels", json!({"app.kubernetes.io/managed-by": "flagger"}))], "Flagger"),
        (
            vec![(
                "/service/metadata/ownerReferences",
                json!([{"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "x", "uid": "u", "controller": true}]),
            )],
            "Flagger",
        ),
    ] {
        let found = found(&changes);
        assert!(
            matches!(found.as_slice(), [Obstacle::WrittenSelector(by, _)] if *by == controller),
            "{controller}: {found:?}"
        );
    }
}

#[test]
fn signs_of_a_mesh() {
    let cases = [
        ("/namespace/metadata/labels/istio-injection", json!("enabled"), Some(Mesh::Istio)),
        ("/namespace/metadata/labels/istio-injection", json!("disabled"), None),
        ("/namespace/metadata/labels/istio.io~1rev", json!("1-20"), Some(Mesh::Istio)),
        ("/namespace/metadata/labels/istio.io~1dataplane-mode", json!("ambient"), Some(Mesh::Istio)),
        ("/namespace/metadata/annotations", json!({"linkerd.io/inject": "enabled"}), Some(Mesh::Linkerd)),
        ("/namespace/metadata/annotations", json!({"linkerd.io/inject": "disabled"}), None),
        ("/namespace/metadata/labels/kuma.io~1sidecar-injection", json!("enabled"), Some(Mesh::Kuma)),
        ("/pods/0/metadata/labels/sidecar.istio.io~1inject", json!("true"), Some(Mesh::Istio)),
        (
            "/pods/1/metadata/annotations",
            json!({"consul.hashicorp.com/connect-inject": "true"}),
            Some(Mesh::Consul),
        ),
        (
            "/pods/1/spec/containers",
            json!([{"name": "main"}, {"name": "linkerd-proxy"}]),
            Some(Mesh::Linkerd),
        ),
        ("/pods/0/spec/initContainers", json!([{"name": "istio-proxy"}]), Some(Mesh::Istio)),
    ];
    for (pointer, value, expected) in cases {
        let found = found(&[(pointer, value.clone())]);
        match expected {
            None => assert_eq!(found, [], "{pointer} {value}"),
            Some(expected) => assert!(
                matches!(found.as_slice(), [Obstacle::Mesh { mesh, .. }] if *mesh == expected),
                "{pointer} {value}: {found:?}"
            ),
        }
    }
}

#[test]
fn obstacles_of_the_pods() {
    let selector = crate::workload::Labels::from([("app".into(), "orders".into())]);
    let none = [("/pods", json!([])), ("/workloads", json!([]))];
    assert_eq!(found(&none), [Obstacle::NoPods { selector: selector.clone() }]);

    let unready = [("/pods/0/status/conditions", json!([])), ("/pods/1/status/conditions", json!([]))];
    assert_eq!(found(&unready), [Obstacle::NoneReady { pods: 2, selector }]);
    assert_eq!(found(&unready[..1]), [], "one ready pod is enough");
    let published = [unready.as_slice(), &[("/service/spec/publishNotReadyAddresses", json!(true))]].concat();
    assert_eq!(found(&published), []);

    let mut two = orders_with(&[]);
    two.workloads.push(Workload { name: "canary".into(), ..two.workloads[0].clone() });
    assert_eq!(
        obstacles(&two, None),
        [Obstacle::SeveralWorkloads(vec!["Deployment orders".into(), "Deployment canary".into()])]
    );
}

#[test]
fn obstacles_of_the_template() {
    const SPEC: &str = "/workloads/0/object/spec/template/spec";
    let in_spec = |field: &str, value: Value| found(&[(&format!("{SPEC}/{field}"), value)]);
    let node = |label: &str, value: &str| json!({"key": label, "operator": "In", "values": [value]});
    let required = |terms: Value| json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    let platform = |wanted: &str| Obstacle::Platform { wanted: wanted.into(), carried: "linux/amd64".into() };
    for (field, value, expected) in [
        ("hostNetwork", json!(true), Some(Obstacle::HostNetwork)),
        ("hostNetwork", json!(false), None),
        ("runtimeClassName", json!("gvisor"), Some(Obstacle::Sandbox("gvisor".into()))),
        ("runtimeClassName", json!("kata-qemu"), Some(Obstacle::Sandbox("kata-qemu".into()))),
        ("runtimeClassName", json!("nvidia"), None),
        ("nodeSelector", json!({"kubernetes.io/arch": "arm64"}), Some(platform("arm64"))),
        ("nodeSelector", json!({"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}), None),
        ("nodeSelector", json!({"kubernetes.io/os": "windows"}), Some(platform("windows"))),
        ("os", json!({"name": "windows"}), Some(platform("windows"))),
        (
            "affinity",
            required(json!([{"matchExpressions": [node("kubernetes.io/arch", "arm64")]}])),
            Some(platform("arm64")),
        ),
        (
            "affinity",
            required(json!([
                {"matchExpressions": [node("kubernetes.io/arch", "arm64")]},
                {"matchExpressions": [node("kubernetes.io/arch", "amd64")]},
            ])),
            None,
        ),
        (
            "affinity",
            required(
                json!([{"matchExpressions": [node("kubernetes.io/arch", "arm64")]}, {"matchExpressions": []}]),
            ),
            None,
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(in_spec(field, value.clone()), expected, "{field} {value}");
    }
    assert_eq!(
        found(&[("/service/spec/ports/0/targetPort", json!("grpc"))]),
        [Obstacle::NoSuchTargetPort { port: 80, name: "grpc".into() }]
    );
    let arm = orders_with(&[(&format!("{SPEC}/nodeSelector"), json!({"kubernetes.io/arch": "arm64"}))]);
    assert_eq!(obstacles(&arm, None), [], "an image may be for any architecture");
}

#[test]
fn policies_that_treat_the_origin_and_a_stand_in_alike_are_none_of_ours() {
    let labels = |app: &str| json!({"matchLabels": {"app": app}});
    let keyed = |operator: &str| json!({"matchExpressions": [{"key": "app", "operator": operator}]});
    let subject = |selector: Value| json!({"podSelector": selector});
    let from = |peer: Value| json!({"podSelector": {}, "ingress": [{"from": [peer]}]});
    let to = |peer: Value| json!({"podSelector": {}, "egress": [{"to": [peer]}]});
    for (spec, named) in [
        (subject(json!({})), false),
        (subject(labels("orders")), true),
        (subject(labels("web")), false),
        (subject(keyed("Exists")), false),
        (
            subject(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["orders"]}]})),
            true,
        ),
        (subject(json!({"matchLabels": {"version": "v1"}})), true),
        (subject(json!({"matchLabels": {"bridge.dev/service": "orders"}})), false),
        (from(json!({"podSelector": labels("orders")})), true),
        (from(json!({"podSelector": labels("web")})), false),
        (from(json!({"podSelector": {}})), false),
        (from(json!({"ipBlock": {"cidr": "10.0.0.0/8"}})), false),
        (from(json!({"namespaceSelector": {}})), false),
        (from(json!({"namespaceSelector": {}, "podSelector": labels("orders")})), true),
        (
            from(json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}},
                "podSelector": labels("orders")})),
            false,
        ),
        (to(json!({"podSelector": labels("orders")})), true),
    ] {
        let policy = json!([{"metadata": {"name": "p"}, "spec": spec}]);
        let expected = if named { vec![Obstacle::NetworkPolicies(vec!["p".into()])] } else { vec![] };
        assert_eq!(found(&[("/policies", policy)]), expected, "{spec}");
    }
}

#[test]
fn policies_for_stand_ins_outweigh_those_for_the_origin() {
    let labels = |key: &str| json!({"podSelector": {"matchLabels": {key: "orders"}}});
    let policy = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let subjects = json!([policy("a", labels("app")), policy("b", labels("bridge.dev/service"))]);
    assert_eq!(found(&[("/policies", subjects)]), []);
    let other = json!([
        policy("a", labels("app")),
        policy("b", json!({"podSelector": {"matchLabels": {"bridge.dev/service": "x"}}}))
    ]);
    assert_eq!(found(&[("/policies", other)]), [Obstacle::NetworkPolicies(vec!["a".into()])]);
    let peers = |from: Value| json!([policy("db", json!({"podSelector": {}, "ingress": [{"from": from}]}))]);
    assert_eq!(found(&[("/policies", peers(json!([labels("app"), labels("bridge.dev/service")])))]), []);
}

#[test]
fn facts_that_are_worth_a_warning() {
    let service = || "orders".to_owned();
    for (changes, expected) in [
        (("/policies", Value::Null), Warning::UnknownPolicies),
        (
            ("/service/metadata/annotations", json!({"argocd.argoproj.io/tracking-id": "x"})),
            Warning::GitOps { tool: "Argo CD", service: service() },
        ),
        (
            ("/service/metadata/labels", json!({"kustomize.toolkit.fluxcd.io/name": "x"})),
            Warning::GitOps { tool: "Flux", service: service() },
        ),
        (
            (
                "/service/metadata/ownerReferences",
                json!([{"apiVersion": "x/v1", "kind": "App", "name": "shop", "uid": "u", "controller": true}]),
            ),
            Warning::Controlled { owner: "App shop".into(), service: service() },
        ),
    ] {
        assert_eq!(warnings(&orders_with(&[changes]), Mode::StandIn), [expected]);
    }
}

#[test]
fn an_obstacle_is_one_sentence_that_says_what_to_do() {
    for (changes, sentence) in [
        (
            vec![("/pods", json!([])), ("/workloads", json!([]))],
            "Service orders cannot be connected: no pods match its selector (app=orders): check whether the \
             workload is scaled to zero",
        ),
        (
            vec![("/service/spec/sessionAffinity", json!("ClientIP"))],
            "Service orders cannot be connected: it keeps each client at one pod (sessionAffinity: ClientIP), \
             and behind a stand-in all callers would be one client: remove the affinity",
        ),
    ] {
        let against = vec![Against { mode: Mode::StandIn, reasons: found(&changes) }];
        let error = ClusterError::Obstacles { service: "orders".into(), against };
        assert_eq!(error.to_string(), sentence);
    }
}
