//! An agent aside: one pod of a workload's template beside the workload, with its environment, files and network. No
//! Service leads to it. Pure functions that return the objects as JSON: first the Deployment, which belongs to the
//! workload; then the objects that bring its key and its program, which belong to the Deployment and go with it.

use serde_json::{Value, json};

use crate::{
    agent::AgentSource,
    brought,
    deployment::Deployment,
    error::DeployError,
    holes::Filling,
    names::{ASIDE_LABEL, MANAGED_BY_LABEL, Names, names},
    own_ports::own_ports,
    pod,
    restore::{Part, Restore},
};

/// Nobody waits for connections of an agent aside when it goes, in seconds.
const GRACE: u32 = 2;

/// Everything that determines an agent aside.
#[derive(Debug, Clone, PartialEq)]
pub struct Aside<'a> {
    /// Short and random, `a-z0-9`: "7f3a".
    pub id: &'a str,
    pub namespace: &'a str,
    /// The user's name, for the annotation with the creator.
    pub user: &'a str,
    /// The target, as users type it: "deploy/worker".
    pub target: &'a str,
    pub owner: Owner<'a>,
    /// The value of the annotation with the session.
    pub session: &'a str,
    /// The workload's pod template, `metadata` and `spec`, as JSON.
    pub pod_template: &'a Value,
    pub agent: &'a AgentSource,
    /// Names of nodes that have the image.
    pub preferred_nodes: &'a [String],
    /// OpenShift assigns the namespace's users: then none is set.
    pub openshift: bool,
    /// Set if a quota or LimitRange demands it: "500m".
    pub cpu_limit: Option<&'a str>,
    /// When the agent is removed, and the target restored; `None`: never.
    pub restore: Option<Restore>,
}

/// The object that an agent aside goes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// "apps/v1"
    pub api_version: &'a str,
    /// "Deployment"
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
}

impl Owner<'_> {
    fn reference(&self) -> Value {
        let Self { api_version, kind, name, uid } = self;
        json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid}])
    }
}

/// The names of the objects of an agent aside. Other names than Services' may have dots, which a cut name cannot end
/// with.
#[must_use]
pub fn aside_names(target: &str, id: &str) -> Names {
    names(&target.replace('.', "-"), id)
}

impl Aside<'_> {
    #[must_use]
    pub fn names(&self) -> Names {
        aside_names(self.owner.name, self.id)
    }

    /// The Deployment of one agent. Its pod is like the workload's to a process; it has no label and no port of theirs.
    ///
    /// # Errors
    ///
    /// [`DeployError::NoContainer`] and [`DeployError::NoImage`] for a template without them.
    pub fn deployment(&self) -> Result<Value, DeployError> {
        let template = self.pod_template;
        let container = pod::container(template, pod::main_container(template, &[]).unwrap_or_default())?;
        let deployment = Deployment {
            common: self.common(&self.owner),
            names: self.names(),
            pod_template: template,
            container,
            replicas: 1,
            source: self.agent,
            own_ports: own_ports(template, &[]),
            forwards: Vec::new(),
            agents: json!({ ASIDE_LABEL: self.id }),
            pod_labels: self.labels(),
            ports: Value::Null,
            sysctls: pod::sysctls(template, &[]),
            grace: GRACE,
            preferred_nodes: self.preferred_nodes,
            openshift: self.openshift,
            cpu_limit: self.cpu_limit,
            restore: self.restore,
            part: Part::Aside,
        };
        deployment.fill(Filling::default().with("origin_template", Value::Null).with("session", self.session))
    }

    /// The Secret with the key by which the daemon proves itself. `deployment`: the uid of the Deployment.
    ///
    /// # Errors
    ///
    /// None for templates that pass the tests.
    pub fn secret(&self, deployment: &str, key: &[u8]) -> Result<Value, DeployError> {
        let names = self.names();
        brought::secret(self.common(&of_deployment(&names.stand_in, deployment)), &names, key)
    }

    /// The ConfigMaps with the agent program; none if it comes as an image.
    ///
    /// # Errors
    ///
    /// See [`Aside::secret`].
    pub fn program(&self, deployment: &str) -> Result<Vec<Value>, DeployError> {
        let names = self.names();
        let common = || self.common(&of_deployment(&names.stand_in, deployment));
        brought::program(common, &names, self.agent)
    }

    /// The ConfigMaps with the program by which the agent restores the target; none if it never does.
    ///
    /// # Errors
    ///
    /// See [`Aside::secret`].
    pub fn restorer(&self, deployment: &str) -> Result<Vec<Value>, DeployError> {
        let names = self.names();
        let common = || self.common(&of_deployment(&names.stand_in, deployment));
        brought::restorer(common, &names, self.agent, self.restore)
    }

    fn labels(&self) -> Value {
        json!({ MANAGED_BY_LABEL: "bridge", ASIDE_LABEL: self.id })
    }

    fn common(&self, owner: &Owner<'_>) -> Filling {
        let Self { namespace, user, target, .. } = self;
        let about = format!(
            "Created by bridge for {user}: an agent beside {target} with its environment, files and network. No Service \
             leads to it. To remove it, run `bridge clean {target} -n {namespace}`, or delete its Deployment."
        );
        Filling::default()
            .with("namespace", *namespace)
            .with("labels", self.labels())
            .with("about", about)
            .with("owners", owner.reference())
    }
}

fn of_deployment<'a>(name: &'a str, uid: &'a str) -> Owner<'a> {
    Owner { api_version: "apps/v1", kind: "Deployment", name, uid }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Program;

    fn template() -> Value {
        serde_saphyr::from_str(
            "
            metadata: {labels: {app: worker, tier: back}}
            spec:
              serviceAccountName: worker
              restartPolicy: OnFailure
              containers:
                - name: main
                  image: shop:1
                  env: [{name: LEVEL, value: info}]
                  ports: [{name: metrics, containerPort: 7390}]
                  livenessProbe: {httpGet: {path: /, port: metrics}}
                  volumeMounts: [{name: menu, mountPath: /etc/shop}]
              volumes: [{name: menu, configMap: {name: menu}}]
            ",
        )
        .unwrap()
    }

    fn of(template: &Value, test: impl FnOnce(Aside<'_>)) {
        let agent = AgentSource::Carried(Program {
            architecture: "amd64".into(),
            os: "linux".into(),
            loader: b"loader"[..].into(),
            agent: b"agent"[..].into(),
            restorer: b"restorer"[..].into(),
        });
        test(Aside {
            id: "7f3a",
            namespace: "shop",
            user: "alice",
            target: "deploy/worker",
            owner: Owner { api_version: "apps/v1", kind: "Deployment", name: "worker", uid: "u1" },
            session: "{}",
            pod_template: template,
            agent: &agent,
            preferred_nodes: &[],
            openshift: false,
            cpu_limit: None,
            restore: None,
        });
    }

    #[test]
    fn its_pod_is_like_the_workload_s_to_a_process_and_to_no_service() {
        of(&template(), |aside| {
            let deployment = aside.deployment().unwrap();
            let at = |pointer: &str| deployment.pointer(pointer).cloned().unwrap_or_default();
            assert_eq!(at("/metadata/name"), "worker-bridge-7f3a");
            assert_eq!(at("/metadata/annotations/bridge.dev~1session"), "{}");
            assert_eq!(at("/metadata/annotations/bridge.dev~1origin-template"), Value::Null);
            assert_eq!(at("/metadata/ownerReferences"), aside.owner.reference());
            let labels = json!({MANAGED_BY_LABEL: "bridge", ASIDE_LABEL: "7f3a"});
            assert_eq!(at("/metadata/labels"), labels);
            assert_eq!(at("/spec/template/metadata/labels"), labels, "none of the workload's");
            assert_eq!(at("/spec/selector/matchLabels"), json!({ASIDE_LABEL: "7f3a"}));
            assert_eq!(at("/spec/replicas"), 1);
            let pod = "/spec/template/spec";
            assert_eq!(at(&format!("{pod}/serviceAccountName")), "worker");
            assert_eq!(at(&format!("{pod}/restartPolicy")), Value::Null, "a Deployment's pods have no other");
            let container = format!("{pod}/containers/0");
            assert_eq!(at(&format!("{container}/image")), "shop:1");
            assert_eq!(at(&format!("{container}/env/0")), json!({"name": "LEVEL", "value": "info"}));
            assert_eq!(at(&format!("{container}/volumeMounts/0/mountPath")), "/etc/shop");
            for none in ["ports", "livenessProbe"] {
                assert_eq!(at(&format!("{container}/{none}")), Value::Null, "{none}");
            }
            let args: Vec<String> =
                serde_json::from_value(at(&format!("{container}/args"))).expect("arguments");
            assert!(!args.contains(&"--forward".to_owned()), "{args:?}");
            assert!(args.contains(&"7391".to_owned()), "the workload has port 7390: {args:?}");
        });
    }

    #[test]
    fn its_key_and_its_program_go_with_its_deployment() {
        of(&template(), |aside| {
            let owner = json!([{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "worker-bridge-7f3a", "uid": "u2",
            }]);
            let secret = aside.secret("u2", b"key").unwrap();
            assert_eq!(secret["metadata"]["name"], "worker-bridge-7f3a-key");
            let program = aside.program("u2").unwrap();
            assert!(!program.is_empty());
            for object in program.iter().chain([&secret]) {
                assert_eq!(object["metadata"]["ownerReferences"], owner);
                assert_eq!(object["metadata"]["labels"][ASIDE_LABEL], "7f3a");
            }
        });
    }

    #[test]
    fn names_with_dots_become_names_of_any_object() {
        assert_eq!(aside_names("report.v2", "7f3a").stand_in, "report-v2-bridge-7f3a");
        let long = aside_names(&format!("{}.y", "x".repeat(39)), "7f3a").stand_in;
        assert!(!long.contains('.') && !long.contains("--"), "{long}");
    }

    #[test]
    fn a_template_without_containers_is_refused() {
        of(&json!({"spec": {}}), |aside| assert!(aside.deployment().is_err()));
    }
}
