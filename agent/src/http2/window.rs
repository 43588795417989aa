//! The window of a connection as a whole (RFC 9113 section 5.2): it grows while streams stall, so that these do not hold
//! up others, out of a pool that all connections share, so that memory has a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What every connection has, in each direction.
pub(super) const SMALLEST: u32 = 256 << 10;
/// What one connection can have, in each direction.
const LARGEST: u32 = 128 << 20;
/// What all connections can have beyond the smallest.
const POOL: usize = 128 << 20;

/// What all connections of an agent may hold beyond what each has.
#[derive(Debug)]
pub(crate) struct Pool {
    left: AtomicUsize,
}

/// Bytes that came on one connection and still wait for their receivers.
#[derive(Debug, Default)]
pub(super) struct Held(AtomicUsize);

/// The window of one connection.
#[derive(Debug)]
pub(super) struct Window {
    pool: Arc<Pool>,
    size: u32,
    held: Arc<Held>,
}

impl Default for Pool {
    fn default() -> Self {
        Self { left: AtomicUsize::new(POOL) }
    }
}

impl Pool {
    fn take(&self, bytes: usize) -> bool {
        let left = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }
}

impl Held {
    pub(super) fn change(&self, before: usize, now: usize) {
        if now > before {
            self.0.fetch_add(now - before, Ordering::Relaxed);
        } else if before > now {
            self.0.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

impl Window {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, size: SMALLEST, held: Arc::default() }
    }

    pub(super) fn held(&self) -> Arc<Held> {
        self.held.clone()
    }

    /// A new size, if half of the window waits for receivers. What was given is taken back when the connection ends.
    pub(super) fn grow(&mut self) -> Option<u32> {
        let needed = self.held.0.load(Ordering::Relaxed) * 2 >= self.size as usize;
        if needed && self.size < LARGEST && self.pool.take(self.size as usize) {
            self.size *= 2;
            return Some(self.size);
        }
        None
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.pool.left.fetch_add((self.size - SMALLEST) as usize, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_grows_while_streams_stall() {
        let pool = Arc::new(Pool::default());
        let mut window = Window::new(pool.clone());
        let held = window.held();
        assert_eq!(window.grow(), None, "nothing waits");
        held.change(0, 150 << 10);
        assert_eq!(window.grow(), Some(512 << 10));
        assert_eq!(window.grow(), None, "less than half of it waits");
        held.change(150 << 10, 300 << 10);
        assert_eq!(window.grow(), Some(1 << 20));
        drop(window);
        assert_eq!(pool.left.load(Ordering::Relaxed), POOL, "it is given back");
    }

    #[test]
    fn the_pool_has_an_end() {
        let pool = Arc::new(Pool::default());
        let mut windows: Vec<_> = (0..4).map(|_| Window::new(pool.clone())).collect();
        for window in &windows {
            window.held().change(0, usize::MAX / 4);
        }
        while windows.iter_mut().any(|window| window.grow().is_some()) {}
        let total: usize = windows.iter().map(|window| window.size as usize).sum();
        assert!(total <= POOL + 4 * SMALLEST as usize, "{total}");
    }
}
