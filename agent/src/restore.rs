//! Restores what the agent is part of when no session has been there for a while: runs a program of its own for it,
//! because the agent knows nothing of Kubernetes. That program looks again, at all agents, before it changes anything.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::process::Command;

use crate::registry::Registry;

/// The pause after a failure; shorter if the time is.
const AGAIN: Duration = Duration::from_secs(60);
/// The program ends within this time, or is ended.
const ENDS_WITHIN: Duration = Duration::from_secs(300);
/// The variables of the pod that the program gets: the API server's address.
const PASSED_ON: [&str; 2] = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];

/// When to restore it, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// No session must have been there for this long.
    pub after: Duration,
    /// The program, and its arguments.
    pub command: Vec<String>,
}

/// Waits until no session has been there for the time, and runs the program; again if that fails, or if this agent is
/// still there after the time.
pub(crate) async fn run(restore: Restore, registry: Arc<Registry>) {
    loop {
        alone(restore.after, &registry).await;
        tracing::info!(after = ?restore.after, "no session for long: restoring what this agent is part of");
        let pause = match tokio::time::timeout(ENDS_WITHIN, ended(&restore.command)).await {
            Ok(Ok(status)) if status.success() => restore.after,
            Ok(Ok(status)) => failed(&status, restore.after),
            Ok(Err(error)) => failed(&error, restore.after),
            Err(_) => failed(&"it took too long", restore.after),
        };
        tokio::time::sleep(pause).await;
    }
}

fn failed(why: &dyn std::fmt::Display, after: Duration) -> Duration {
    tracing::warn!(%why, "nothing was restored");
    AGAIN.min(after)
}

/// Returns when no session has been there for this time, and a random tenth of it more: all agents of a stand-in may
/// have lost theirs at once.
async fn alone(after: Duration, registry: &Registry) {
    let after = after + after.mul_f64(rand::rng().random_range(0.0..0.1));
    loop {
        match after.checked_sub(registry.alone_for()) {
            None | Some(Duration::ZERO) => return,
            Some(left) => tokio::time::sleep(left).await,
        }
    }
}

/// Runs the program, which writes to this one's log.
async fn ended(command: &[String]) -> std::io::Result<ExitStatus> {
    let (program, args) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let variables = PASSED_ON.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    Command::new(program)
        .args(args)
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
}

#[cfg(test)]
mod tests {
    use bridge_proto::tunnel::Pool;

    use super::*;
    use crate::session::Session;

    fn registry() -> Arc<Registry> {
        Arc::new(Registry::new(Vec::new(), Pool::new(64 << 20), Pool::new(100)))
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_the_time_after_the_last_session() {
        let registry = registry();
        let after = Duration::from_secs(600);
        let session = registry.open(Session::new("1", "alice", 0, "token".into())).expect("there is room");
        let begun = tokio::time::Instant::now();
        let ends = async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            assert_eq!(registry.alone_for(), Duration::ZERO);
            registry.end(&session);
        };
        tokio::join!(alone(after, &registry), ends);
        let passed = begun.elapsed().as_secs();
        assert!((4200..4290).contains(&passed), "an hour, ten minutes and less than one: {passed} s");
    }

    #[tokio::test]
    async fn the_program_has_its_arguments_and_the_address_of_the_api_server_alone() {
        let command = |script: &str| ["/bin/sh", "-c", script, "sh", "7f3a"].map(str::to_owned).to_vec();
        let succeeds =
            async |script: &str| ended(&command(script)).await.expect("there is a shell").success();
        assert!(succeeds("test $1 = 7f3a && test -z \"$CARGO_MANIFEST_DIR\"").await);
        assert!(!succeeds("exit 1").await);
        assert!(ended(&["/no/such/program".to_owned()]).await.is_err());
        assert!(ended(&[]).await.is_err());
    }
}
