//! Restarts the origin, or callers, once a session works, so that callers with open connections make new ones. The session
//! works without it, so a failure is a warning; a command that has gone reads none.

use bridge_cluster::restart::{self, Restart};
use bridge_cluster::takeover::{Step, Waiter};
use bridge_proto::target::Target;

use super::session::{Facts, Session};
use super::teller::Teller;

/// Restarts what is behind a session's Service.
pub(super) async fn restart_origin(session: &Session, tell: &Teller) {
    let Facts { cluster, service, original, .. } = &session.facts;
    let _ = tell.step(Step::RestartingOrigin).await;
    let restarts = restart::restart(cluster, original).await;
    report(
        restarts,
        &format!("the origin of Service {service}"),
        "callers keep their connections to its pods",
        tell,
    )
    .await;
}

/// Restarts these callers of a session's Service.
pub(super) async fn restart_callers(session: &Session, callers: &[String], tell: &Teller) {
    for caller in callers {
        const KEPT: &str = "it keeps its connections";
        match caller.parse::<Target>() {
            Ok(target) => {
                let _ = tell.step(Step::RestartingCaller { target: target.sentence() }).await;
                let restarts = restart::restart_target(&session.facts.cluster, &target).await;
                report(restarts, &target.sentence(), KEPT, tell).await;
            }
            Err(error) => report(Err(error), caller, KEPT, tell).await,
        }
    }
}

async fn report(
    restarts: Result<Vec<Restart>, impl std::fmt::Display>,
    what: &str,
    kept: &str,
    tell: &Teller,
) {
    let restarts = match restarts {
        Ok(restarts) => restarts,
        Err(error) => {
            let _ = tell.warn(format!("cannot restart {what}: {error}")).await;
            return;
        }
    };
    for Restart { workload, begun } in restarts {
        match begun {
            Ok(()) => tracing::info!("{workload} is rolled out"),
            Err(why) => {
                let _ = tell.warn(format!("{workload} was not restarted, so {kept}: {why}")).await;
            }
        }
    }
}
