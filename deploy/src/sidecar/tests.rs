//! A workload with everything that the sidecar has to mind: what changes, and that all of it is undone, whatever others
//! change meanwhile.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::program::Program;
use crate::service::ServicePort;

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn web() -> Value {
    yaml(
        "
        metadata:
          labels: {app: web}
        spec:
          terminationGracePeriodSeconds: 5
          containers:
            - name: log
              image: log:1
              ports: [{name: metrics, containerPort: 9090, protocol: TCP}]
              livenessProbe: {httpGet: {path: /, port: metrics}}
            - name: web
              image: shop:1
              env: [{name: LEVEL, value: info}]
              ports:
                - {name: http, containerPort: 8080, protocol: TCP}
                - {name: quic, containerPort: 8080, protocol: UDP}
                - {containerPort: 9000, protocol: TCP}
              readinessProbe: {httpGet: {path: /ready, port: http}}
              livenessProbe: {tcpSocket: {port: 8080}}
              lifecycle: {preStop: {httpGet: {path: /stop, port: http}}}
              volumeMounts: [{name: config, mountPath: /etc/web}, {name: data, mountPath: /data}]
          volumes:
            - {name: config, configMap: {name: web}}
            - {name: data, persistentVolumeClaim: {claimName: data}}
        ",
    )
}

fn program() -> AgentSource {
    AgentSource::Carried(Program {
        architecture: "amd64".into(),
        os: "linux".into(),
        loader: b"loader"[..].into(),
        agent: b"agent"[..].into(),
        restorer: b"restorer"[..].into(),
    })
}

fn changed(template: &Value, ports: Value, id: &str) -> (Value, Undo) {
    let ports: Vec<ServicePort> = serde_json::from_value(ports).unwrap();
    let sidecar = Sidecar {
        service: "web",
        id,
        pod_template: template,
        ports: &sidecar_ports(&ports, &[template]).unwrap(),
        agent: &program(),
        ipv6: false,
        openshift: false,
        cpu_limit: None,
        restore: None,
        node_addresses: NodeAddresses::All,
    };
    with_sidecar(&sidecar).unwrap()
}

fn both_ports() -> Value {
    json!([{"port": 80, "targetPort": "http"}, {"name": "admin", "port": 9000, "targetPort": 9000}])
}

fn of_web(template: &Value) -> &Value {
    &template["spec"]["containers"][1]
}

#[test]
fn the_named_port_is_the_agents_and_the_origins_gets_another_name() {
    let (template, _) = changed(&web(), both_ports(), "7f3a");
    assert_eq!(
        of_web(&template)["ports"],
        json!([
            {"name": "app-http", "containerPort": 8080, "protocol": "TCP"},
            {"name": "quic", "containerPort": 8080, "protocol": "UDP"},
            {"containerPort": 9000, "protocol": "TCP"},
        ])
    );
    let agent = &template["spec"]["containers"][2];
    assert_eq!(
        agent["ports"],
        json!([
            {"name": "http", "containerPort": 7393, "protocol": "TCP"},
            {"containerPort": 7394, "protocol": "TCP"},
        ])
    );
    let service: Vec<ServicePort> =
        serde_json::from_value(json!([{"port": 80, "targetPort": "http"}])).unwrap();
    assert_eq!(resolve_ports(&service, &template).unwrap()[0].listen, 7393);
}

#[test]
fn probes_and_hooks_go_on_asking_the_origin_itself() {
    let (template, _) = changed(&web(), both_ports(), "7f3a");
    let container = of_web(&template);
    assert_eq!(container["readinessProbe"]["httpGet"]["port"], 8080);
    assert_eq!(container["lifecycle"]["preStop"]["httpGet"]["port"], 8080);
    assert_eq!(container["livenessProbe"], of_web(&web())["livenessProbe"], "it named no port");
    assert_eq!(template["spec"]["containers"][0], web()["spec"]["containers"][0], "another container");
}

#[test]
fn a_name_in_two_containers_is_freed_in_both() {
    let mut template = web();
    template["spec"]["containers"][0]["ports"][0]["name"] = json!("http");
    template["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] = json!("http");
    let (changed, undo) = changed(&template, both_ports(), "7f3a");
    assert_eq!(changed["spec"]["containers"][0]["ports"][0]["name"], "app-http");
    assert_eq!(changed["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"], 9090);
    assert_eq!(undo.undone(&changed), template);
}

#[test]
fn the_container() {
    let (template, _) = changed(&web(), both_ports(), "7f3a");
    let agent = serde_saphyr::to_string(&template["spec"]["containers"][2]).unwrap();
    insta::assert_snapshot!(agent, @r##"
    name: bridge-agent
    image: shop:1
    imagePullPolicy: IfNotPresent
    command:
    - /bridge.dev/program/loader
    args:
    - --listen
    - "7391"
    - /bridge.dev/program/agent.zst
    - /bridge.dev/run/agent
    - --
    - --forward
    - 7393=$(BRIDGE_POD_ADDRESS):8080
    - --forward
    - 7394=$(BRIDGE_POD_ADDRESS):9000
    - --beside-origin
    - --control
    - "7390"
    - --readiness
    - "7391"
    - --metrics
    - "7392"
    - --key-file
    - /bridge.dev/key/key
    - --name
    - $(BRIDGE_POD_NAME)
    - --node
    - $(BRIDGE_NODE_ADDRESSES)
    - --own-variable
    - BRIDGE_POD_NAME
    - --own-variable
    - BRIDGE_NODE_ADDRESSES
    - --own-variable
    - BRIDGE_POD_ADDRESS
    - --volume
    - /etc/web
    - --volume
    - /var/run/secrets/kubernetes.io/serviceaccount
    env:
    - name: LEVEL
      value: info
    - name: BRIDGE_POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    - name: BRIDGE_NODE_ADDRESSES
      valueFrom:
        fieldRef:
          fieldPath: status.hostIPs
    - name: BRIDGE_POD_ADDRESS
      valueFrom:
        fieldRef:
          fieldPath: status.podIP
    ports:
    - name: http
      containerPort: 7393
      protocol: TCP
    - containerPort: 7394
      protocol: TCP
    resources:
      requests:
        cpu: 10m
        memory: 32Mi
      limits:
        memory: 512Mi
    readinessProbe:
      httpGet:
        path: /ready
        port: 7391
      periodSeconds: 1
      timeoutSeconds: 1
      failureThreshold: 3
    securityContext:
      runAsNonRoot: true
      runAsUser: 65532
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop:
        - ALL
      seccompProfile:
        type: RuntimeDefault
    volumeMounts:
    - name: config
      mountPath: /etc/web
    - name: bridge-7f3a-key
      mountPath: /bridge.dev/key
      readOnly: true
    - name: bridge-7f3a-program
      mountPath: /bridge.dev/program
      readOnly: true
    - name: bridge-7f3a-run
      mountPath: /bridge.dev/run
    "##);
    assert_eq!(
        template["spec"]["volumes"].as_array().unwrap()[2..],
        [
            json!({"name": "bridge-7f3a-key", "secret": {"secretName": "web-bridge-7f3a-key", "defaultMode": 0o444}}),
            json!({"name": "bridge-7f3a-program", "projected": {"defaultMode": 0o555, "sources": [
                {"configMap": {"name": "web-bridge-7f3a-program-57fb52a7-0"}}
            ]}}),
            json!({"name": "bridge-7f3a-run", "emptyDir": {"sizeLimit": "64Mi"}}),
        ]
    );
}

#[test]
fn a_pod_with_an_ipv6_address_is_reached_there() {
    let template = web();
    let ports: Vec<ServicePort> = serde_json::from_value(both_ports()).unwrap();
    let ports = sidecar_ports(&ports, &[&template]).unwrap();
    let sidecar = Sidecar {
        service: "web",
        id: "7f3a",
        pod_template: &template,
        ports: &ports,
        agent: &AgentSource::Image("agent:1".into()),
        ipv6: true,
        openshift: true,
        cpu_limit: Some("500m"),
        restore: None,
        node_addresses: NodeAddresses::All,
    };
    let (template, _) = with_sidecar(&sidecar).unwrap();
    let agent = &template["spec"]["containers"][2];
    assert_eq!(agent["args"][1], "7393=[$(BRIDGE_POD_ADDRESS)]:8080");
    assert_eq!(agent["resources"]["limits"]["cpu"], "500m");
    assert_eq!(agent["securityContext"].get("runAsUser"), None);
}

#[test]
fn a_template_that_was_replaced_is_left_alone() {
    let (_, undo) = changed(&web(), both_ports(), "7f3a");
    let mut replaced = web();
    replaced["spec"]["containers"][1]["image"] = json!("shop:2");
    assert!(!undo.stands_in(&replaced));
    assert_eq!(undo.undone(&replaced), replaced);
}

#[test]
fn a_change_that_others_reverted_is_seen_and_the_rest_undone() {
    let (mut template, undo) = changed(&web(), both_ports(), "7f3a");
    assert!(undo.stands_in(&template));
    template["spec"]["containers"][1]["ports"][0]["name"] = json!("http");
    assert!(!undo.stands_in(&template));
    assert_eq!(undo.undone(&template), web());
}

#[test]
fn the_agent_may_have_been_edited() {
    let (mut template, undo) = changed(&web(), both_ports(), "7f3a");
    // As `kubectl set image deployment/web '*=shop:2'` does.
    for container in template["spec"]["containers"].as_array_mut().unwrap() {
        container["image"] = json!("shop:2");
    }
    let undone = undo.undone(&template);
    assert_eq!(undone["spec"]["containers"].as_array().unwrap().len(), 2);
    assert_eq!(of_web(&undone)["image"], "shop:2");
}

#[test]
fn the_way_back_can_be_written_down() {
    let (template, undo) = changed(&web(), both_ports(), "7f3a");
    let written = serde_json::to_string(&undo).unwrap();
    let read: Undo = serde_json::from_str(&written).unwrap();
    assert_eq!(read.undone(&template), web());
    assert!(written.len() < 4096, "it has {} bytes", written.len());
}

#[test]
fn the_objects_belong_to_the_service_and_its_workloads() {
    let service = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "s"}, "spec": {}});
    let service = crate::ServiceFacts::of(&service).unwrap();
    let workloads = vec![WorkloadOwner { api_version: "apps/v1", kind: "Deployment", name: "web", uid: "d" }];
    let agent = program();
    let objects = SidecarObjects { service: &service, id: "7f3a", user: "anna", agent: &agent, workloads };
    let owners = json!([
        {"apiVersion": "v1", "kind": "Service", "name": "web", "uid": "s"},
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d"},
    ]);
    let secret = objects.secret(b"key").unwrap();
    assert_eq!(
        (&secret["metadata"]["name"], &secret["metadata"]["ownerReferences"]),
        (&json!("web-bridge-7f3a-key"), &owners)
    );
    let maps = objects.program().unwrap();
    assert_eq!(maps.len(), 1);
    assert_eq!(maps[0]["metadata"]["ownerReferences"], owners);
}

/// An edit of a pod template by somebody else, who does not touch the sidecar.
#[derive(Debug, Clone)]
enum Foreign {
    Image(String),
    Variable(String),
    Label(String),
    Volume(String),
    ContainerInFront(String),
    ContainerBehind(String),
    PortInFront(u16),
    NoLastVolume,
    Grace(u8),
}

impl Foreign {
    fn apply(&self, template: &mut Value) {
        let spec = &mut template["spec"];
        let insert = |list: &mut Value, at_end: bool, item: Value| {
            let list = list.as_array_mut().unwrap();
            list.insert(if at_end { list.len() } else { 0 }, item);
        };
        let web = |spec: &mut Value| {
            let all = spec["containers"].as_array().unwrap();
            all.iter().position(|container| container["name"] == "web").unwrap()
        };
        let at = web(spec);
        match self {
            Self::Image(image) => spec["containers"][at]["image"] = json!(image),
            Self::Variable(value) => spec["containers"][at]["env"][0]["value"] = json!(value),
            Self::Label(value) => template["metadata"]["labels"]["theirs"] = json!(value),
            Self::Volume(name) => {
                insert(&mut spec["volumes"], false, json!({"name": format!("v-{name}"), "emptyDir": {}}));
            }
            Self::ContainerInFront(name) | Self::ContainerBehind(name) => {
                let at_end = matches!(self, Self::ContainerBehind(_));
                let container = json!({"name": format!("c-{name}"), "image": "x:1"});
                insert(&mut spec["containers"], at_end, container);
            }
            Self::PortInFront(port) => {
                let port = json!({"containerPort": 20_000 + u32::from(*port % 1000), "protocol": "TCP"});
                insert(&mut spec["containers"][at]["ports"], false, port);
            }
            Self::NoLastVolume => {
                let volumes = spec["volumes"].as_array_mut().unwrap();
                volumes.retain(|volume| volume["name"] != "data");
            }
            Self::Grace(seconds) => spec["terminationGracePeriodSeconds"] = json!(seconds),
        }
    }
}

fn foreign() -> impl Strategy<Value = Foreign> {
    let word = || "[a-z]{1,6}".prop_map(String::from);
    prop_oneof![
        word().prop_map(Foreign::Image),
        word().prop_map(Foreign::Variable),
        word().prop_map(Foreign::Label),
        word().prop_map(Foreign::Volume),
        word().prop_map(Foreign::ContainerInFront),
        word().prop_map(Foreign::ContainerBehind),
        any::<u16>().prop_map(Foreign::PortInFront),
        Just(Foreign::NoLastVolume),
        any::<u8>().prop_map(Foreign::Grace),
    ]
}

/// The template of a workload with these ports of its container, with or without volumes and probes.
fn template(names: &[Option<String>], volumes: bool, probe: bool) -> Value {
    let port = |(index, name): (usize, &Option<String>)| {
        let mut port = json!({"containerPort": 8080 + index, "protocol": "TCP"});
        if let Some(name) = name {
            port["name"] = json!(name);
        }
        port
    };
    let ports: Vec<Value> = names.iter().enumerate().map(port).collect();
    let mut container = json!({"name": "web", "image": "shop:1", "env": [{"name": "A", "value": "a"}]});
    container["ports"] = json!(ports);
    if let Some(name) = names.iter().flatten().next().filter(|_| probe) {
        container["startupProbe"] = json!({"tcpSocket": {"port": name}});
    }
    let mut template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}});
    if volumes {
        template["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    }
    template
}

proptest! {
    #[test]
    fn all_is_undone(
        names in prop::collection::vec(prop::option::of("[a-z]{1,15}"), 1..4),
        (volumes, probe) in any::<(bool, bool)>(),
        by_name in any::<bool>(),
    ) {
        let mut names = names;
        names.sort();
        names.dedup_by(|one, other| one.is_some() && one == other);
        let template = template(&names, volumes, probe);
        let service: Vec<Value> = names.iter().enumerate().map(|(index, name)| match name {
            Some(name) if by_name => json!({"name": format!("p{index}"), "port": index + 80, "targetPort": name}),
            _ => json!({"name": format!("p{index}"), "port": index + 80, "targetPort": 8080 + index}),
        }).collect();
        let (changed, undo) = changed(&template, json!(service), "7f3a");
        prop_assert!(changed != template && undo.stands_in(&changed));
        prop_assert_eq!(undo.undone(&changed), template);
    }

    #[test]
    fn what_others_change_meanwhile_stays(edits in prop::collection::vec(foreign(), 0..6)) {
        let (mut changed, undo) = changed(&web(), both_ports(), "7f3a");
        let mut without = web();
        for edit in &edits {
            edit.apply(&mut changed);
            edit.apply(&mut without);
        }
        prop_assert!(undo.stands_in(&changed));
        prop_assert_eq!(undo.undone(&changed), without);
    }
}
