//! An admission policy of the cluster for the pods of one namespace, as admins have them. Dropped, it is gone.

use std::time::Duration;

use serde_json::json;

use crate::api;
use crate::place::kubectl_with;
use crate::world::{LABEL, World, run};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

#[derive(Debug)]
pub struct Policy {
    name: String,
}

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
        // As plain as `restricted` lets it be.
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "tried", "image": "none", "securityContext":
                {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}});
        let namespace = format!("--namespace={}", world.namespace);
        let dry_run = ["create", &namespace, "--dry-run=server", "-f", "-"];
        crate::eventually("the policy is in force", Duration::from_secs(20), || {
            let tried = kubectl_with(&dry_run, &pod.to_string());
            tried.stderr.contains(words).then_some(()).ok_or_else(|| tried.to_string())
        });
        policy
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        for collection in [BINDINGS, POLICIES] {
            api::discard(&format!("{collection}/{}", self.name));
        }
    }
}
