//! What an agent aside copies: the pod template of a workload, or of the pods behind a Service. Nothing here needs the
//! pods to be ready, or to exist.

use bridge_deploy::{AgentSource, Owner, Restore};
use bridge_proto::target::{Kind, Target};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, ResourceQuota};
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::account;
use crate::choose::Asked;
use crate::client::{Cluster, list, unless_forbidden};
use crate::error::{Call, ClusterError};
use crate::kind;
use crate::obstacle::Obstacle;
use crate::obstacles::of_platform;
use crate::snapshot::{self, Snapshot, cpu_limit, is_openshift};
use crate::target;
use crate::workload::Workload;

/// The target of an agent aside.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Origin {
    resource: ApiResource,
    name: String,
    pub(super) uid: String,
    pub(super) template: Value,
    /// Nodes that have the image, as far as known.
    pub(super) nodes: Vec<String>,
    pub(super) openshift: bool,
    pub(super) cpu_limit: Option<String>,
    /// When the agent is removed, and the target restored, without a laptop; `None`: they are not.
    pub(super) restore: Option<Restore>,
}

impl Origin {
    /// The target: the agent goes with it.
    pub(super) fn owner(&self) -> Owner<'_> {
        let ApiResource { api_version, kind, .. } = &self.resource;
        Owner { api_version, kind, name: &self.name, uid: &self.uid }
    }
}

/// Reads the target.
///
/// # Errors
///
/// [`ClusterError::NoSuchTarget`] without it, [`ClusterError::NoAside`] with the reasons against an agent in a pod of its
/// template, and those of the calls.
pub(super) async fn read(
    cluster: &Cluster,
    target: &Target,
    agent: &AgentSource,
) -> Result<Origin, ClusterError> {
    let origin = match target.kind {
        Kind::Service => behind(target, snapshot::read(cluster, &target.name).await?)?,
        _ => workload(cluster, target).await?,
    };
    let reasons = of_platform(&origin.template, Asked::with(agent).carried);
    match reasons.is_empty() {
        true => Ok(origin),
        false => Err(ClusterError::NoAside { target: target.sentence(), reasons }),
    }
}

/// The workload behind a Service; of several, the first.
fn behind(target: &Target, snapshot: Snapshot) -> Result<Origin, ClusterError> {
    let Some(workload) = snapshot.origin() else {
        let reasons = vec![Obstacle::NoPods { selector: snapshot.selector }];
        return Err(ClusterError::NoAside { target: target.sentence(), reasons });
    };
    Ok(Origin {
        resource: kind::api(target.kind),
        name: target.name.clone(),
        uid: snapshot.service.uid().unwrap_or_default(),
        template: workload.template.clone(),
        nodes: snapshot.nodes(),
        openshift: snapshot.openshift(),
        cpu_limit: snapshot.cpu_limit(),
        restore: snapshot.restore(),
    })
}

async fn workload(cluster: &Cluster, target: &Target) -> Result<Origin, ClusterError> {
    let Cluster { client, namespace, .. } = cluster;
    let resource = kind::api(target.kind);
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let call = Call::new("get", target.kind.resource(), namespace, &target.name);
    let (object, known, quotas, limits, account) = tokio::join!(
        cluster.call(call, objects.get(&target.name)),
        cluster.call(Call::new("get", "namespaces", namespace, namespace), namespaces.get(namespace)),
        list::<ResourceQuota>(cluster, "resourcequotas"),
        list::<LimitRange>(cluster, "limitranges"),
        account::read(cluster),
    );
    let object = match object {
        Err(error) if error.is_not_found() => return Err(Box::pin(target::not_there(cluster, target)).await),
        object => object?,
    };
    let workload = match target.kind {
        Kind::Pod => {
            Workload::of_pod(&object.metadata, object.data.get("spec").cloned().unwrap_or_default(), None)
        }
        kind => Workload::of(kind, &object),
    };
    let (known, quotas, limits) =
        (unless_forbidden(known)?, unless_forbidden(quotas)?, unless_forbidden(limits)?);
    Ok(Origin {
        resource,
        name: target.name.clone(),
        uid: object.metadata.uid.unwrap_or_default(),
        template: workload.template,
        nodes: Vec::new(),
        openshift: is_openshift(known.as_ref()),
        cpu_limit: cpu_limit(quotas.as_deref(), limits.as_deref()),
        restore: account?.map(|account| account.restore),
    })
}
