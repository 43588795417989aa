//! Creates the objects of a stand-in that do not exist yet.

use bridge_deploy::{Restore, StandIn};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use serde_json::{Value, json};

use crate::change::{Decision, change};
use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::objects::{self, First, address, ensure, read_made};
use crate::ours::{self, Of};
use crate::state::Attachment;

/// The identity of a stand-in.
#[derive(Debug)]
pub(super) struct Created {
    pub(super) key: Vec<u8>,
    /// The uid of its Deployment: only its pods are agents.
    pub(super) deployment: String,
    /// When its agents restore the Service without a laptop.
    pub(super) restore: Option<Restore>,
    /// It existed before, with another template of the origin: see [`crate::follow`].
    pub(super) stale: bool,
}

/// Creates the missing objects of the stand-in.
///
/// # Errors
///
/// [`ClusterError::Refused`] by admission (Pod Security, quota …), [`ClusterError::NotOurs`] if another's object has a
/// name that it needs, and those of the calls.
pub(super) async fn create(
    cluster: &Cluster,
    stand_in: &StandIn,
    attachment: &Attachment,
) -> Result<Created, ClusterError> {
    let of = Of {
        service: stand_in.service.name.clone(),
        uid: stand_in.service.uid.clone(),
        id: stand_in.id.clone(),
    };
    let names = stand_in.names();
    let secret = bridge_deploy::secret(stand_in, &rand::random::<[u8; 32]>())?;
    let programs = bridge_deploy::program(stand_in)?;
    let restorer = bridge_deploy::restorer(stand_in)?;
    let origin = bridge_deploy::origin_service(stand_in)?;
    // A stand-in that existed before probably still exists, with all its objects.
    let first = if attachment.deployment.is_some() { First::Read } else { First::Create };
    let deployment = async {
        match first {
            First::Read => {
                read_made(cluster, &of, "deployments", &names.stand_in, |_: &Deployment| None).await
            }
            First::Create => Ok(None),
        }
    };
    // The program of another version has another name.
    let ensured = async |programs: &[Value]| {
        let programs = programs.iter().map(|program| {
            ensure::<ConfigMap>(cluster, &of, first, "configmaps", program, ours::is_another_program)
        });
        futures::future::try_join_all(programs).await
    };
    let (secret, origin, _, there) = tokio::try_join!(
        ensure(cluster, &of, first, "secrets", &secret, |_: &Secret, _| None),
        ensure(cluster, &of, first, "services", &origin, ours::leads_elsewhere),
        ensured(&programs),
        deployment,
    )?;
    let deployment = async {
        match there {
            Some(there) => Ok(there),
            None => {
                let deployment = bridge_deploy::deployment(stand_in, address(&origin, &names.origin)?)?;
                let other = |_: &Deployment, _: &Deployment| None;
                ensure(cluster, &of, First::Create, "deployments", &deployment, other).await
            }
        }
    };
    // Pods start without it.
    let (there, _) = tokio::try_join!(deployment, ensured(&restorer))?;
    let stale = objects::is_stale(&there.metadata, &stand_in.pod_template);
    let restore = there.spec.as_ref().and_then(|spec| Restore::of(&json!(spec.template)));
    let deployment = there.metadata.uid.unwrap_or_default();
    if attachment.deployment.as_ref().is_some_and(|before| *before != deployment) {
        // It was deleted: connected developers continue with its replacement.
        change(cluster, &of.service, |now| with_deployment(now, &of.id, &deployment)).await?;
    }
    Ok(Created { key: key(secret, &names.secret, cluster)?, deployment, restore, stale })
}

/// Makes the attachment name the existing Deployment.
fn with_deployment(now: &Service, stand_in: &str, deployment: &str) -> Result<Decision<()>, ClusterError> {
    let there = Attachment::of(now)?.filter(|there| there.stand_in == stand_in);
    let Some(mut there) = there.filter(|there| there.deployment.as_deref() != Some(deployment)) else {
        return Ok(Decision::Leave(()));
    };
    there.deployment = Some(deployment.to_owned());
    Ok(Decision::Write(there.to_change(), ()))
}

/// The key in a Secret of ours.
pub(in crate::takeover) fn key(
    secret: Secret,
    name: &str,
    cluster: &Cluster,
) -> Result<Vec<u8>, ClusterError> {
    let key = secret.data.and_then(|mut data| data.remove("key")).map(|bytes| bytes.0);
    key.filter(|key| !key.is_empty()).ok_or_else(|| ClusterError::Refused {
        call: Call::new("get", "secrets", &cluster.namespace, name),
        reason: "it contains no key".to_owned(),
    })
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
