//! Facts about a cluster for `bridge doctor`, besides rights: the Kubernetes version, and the namespace's Pod Security
//! level.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};

use crate::{
    client::Cluster,
    error::{Call, ClusterError},
};

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// The API server's version: 1.36 is `minor` 36; `text` is the server's own, "v1.36.3".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    pub major: u32,
    pub minor: u32,
    pub text: String,
}

/// Asks for the version; this also shows whether the API server can be reached.
///
/// # Errors
///
/// The errors of the call.
pub async fn server_version(cluster: &Cluster) -> Result<ServerVersion, ClusterError> {
    let call = Call::everywhere("get", "the version");
    let info = cluster.call(call, cluster.client.apiserver_version()).await?;
    Ok(ServerVersion { major: number(&info.major), minor: number(&info.minor), text: info.git_version })
}

/// Some clouds say "33+".
fn number(text: &str) -> u32 {
    text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default()
}

/// The level of Pod Security that the namespace enforces; none if it names none.
///
/// # Errors
///
/// The errors of the call.
pub async fn pod_security(cluster: &Cluster) -> Result<Option<String>, ClusterError> {
    let name = &cluster.namespace;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = cluster.call(Call::new("get", "namespaces", name, name), namespaces.get(name)).await?;
    Ok(namespace.labels().get(ENFORCE).cloned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_may_carry_a_sign() {
        assert_eq!(["1", "33+", ""].map(super::number), [1, 33, 0]);
    }
}
