//! Every object of a stand-in, from its first line to its last.

use super::*;

fn show(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap()
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
        bridge.dev/about: >-
          Created by bridge for anna. Part of a stand-in between Service orders and its
          pods. To remove it, run `bridge clean orders -n shop`. If you delete it by hand
          while the Service selects it, requests fail.
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
      name: orders-bridge-7f3a-program-57fb52a7-0
      namespace: shop
      labels:
        app.kubernetes.io/managed-by: bridge
        bridge.dev/service: orders
        bridge.dev/stand-in: 7f3a
      annotations:
        bridge.dev/about: >-
          Created by bridge for anna. Part of a stand-in between Service orders and its
          pods. To remove it, run `bridge clean orders -n shop`. If you delete it by hand
          while the Service selects it, requests fail.
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
        bridge.dev/about: >-
          Created by bridge for anna. Part of a stand-in between Service orders and its
          pods. To remove it, run `bridge clean orders -n shop`. If you delete it by hand
          while the Service selects it, requests fail.
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
        bridge.dev/about: >-
          Created by bridge for anna. Part of a stand-in between Service orders and its
          pods. To remove it, run `bridge clean orders -n shop`. If you delete it by hand
          while the Service selects it, requests fail.
        bridge.dev/origin-template: v1-e2ed13989a10543b
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
            bridge.dev/about: >-
              Created by bridge for anna. Part of a stand-in between Service orders and its
              pods. To remove it, run `bridge clean orders -n shop`. If you delete it by hand
              while the Service selects it, requests fail.
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
            - $(BRIDGE_NODE_ADDRESSES)
            - --own-variable
            - BRIDGE_POD_NAME
            - --own-variable
            - BRIDGE_NODE_ADDRESSES
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
                  optional: true
            - name: LIMIT
              valueFrom:
                resourceFieldRef:
                  containerName: agent
                  resource: limits.memory
            - name: BRIDGE_POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            - name: BRIDGE_NODE_ADDRESSES
              valueFrom:
                fieldRef:
                  fieldPath: status.hostIPs
            envFrom:
            - configMapRef:
                name: orders
                optional: true
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
              optional: true
          - secret:
              secretName: orders-bridge-7f3a-key
              defaultMode: 292
            name: bridge-key
          - projected:
              defaultMode: 365
              sources:
              - configMap:
                  name: orders-bridge-7f3a-program-57fb52a7-0
            name: bridge-program
          - emptyDir:
              sizeLimit: 64Mi
            name: bridge-run
    "##);
}
