//! Callers that ask as fast as they are answered, and the measurements meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::peer::Peer;

const WARM_UP: Duration = Duration::from_millis(400);
const ROUND: Duration = Duration::from_millis(1500);

/// Each asks forever, and returns only with its error.
pub type Callers = JoinSet<anyhow::Result<()>>;

/// The callers' counter.
#[derive(Debug, Clone, Default)]
pub struct Answered(Arc<AtomicU64>);

impl Answered {
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn so_far(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One round.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    pub per_second: f64,
    /// The peer's CPU time for one request, in microseconds.
    pub cpu_us: f64,
}

/// Measures one round while these callers ask a peer.
///
/// # Errors
///
/// A caller's error, or that nothing was answered.
pub async fn round(peer: &Peer, answered: Answered, mut callers: Callers) -> anyhow::Result<Round> {
    let measured = async {
        sleep(WARM_UP).await;
        let (cpu, before) = (peer.cpu_seconds()?, answered.so_far());
        let per_second = count_for(&answered, ROUND).await?;
        let requests = (answered.so_far() - before) as f64;
        Ok(Round { per_second, cpu_us: (peer.cpu_seconds()? - cpu) / requests * 1e6 })
    };
    unless_one_fails(measured, &mut callers).await
}

/// Requests per second of these callers.
///
/// # Errors
///
/// A caller's error, or that nothing was answered.
pub async fn rate(answered: Answered, mut callers: Callers, during: Duration) -> anyhow::Result<f64> {
    let measured = async {
        sleep(WARM_UP).await;
        count_for(&answered, during).await
    };
    unless_one_fails(measured, &mut callers).await
}

async fn count_for(answered: &Answered, during: Duration) -> anyhow::Result<f64> {
    let (began, before) = (Instant::now(), answered.so_far());
    sleep(during).await;
    let (took, requests) = (began.elapsed().as_secs_f64(), answered.so_far() - before);
    ensure!(requests > 0, "no request was answered");
    Ok(requests as f64 / took)
}

async fn unless_one_fails<T>(
    measured: impl Future<Output = anyhow::Result<T>>,
    callers: &mut Callers,
) -> anyhow::Result<T> {
    tokio::select! {
        measured = measured => measured,
        Some(ended) = callers.join_next() => match ended? {
            Err(failed) => Err(failed),
            Ok(()) => bail!("a caller has ended"),
        },
    }
}
