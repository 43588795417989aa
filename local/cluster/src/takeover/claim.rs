//! Which session takes which requests of a Service: claims in its attachment. In every mode, they are written and
//! removed in one change, so two developers who connect at once see each other.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use crate::change::{Decision, change, change_read};
use crate::client::Cluster;
use crate::error::ClusterError;
use crate::state::{Attachment, Claim, ClaimedRoute, Refused};
use crate::workload::Labels;

/// Writes a claim at a Service that was just read: into its attachment, else into `fresh`, which the caller builds from
/// the current Service and which names a new stand-in.
///
/// An attachment whose Service has meanwhile got a selector that is neither the original nor the attached one is
/// replaced: its stand-in leads to the wrong pods, and is then unused ([`super::clean::retire_unused`]). So is one
/// whose agents listen on other ports, or that has another mode.
///
/// `origin`: the selector of the pods that will get all other requests.
///
/// # Errors
///
/// [`ClusterError::Held`] if another session has the same match, [`ClusterError::NotAlone`] if one of the two replaces the
/// pods, [`ClusterError::SelectorChanged`] if the Service selects other pods by now, and those of the calls.
pub(super) async fn claim(
    cluster: &Cluster,
    service: Service,
    origin: &Labels,
    fresh: impl Fn(&Service) -> Attachment,
    claim: &Claim,
) -> Result<Attachment, ClusterError> {
    change_read(cluster, service, |now| with_claim(now, origin, &fresh, claim))
        .await
        .map(|(_, attachment)| attachment)
}

fn with_claim(
    now: &Service,
    origin: &Labels,
    fresh: impl Fn(&Service) -> Attachment,
    claim: &Claim,
) -> Result<Decision<Attachment>, ClusterError> {
    let fresh = fresh(now);
    let there = Attachment::current(now)?.filter(|there| there.fits(&fresh));
    let mut attachment = there.unwrap_or(fresh);
    if attachment.original != *origin {
        return Err(ClusterError::SelectorChanged { service: now.name_any() });
    }
    attachment.claim(claim.clone()).map_err(|refused| error(now, refused))?;
    Ok(Decision::Write(attachment.to_change(), attachment))
}

/// Notes that a session no longer replaces a workload: others may attach.
///
/// # Errors
///
/// The errors of the calls.
pub async fn no_longer_replaces(cluster: &Cluster, service: &str, id: &str) -> Result<(), ClusterError> {
    change(cluster, service, |now| without_replacement(now, id)).await.map(drop)
}

fn without_replacement(now: &Service, id: &str) -> Result<Decision<()>, ClusterError> {
    let Some(mut attachment) = Attachment::of(now)? else { return Ok(Decision::Leave(())) };
    let mut claims = attachment.sessions.iter_mut();
    match claims.find(|claim| claim.id == id).and_then(|claim| claim.replaces.take()) {
        Some(_) => Ok(Decision::Write(attachment.to_change(), ())),
        None => Ok(Decision::Leave(())),
    }
}

/// Changes the requests of an existing claim. False: the claim does not exist, and nothing was changed.
///
/// # Errors
///
/// [`ClusterError::Held`] if another session has the same match, and those of the calls.
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
    attachment.claim(claim).map_err(|refused| error(now, refused))?;
    Ok(Decision::Write(attachment.to_change(), true))
}

fn error(service: &Service, refused: Refused) -> ClusterError {
    let service = service.name_any();
    match refused {
        Refused::Held { by, what } => ClusterError::Held { service, holder: format!("{} ({what})", by.user) },
        Refused::NotAlone { with, replaced } => {
            ClusterError::NotAlone { service, other: with.user, replaced }
        }
    }
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
