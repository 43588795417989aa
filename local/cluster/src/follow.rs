//! The stand-in follows the origin: when the template of its workload changes (a roll-out with another image or other
//! ConfigMaps), the stand-in's Deployment gets a template made of the new one. It rolls with no agent unavailable, so the
//! old agents serve until new ones are ready, and if these never are, for good.
//!
//! Several daemons may do so at once: one change is made, under the Deployment's resourceVersion, and the others find
//! that the stand-in follows the origin's template. Only the origin's template is compared, not the program in the
//! stand-in, nor who created it. So daemons of different versions do not change it in turn.

use bridge_deploy::{AgentSource, ORIGIN_TEMPLATE_ANNOTATION, OwnPorts, StandIn, own_ports};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::change::until_settled;
use crate::choose::Asked;
use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::objects::{self, First, ensure};
use crate::obstacles;
use crate::ours::{self, Of};
use crate::ownership::MANAGER;
use crate::snapshot::{self, Snapshot};
use crate::state::Attachment;
use crate::workload::{Labels, Workload};

/// The relation of a stand-in to its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// It has the origin's template; or the origin has none, as its pods belong to no workload that we know.
    Same,
    /// It is rolling to the origin's new template.
    Rolls,
    /// The new template serves the Service's ports at other ports than the agents listen on: attach again.
    OtherPorts,
    /// The part of the new template that no stand-in can have.
    Cannot(String),
    /// The attachment is gone.
    Gone,
}

/// The user and the program for changes of the stand-in.
#[derive(Debug, Clone)]
pub struct Follower {
    /// The user's name, for others.
    pub user: String,
    pub agent: AgentSource,
}

/// Whether a stand-in has another template than the workload whose pods have these labels. False if there is no such
/// template: the pods belong to several workloads, or to none with a template that we can read.
///
/// # Errors
///
/// The errors of the calls.
pub async fn is_behind(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    original: &Labels,
) -> Result<bool, ClusterError> {
    let name = bridge_deploy::names(service, stand_in).stand_in;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let call = Call::new("get", "deployments", &cluster.namespace, &name);
    let (behind, deployment) = tokio::try_join!(
        snapshot::pods_and_workloads(cluster, original),
        cluster.call(call, deployments.get_metadata(&name)),
    )?;
    Ok(declared(&behind.1).is_some_and(|origin| objects::is_stale(&deployment.metadata, &origin.template)))
}

/// The workload, if it is one that can be followed.
fn declared(workloads: &[Workload]) -> Option<&Workload> {
    match workloads {
        [origin] if origin.declared => Some(origin),
        _ => None,
    }
}

/// Gives a stand-in the origin's current template, if it has another one.
///
/// # Errors
///
/// [`ClusterError::Forbidden`] if Deployments may not be changed, and those of the calls.
pub async fn follow(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    follower: &Follower,
) -> Result<Followed, ClusterError> {
    let now = objects::read(cluster, service).await?;
    let Some(attachment) = Attachment::of(&now)?.filter(|there| there.stand_in == stand_in) else {
        return Ok(Followed::Gone);
    };
    let Some(of) = Of::new(&now, stand_in) else { return Ok(Followed::Gone) };
    let snapshot = snapshot::behind(cluster, now, attachment.original.clone()).await?;
    let Some(origin) = declared(&snapshot.workloads) else { return Ok(Followed::Same) };
    let name = bridge_deploy::names(service, stand_in).stand_in;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    until_settled(|| async {
        let call = Call::new("get", "deployments", &cluster.namespace, &name);
        let deployment = cluster.call(call, deployments.get(&name)).await?;
        if !of.owns(&deployment.metadata) {
            return Ok(Followed::Gone);
        }
        match next(&attachment, &snapshot, origin, &deployment, follower)? {
            Next::Leave(followed) => Ok(followed),
            Next::Roll(made) => roll(cluster, &of, &deployment, &made).await.map(|()| Followed::Rolls),
        }
    })
    .await
}

/// The result of a look at a stand-in's Deployment.
enum Next {
    Leave(Followed),
    Roll(Box<StandIn>),
}

fn next(
    attachment: &Attachment,
    snapshot: &Snapshot,
    origin: &Workload,
    deployment: &Deployment,
    follower: &Follower,
) -> Result<Next, ClusterError> {
    if !objects::is_stale(&deployment.metadata, &origin.template) {
        return Ok(Next::Leave(Followed::Same));
    }
    let carried = Asked::with(&follower.agent).carried;
    if let Some(obstacle) = obstacles::of_template(snapshot, origin, carried).first() {
        return Ok(Next::Leave(Followed::Cannot(obstacle.to_string())));
    }
    let listen = snapshot.listen_ports()?;
    let is_known =
        |port: &bridge_deploy::ListenPort| attachment.ports.get(&port.service_port) == Some(&port.listen);
    if listen.iter().any(|port| port.listen == attachment.control) || !listen.iter().all(is_known) {
        return Ok(Next::Leave(Followed::OtherPorts));
    }
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let replicas = replicas.and_then(|replicas| u32::try_from(replicas).ok());
    let made = snapshot.stand_in(&attachment.stand_in, &follower.user, replicas, follower.agent.clone())?;
    let own_ports = beside(attachment.control, own_ports(&origin.template, &listen));
    Ok(Next::Roll(Box::new(StandIn { own_ports, ..made })))
}

/// Daemons know the control port from the attachment, so it stays whatever the template declares; the other ports give
/// way.
fn beside(control: u16, free: OwnPorts) -> OwnPorts {
    let mut others = [free.control, free.readiness, free.metrics].into_iter().filter(|port| *port != control);
    OwnPorts {
        control,
        readiness: others.next().unwrap_or(free.readiness),
        metrics: others.next().unwrap_or(free.metrics),
    }
}

/// Changes the Deployment, if it is still the version that was read.
async fn roll(cluster: &Cluster, of: &Of, read: &Deployment, stand_in: &StandIn) -> Result<(), ClusterError> {
    let (namespace, names) = (&cluster.namespace, stand_in.names());
    let programs = bridge_deploy::program(stand_in)?;
    let programs = programs.iter().map(|program| {
        ensure::<ConfigMap>(cluster, of, First::Create, "configmaps", program, ours::is_another_program)
    });
    let origin = bridge_deploy::origin_service(stand_in)?;
    let (origin, _) = tokio::try_join!(
        ensure(cluster, of, First::Create, "services", &origin, |_: &Service, _| None),
        futures::future::try_join_all(programs),
    )?;
    let made = bridge_deploy::deployment(stand_in, objects::address(&origin, &names.origin)?)?;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let call = Call::new("patch", "deployments", namespace, &names.stand_in);
    let change = Patch::Strategic(change(read, made));
    cluster.call(call, deployments.patch_metadata(&names.stand_in, &params, &change)).await.map(|_| ())
}

/// The whole template, so that nothing of the old one stays, and the record of its origin.
fn change(read: &Deployment, mut made: Value) -> Value {
    let mut template = made["spec"]["template"].take();
    template["$patch"] = json!("replace");
    json!({
        "metadata": {
            "resourceVersion": read.metadata.resource_version,
            "annotations": {
                ORIGIN_TEMPLATE_ANNOTATION: made["metadata"]["annotations"][ORIGIN_TEMPLATE_ANNOTATION],
            },
        },
        "spec": {"template": template},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_port_stays_and_the_others_make_way() {
        let ports = |control, readiness, metrics| OwnPorts { control, readiness, metrics };
        for (control, free, expected) in [
            (7390, ports(7390, 7391, 7392), ports(7390, 7391, 7392)),
            (7391, ports(7390, 7391, 7392), ports(7391, 7390, 7392)),
            (7390, ports(7391, 7392, 7393), ports(7390, 7391, 7392)),
        ] {
            assert_eq!(beside(control, free), expected, "control at {control}");
        }
    }

    #[test]
    fn the_change_replaces_the_template_of_the_version_that_was_read() {
        let mut read = Deployment::default();
        read.metadata.resource_version = Some("7".into());
        let made = json!({
            "metadata": {"name": "x", "annotations": {"bridge.dev/origin-template": "v1-a", "bridge.dev/about": "b"}},
            "spec": {"replicas": 2, "template": {"spec": {"containers": []}}},
        });
        let expected = json!({
            "metadata": {"resourceVersion": "7", "annotations": {"bridge.dev/origin-template": "v1-a"}},
            "spec": {"template": {"$patch": "replace", "spec": {"containers": []}}},
        });
        assert_eq!(change(&read, made), expected);
    }
}
