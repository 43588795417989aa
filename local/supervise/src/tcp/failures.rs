//! Why connects failed, until their programs ask. A socket that is made to fail reports "connection reset by peer",
//! which is the kernel's only word for it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::io::Errno;

use crate::socket::Identity;

/// A program that has not asked by then has closed its socket, or uses the kernel's error.
const ASKED_WITHIN: Duration = Duration::from_secs(60);
/// Further failures look like resets to their programs.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<Identity, (Errno, Instant)>>);

impl Failures {
    fn table(&self) -> MutexGuard<'_, HashMap<Identity, (Errno, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, identity: Identity, errno: Errno) {
        let mut table = self.table();
        if table.len() >= MOST {
            table.retain(|_, (_, since)| since.elapsed() < ASKED_WITHIN);
        }
        if table.len() < MOST {
            table.insert(identity, (errno, Instant::now()));
        }
    }

    /// Returned once, as SO_ERROR is.
    pub(crate) fn take(&self, identity: Identity) -> Option<Errno> {
        self.table().remove(&identity).map(|(errno, _)| errno)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_returned_once() {
        let failures = Failures::default();
        let (first, second) = (Identity::of_test(1), Identity::of_test(2));
        failures.insert(first, Errno::CONNREFUSED);
        assert_eq!(failures.take(second), None);
        assert_eq!(failures.take(first), Some(Errno::CONNREFUSED));
        assert_eq!(failures.take(first), None);
        assert!(failures.is_empty());
    }

    #[test]
    fn the_table_is_bounded() {
        let failures = Failures::default();
        for number in 0..MOST as u64 + 10 {
            failures.insert(Identity::of_test(number), Errno::CONNREFUSED);
        }
        assert_eq!(failures.table().len(), MOST);
    }
}
