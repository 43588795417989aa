use super::*;

fn listen(port: u16) -> ListenPort {
    ListenPort { service_port: 80, name: None, listen: port, agent: port }
}

fn template(spec: Value) -> Value {
    json!({"metadata": {"labels": {"version": "v2"}, "annotations": {"note": "a $(b)"}}, "spec": spec})
}

#[test]
fn the_main_container_is_the_one_with_the_ports() {
    let containers = json!([
        {"name": "a", "ports": [{"containerPort": 1}]},
        {"name": "b", "ports": [{"containerPort": 2}, {"containerPort": 3}]},
    ]);
    let mut template = template(json!({"containers": containers}));
    for (ports, expected) in [
        (vec![1], "a"),
        (vec![2], "b"),
        (vec![1, 2, 3], "b"),
        (vec![1, 2], "a"),
        (vec![], "a"),
        (vec![9], "a"),
    ] {
        let ports: Vec<_> = ports.into_iter().map(listen).collect();
        assert_eq!(main_container(&template, &ports), Some(expected), "{ports:?}");
    }
    template["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "b"});
    assert_eq!(main_container(&template, &[]), Some("b"));
    assert_eq!(main_container(&json!({}), &[]), None);
}

#[test]
fn ports_of_all_containers_are_declared_once() {
    let template = template(json!({"containers": [
        {"name": "a", "ports": [
            {"name": "http", "containerPort": 80, "hostPort": 80, "hostIP": "1.2.3.4"},
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        ]},
        {"name": "b", "ports": [
            {"name": "http", "containerPort": 81}, {"containerPort": 80}, {"name": "alias", "containerPort": 80},
        ]},
    ]}));
    assert_eq!(
        ports(&template),
        json!([
            {"name": "http", "containerPort": 80, "protocol": "TCP"},
            {"name": "alias", "containerPort": 80, "protocol": "TCP"},
        ])
    );
    assert_eq!(ports(&json!({})), Value::Null);
}

#[test]
fn the_environment_is_the_origin_s() {
    let field = |path: &str| json!({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}});
    for (variable, expected) in [
        (json!({"name": "X", "value": "1"}), json!({"name": "X", "value": "1"})),
        (field("metadata.labels['version']"), json!({"name": "X", "value": "v2"})),
        (field("metadata.annotations['note']"), json!({"name": "X", "value": "a $$(b)"})),
        (field("metadata.labels['other']"), field("metadata.labels['other']")),
        (field("status.podIP"), field("status.podIP")),
    ] {
        assert_eq!(env(&template(json!({})), &json!({"env": [variable]}), "agent"), [expected]);
    }
}

#[test]
fn an_agent_starts_whatever_the_template_no_longer_finds() {
    let container = json!({
        "env": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k", "optional": false}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "C", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}},
        ],
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s", "optional": false}}],
        "volumeMounts": [
            {"name": "config", "mountPath": "/c"}, {"name": "secret", "mountPath": "/s"}, {"name": "all", "mountPath": "/a"},
        ],
    });
    let template = template(json!({"volumes": [
        {"name": "config", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}},
        {"name": "secret", "secret": {"secretName": "s", "optional": false}},
        {"name": "all", "projected": {"sources": [
            {"configMap": {"name": "c"}},
            {"secret": {"name": "s"}},
            {"clusterTrustBundle": {"name": "b", "path": "ca.pem"}},
            {"serviceAccountToken": {"path": "token"}},
        ]}},
    ]}));
    assert_eq!(
        env(&template, &container, "agent"),
        [
            json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k", "optional": true}}}),
            json!({"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}}),
        ]
    );
    assert_eq!(
        env_from(&container),
        json!([
            {"prefix": "P_", "configMapRef": {"name": "c", "optional": true}},
            {"secretRef": {"name": "s", "optional": true}},
        ])
    );
    assert_eq!(
        volumes(&template, &container).volumes,
        [
            json!({"name": "config", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}], "optional": true}}),
            json!({"name": "secret", "secret": {"secretName": "s", "optional": true}}),
            json!({"name": "all", "projected": {"sources": [
                {"configMap": {"name": "c", "optional": true}},
                {"secret": {"name": "s", "optional": true}},
                {"clusterTrustBundle": {"name": "b", "path": "ca.pem", "optional": true}},
                {"serviceAccountToken": {"path": "token"}},
            ]}}),
        ]
    );
    assert_eq!(env_from(&json!({})), Value::Null);
}

#[test]
fn only_volumes_that_a_second_pod_can_have_are_taken_over() {
    let item =
        json!({"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}});
    let own_item =
        json!({"path": "cpu", "resourceFieldRef": {"containerName": "agent", "resource": "limits.cpu"}});
    let all = [
        ("config", json!({"configMap": {"name": "x", "optional": true}}), None),
        ("secret", json!({"secret": {"secretName": "x", "optional": true}}), None),
        (
            "tokens",
            json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [item]}}]}}),
            Some(
                json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [own_item]}}]}}),
            ),
        ),
        (
            "info",
            json!({"downwardAPI": {"items": [item]}}),
            Some(json!({"downwardAPI": {"items": [own_item]}})),
        ),
        ("scratch", json!({"emptyDir": {"medium": "Memory"}}), None),
    ];
    let others = [
        ("huge", json!({"emptyDir": {"medium": "HugePages-2Mi"}})),
        ("claim", json!({"persistentVolumeClaim": {"claimName": "x"}})),
        ("host", json!({"hostPath": {"path": "/"}})),
        ("store", json!({"csi": {"driver": "x"}})),
        ("own", json!({"ephemeral": {}})),
        ("disk", json!({"nfs": {}})),
    ];
    let named = |name: &str, volume: &Value| {
        let mut volume = volume.clone();
        volume["name"] = json!(name);
        volume
    };
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}"), "subPath": "x"});
    let mut volumes_there: Vec<Value> = all.iter().map(|(name, volume, _)| named(name, volume)).collect();
    volumes_there.extend(others.iter().map(|(name, volume)| named(name, volume)));
    volumes_there.push(json!({"name": "unmounted", "configMap": {"name": "x"}}));
    let names = all.iter().map(|(name, ..)| *name).chain(others.iter().map(|(name, _)| *name));
    let mut mounts: Vec<Value> = names.map(mount).collect();
    mounts[0]["mountPropagation"] = json!("HostToContainer");

    let got = volumes(&template(json!({"volumes": volumes_there})), &json!({"volumeMounts": mounts}));

    let expected: Vec<Value> =
        all.iter().map(|(name, volume, changed)| named(name, changed.as_ref().unwrap_or(volume))).collect();
    assert_eq!(got.volumes, expected);
    assert_eq!(got.mounts, all.iter().map(|(name, ..)| mount(name)).collect::<Vec<_>>());
}

#[test]
fn mounts_are_named_with_the_token_that_no_template_names() {
    const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let mount = |path: &str| json!({"name": "x", "mountPath": path});
    let without = template(json!({"automountServiceAccountToken": false}));
    for (template, mounts, expected) in [
        (template(json!({})), vec![mount("/etc/shop/"), mount("data")], vec!["/etc/shop", "/data", TOKEN]),
        (template(json!({})), vec![mount(TOKEN)], vec![TOKEN]),
        (without.clone(), vec![mount("/etc/shop")], vec!["/etc/shop"]),
        (without, vec![mount("/")], vec![]),
    ] {
        assert_eq!(mount_paths(&template, &mounts), expected, "{mounts:?}");
    }
}

#[test]
fn low_ports_are_opened_without_a_capability() {
    let names = |ports: &[ListenPort]| -> Vec<Value> {
        sysctls(&json!({}), ports).as_array().unwrap().iter().map(|s| s["name"].clone()).collect()
    };
    assert_eq!(names(&[listen(1024)]), ["net.ipv4.ip_local_port_range"]);
    assert_eq!(names(&[listen(80)]), ["net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"]);
}

#[test]
fn every_alternative_of_the_origins_node_affinity_asks_for_our_platform() {
    let term = |key: &str| json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
    let template = template(json!({"affinity": {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []},
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term("a"), {}, term("b")]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term("c")}],
        },
    }}));
    let platform = |key: &str| {
        json!([
            {"key": key, "operator": "Exists"},
            {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
            {"key": "kubernetes.io/arch", "operator": "In", "values": ["arm64"]},
        ])
    };
    assert_eq!(
        affinity(&template, "linux", Some("arm64"), &[]),
        json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": platform("a")}, {"matchExpressions": platform("b")},
            ]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term("c")}],
        }})
    );
}
