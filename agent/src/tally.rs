//! Counts ended requests by the class of their status, and by their duration.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge_proto::{latency, v1};

/// No answer, then 1xx to 5xx and beyond.
const CLASSES: usize = 6;
/// One for each bound, and one for longer requests.
const TIMES: usize = latency::BOUNDS_US.len() + 1;

/// Counts that many connections add to at once.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    by_status: [AtomicU64; CLASSES],
    took: [AtomicU64; TIMES],
    took_us: AtomicU64,
}

impl Tally {
    /// `status` is 0 if there was no answer.
    pub(crate) fn add(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).min(CLASSES - 1);
        self.by_status[class].fetch_add(1, Ordering::Relaxed);
        self.took[latency::index(took)].fetch_add(1, Ordering::Relaxed);
        self.took_us.fetch_add(micros(took), Ordering::Relaxed);
    }

    /// By class: no answer, then 1xx to 5xx.
    pub(crate) fn by_status(&self) -> [u64; CLASSES] {
        std::array::from_fn(|class| self.by_status[class].load(Ordering::Relaxed))
    }

    /// By the bounds of `latency`, and one more.
    pub(crate) fn took(&self) -> [u64; TIMES] {
        std::array::from_fn(|index| self.took[index].load(Ordering::Relaxed))
    }

    /// The sum of all durations.
    pub(crate) fn took_us(&self) -> u64 {
        self.took_us.load(Ordering::Relaxed)
    }

    pub(crate) fn to_message(&self) -> v1::Tally {
        let by_status = self.by_status();
        v1::Tally {
            requests: by_status.iter().sum(),
            failed: by_status[0] + by_status[CLASSES - 1],
            took: self.took().to_vec(),
        }
    }
}

/// In microseconds, the unit of all times of requests.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_status_and_time() {
        let tally = Tally::default();
        for (status, took_ms) in [(200, 1), (204, 1), (503, 40), (0, 90_000), (999, 1)] {
            tally.add(status, Duration::from_millis(took_ms));
        }
        assert_eq!(tally.by_status(), [1, 0, 2, 0, 0, 2]);
        let message = tally.to_message();
        assert_eq!((message.requests, message.failed), (5, 3));
        assert_eq!(message.took.iter().sum::<u64>(), 5);
        assert_eq!(message.took.last(), Some(&1), "one took longer than all bounds");
    }
}
