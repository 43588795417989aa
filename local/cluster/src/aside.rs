//! The mode `aside`: one agent beside a workload, in a pod of its template, with its environment, files and network. No
//! Service leads to it, so nothing of others is changed, unless the workload is to be replaced ([`crate::replace`]). No
//! two sessions share one.
//!
//! The Deployment of the agent is the only record: its annotation names the session ([`record`]), and everything else
//! belongs to it and goes with it. The first call creates it, the last one deletes it, and [`clean`] deletes those of
//! sessions that are gone. The crate `bridge-deploy` describes the objects.

pub mod clean;
mod origin;
mod record;

use bridge_deploy::{AgentSource, Aside, Restore, own_ports};
use bridge_proto::target::Target;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::agents::AgentsOf;
use crate::app::App;
use crate::client::Cluster;
use crate::delete::delete;
use crate::error::{Call, ClusterError};
use crate::objects::create;
use crate::ready::wait_ready;
use crate::replace::{self, replaceable};
use crate::state::Claim;
use crate::takeover::{Step, Waiter, unless_given_up};

use self::origin::Origin;
pub use self::record::Record;

/// The workload, the session, and the agent.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub cluster: Cluster,
    pub target: Target,
    /// Without routes.
    pub claim: Claim,
    pub agent: AgentSource,
    /// The target has no pods meanwhile.
    pub replace: bool,
}

/// The identity of the agent, and the way to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// "7f3a91c2"
    pub id: String,
    pub agents: AgentsOf,
    /// The agent's port for daemons.
    pub control_port: u16,
    pub key: Vec<u8>,
    /// The workload to replace.
    pub replaces: Option<App>,
    /// When the agent goes, and the workload is restored, without a laptop; `None`: they are not.
    pub restore: Option<Restore>,
}

/// Creates the agent, which may not be ready yet; on failure nothing of it stays.
///
/// # Errors
///
/// [`ClusterError::NoSuchTarget`] without such a workload, [`ClusterError::NoAside`] with the reasons against an agent
/// in a pod of its template, [`ClusterError::NotReplaced`] with those against replacing it, [`ClusterError::Refused`] by
/// admission; and those of the calls and of the waiter.
pub async fn prepare<W: Waiter>(wanted: &Wanted, waiter: &W) -> Result<Prepared, W::Error> {
    let Wanted { cluster, target, claim, agent, replace } = wanted;
    let origin = origin::read(cluster, target, agent).await?;
    let replaces = match replace {
        true => Some(replaceable(cluster, target, &origin.uid, &origin.template).await?),
        false => None,
    };
    let id = format!("{:08x}", rand::random::<u32>());
    let typed = target.with_kind();
    let session = Record { version: record::VERSION, target: typed.clone(), session: claim.clone() };
    let session = session.to_annotation();
    let aside = aside(&origin, &id, cluster, &typed, claim, &session, agent);
    let name = aside.names().stand_in;
    waiter.step(Step::StartingAside { target: target.sentence(), deployment: name.clone() }).await?;
    let deployment = aside.deployment().map_err(ClusterError::from)?;
    let call = |resource, name: &str| Call::new("create", resource, &cluster.namespace, name);
    let made: Deployment = create(cluster, call("deployments", &name), &deployment).await?;
    let uid = made.metadata.uid.unwrap_or_default();
    let agents = AgentsOf::Aside { name, deployment: uid.clone() };
    let key = rand::random::<[u8; 32]>();
    match bring(cluster, &aside, &uid, &key).await {
        Ok(()) => Ok(Prepared {
            id,
            agents,
            control_port: own_ports(&origin.template, &[]).control,
            key: key.to_vec(),
            replaces,
            restore: Restore::of(deployment.pointer("/spec/template").unwrap_or(&Value::Null)),
        }),
        Err(error) => {
            // If this fails, too, `bridge clean` finds the Deployment.
            let _ = remove(cluster, &agents).await;
            Err(error.into())
        }
    }
}

fn aside<'a>(
    origin: &'a Origin,
    id: &'a str,
    cluster: &'a Cluster,
    target: &'a str,
    claim: &'a Claim,
    session: &'a str,
    agent: &'a AgentSource,
) -> Aside<'a> {
    Aside {
        id,
        namespace: &cluster.namespace,
        user: &claim.user,
        target,
        owner: origin.owner(),
        session,
        pod_template: &origin.template,
        agent,
        preferred_nodes: &origin.nodes,
        openshift: origin.openshift,
        cpu_limit: origin.cpu_limit.as_deref(),
        restore: origin.restore,
    }
}

/// Creates the objects that the agent's pod waits for.
async fn bring(cluster: &Cluster, aside: &Aside<'_>, uid: &str, key: &[u8]) -> Result<(), ClusterError> {
    let call = |resource: &'static str, object: &Value| {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        Call::new("create", resource, &cluster.namespace, name)
    };
    let secret = aside.secret(uid, key)?;
    let programs = [aside.program(uid)?, aside.restorer(uid)?].concat();
    let programs =
        programs.iter().map(|program| create::<ConfigMap>(cluster, call("configmaps", program), program));
    let secret = create::<Secret>(cluster, call("secrets", &secret), &secret);
    let _ = tokio::try_join!(secret, futures::future::try_join_all(programs))?;
    Ok(())
}

/// Waits until the agent is ready.
///
/// # Errors
///
/// [`ClusterError::AsideNotReady`] with the reason, and those of the calls and of the waiter.
pub async fn until_ready<W: Waiter>(
    cluster: &Cluster,
    prepared: &Prepared,
    waiter: &W,
) -> Result<(), W::Error> {
    let waiting = async {
        let progress = |reason: &str| waiter.hint(Step::WaitingForAgents(reason.to_owned()));
        match wait_ready(cluster, "", &prepared.id, &prepared.agents, progress).await {
            Err(ClusterError::NotReady { stand_in, reason }) => {
                Err(ClusterError::AsideNotReady { deployment: stand_in, reason }.into())
            }
            done => Ok(done?),
        }
    };
    unless_given_up(waiter, waiting).await
}

/// Scales the target to zero, if that is wanted, and waits until its pods have ended.
///
/// # Errors
///
/// As [`crate::replace::replace`].
pub async fn replace<W: Waiter>(wanted: &Wanted, prepared: &Prepared, waiter: &W) -> Result<(), W::Error> {
    match &prepared.replaces {
        Some(app) => replace::replace(&wanted.cluster, app, &wanted.claim, waiter).await,
        None => Ok(()),
    }
}

/// Restores the target that a session has replaced, if any, then removes the agent. Kubernetes removes what belongs to
/// that.
///
/// # Errors
///
/// The errors of the calls.
pub async fn end(
    cluster: &Cluster,
    session: &str,
    replaces: Option<&App>,
    agents: &AgentsOf,
) -> Result<(), ClusterError> {
    if let Some(app) = replaces {
        replace::restore(cluster, app, session).await?;
    }
    remove(cluster, agents).await
}

/// Removes the agent; Kubernetes removes what belongs to it.
///
/// # Errors
///
/// The errors of the call.
async fn remove(cluster: &Cluster, agents: &AgentsOf) -> Result<(), ClusterError> {
    let AgentsOf::Aside { name, deployment } = agents else { return Ok(()) };
    let read =
        ObjectMeta { name: Some(name.clone()), uid: Some(deployment.clone()), ..ObjectMeta::default() };
    delete::<Deployment>(cluster, "deployments", &read).await
}

#[cfg(test)]
#[path = "aside_tests.rs"]
mod tests;
