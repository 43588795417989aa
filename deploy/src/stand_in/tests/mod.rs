//! Stand-ins of one Service, `orders`: `objects` shows all objects that are created for it, `choices` the differences
//! for unusual input.

mod choices;
mod objects;

use super::*;
use crate::main_container;
use crate::own_ports::own_ports;
use crate::program::Program;

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
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
            restorer: b"restorer"[..].into(),
        }),
        preferred_nodes: vec!["node-1".into()],
        openshift: false,
        cpu_limit: None,
        restore: None,
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
