//! Releases claims; with the last one, restores the Service, what leads to the agents first, and only what is still
//! exactly ours; then lets the agents go.

use k8s_openapi::api::core::v1::Service;
use serde_json::json;

use super::retire::retire;
use super::selector::{owners_given_back, to_original};
use super::sidecar;
use crate::change::{Decision, change};
use crate::client::Cluster;
use crate::error::{Call, ClusterError};
use crate::mode::Mode;
use crate::ours::Of;
use crate::state::{ATTACHMENT, Attachment, Claim};

/// A release takes two changes of the Service, more only if someone switches it again in between.
const MOST_ROUNDS: usize = 5;

/// The state of a Service after claims were released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    /// Nobody was attached, or the Service is gone.
    NotAttached,
    /// Others still use the stand-in.
    Shared(Vec<Claim>),
    /// The last claim is gone: the Service is as it was, and this stand-in drains.
    Restored { stand_in: String },
}

/// Releases the claims for which `goes` returns true; with the last one, restores the Service.
///
/// # Errors
///
/// The errors of the calls. Finished steps stay done: calling it again, or [`super::clean::clean`], does the rest.
pub async fn release(
    cluster: &Cluster,
    service: &str,
    goes: impl Fn(&Claim) -> bool,
) -> Result<Released, ClusterError> {
    for _ in 0..MOST_ROUNDS {
        let (now, left) = match change(cluster, service, |now| without(now, &goes)).await {
            Err(error) if error.is_not_found() => return Ok(Released::NotAttached),
            done => done?,
        };
        match left {
            Left::SelectorRestored => {}
            Left::NotAttached => return Ok(Released::NotAttached),
            Left::Shared(others) => return Ok(Released::Shared(others)),
            Left::Restored { mode, stand_in } => {
                if let Some(of) = Of::new(&now, &stand_in) {
                    match mode {
                        Mode::StandIn => retire(cluster, &of).await?,
                        Mode::Sidecar => sidecar::remove(cluster, &of).await?,
                    }
                }
                return Ok(Released::Restored { stand_in });
            }
        }
    }
    Err(ClusterError::Conflict { call: Call::new("patch", "services", &cluster.namespace, service) })
}

/// The progress of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Left {
    NotAttached,
    Shared(Vec<Claim>),
    /// The annotation still exists: it shows what is left to do if this is cut off here.
    SelectorRestored,
    /// The whole Service is restored; the agents still exist.
    Restored {
        mode: Mode,
        stand_in: String,
    },
}

/// The next step of a release.
fn without(now: &Service, goes: impl Fn(&Claim) -> bool) -> Result<Decision<Left>, ClusterError> {
    let Some(mut attachment) = Attachment::of(now)? else { return Ok(Decision::Leave(Left::NotAttached)) };
    let before = attachment.sessions.len();
    attachment.sessions.retain(|claim| !goes(claim));
    match attachment.sessions.len() {
        0 => {}
        now if now == before => return Ok(Decision::Leave(Left::Shared(attachment.sessions))),
        _ => return Ok(Decision::Write(attachment.to_change(), Left::Shared(attachment.sessions))),
    }
    Ok(restored(now, attachment))
}

/// What leads to the agents first, then all the rest.
fn restored(now: &Service, attachment: Attachment) -> Decision<Left> {
    if attachment.is_led_to_agents(now) {
        return Decision::Write(to_original(now, &attachment), Left::SelectorRestored);
    }
    let change = json!({
        "metadata": {
            "annotations": {ATTACHMENT: null},
            "managedFields": owners_given_back(now, &attachment),
        },
    });
    Decision::Write(change, Left::Restored { mode: attachment.mode, stand_in: attachment.stand_in })
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;
