//! Waits for agents in pods of their own.

use std::time::Duration;

use crate::agents::AgentsOf;
use crate::client::Cluster;
use crate::error::ClusterError;
use crate::watch::{self, Progress};

/// The time after which agents that are not ready are given up.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Waits until enough of the agents are ready, and reports what it waits for.
///
/// # Errors
///
/// [`ClusterError::NotReady`] with the reason, at once if Kubernetes refuses the pods, else after [`READY_WITHIN`].
pub(crate) async fn wait_ready(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
    agents: &AgentsOf,
    progress: impl Fn(&str),
) -> Result<(), ClusterError> {
    let name = &agents.deployment_name(service, stand_in);
    let mut last = String::from("no pods yet");
    let waiting = async {
        let mut states = std::pin::pin!(watch::stand_in(cluster, service, stand_in, agents));
        while let Some(state) = futures::StreamExt::next(&mut states).await {
            match state? {
                Progress::Ready => return Ok(()),
                Progress::Refused(reason) => return Err(not_ready(name, reason)),
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
            let events = watch::last_warning(cluster, name).await.unwrap_or_default();
            let reason = if events.is_empty() { last } else { format!("{last}; {events}") };
            Err(not_ready(name, format!("{reason} (after {} s)", READY_WITHIN.as_secs())))
        }
    }
}

/// Waits until a rolling stand-in has only new agents. Returns false after [`READY_WITHIN`].
///
/// # Errors
///
/// The errors of the watch.
pub(crate) async fn wait_rolled(
    cluster: &Cluster,
    service: &str,
    stand_in: &str,
) -> Result<bool, ClusterError> {
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
