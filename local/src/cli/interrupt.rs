//! How a user ends a command that waits.

use tokio::signal::unix::{SignalKind, signal};

use super::error::Failed;
use super::exit::Exit;

/// Resolves on Ctrl-C or another request to end, so that the command can give back what it holds.
pub(crate) async fn told_to_end() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            // It ends by that signal as it would have.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// Resolves when the user interrupts a connect. Dropping the call then tells the daemon.
pub(crate) async fn interrupted(target: &str) -> Failed {
    // Where no signal can be waited for, it ends the process.
    let _ = tokio::signal::ctrl_c().await;
    Failed::new(Exit::Interrupted, format!("interrupted: undoing what was started for {target}"), "")
}
