//! Refused connects: one sentence with advice, an exit code, and an unchanged cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bridge_tests::{Laptop, World};
use serde_json::{Value, json};

#[test]
#[ignore = "needs a cluster: make test"]
fn targets_that_cannot_be_connected_are_refused_and_nothing_changes() {
    let world = World::with("refusals", &["orders"]);
    let _ = world.apply(SERVICES);
    let alice = world.laptop("alice");
    // Each step removes what it adds, so the next one finds only orders and these Services.
    invalid_targets_are_refused(&world, &alice);
    a_policy_for_the_origin_s_labels_is_named(&world, &alice);
    a_connect_that_the_quota_refuses_half_way_is_undone(&world, &alice);
    a_connect_that_a_policy_refuses_half_way_is_undone(&world, &alice);
    developers_have_the_rights_of_their_role_and_no_others(&world);
    missing_rights_are_named(&world);
    the_api_server_is_named(&world, &alice);
}

/// Needs the Services of [`SERVICES`].
fn invalid_targets_are_refused(world: &World, alice: &Laptop) {
    let before = world.objects();
    let refused = |args: &[&str], code: i32, reasons: &[&str]| {
        let done = alice.bridge(&[&["connect"], args].concat());
        for reason in reasons {
            done.fails(code, reason);
        }
    };

    refused(&["order"], 3, &["\"order\"", "did you mean orders"]);
    refused(&["orders", "-n", "shoq-of-nobody"], 4, &["shoq-of-nobody"]);
    refused(&["outside"], 3, &["example.com"]);
    refused(&["headless"], 3, &["headless", "cluster IP"]);
    refused(&["unselected"], 3, &["no selector"]);
    refused(&["sticky", "--mode", "stand-in"], 3, &["ClientIP"]);
    refused(&["cookies", "--mode", "stand-in"], 3, &["Ingress by-cookie", "affinity"]);
    refused(&["local", "--mode", "stand-in"], 3, &["internalTrafficPolicy: Local"]);
    refused(&["datagrams"], 3, &["53/UDP", "not TCP"]);
    refused(&["empty"], 3, &["no pod", "app=nobody"]);
    refused(&["several"], 3, &["http", "more", "--port LOCAL:REMOTE"]);
    refused(&["orders", "--port", "3000:grpc"], 3, &["\"grpc\"", "80"]);
    refused(&["deploy/nothing"], 3, &["Deployment", "\"nothing\""]);
    refused(&["orders", "--port", "99999"], 2, &["99999"]);

    // In the list, the reasons and the modes are beside the names.
    let listed = alice.bridge(&["list"]).succeeds();
    for reason in ["external name", "headless", "no selector", "sidecar", "not TCP", "no pods"] {
        assert!(listed.stdout.contains(reason), "expected {reason:?}: {listed}");
    }
    world.is_unchanged(&before);
}

/// It would not apply to the stand-in.
fn a_policy_for_the_origin_s_labels_is_named(world: &World, alice: &Laptop) {
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "only-orders"},
        "spec": {"podSelector": {"matchLabels": {"app": "orders"}}, "policyTypes": ["Ingress"], "ingress": [{}]}});
    let _ = world.apply(&policy.to_string());
    let before = world.objects();
    alice.bridge(&["connect", "orders", "--mode", "stand-in"]).fails(3, "only-orders");
    world.is_unchanged(&before);
    let _ = world.kubectl(&["delete", "networkpolicy", "only-orders"]).succeeds();
}

/// It leaves no room for the stand-in's pods, which is known only once they are tried.
fn a_connect_that_the_quota_refuses_half_way_is_undone(world: &World, alice: &Laptop) {
    let quota = world.no_more_pods();
    let before = world.objects();
    let refused = alice.bridge(&["connect", "orders"]);
    refused.fails(7, "exceeded quota");
    println!("refused by the quota after {:.1?}", refused.took);
    world.is_again(&before, Duration::from_secs(10));
    let _ = world.kubectl(&["delete", "resourcequota", quota]).succeeds();
}

/// Pod Security admits the stand-in's pods wherever it has admitted the origin's: they ask for nothing that
/// `restricted` refuses. A policy of the cluster's admins may demand more; the origin's pods are often older than it.
fn a_connect_that_a_policy_refuses_half_way_is_undone(world: &World, alice: &Laptop) {
    let policy =
        world.refuses_pods("has(c.resources.limits) && 'cpu' in c.resources.limits", "name a CPU limit");
    let before = world.objects();
    let refused = alice.bridge(&["connect", "orders"]);
    refused.fails(7, "name a CPU limit");
    println!("refused by a policy after {:.1?}", refused.took);
    world.is_again(&before, Duration::from_secs(10));
    drop(policy);
    let session = alice.session();
    assert!(session.is_null(), "expected no session: {session}");
}

/// Without the right to create the Deployment, the objects created before are removed again.
/// As `kubectl auth can-i --list` shows it.
fn developers_have_the_rights_of_their_role_and_no_others(world: &World) {
    type Rights = BTreeMap<String, BTreeSet<String>>;
    let role = world.kubectl(&["get", "role", "bridge-developer", "-o", "json"]).succeeds().json();
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut of_role = Rights::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                // As kubectl writes them: "pods/log", "deployments.apps".
                let dotted = if group.is_empty() { resource } else { format!("{resource}.{group}") };
                of_role.entry(dotted).or_default().extend(texts(&rule["verbs"]));
            }
        }
    }
    let listed = world.kubectl_as_developer(&["auth", "can-i", "--list", "--no-headers"]).succeeds().stdout;
    let mut there = Rights::new();
    for line in listed.lines().filter(|line| !line.starts_with(' ')) {
        let name = line.split_whitespace().next().unwrap_or_default().to_owned();
        let verbs = line.rsplit_once('[').map(|(_, verbs)| verbs.trim_end().trim_end_matches(']'));
        let verbs = verbs.unwrap_or_default().split_whitespace().map(str::to_owned);
        there.entry(name).or_default().extend(verbs);
    }
    // Every user of a cluster may ask for these.
    there.retain(|name, _| !name.starts_with("selfsubject"));
    assert_eq!(there, of_role);
}

fn missing_rights_are_named(world: &World) {
    let nobody = world.laptop_with_role("nobody", None);
    let almost = almost_a_developer(world);
    let before = world.objects();
    let refused = nobody.bridge(&["connect", "orders"]);
    refused.fails(4, "services");
    refused.fails(4, "get");
    refused.fails(4, "rbac-developer.yaml");

    let refused = almost.bridge(&["connect", "orders"]);
    refused.fails(4, "create");
    refused.fails(4, "deployments");
    world.is_again(&before, Duration::from_secs(10));
    let doctor = almost.bridge(&["doctor"]);
    assert!(format!("{doctor}").contains("create deployments"), "expected what is missing: {doctor}");
}

/// A developer who lacks one right.
fn almost_a_developer(world: &World) -> Laptop {
    let mut role = world.kubectl(&["get", "role", "bridge-developer", "-o", "json"]).succeeds().json();
    role["metadata"] = json!({"name": "almost"});
    for rule in role["rules"].as_array_mut().into_iter().flatten() {
        if rule["resources"][0] == "deployments" {
            rule["verbs"].as_array_mut().expect("verbs").retain(|verb| verb != "create");
        }
    }
    let _ = world.apply(&role.to_string());
    world.laptop_with_role("almost", Some("almost"))
}

fn the_api_server_is_named(world: &World, alice: &Laptop) {
    let before = world.objects();
    let right = alice.kubeconfig();
    let mut nowhere = right.clone();
    nowhere["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    alice.write_kubeconfig(&nowhere);
    alice.bridge(&["connect", "orders"]).fails(5, "https://127.0.0.1:1");

    let mut expired = right.clone();
    expired["users"][0]["user"] = json!({"token": "expired"});
    alice.write_kubeconfig(&expired);
    alice.bridge(&["connect", "orders"]).fails(4, "rejected your credentials");
    alice.write_kubeconfig(&right);
    world.is_unchanged(&before);
}

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: orders}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: unselected}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {sessionAffinity: ClientIP, selector: {app: orders}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: cookies}
spec: {selector: {app: orders}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: by-cookie, annotations: {nginx.ingress.kubernetes.io/affinity: cookie}}
spec: {defaultBackend: {service: {name: cookies, port: {number: 80}}}}
---
apiVersion: v1
kind: Service
metadata: {name: local}
spec: {internalTrafficPolicy: Local, selector: {app: orders}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: datagrams}
spec: {selector: {app: orders}, ports: [{port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: several}
spec:
  selector: {app: orders}
  ports: [{name: http, port: 80, targetPort: http}, {name: more, port: 81, targetPort: http}]
";
