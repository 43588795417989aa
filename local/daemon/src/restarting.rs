//! Restarts the origin once a session works, so that callers with open connections make new ones.

use bridge_cluster::restart::{self, Restart};
use bridge_cluster::takeover::{Step, Waiter};

use super::session::{Facts, Session};
use super::teller::Teller;

/// Restarts what is behind a session's Service. The session works without it, so a failure is a warning; a command that
/// has gone reads none.
pub(super) async fn restart(session: &Session, tell: &Teller) {
    let Facts { cluster, service, original, .. } = &session.facts;
    let _ = tell.step(Step::RestartingOrigin).await;
    let restarts = match restart::restart(cluster, original).await {
        Ok(restarts) => restarts,
        Err(error) => {
            let _ = tell.warn(format!("cannot restart the origin of Service {service}: {error}")).await;
            return;
        }
    };
    for Restart { workload, begun } in restarts {
        match begun {
            Ok(()) => tracing::info!(%service, "{workload} is rolled out"),
            Err(why) => {
                let kept = "callers keep their connections to its pods";
                let _ = tell.warn(format!("{workload} was not restarted, so {kept}: {why}")).await;
            }
        }
    }
}
