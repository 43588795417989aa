//! Answers the kubelet's probes: the agent is ready when its listeners are up, and it has once reached the origin, if
//! there is one. While a session replaces the origin, there is none.
//!
//! Latched, so that a hiccup of the origin does not make all agents unready at once. A probe that comes a moment too
//! early waits for the answer, because the kubelet probes only once a second. Other agents of the same stand-in ask here
//! how long this one has been without a session, before they restore anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::asked::{self, Answer, Path};
use crate::registry::Registry;

/// The pause between attempts until the origin is reached.
const RETRY: Duration = Duration::from_millis(200);
const DIAL: Duration = Duration::from_secs(1);

/// How long the answer "not ready" is delayed; the kubelet waits for 1 s.
const MOMENT: Duration = Duration::from_millis(800);

/// Whether the origin was reached, or is not needed.
#[derive(Debug, Clone)]
pub(crate) struct Ready(Arc<watch::Sender<bool>>);

impl Default for Ready {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Ready {
    /// A laptop takes everything, and the origin has no pods.
    pub(crate) fn without_origin(&self) {
        if !self.0.send_replace(true) {
            tracing::info!("ready without an origin");
        }
    }

    /// Waits a moment for the origin to be reached.
    async fn is_ready(&self) -> bool {
        let mut ready = self.0.subscribe();
        tokio::time::timeout(MOMENT, ready.wait_for(|ready| *ready)).await.is_ok()
    }
}

/// Dials the origin's ports in turn until one is reached. Without any, there is no traffic to pass on, and it is ready.
pub(crate) async fn find_origin(origins: Vec<SocketAddr>, ready: Ready) {
    if origins.is_empty() {
        ready.0.send_replace(true);
    }
    let mut retry = tokio::time::interval(RETRY);
    retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for (attempt, &origin) in origins.iter().cycle().enumerate() {
        if attempt % origins.len() == 0 {
            retry.tick().await;
        }
        if let Ok(Ok(_)) = tokio::time::timeout(DIAL, TcpStream::connect(origin)).await {
            ready.0.send_replace(true);
            tracing::info!(%origin, "ready");
            return;
        }
    }
}

/// Answers the kubelet's probes, and other agents.
pub(crate) async fn run(listener: TcpListener, ready: Ready, registry: Arc<Registry>) {
    asked::run(listener, move |path| answer(path, ready.clone(), registry.clone())).await;
}

async fn answer(path: Path, ready: Ready, registry: Arc<Registry>) -> Answer {
    if path == Path::Alone {
        return Answer { status: "200 OK", words: format!("{}\n", registry.alone_for().as_secs()) };
    }
    match ready.is_ready().await {
        true => Answer { status: "200 OK", words: "ready\n".to_owned() },
        false => {
            let words = "the origin has not been reached yet\n".to_owned();
            Answer { status: "503 Service Unavailable", words }
        }
    }
}
