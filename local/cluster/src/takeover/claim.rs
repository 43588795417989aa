//! Who takes which requests of a Service: claims in its attachment. Whatever the mode, they are written and removed in one
//! change, so two developers who connect at once see each other.

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use crate::change::{Decision, change, change_read};
use crate::client::Cluster;
use crate::error::ClusterError;
use crate::state::{Attachment, Claim, ClaimedRoute, Held};
use crate::workload::Labels;

/// Writes a claim at a Service that was read just now: into the attachment that is there, else into `fresh`, which the
/// caller makes of the Service as it is and which names a stand-in that nobody has yet.
///
/// An attachment whose Service has meanwhile got a selector that is neither the original nor the attached one is
/// replaced: its stand-in leads to the wrong pods, and is then nobody's ([`super::clean::retire_unused`]). So is one
/// whose agents listen on other ports.
///
/// `origin`: the selector of the pods that all others' requests will go to.
///
/// # Errors
///
/// [`ClusterError::Held`] if somebody has the same match, [`ClusterError::SelectorChanged`] if the Service means other
/// pods by now, and those of the calls.
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
    let there = Attachment::current(now)?.filter(|there| there.listens_as(&fresh.ports));
    let mut attachment = there.unwrap_or(fresh);
    if attachment.original != *origin {
        return Err(ClusterError::SelectorChanged { service: now.name_any() });
    }
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

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
