//! Admission policies of the cluster for one namespace, as admins have them. Removed when dropped.

use std::time::Duration;

use serde_json::json;

use crate::api;
use crate::place::{file, kubectl_with};
use crate::world::{LABEL, World, run};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

const CLUSTER_ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";

#[derive(Debug)]
pub struct Policy {
    name: String,
}

/// The name of all objects in `deploy/policy.yaml`.
const OWN_OBJECTS: &str = "bridge-own-objects";

impl Policy {
    /// Returns when pods with a container `c` for which `holds` is not true are refused, with these words.
    pub(crate) fn start(world: &World, holds: &str, words: &str) -> Self {
        let name = world.namespace.clone();
        let metadata = json!({"name": name, "labels": {LABEL: run()}});
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
        let validation =
            json!({"expression": format!("object.spec.containers.all(c, {holds})"), "message": words});
        let _ = api::create(
            POLICIES,
            &json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy", "metadata": metadata,
            "spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]}}),
        );
        let policy = Self { name };
        let here = json!({"matchLabels": {"kubernetes.io/metadata.name": world.namespace}});
        let _ = api::create(
            BINDINGS,
            &json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata,
            "spec": {"policyName": policy.name, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": here}}}),
        );
        // As plain as `restricted` requires.
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "tried", "image": "none", "securityContext":
                {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}});
        let namespace = format!("--namespace={}", world.namespace);
        let dry_run = ["create", &namespace, "--dry-run=server", "-f", "-"];
        policy.is_in_force(&dry_run, &pod.to_string(), words);
        policy
    }

    /// Returns when `deploy/policy.yaml` applies to this user of the namespace, and to nobody elsewhere.
    pub(crate) fn own_objects(world: &World, user: &str) -> Self {
        let policy = Self { name: format!("{OWN_OBJECTS}-{}", world.namespace) };
        let named = format!("metadata:\n  labels: {{{LABEL}: {}}}\n  name: {}\n", run(), policy.name);
        let here = format!(
            "  matchResources: {{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {}}}}}}}\n",
            world.namespace
        );
        let yaml = std::fs::read_to_string(file("deploy/policy.yaml"))
            .expect("the policy")
            .replace(&format!("metadata:\n  name: {OWN_OBJECTS}\n"), &named)
            .replace(
                &format!("policyName: {OWN_OBJECTS}\n"),
                &format!("policyName: {}\n{here}", policy.name),
            );
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": OWN_OBJECTS, "namespace": world.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": policy.name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
        let _ = kubectl_with(&["apply", "-f", "-"], &format!("{yaml}---\n{binding}")).succeeds();
        let (namespace, user) = (format!("--namespace={}", world.namespace), format!("--as={user}"));
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tried"}});
        let dry_run = ["create", &namespace, &user, "--dry-run=server", "-f", "-"];
        policy.is_in_force(&dry_run, &map.to_string(), "may change only objects that bridge created");
        policy
    }

    fn is_in_force(&self, dry_run: &[&str], object: &str, words: &str) {
        crate::eventually(&format!("the policy {} is in force", self.name), Duration::from_secs(20), || {
            let tried = kubectl_with(dry_run, object);
            tried.stderr.contains(words).then_some(()).ok_or_else(|| tried.to_string())
        });
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        for collection in [BINDINGS, POLICIES, CLUSTER_ROLES] {
            api::discard(&format!("{collection}/{}", self.name));
        }
    }
}
