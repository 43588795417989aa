//! How a user ends a command that waits.

use tokio::signal::unix::{SignalKind, signal};

use super::error::Failed;
use super::exit::Exit;

/// Resolves on Ctrl-C or another request to end, so that the command can release its session.
pub(crate) async fn asked_to_end() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            // The signal ends it as usual.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// Resolves when the user interrupts a connect. Dropping the call then cancels it in the daemon.
pub(crate) async fn interrupted(target: &str) -> Failed {
    // If signals cannot be waited for, Ctrl-C ends the process.
    let _ = tokio::signal::ctrl_c().await;
    Failed::new(Exit::Interrupted, format!("interrupted: undoing what was started for {target}"), "")
}
