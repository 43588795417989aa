//! Which rights bridge uses, and which of them the user lacks.

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, api::PostParams};

use crate::{
    app::AppKind,
    client::Cluster,
    error::{Call, ClusterError},
};

/// One verb on one resource of the target's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Right {
    pub verb: &'static str,
    /// Empty for Kubernetes' core group.
    pub group: &'static str,
    /// Includes the subresource: "pods/portforward".
    pub resource: &'static str,
    pub need: Need,
}

/// The features that need a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Connecting and restoring.
    Connect,
    /// Conveniences: warnings in advance, reasons, lists, Events.
    Comfort,
}

/// "create deployments.apps"
impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// All rights that bridge uses: those that `deploy/rbac-developer.yaml` grants.
#[must_use]
pub fn rights() -> Vec<Right> {
    use Need::{Comfort, Connect};
    const TABLE: [(Need, &str, &str, &[&str]); 27] = [
        (Connect, "", "services", &["get", "list", "watch", "create", "patch", "delete"]),
        (Connect, "apps", "deployments", &["get", "list", "watch", "create", "delete"]),
        (Comfort, "apps", "deployments", &["patch"]),
        (Connect, "apps", "replicasets", &["get"]),
        (Comfort, "apps", "replicasets", &["list"]),
        (Comfort, "apps", "statefulsets", &["get", "list"]),
        (Comfort, "apps", "daemonsets", &["get", "list"]),
        (Comfort, "batch", "cronjobs", &["get"]),
        (Comfort, "autoscaling", "horizontalpodautoscalers", &["list"]),
        (Comfort, "policy", "poddisruptionbudgets", &["list"]),
        (Connect, "", "pods", &["get", "list", "watch"]),
        (Connect, "", "pods/portforward", &["create"]),
        (Comfort, "", "pods/portforward", &["get"]),
        (Comfort, "", "pods/log", &["get"]),
        (Connect, "", "configmaps", &["create", "get", "list", "patch", "delete"]),
        (Connect, "", "secrets", &["create", "get", "patch", "delete"]),
        (Comfort, "networking.k8s.io", "networkpolicies", &["list"]),
        (Comfort, "networking.k8s.io", "ingresses", &["list"]),
        (Comfort, "gateway.networking.k8s.io", "httproutes", &["list"]),
        (Comfort, "gateway.networking.k8s.io", "grpcroutes", &["list"]),
        (Comfort, "projectcontour.io", "httpproxies", &["list"]),
        (Comfort, "traefik.io", "ingressroutes", &["list"]),
        (Comfort, "cloud.google.com", "backendconfigs", &["list"]),
        (Comfort, "", "resourcequotas", &["list"]),
        (Comfort, "", "limitranges", &["list"]),
        (Comfort, "", "namespaces", &["get"]),
        (Comfort, "", "events", &["list", "create"]),
    ];
    let row =
        |&(need, group, resource, verbs): &(Need, &'static str, &'static str, &'static [&'static str])| {
            verbs.iter().map(move |&verb| Right { verb, group, resource, need }).collect::<Vec<_>>()
        };
    TABLE.iter().flat_map(row).collect()
}

/// The rights that a sidecar in a workload of this kind needs beyond [`rights`]: those that `deploy/rbac-sidecar.yaml`
/// grants.
#[must_use]
pub fn sidecar_rights(kind: AppKind) -> Vec<Right> {
    let right = |verb| Right { verb, group: kind.group(), resource: kind.resource(), need: Need::Connect };
    match kind {
        AppKind::Deployment => Vec::new(),
        AppKind::StatefulSet | AppKind::DaemonSet => vec![right("patch"), right("watch")],
        AppKind::Rollout => vec![right("get"), right("list"), right("patch"), right("watch")],
    }
}

/// Returns the rights that the user does not have in the cluster's namespace. Asks for all at once.
///
/// # Errors
///
/// If the API server cannot be asked; any user may ask about their own rights.
pub async fn missing(cluster: &Cluster, rights: &[Right]) -> Result<Vec<Right>, ClusterError> {
    let answers = join_all(rights.iter().map(|right| may(cluster, right))).await;
    let mut missing = Vec::new();
    for (right, allowed) in rights.iter().zip(answers) {
        if !allowed? {
            missing.push(*right);
        }
    }
    Ok(missing)
}

async fn may(cluster: &Cluster, right: &Right) -> Result<bool, ClusterError> {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let call = Call::everywhere("create", "selfsubjectaccessreviews");
    let review = review(right, &cluster.namespace);
    let answer = cluster.call(call, api.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn review(right: &Right, namespace: &str) -> SelfSubjectAccessReview {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (right.resource, None),
    };
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some(right.verb.to_owned()),
        group: Some(right.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        // The one namespace that the Role names.
        name: (resource == "namespaces").then(|| namespace.to_owned()),
        ..ResourceAttributes::default()
    };
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::api::rbac::v1::Role;

    use super::*;

    #[test]
    fn the_role_grants_the_rights_that_bridge_uses_and_no_others() {
        assert_eq!(granted(bridge_deploy::RBAC_DEVELOPER), asked(&rights()));
    }

    #[test]
    fn the_optional_role_grants_the_rights_for_sidecars_and_no_others() {
        let mut needed: Vec<Right> = AppKind::ALL.into_iter().flat_map(sidecar_rights).collect();
        needed.extend(crate::replace::keda::rights());
        // See `takeover::sidecar::stuck`.
        needed.push(Right { verb: "delete", group: "", resource: "pods", need: Need::Comfort });
        let role = granted(include_str!("../../../deploy/rbac-sidecar.yaml"));
        assert_eq!(role, asked(&needed));
        assert!(role.is_disjoint(&asked(&rights())), "the Role for developers has the others");
    }

    type Granted = BTreeSet<(String, String, String)>;

    fn asked(rights: &[Right]) -> Granted {
        rights.iter().map(|r| (r.verb.into(), r.group.into(), r.resource.into())).collect()
    }

    fn granted(role: &str) -> Granted {
        let role: Role = serde_saphyr::from_str(role).unwrap();
        let mut granted = BTreeSet::new();
        for rule in role.rules.unwrap() {
            for group in rule.api_groups.unwrap() {
                for resource in rule.resources.iter().flatten() {
                    granted.extend(rule.verbs.iter().map(|v| (v.clone(), group.clone(), resource.clone())));
                }
            }
        }
        granted
    }

    #[test]
    fn a_right_is_asked_for_as_rbac_knows_it() {
        let right = Right { verb: "get", group: "", resource: "pods/portforward", need: Need::Connect };
        let attributes = review(&right, "shop").spec.resource_attributes.unwrap();
        assert_eq!(
            (attributes.resource.as_deref(), attributes.subresource.as_deref()),
            (Some("pods"), Some("portforward"))
        );
        assert_eq!(right.to_string(), "get pods/portforward");
        assert_eq!(
            Right { group: "apps", resource: "deployments", ..right }.to_string(),
            "get deployments.apps"
        );
    }
}
