//! The limits of a connection that has not proven the key: little memory, little time, few calls, and a place that it
//! loses to the next one. Anyone who may forward a port to the pod can open such connections.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use crate::log::Seldom;

/// Bytes that a connection may send before the proof, of whatever kind.
pub(super) const BYTES: usize = 8 * 1024;
/// Time that it has for the proof.
pub(super) const PROVE_WITHIN: Duration = Duration::from_secs(5);
/// The number of calls that it may make before the proof, successful or not.
const CALLS: u32 = 8;
/// Limit on connections without a proof. The oldest that has made no call gives way to a new one, or else the oldest,
/// so that silent ones keep nobody out.
const MOST_UNPROVEN: usize = 256;
/// Limit on connections with a proof. They give way to nobody.
const MOST_PROVEN: usize = 256;

/// All connections of daemons, proven or not.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// In the order of their arrival.
    unproven: Mutex<VecDeque<Weak<Knock>>>,
    proven: AtomicUsize,
    cut: Seldom,
}

/// One connection, and whether it has proven the key.
#[derive(Debug)]
pub(super) struct Knock {
    door: Arc<Door>,
    proven: AtomicBool,
    calls: AtomicU32,
    cut: CancellationToken,
}

impl Door {
    /// Adds a connection.
    pub(super) fn knock(self: &Arc<Self>) -> Arc<Knock> {
        let knock = Arc::new(Knock {
            door: self.clone(),
            proven: AtomicBool::new(false),
            calls: AtomicU32::new(0),
            cut: CancellationToken::new(),
        });
        let mut unproven = self.unproven.lock().unwrap_or_else(PoisonError::into_inner);
        let mut silent = None;
        let mut place = 0;
        unproven.retain(|earlier| {
            let Some(earlier) = earlier.upgrade().filter(|earlier| !earlier.is_proven()) else {
                return false;
            };
            if silent.is_none() && earlier.calls.load(Ordering::Relaxed) == 0 {
                silent = Some(place);
            }
            place += 1;
            true
        });
        if unproven.len() >= MOST_UNPROVEN
            && let Some(oldest) = unproven.remove(silent.unwrap_or(0)).and_then(|oldest| oldest.upgrade())
        {
            oldest.cut("more came than there is room for");
        }
        unproven.push_back(Arc::downgrade(&knock));
        knock
    }
}

impl Knock {
    /// To be called once a call has proven that its connection's other end knows the key, or has a session.
    pub(super) fn proves<T>(request: &Request<T>) -> Result<(), Status> {
        let knock = request.extensions().get::<Arc<Self>>();
        if knock.is_none_or(|knock| knock.prove()) {
            return Ok(());
        }
        Err(Status::resource_exhausted(format!(
            "this agent has {MOST_PROVEN} connections of daemons already"
        )))
    }

    fn prove(&self) -> bool {
        if self.is_proven() {
            return true;
        }
        if self.door.proven.fetch_add(1, Ordering::Relaxed) >= MOST_PROVEN {
            self.door.proven.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        if self.proven.swap(true, Ordering::Relaxed) {
            // Two calls proved it at once.
            self.door.proven.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// Counts a call. False: the connection has used up its calls before the proof, and is cut.
    pub(super) fn admits_call(&self) -> bool {
        if self.is_proven() || self.calls.fetch_add(1, Ordering::Relaxed) < CALLS {
            return true;
        }
        self.cut("too many calls");
        false
    }

    /// Ends the connection.
    pub(super) fn cut(&self, why: &'static str) {
        self.cut.cancel();
        if let Some(left_out) = self.door.cut.says() {
            tracing::warn!(
                why,
                left_out,
                "closed a connection on the control port that had not proven the key"
            );
        }
    }

    /// Resolves when the connection must end: it was cut, or its time is over.
    pub(super) async fn over(&self) {
        let late = async {
            tokio::time::sleep(PROVE_WITHIN).await;
            if self.is_proven() {
                return std::future::pending().await;
            }
            self.cut("it took too long");
        };
        tokio::select! {
            () = self.cut.cancelled() => {}
            () = late => {}
        }
    }
}

impl Drop for Knock {
    fn drop(&mut self) {
        if self.is_proven() {
            self.door.proven.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_without_a_proof_gives_way_and_no_other() {
        let door = Arc::<Door>::default();
        let proven = door.knock();
        assert!(proven.prove());
        let knocks: Vec<_> = (0..MOST_UNPROVEN).map(|_| door.knock()).collect();
        assert!(knocks.iter().all(|knock| !knock.cut.is_cancelled()), "there is room for all of them");
        let _next = door.knock();
        let cut: Vec<_> = knocks.iter().map(|knock| knock.cut.is_cancelled()).collect();
        assert!(cut[0] && !cut[1..].contains(&true), "expected that the first gave way, and no other");
        assert!(!proven.cut.is_cancelled());
    }

    #[test]
    fn one_that_has_made_a_call_stays_longer_than_silent_ones() {
        let door = Arc::<Door>::default();
        let asks = door.knock();
        assert!(asks.admits_call());
        let silent: Vec<_> = (0..2 * MOST_UNPROVEN).map(|_| door.knock()).collect();
        assert!(!asks.cut.is_cancelled() && silent[0].cut.is_cancelled());
        let others: Vec<_> = (0..MOST_UNPROVEN).map(|_| door.knock()).collect();
        assert!(others.iter().all(|other| other.admits_call()));
        let _next = door.knock();
        assert!(asks.cut.is_cancelled(), "among those that have, the oldest gives way");
    }

    #[test]
    fn one_that_left_makes_room() {
        let door = Arc::<Door>::default();
        let first = door.knock();
        for _ in 0..10 * MOST_UNPROVEN {
            drop(door.knock());
        }
        assert!(!first.cut.is_cancelled());
    }

    #[test]
    fn calls_are_counted_until_the_proof() {
        let door = Arc::<Door>::default();
        let (honest, other) = (door.knock(), door.knock());
        assert!(honest.admits_call() && honest.prove());
        assert!((0..1000).all(|_| honest.admits_call()));
        assert_eq!((0..1000).filter(|_| other.admits_call()).count(), CALLS as usize);
        assert!(other.cut.is_cancelled());
    }

    #[test]
    fn proven_connections_have_a_bound_too() {
        let door = Arc::<Door>::default();
        let knocks: Vec<_> = (0..=MOST_PROVEN).map(|_| door.knock()).collect();
        assert_eq!(knocks.iter().filter(|knock| knock.prove()).count(), MOST_PROVEN);
        drop(knocks);
        assert!(door.knock().prove(), "those that left have made room");
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_up_after_five_seconds_without_a_proof() {
        let door = Arc::<Door>::default();
        let (honest, other) = (door.knock(), door.knock());
        let began = tokio::time::Instant::now();
        assert!(honest.prove());
        other.over().await;
        assert_eq!(began.elapsed(), PROVE_WITHIN);
        let late = tokio::time::timeout(Duration::from_secs(3600), honest.over()).await;
        assert!(late.is_err(), "who has proven the key has all the time");
    }
}
