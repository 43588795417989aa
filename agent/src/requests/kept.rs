//! The last requests, for `bridge requests`: a bounded number. Of many in a second only some are kept, the others are
//! counted.
//!
//! Requests that matched, or nearly did, have room of their own, so that the others do not push them out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bridge_proto::v1::{RequestsSeen, SeenRequest};

/// The number kept of each weight.
const ROOM: usize = 500;
/// The time between a follower's looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How much a request matters to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// It matched, or nearly did.
    Near,
    /// One of the crowd.
    Plain,
}

/// The kept requests, and their writers.
#[derive(Debug)]
pub(super) struct Kept {
    since: Instant,
    near: Allowance,
    plain: Allowance,
    /// The number not kept.
    left_out: AtomicU64,
    log: Mutex<Log>,
}

/// The number that may be kept in a second.
#[derive(Debug)]
struct Allowance {
    a_second: u32,
    second: AtomicU64,
    taken: AtomicU32,
}

#[derive(Debug, Default)]
struct Log {
    /// The number of the last request.
    last: u64,
    near: VecDeque<Numbered>,
    plain: VecDeque<Numbered>,
}

#[derive(Debug)]
struct Numbered {
    number: u64,
    ended_us: u64,
    seen: Arc<SeenRequest>,
}

impl Allowance {
    fn new(a_second: u32) -> Self {
        Self { a_second, second: AtomicU64::new(0), taken: AtomicU32::new(0) }
    }

    /// Two threads that find a new second at once may both reset it: a few more are kept.
    fn take(&self, second: u64) -> bool {
        // Read first, because writing costs every connection's thread its copy.
        if self.second.load(Ordering::Relaxed) != second
            && self.second.swap(second, Ordering::Relaxed) != second
        {
            self.taken.store(0, Ordering::Relaxed);
        }
        self.taken.load(Ordering::Relaxed) < self.a_second
            && self.taken.fetch_add(1, Ordering::Relaxed) < self.a_second
    }
}

impl Kept {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            near: Allowance::new(500),
            plain: Allowance::new(100),
            left_out: AtomicU64::new(0),
            log: Mutex::default(),
        }
    }

    /// Whether one more may be kept now; if not, it is counted as left out.
    pub(super) fn has_room(&self, weight: Weight, now: Instant) -> bool {
        let allowance = match weight {
            Weight::Near => &self.near,
            Weight::Plain => &self.plain,
        };
        let allowed = allowance.take(now.saturating_duration_since(self.since).as_secs());
        if !allowed {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }

    pub(super) fn keep(&self, weight: Weight, seen: SeenRequest, ended_us: u64) {
        let seen = Arc::new(seen);
        let mut log = lock(&self.log);
        log.last += 1;
        let numbered = Numbered { number: log.last, ended_us, seen };
        let ring = match weight {
            Weight::Near => &mut log.near,
            Weight::Plain => &mut log.plain,
        };
        let oldest = if ring.len() >= ROOM { ring.pop_front() } else { None };
        ring.push_back(numbered);
        drop(log);
        // Its memory is freed outside of the lock.
        drop(oldest);
    }

    fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

impl Log {
    /// Those after this number, in their order.
    fn after(&self, number: u64) -> Vec<(u64, u64, Arc<SeenRequest>)> {
        let mut found: Vec<_> = [&self.near, &self.plain]
            .into_iter()
            .flat_map(|ring| ring.iter().rev().take_while(|kept| kept.number > number))
            .map(|kept| (kept.number, kept.ended_us, kept.seen.clone()))
            .collect();
        found.sort_unstable_by_key(|(number, ..)| *number);
        found
    }
}

/// The progress of one reader.
#[derive(Debug)]
pub(crate) struct Followed {
    kept: Arc<Kept>,
    after_us: u64,
    /// The number of the last one that was sent.
    sent: u64,
    left_out: u64,
    begun: bool,
}

impl Followed {
    pub(super) fn new(kept: Arc<Kept>, after_us: u64) -> Self {
        // A reader who resumes has been sent this count before.
        let left_out = if after_us == 0 { 0 } else { kept.left_out() };
        Self { kept, after_us, sent: 0, left_out, begun: false }
    }

    /// At first the kept requests, at once and even if there are none; then new ones, as soon as there are some.
    pub(crate) async fn next(&mut self) -> RequestsSeen {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        if self.begun {
            look.tick().await;
        }
        loop {
            let seen = self.look();
            if !self.begun || !seen.requests.is_empty() || seen.left_out > 0 {
                self.begun = true;
                return seen;
            }
            look.tick().await;
        }
    }

    fn look(&mut self) -> RequestsSeen {
        let (found, last) = {
            let log = lock(&self.kept.log);
            (log.after(self.sent), log.last)
        };
        let sampled_out = self.kept.left_out();
        // Requests that the rings have dropped count as left out.
        let counts = self.begun || self.after_us == 0;
        let lost = if counts { (last - self.sent).saturating_sub(found.len() as u64) } else { 0 };
        let left_out = (sampled_out - self.left_out) + lost;
        (self.sent, self.left_out) = (last, sampled_out);
        let wanted = found.into_iter().filter(|(_, ended_us, _)| *ended_us > self.after_us);
        RequestsSeen { requests: wanted.map(|(.., seen)| Arc::unwrap_or_clone(seen)).collect(), left_out }
    }
}

/// Nothing that holds the lock can leave its data half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &str) -> SeenRequest {
        SeenRequest { path: path.to_owned(), ..SeenRequest::default() }
    }

    fn new() -> Arc<Kept> {
        Arc::new(Kept::new())
    }

    fn follow(kept: &Arc<Kept>, after_us: u64) -> Followed {
        Followed::new(kept.clone(), after_us)
    }

    fn paths(seen: &RequestsSeen) -> Vec<&str> {
        seen.requests.iter().map(|request| request.path.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_gets_the_kept_requests_and_then_new_ones() {
        let kept = new();
        kept.keep(Weight::Plain, seen("/early"), 10);
        kept.keep(Weight::Near, seen("/late"), 20);
        let mut from_the_start = follow(&kept, 0);
        let mut later = follow(&kept, 10);
        assert_eq!(paths(&from_the_start.next().await), ["/early", "/late"]);
        assert_eq!(paths(&later.next().await), ["/late"]);
        kept.keep(Weight::Plain, seen("/new"), 30);
        assert_eq!(paths(&later.next().await), ["/new"]);
        assert!(follow(&new(), 0).next().await.requests.is_empty(), "sent at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_does_not_push_out_what_matters_and_lost_ones_are_counted() {
        let kept = new();
        let mut follower = follow(&kept, 0);
        follower.next().await;
        kept.keep(Weight::Near, seen("/mine"), 1);
        for _ in 0..ROOM + 7 {
            kept.keep(Weight::Plain, seen("/"), 2);
        }
        let seen = follower.next().await;
        assert_eq!((paths(&seen)[0], seen.requests.len(), seen.left_out), ("/mine", ROOM + 1, 7));
        let who_comes_now = follow(&kept, 0).next().await;
        assert_eq!((who_comes_now.requests.len(), who_comes_now.left_out), (ROOM + 1, 7));
        assert_eq!(follow(&kept, 1).next().await.left_out, 0, "sent before");
    }

    #[test]
    fn a_limited_number_is_kept_in_a_second() {
        let kept = Kept::new();
        let allowed = |at: Instant| (0..1000).filter(|_| kept.has_room(Weight::Plain, at)).count();
        assert_eq!(allowed(kept.since), 100);
        assert_eq!(allowed(kept.since + Duration::from_millis(999)), 0);
        assert_eq!(allowed(kept.since + Duration::from_secs(1)), 100);
        assert_eq!(kept.left_out(), 2800);
        assert!(kept.has_room(Weight::Near, kept.since), "the crowd does not count against these");
    }
}
