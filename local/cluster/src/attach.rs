//! Taking over a Service, step by step: claim, create the stand-in, wait for it, switch the selector.
//!
//! Each step finds out what is there and does the rest, so a connect that was cut off half-way is finished by the next
//! one, and two at once help each other. What is created is described by the crate `bridge-deploy`.

use std::collections::BTreeMap;
use std::time::Duration;

use bridge_deploy::{StandIn, names};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::ResourceExt;
use serde_json::json;

use crate::change::{Decision, change, change_read};
use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::objects::{self, address, create_or_read, managed_fields};
use crate::ours::{self, Of};
use crate::ownership;
use crate::state::{Attachment, Claim, ClaimedRoute, Held, VERSION, selector};
use crate::watch::{self, Progress};

/// A stand-in that is not ready after this long is given up.
pub const READY_WITHIN: Duration = Duration::from_secs(30);

/// Writes a claim at the Service: into the attachment that is there, else into `fresh`, which the caller makes of the
/// Service as it is and which names a stand-in that nobody has yet.
///
/// An attachment whose Service has meanwhile got a selector that is neither the original nor the attached one is
/// replaced: its stand-in leads to the wrong pods, and is then nobody's ([`crate::clean::retire_unused`]). So is one
/// whose agents listen on other ports.
///
/// # Errors
///
/// [`ClusterError::Held`] if somebody has the same match, and those of the calls.
pub async fn claim(
    cluster: &Cluster,
    service: &str,
    fresh: impl Fn(&Service) -> Attachment,
    claim: &Claim,
) -> Result<Attachment, ClusterError> {
    change(cluster, service, |now| with_claim(now, &fresh, claim)).await.map(|(_, attachment)| attachment)
}

fn with_claim(
    now: &Service,
    fresh: impl Fn(&Service) -> Attachment,
    claim: &Claim,
) -> Result<Decision<Attachment>, ClusterError> {
    let fresh = fresh(now);
    let there = Attachment::current(now)?.filter(|there| there.listens_as(&fresh.ports));
    let mut attachment = there.unwrap_or(fresh);
    attachment.claim(claim.clone()).map_err(|held| held_by(now, &held))?;
    Ok(Decision::Write(attachment.to_change(), attachment))
}

/// Changes what a claim that is there takes. False: it is not there, and nothing was changed.
///
/// # Errors
///
/// [`ClusterError::Held`] if somebody else has the same match, and those of the calls.
pub async fn change_claim(
    cluster: &Cluster,
    service: &str,
    id: &str,
    routes: &[ClaimedRoute],
) -> Result<bool, ClusterError> {
    change(cluster, service, |now| with_routes(now, id, routes)).await.map(|(_, is_there)| is_there)
}

fn with_routes(now: &Service, id: &str, routes: &[ClaimedRoute]) -> Result<Decision<bool>, ClusterError> {
    let Some(mut attachment) = Attachment::of(now)? else { return Ok(Decision::Leave(false)) };
    let Some(mut claim) = attachment.sessions.iter().find(|claim| claim.id == id).cloned() else {
        return Ok(Decision::Leave(false));
    };
    if claim.routes == routes {
        return Ok(Decision::Leave(true));
    }
    claim.routes = routes.to_vec();
    attachment.claim(claim).map_err(|held| held_by(now, &held))?;
    Ok(Decision::Write(attachment.to_change(), true))
}

fn held_by(service: &Service, held: &Held) -> ClusterError {
    let holder = format!("{} ({})", held.by.user, held.what);
    ClusterError::Held { service: service.name_any(), holder }
}

/// What a fresh attachment says: the Service as it is now, and the stand-in that will come.
#[must_use]
pub fn fresh(service: &Service, stand_in: &StandIn, ports: BTreeMap<u16, u16>) -> Attachment {
    let managed = managed_fields(service);
    let original = selector(service);
    Attachment {
        version: VERSION,
        stand_in: stand_in.id.clone(),
        attached: bridge_deploy::attached_selector(&original, &stand_in.names().stand_in),
        original,
        selector_owners: ownership::selector_owners(&managed),
        control: stand_in.own_ports.control,
        ports,
        ..Attachment::default()
    }
}

/// What a stand-in is known by.
#[derive(Debug)]
pub struct Created {
    pub key: Vec<u8>,
    /// The uid of its Deployment: only its pods are agents.
    pub deployment: String,
    /// It was there before, made of another template of the origin: see [`crate::follow`].
    pub stale: bool,
}

/// Creates what of the stand-in is not there yet.
///
/// # Errors
///
/// [`ClusterError::Refused`] by admission (Pod Security, quota …), [`ClusterError::NotOurs`] where somebody else has made
/// what it would be made of, and those of the calls.
pub async fn create(
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
    let origin = bridge_deploy::origin_service(stand_in)?;
    // Another version's program has another name.
    let programs = programs
        .iter()
        .map(|program| create_or_read(cluster, &of, "configmaps", program, ours::is_another_program));
    let (secret, origin, _) = tokio::try_join!(
        create_or_read(cluster, &of, "secrets", &secret, |_: &Secret, _| None),
        create_or_read(cluster, &of, "services", &origin, ours::leads_elsewhere),
        futures::future::try_join_all(programs),
    )?;
    let deployment = bridge_deploy::deployment(stand_in, address(&origin, &names.origin)?)?;
    let there = create_or_read(cluster, &of, "deployments", &deployment, |_: &Deployment, _| None).await?;
    let stale = objects::is_stale(&there.metadata, &stand_in.pod_template);
    let deployment = there.metadata.uid.unwrap_or_default();
    if attachment.deployment.as_ref().is_some_and(|before| *before != deployment) {
        // Somebody deleted it: those who are connected go on with the one that takes its place.
        change(cluster, &of.service, |now| with_deployment(now, &of.id, &deployment)).await?;
    }
    Ok(Created { key: key(secret, &names.secret, cluster)?, deployment, stale })
}

/// Has the attachment name the Deployment that is there.
fn with_deployment(now: &Service, stand_in: &str, deployment: &str) -> Result<Decision<()>, ClusterError> {
    let there = Attachment::of(now)?.filter(|there| there.stand_in == stand_in);
    let Some(mut there) = there.filter(|there| there.deployment.as_deref() != Some(deployment)) else {
        return Ok(Decision::Leave(()));
    };
    there.deployment = Some(deployment.to_owned());
    Ok(Decision::Write(there.to_change(), ()))
}

fn key(secret: Secret, name: &str, cluster: &Cluster) -> Result<Vec<u8>, ClusterError> {
    let key = secret.data.and_then(|mut data| data.remove("key")).map(|bytes| bytes.0);
    key.filter(|key| !key.is_empty()).ok_or_else(|| ClusterError::Refused {
        call: Call::new("get", "secrets", &cluster.namespace, name),
        reason: "it contains no key".to_owned(),
    })
}

/// Waits until all agents of the stand-in are ready; says on the way what it waits for.
///
/// # Errors
///
/// [`ClusterError::NotReady`] with the reason, at once where Kubernetes refuses the pods, else after [`READY_WITHIN`].
pub async fn wait_ready(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    created: &Created,
    mut progress: impl FnMut(&str),
) -> Result<(), ClusterError> {
    let deployment = &names(service, stand_in).stand_in;
    let mut last = String::from("no pods yet");
    let waiting = async {
        let mut states = std::pin::pin!(watch::stand_in(cluster, service, stand_in, &created.deployment));
        while let Some(state) = futures::StreamExt::next(&mut states).await {
            match state? {
                Progress::Ready => return Ok(()),
                Progress::Refused(reason) => return Err(not_ready(deployment, reason)),
                Progress::Waiting(reason) => {
                    if reason != last {
                        progress(&reason);
                        last = reason;
                    }
                }
            }
        }
        Ok(())
    };
    match tokio::time::timeout(READY_WITHIN, waiting).await {
        Ok(result) => result,
        Err(_) => {
            let events = watch::last_warning(cluster, deployment).await.unwrap_or_default();
            let reason = if events.is_empty() { last } else { format!("{last}; {events}") };
            Err(not_ready(deployment, format!("{reason} (after {} s)", READY_WITHIN.as_secs())))
        }
    }
}

/// Waits until a stand-in that rolls has none but new agents. Says whether it has; it has not after [`READY_WITHIN`].
///
/// # Errors
///
/// Those of the watch.
pub async fn wait_rolled(cluster: &Cluster, service: &str, stand_in: &str) -> Result<bool, ClusterError> {
    let rolled = async {
        let mut states = std::pin::pin!(watch::rollout(cluster, service, stand_in));
        while let Some(state) = futures::StreamExt::next(&mut states).await {
            if state?.is_some_and(|rollout| rollout.complete) {
                break;
            }
        }
        Ok::<_, ClusterError>(true)
    };
    tokio::time::timeout(READY_WITHIN, rolled).await.unwrap_or(Ok(false))
}

fn not_ready(deployment: &str, reason: String) -> ClusterError {
    ClusterError::NotReady { stand_in: deployment.to_owned(), reason }
}

/// Switches the Service's selector to the stand-in, in one patch, if it is still the original, and notes whose it was. To
/// be followed by [`disown`].
///
/// # Errors
///
/// [`ClusterError::SelectorChanged`] if it is neither, and those of the calls.
pub async fn switch(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    created: &Created,
) -> Result<Service, ClusterError> {
    let deployment = Some(created.deployment.as_str());
    change(cluster, service, |now| to_stand_in(now, stand_in, deployment))
        .await
        .map(|(switched, ())| switched)
}

/// `deployment`: the uid of the stand-in's, if the attachment is to name another than it does.
fn to_stand_in(
    now: &Service,
    stand_in: &str,
    deployment: Option<&str>,
) -> Result<Decision<()>, ClusterError> {
    let changed = || ClusterError::SelectorChanged { service: now.name_any() };
    let mut attachment =
        Attachment::of(now)?.filter(|there| there.stand_in == stand_in).ok_or_else(changed)?;
    if attachment.is_in_place(now) {
        return Ok(Decision::Leave(()));
    }
    if attachment.original != selector(now) {
        return Err(changed());
    }
    attachment.led_back = None;
    if let Some(deployment) = deployment {
        attachment.deployment = Some(deployment.to_owned());
    }
    let owners = ownership::selector_owners(&managed_fields(now));
    if !owners.is_empty() {
        attachment.selector_owners = owners;
    }
    let mut change = attachment.to_change();
    change["spec"] = json!({"selector": attachment.attached});
    Ok(Decision::Write(change, ()))
}

/// Switches a Service again that was led back because no agent was ready ([`crate::detach::lead_back`]), and no other: a
/// selector that somebody has reset stays. Says whether it did; not, where another daemon has.
///
/// # Errors
///
/// Those of the calls.
pub async fn switch_again(cluster: &Cluster, service: &str, stand_in: &str) -> Result<bool, ClusterError> {
    let (switched, again) = change(cluster, service, |now| to_stand_in_again(now, stand_in)).await?;
    if again {
        disown(cluster, switched).await?;
    }
    Ok(again)
}

fn to_stand_in_again(now: &Service, stand_in: &str) -> Result<Decision<bool>, ClusterError> {
    let led_back = Attachment::of(now)?.filter(|a| a.stand_in == stand_in && a.is_led_back(now));
    match led_back {
        Some(_) => to_stand_in(now, stand_in, None).map(|decision| decision.then(true)),
        None => Ok(Decision::Leave(false)),
    }
}

/// Leaves the selector that we have set to nobody, so that whoever applies the Service meets no conflict. The API server
/// makes it ours with each change, so this is a change of its own; the next connect, or `clean`, does what was cut off.
///
/// # Errors
///
/// Those of the calls.
pub async fn disown(cluster: &Cluster, switched: Service) -> Result<(), ClusterError> {
    change_read(cluster, switched, |now| Ok(owned_by_nobody(now))).await.map(drop)
}

fn owned_by_nobody(now: &Service) -> Decision<()> {
    let owners = managed_fields(now);
    let wanted = ownership::disowned(&owners);
    if wanted == owners {
        return Decision::Leave(());
    }
    Decision::Write(json!({"metadata": {"managedFields": wanted}}), ())
}

#[cfg(test)]
#[path = "attach_tests.rs"]
mod tests;
