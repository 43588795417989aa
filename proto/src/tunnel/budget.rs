//! What all streams of one tunnel may hold together beyond their minimum.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A shared bound on memory, in bytes. A clone is a handle to the same bound.
#[derive(Debug, Clone)]
pub struct Budget {
    left: Arc<AtomicU64>,
}

impl Budget {
    /// A bound of `total` bytes.
    pub fn new(total: u64) -> Self {
        Self { left: Arc::new(AtomicU64::new(total)) }
    }

    /// Nothing reserved yet, of this budget.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), held: 0 }
    }

    /// Bytes that are still free.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }
}

/// One stream's part of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    held: u64,
}

impl Share {
    /// Reserves `bytes` more if that is at most half of what is left, so that there is always something for others.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let took = self.budget.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (bytes <= left / 2).then(|| left - bytes)
        });
        if took.is_ok() {
            self.held += bytes;
        }
        took.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_takes_at_most_half_of_what_is_left_and_gives_it_back() {
        let budget = Budget::new(1000);
        let mut first = budget.share();
        assert!(first.grow(500));
        assert!(!first.grow(300), "300 is more than half of the 500 that are left");
        let mut second = budget.share();
        assert!(second.grow(250));
        assert_eq!(budget.left(), 250);
        drop((first, second));
        assert_eq!(budget.left(), 1000);
    }
}
