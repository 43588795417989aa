//! Callers that ask as fast as they are answered, or at a given rate, and what is measured meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::peer::Peer;

const WARM_UP: Duration = Duration::from_millis(400);
const ROUND: Duration = Duration::from_millis(1500);

/// What callers count.
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
    /// Of the peer, for one request, in microseconds.
    pub cpu_us: f64,
}

/// Measures one round while these callers ask, each of them for ever.
///
/// # Errors
///
/// What a caller returned, or that nothing was answered.
pub async fn round(
    peer: &Peer,
    answered: Answered,
    mut callers: JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Round> {
    let measured = async {
        sleep(WARM_UP).await;
        let (began, before, cpu) = (Instant::now(), answered.so_far(), peer.cpu_seconds()?);
        sleep(ROUND).await;
        let (took, after) = (began.elapsed().as_secs_f64(), answered.so_far());
        anyhow::Ok(((after - before) as f64, took, peer.cpu_seconds()? - cpu))
    };
    let (requests, took, cpu) = tokio::select! {
        measured = measured => measured?,
        Some(failed) = callers.join_next() => return failed?.map(|()| unreachable!("callers go on for ever")),
    };
    ensure!(requests > 0.0, "no request was answered");
    Ok(Round { per_second: requests / took, cpu_us: cpu / requests * 1e6 })
}
