//! `bridge daemon`: the process that holds sessions and tunnels. Other commands start it by `bridge_client`.

use std::{
    fs, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bridge_client::{RuntimeDir, chain, only_daemon};
use bridge_daemon::DaemonOptions;
use bridge_os::{detach, memory};
use tracing_subscriber::EnvFilter;

use super::error::Failed;

/// `bridge daemon`: runs until it is idle or stopped.
pub(crate) async fn run(idle: Duration) -> Result<(), Failed> {
    let detached = detach::Detached::new();
    memory::give_back_what_is_freed();
    // It has keys and tokens of all connected clusters. On a system without this feature the daemon runs all the same.
    let _ = memory::keep_to_ourselves();
    let asked = std::env::var("BRIDGE_LOG").unwrap_or_default();
    let filter = log_filter(if asked.is_empty() { "info" } else { &asked });
    // A line that cannot be written would be reported on standard error, by a macro that panics if it cannot be written.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();

    // The command that started this waits for the report that it is ready, or why it is not.
    let waiting = Arc::new(Mutex::new(Some(detached)));
    let served = serve(idle, {
        let waiting = waiting.clone();
        Box::new(move || {
            if let Some(detached) = taken(&waiting) {
                detached.ready();
            }
        })
    });
    let result = served.await;
    if let (Err(failed), Some(detached)) = (&result, taken(&waiting)) {
        detached.failed(&failed.message);
    }
    result
}

/// The log filter: BRIDGE_LOG's, except for crates that would log secrets. kube logs answers that it cannot read and
/// the environment of credential plugins, HTTP's crates log heads and bodies.
fn log_filter(asked: &str) -> EnvFilter {
    const SECRETIVE: [(&str, &str); 5] = [
        ("kube", "off"),
        ("hyper", "info"),
        ("h2", "info"),
        ("tungstenite", "info"),
        ("tokio_tungstenite", "info"),
    ];
    let is_of = |directive: &str| SECRETIVE.iter().any(|(name, _)| directive.trim_start().starts_with(name));
    let kept: Vec<&str> = asked.split(',').filter(|directive| !is_of(directive)).collect();
    let kept = if kept.is_empty() { "info".to_owned() } else { kept.join(",") };
    let filter = EnvFilter::try_new(kept).unwrap_or_else(|_| EnvFilter::new("info"));
    // A name applies to all crates that begin with it.
    let levels = SECRETIVE.iter().filter_map(|(name, level)| format!("{name}={level}").parse().ok());
    levels.fold(filter, EnvFilter::add_directive)
}

fn taken(waiting: &Mutex<Option<detach::Detached>>) -> Option<detach::Detached> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
}

async fn serve(idle: Duration, ready: Box<dyn FnOnce() + Send>) -> Result<(), Failed> {
    let runtime_dir = RuntimeDir::find()?;
    // Held to the end of the process. The former daemon removes its socket before it releases its lock.
    let Some(_alive) = only_daemon(&runtime_dir).await? else {
        ready();
        return Ok(());
    };
    let (socket, streams) = (runtime_dir.socket(), runtime_dir.streams());
    for file in [&socket, &streams] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failed::internal(format!("cannot remove {}: {error}", file.display())));
            }
            _ => {}
        }
    }
    let installation =
        bridge_daemon::installation::name().map_err(|error| Failed::internal(chain(&error)))?;
    bridge_daemon::run(DaemonOptions {
        socket,
        streams,
        log_file: runtime_dir.log_file(),
        installation,
        idle,
        ready,
    })
    .await
    .map_err(|error| Failed::internal(chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_that_show_secrets_are_silent_whatever_is_asked_for() {
        for asked in [
            "info",
            "trace",
            "kube_client=trace,hyper::proto=trace,debug",
            "h2=debug",
            "!!",
            "bridge=trace,=x",
        ] {
            let filter = log_filter(asked).to_string();
            let directives: Vec<&str> = filter.split(',').collect();
            for silent in ["kube=off", "hyper=info", "h2=info"] {
                assert!(directives.contains(&silent), "{asked}: {filter}");
            }
            assert!(!filter.contains("kube_client") && !filter.contains("hyper::"), "{asked}: {filter}");
        }
        assert!(log_filter("bridge_local=trace,kube=trace").to_string().contains("bridge_local=trace"));
    }
}
