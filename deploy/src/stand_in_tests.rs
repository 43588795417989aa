use serde_json::json;

use super::*;
use crate::main_container;

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn show(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap()
}

fn orders() -> StandIn {
    let service = yaml(
        "
        metadata: {name: orders, namespace: shop, uid: 11111111-2222-3333-4444-555555555555}
        spec:
          selector: {app: orders, tier: backend}
          ports:
            - {name: http, port: 80, protocol: TCP, targetPort: http, appProtocol: http, nodePort: 30080}
            - {name: admin, port: 9000, protocol: TCP, targetPort: 80}
          sessionAffinity: None
          ipFamilies: [IPv4]
          ipFamilyPolicy: SingleStack
          trafficDistribution: PreferClose
        ",
    );
    let pod_template = yaml(
        "
        metadata:
          labels: {app: orders, tier: backend, version: v2}
        spec:
          serviceAccountName: orders
          nodeSelector: {pool: web}
          tolerations: [{key: web, operator: Exists}]
          priorityClassName: high
          imagePullSecrets: [{name: pull}]
          terminationGracePeriodSeconds: 5
          hostNetwork: false
          securityContext:
            runAsNonRoot: true
            runAsUser: 1000
            fsGroup: 2000
            sysctls:
              - {name: net.ipv4.tcp_keepalive_time, value: '60'}
              - {name: net.core.somaxconn, value: '4096'}
          initContainers: [{name: setup, image: setup:1}]
          containers:
            - name: log
              image: log:1
              ports: [{name: metrics, containerPort: 9090}]
            - name: orders
              image: shop:1
              workingDir: /srv
              command: [/orders]
              env:
                - {name: LEVEL, value: info}
                - {name: VERSION, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['version']\"}}}
                - {name: PASSWORD, valueFrom: {secretKeyRef: {name: orders, key: password}}}
                - {name: LIMIT, valueFrom: {resourceFieldRef: {containerName: orders, resource: limits.memory}}}
              envFrom: [{configMapRef: {name: orders}}]
              ports: [{name: http, containerPort: 8080, hostPort: 8080}]
              readinessProbe: {httpGet: {path: /, port: http}}
              resources: {limits: {memory: 4Gi}}
              volumeMounts:
                - {name: config, mountPath: /etc/orders, readOnly: true}
                - {name: data, mountPath: /var/lib/orders}
          volumes:
            - {name: config, configMap: {name: orders, newField: kept}}
            - {name: data, persistentVolumeClaim: {claimName: data}}
            - {name: unused, secret: {secretName: other}}
        ",
    );
    let service = ServiceFacts::of(&service).unwrap();
    let listen = resolve_ports(&service.ports, &pod_template).unwrap();
    StandIn {
        id: "7f3a".into(),
        user: "anna".into(),
        container: main_container(&pod_template, &listen).unwrap().into(),
        own_ports: own_ports(&pod_template, &listen),
        service,
        pod_template,
        replicas: 2,
        agent: AgentSource::Carried(Program {
            architecture: "amd64".into(),
            os: "linux".into(),
            loader: b"loader"[..].into(),
            agent: b"agent"[..].into(),
        }),
        preferred_nodes: vec!["node-1".into()],
        openshift: false,
        cpu_limit: None,
    }
}

fn at_origin() -> IpAddr {
    "10.96.0.7".parse().unwrap()
}

/// The only container of the Deployment.
fn agent(stand_in: &StandIn) -> Value {
    deployment(stand_in, at_origin()).unwrap()["spec"]["template"]["spec"]["containers"][0].take()
}

fn pod_spec(stand_in: &StandIn) -> Value {
    deployment(stand_in, at_origin()).unwrap()["spec"]["template"]["spec"].take()
}

#[test]
fn the_secret() {
    insta::assert_snapshot!(show(&secret(&orders(), b"key").unwrap()), @r##"
    apiVersion: v1
    kind: Secret
    metadata:
      name: orders-bridge-7f3a-key
      namespace: shop
      labels:
        app.kubernetes.io/managed-by: bridge
        bridge.dev/service: orders
        bridge.dev/stand-in: 7f3a
      annotations:
        bridge.dev/about: "Created by bridge for anna. It stands between Service orders and its pods. To remove it: `bridge clean orders -n shop`. Deleted by hand while the Service selects it, requests fail."
      ownerReferences:
      - apiVersion: v1
        kind: Service
        name: orders
        uid: 11111111-2222-3333-4444-555555555555
    type: Opaque
    immutable: true
    data:
      key: a2V5
    "##);
}

#[test]
fn the_program() {
    let maps = program(&orders()).unwrap();
    assert_eq!(maps.len(), 1);
    insta::assert_snapshot!(show(&maps[0]), @r##"
    apiVersion: v1
    kind: ConfigMap
    metadata:
      name: orders-bridge-7f3a-program-0
      namespace: shop
      labels:
        app.kubernetes.io/managed-by: bridge
        bridge.dev/service: orders
        bridge.dev/stand-in: 7f3a
      annotations:
        bridge.dev/about: "Created by bridge for anna. It stands between Service orders and its pods. To remove it: `bridge clean orders -n shop`. Deleted by hand while the Service selects it, requests fail."
      ownerReferences:
      - apiVersion: v1
        kind: Service
        name: orders
        uid: 11111111-2222-3333-4444-555555555555
    immutable: true
    binaryData:
      loader: bG9hZGVy
      agent.zst: YWdlbnQ=
    "##);
}

#[test]
fn the_origin_service() {
    insta::assert_snapshot!(show(&origin_service(&orders()).unwrap()), @r##"
    apiVersion: v1
    kind: Service
    metadata:
      name: orders-bridge-7f3a-origin
      namespace: shop
      labels:
        app.kubernetes.io/managed-by: bridge
        bridge.dev/service: orders
        bridge.dev/stand-in: 7f3a
      annotations:
        bridge.dev/about: "Created by bridge for anna. It stands between Service orders and its pods. To remove it: `bridge clean orders -n shop`. Deleted by hand while the Service selects it, requests fail."
      ownerReferences:
      - apiVersion: v1
        kind: Service
        name: orders
        uid: 11111111-2222-3333-4444-555555555555
    spec:
      type: ClusterIP
      selector:
        app: orders
        tier: backend
      ports:
      - name: http
        port: 80
        protocol: TCP
        appProtocol: http
        targetPort: http
      - name: admin
        port: 9000
        protocol: TCP
        targetPort: 80
      sessionAffinity: None
      ipFamilies:
      - IPv4
      ipFamilyPolicy: SingleStack
      trafficDistribution: PreferClose
    "##);
}

#[test]
fn the_deployment() {
    insta::assert_snapshot!(show(&deployment(&orders(), at_origin()).unwrap()), @r##"
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: orders-bridge-7f3a
      namespace: shop
      labels:
        app.kubernetes.io/managed-by: bridge
        bridge.dev/service: orders
        bridge.dev/stand-in: 7f3a
      annotations:
        bridge.dev/about: "Created by bridge for anna. It stands between Service orders and its pods. To remove it: `bridge clean orders -n shop`. Deleted by hand while the Service selects it, requests fail."
      ownerReferences:
      - apiVersion: v1
        kind: Service
        name: orders
        uid: 11111111-2222-3333-4444-555555555555
    spec:
      replicas: 2
      revisionHistoryLimit: 0
      selector:
        matchLabels:
          bridge.dev/service: orders
          bridge.dev/stand-in: 7f3a
      strategy:
        type: RollingUpdate
        rollingUpdate:
          maxSurge: 1
          maxUnavailable: 0
      template:
        metadata:
          labels:
            app.kubernetes.io/managed-by: bridge
            bridge.dev/service: orders
            bridge.dev/stand-in: 7f3a
            app: orders-bridge-7f3a
            tier: orders-bridge-7f3a
          annotations:
            bridge.dev/about: "Created by bridge for anna. It stands between Service orders and its pods. To remove it: `bridge clean orders -n shop`. Deleted by hand while the Service selects it, requests fail."
        spec:
          serviceAccountName: orders
          imagePullSecrets:
          - name: pull
          nodeSelector:
            pool: web
          tolerations:
          - key: web
            operator: Exists
          priorityClassName: high
          affinity:
            nodeAffinity:
              requiredDuringSchedulingIgnoredDuringExecution:
                nodeSelectorTerms:
                - matchExpressions:
                  - key: kubernetes.io/os
                    operator: In
                    values:
                    - linux
                  - key: kubernetes.io/arch
                    operator: In
                    values:
                    - amd64
              preferredDuringSchedulingIgnoredDuringExecution:
              - weight: 100
                preference:
                  matchFields:
                  - key: metadata.name
                    operator: In
                    values:
                    - node-1
          topologySpreadConstraints:
          - maxSkew: 1
            topologyKey: kubernetes.io/hostname
            whenUnsatisfiable: ScheduleAnyway
            labelSelector:
              matchLabels:
                bridge.dev/service: orders
                bridge.dev/stand-in: 7f3a
          terminationGracePeriodSeconds: 600
          securityContext:
            runAsNonRoot: true
            runAsUser: 1000
            fsGroup: 2000
            seccompProfile:
              type: RuntimeDefault
            sysctls:
            - name: net.ipv4.tcp_keepalive_time
              value: "60"
            - name: net.ipv4.ip_local_port_range
              value: 10240 65535
            - name: net.ipv4.ip_unprivileged_port_start
              value: "0"
          containers:
          - name: agent
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
            - 8080=10.96.0.7:80
            - --forward
            - 80=10.96.0.7:9000
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
            - $(BRIDGE_NODE_ADDRESS)
            - --own-variable
            - BRIDGE_POD_NAME
            - --own-variable
            - BRIDGE_NODE_ADDRESS
            - --volume
            - /etc/orders
            - --volume
            - /var/run/secrets/kubernetes.io/serviceaccount
            workingDir: /srv
            env:
            - name: LEVEL
              value: info
            - name: VERSION
              value: v2
            - name: PASSWORD
              valueFrom:
                secretKeyRef:
                  name: orders
                  key: password
            - name: LIMIT
              valueFrom:
                resourceFieldRef:
                  containerName: agent
                  resource: limits.memory
            - name: BRIDGE_POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            - name: BRIDGE_NODE_ADDRESS
              valueFrom:
                fieldRef:
                  fieldPath: status.hostIP
            envFrom:
            - configMapRef:
                name: orders
            ports:
            - name: metrics
              containerPort: 9090
              protocol: TCP
            - name: http
              containerPort: 8080
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
              allowPrivilegeEscalation: false
              readOnlyRootFilesystem: true
              capabilities:
                drop:
                - ALL
            volumeMounts:
            - name: config
              mountPath: /etc/orders
              readOnly: true
            - name: bridge-key
              mountPath: /bridge.dev/key
              readOnly: true
            - name: bridge-program
              mountPath: /bridge.dev/program
              readOnly: true
            - name: bridge-run
              mountPath: /bridge.dev/run
          volumes:
          - name: config
            configMap:
              name: orders
              newField: kept
          - secret:
              secretName: orders-bridge-7f3a-key
              defaultMode: 292
            name: bridge-key
          - projected:
              defaultMode: 365
              sources:
              - configMap:
                  name: orders-bridge-7f3a-program-0
            name: bridge-program
          - emptyDir:
              sizeLimit: 64Mi
            name: bridge-run
    "##);
}

#[test]
fn an_image_needs_neither_program_nor_loader() {
    let stand_in = StandIn { agent: AgentSource::Image("agent:1".into()), ..orders() };
    assert_eq!(program(&stand_in), Ok(vec![]));
    let agent = agent(&stand_in);
    assert_eq!(agent["image"], "agent:1");
    assert_eq!(agent["command"], json!(["/bridge-agent"]));
    assert_eq!(agent["args"][0], "--forward");
    let spec = pod_spec(&stand_in);
    let names: Vec<_> = spec["volumes"].as_array().unwrap().iter().map(|v| v["name"].clone()).collect();
    assert_eq!(names, ["config", "bridge-key"]);
    let required = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert!(!required.to_string().contains("kubernetes.io/arch"), "an image may be for several");
}

#[test]
fn a_large_program_comes_in_parts() {
    let mut stand_in = orders();
    if let AgentSource::Carried(program) = &mut stand_in.agent {
        program.agent = vec![7; 1_500_000].into();
    }
    assert_eq!(program(&stand_in).unwrap().len(), 2);
    let args = agent(&stand_in)["args"].take();
    assert_eq!(
        args.as_array().unwrap()[2..6],
        ["/bridge.dev/program/agent.zst.0", "/bridge.dev/program/agent.zst.1", "/bridge.dev/run/agent", "--"]
    );
    let volume = pod_spec(&stand_in)["volumes"][2].take();
    assert_eq!(volume["projected"]["sources"].as_array().unwrap().len(), 2);
}

#[test]
fn the_user_is_the_origins_unless_that_is_root() {
    for (pod, container, openshift, expected) in [
        (json!({}), json!({}), false, json!(65532)),
        (json!({"runAsUser": 0}), json!({}), false, json!(65532)),
        (json!({"runAsUser": 1000}), json!({}), false, json!(1000)),
        (json!({"runAsUser": 1000}), json!({"runAsUser": 2000}), false, json!(2000)),
        (json!({"runAsUser": 1000}), json!({"runAsUser": 0}), false, json!(65532)),
        (json!({"runAsUser": 1000}), json!({}), true, Value::Null),
    ] {
        let mut stand_in = StandIn { openshift, ..orders() };
        stand_in.pod_template["spec"]["securityContext"] = pod.clone();
        stand_in.pod_template["spec"]["containers"][1]["securityContext"] = container.clone();
        assert_eq!(pod_spec(&stand_in)["securityContext"]["runAsUser"], expected, "{pod} {container}");
    }
}

#[test]
fn our_names_and_folders_make_way() {
    let mut stand_in = orders();
    let container = &mut stand_in.pod_template["spec"]["containers"][1];
    container["env"] = json!([{"name": "BRIDGE_POD_NAME", "value": "theirs"}]);
    container["volumeMounts"] = json!([{"name": "bridge-run", "mountPath": "/bridge.dev/$(x)"}]);
    stand_in.pod_template["spec"]["volumes"] = json!([{"name": "bridge-run", "emptyDir": {}}]);
    let agent = agent(&stand_in);
    assert_eq!(agent["env"][1]["name"], "BRIDGE_POD_NAME_2");
    let args = agent["args"].as_array().unwrap();
    assert!(args.contains(&json!("$(BRIDGE_POD_NAME_2)")) && args.contains(&json!("BRIDGE_POD_NAME_2")));
    assert!(args.contains(&json!("/bridge.dev/$$(x)")), "their folder, as it is written: {args:?}");
    assert!(!args.contains(&json!("/bridge.dev-2/key")), "ours is no volume of theirs");
    assert_eq!(agent["volumeMounts"][3], json!({"name": "bridge-run-2", "mountPath": "/bridge.dev-2/run"}));
}

#[test]
fn our_ports_make_way() {
    let template = json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 7390}]}]}});
    let listen = [ListenPort { service_port: 80, name: None, listen: 7392 }];
    assert_eq!(own_ports(&template, &listen), OwnPorts { control: 7391, readiness: 7393, metrics: 7394 });
    assert_eq!(own_ports(&json!({}), &[]), OwnPorts { control: 7390, readiness: 7391, metrics: 7392 });
}

#[test]
fn two_ports_of_the_service_may_lead_to_one() {
    let mut stand_in = orders();
    stand_in.service.ports = serde_json::from_value(json!([
        {"name": "a", "port": 80, "targetPort": 8080}, {"name": "b", "port": 8080, "targetPort": "http"}
    ]))
    .unwrap();
    let args = agent(&stand_in)["args"].take();
    assert_eq!(args.as_array().unwrap()[5..8], ["--forward", "8080=10.96.0.7:80", "--control"]);
}

#[test]
fn an_origin_may_have_an_ipv6_address() {
    let deployment = deployment(&orders(), "fd00::7".parse().unwrap()).unwrap();
    assert!(deployment.to_string().contains(r#""8080=[fd00::7]:80""#));
}

#[test]
fn a_cpu_limit_is_set_only_when_asked_for() {
    assert_eq!(agent(&orders())["resources"]["limits"], json!({"memory": "512Mi"}));
    let limited = StandIn { cpu_limit: Some("500m".into()), ..orders() };
    assert_eq!(agent(&limited)["resources"]["limits"], json!({"cpu": "500m", "memory": "512Mi"}));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let no_container = StandIn { container: "other".into(), ..orders() };
    assert_eq!(
        deployment(&no_container, at_origin()),
        Err(DeployError::NoContainer { container: "other".into() })
    );
    let mut no_image = orders();
    no_image.pod_template["spec"]["containers"][1]["image"] = Value::Null;
    assert_eq!(deployment(&no_image, at_origin()), Err(DeployError::NoImage { container: "orders".into() }));
}

#[test]
fn a_stand_in_has_no_more_replicas_than_it_needs() {
    assert_eq!([0, 1, 2, 5].map(replicas_for), [2, 1, 2, 5]);
}
