//! Stopping: the agent keeps accepting until no more connections arrive, and then waits for open ones.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The time limits of draining.
#[derive(Debug, Clone, Copy)]
pub struct DrainTimes {
    /// New connections are taken until none has come for this long,
    pub quiet: Duration,
    /// and for at least this long: other nodes and load balancers learn of the switch late.
    pub at_least: Duration,
    /// Connections that are still open after this time are closed.
    pub at_most: Duration,
}

impl Default for DrainTimes {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(15),
            at_least: Duration::from_secs(30),
            at_most: Duration::from_secs(600),
        }
    }
}

/// The result of draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open and have been cut.
    pub cut: usize,
}

/// The pause between looks at an origin that stops.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const DIAL: Duration = Duration::from_secs(1);

/// Resolves when none of the origin's ports takes connections any more.
pub(crate) async fn origin_gone(origins: Vec<SocketAddr>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let dials = origins.iter().map(|origin| tokio::time::timeout(DIAL, TcpStream::connect(origin)));
        let answers = futures::future::join_all(dials).await;
        if answers.iter().all(|answer| !matches!(answer, Ok(Ok(_)))) {
            return;
        }
    }
}

/// Whether the agent is stopping, and the time of the last connection.
#[derive(Debug)]
pub(crate) struct Drain {
    begun: AtomicBool,
    token: CancellationToken,
    started: Instant,
    last_arrival_ms: AtomicU64,
}

impl Drain {
    pub(crate) fn new() -> Self {
        Self {
            begun: AtomicBool::new(false),
            token: CancellationToken::new(),
            started: Instant::now(),
            last_arrival_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
        self.token.cancel();
    }

    /// Resolves once draining has begun.
    pub(crate) async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Notes that a connection came.
    pub(crate) fn arrived(&self) {
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_arrival_ms.store(since, Ordering::Relaxed);
    }

    /// Resolves when the time to accept is over.
    pub(crate) async fn nobody_comes(&self, times: DrainTimes) {
        tokio::time::sleep(times.at_least).await;
        loop {
            let last = self.started + Duration::from_millis(self.last_arrival_ms.load(Ordering::Relaxed));
            let due = last + times.quiet;
            if Instant::now() >= due {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn accepting_goes_on_while_connections_come() {
        let drain = Drain::new();
        let began = Instant::now();
        let arrivals = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                drain.arrived();
            }
        };
        tokio::join!(drain.nobody_comes(DrainTimes::default()), arrivals);
        assert_eq!(began.elapsed().as_secs(), 55, "15 s after the one at 40 s");
    }

    #[tokio::test(start_paused = true)]
    async fn accepting_goes_on_for_a_while_even_if_none_come() {
        let drain = Drain::new();
        let began = Instant::now();
        drain.nobody_comes(DrainTimes::default()).await;
        assert_eq!(began.elapsed().as_secs(), 30);
    }
}
