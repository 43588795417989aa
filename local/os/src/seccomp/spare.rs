//! Descriptors kept back: a supervisor that has no others left can still write the answer into its caller's memory.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{DupFlags, Errno, dup3, fcntl_dupfd_cloexec};

/// More than one, as another thread may take the one that was just freed.
const KEPT: usize = 4;

#[derive(Debug)]
pub(super) struct Spare {
    /// Each kept descriptor is a copy of this one.
    original: OwnedFd,
    kept: Mutex<Vec<OwnedFd>>,
}

impl Spare {
    pub(super) fn new() -> io::Result<Self> {
        let original = eventfd(0, EventfdFlags::CLOEXEC)?;
        let spare = Self { original, kept: Mutex::default() };
        spare.fill();
        Ok(spare)
    }

    /// Opens something, in place of what is kept back if there is no other room.
    pub(super) fn open<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match open() {
                Err(error) if is_exhausted(&error) && self.lock().pop().is_some() => {}
                opened => return opened,
            }
        }
    }

    /// Keeps the descriptor back, if one is missing.
    pub(super) fn give_back(&self, mut descriptor: OwnedFd) {
        let mut kept = self.lock();
        if kept.len() < KEPT && dup3(&self.original, &mut descriptor, DupFlags::CLOEXEC).is_ok() {
            kept.push(descriptor);
        }
        drop(kept);
        self.fill();
    }

    fn fill(&self) {
        let mut kept = self.lock();
        while kept.len() < KEPT {
            let Ok(copy) = fcntl_dupfd_cloexec(&self.original, 0) else { return };
            kept.push(copy);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        // No code that holds the lock can leave the list half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::File;

    use super::*;

    /// Opens once there were so many attempts.
    fn opens_at(attempt: usize) -> impl Fn() -> io::Result<File> {
        let attempts = Cell::new(0);
        move || {
            attempts.set(attempts.get() + 1);
            if attempts.get() < attempt { Err(Errno::MFILE.into()) } else { File::open("/dev/null") }
        }
    }

    #[test]
    fn what_finds_no_room_gets_the_place_of_what_is_kept_back() {
        let spare = Spare::new().expect("descriptors");
        let opened = spare.open(opens_at(3)).expect("the third attempt succeeds");
        assert_eq!(spare.lock().len(), KEPT - 2, "one for each attempt that failed");
        spare.give_back(opened.into());
        assert_eq!(spare.lock().len(), KEPT, "as many as before");

        let failed = spare.open(opens_at(KEPT + 2)).expect_err("nothing is left to try with");
        assert!(is_exhausted(&failed), "{failed}");
        let other = spare.open(|| File::open("/nowhere")).expect_err("no such file");
        assert_eq!(other.kind(), io::ErrorKind::NotFound, "another error is not tried again");
    }
}
