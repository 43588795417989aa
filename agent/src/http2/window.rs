//! The window of a connection as a whole (RFC 9113 section 5.2): it grows while streams stall, so that these do not
//! hold up others, and memory has a bound.
//!
//! Data that stalls between a caller and the origin is held out of a pool that all connections share; data that stalls
//! on its way to or from a laptop counts against its session. So no session takes the room of others' streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use bridge_proto::tunnel::{Budget, Hold};
use futures::task::AtomicWaker;

use super::frames::Account;

/// The window of every connection, in each direction.
pub(super) const SMALLEST: u32 = 256 << 10;
/// The largest window of one connection, in each direction.
const LARGEST: u32 = 128 << 20;
/// The largest window of one connection to a laptop, and its first one if there is plenty.
const LARGEST_LANE: u32 = 16 << 20;
const WIDE_LANE: u32 = 4 << 20;
/// The step by which a window follows the data that waits for laptops.
const STEP: usize = 256 << 10;

/// The bytes that all connections of an agent may hold beyond their own windows.
#[derive(Debug)]
pub(crate) struct Pool {
    left: AtomicUsize,
}

/// Bytes that came on one connection and still wait for their receivers.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Between caller and origin; on a lane, all bytes.
    plain: AtomicUsize,
    /// From a caller to laptops.
    for_laptops: AtomicUsize,
    changed: AtomicWaker,
}

/// The waiting bytes of one body.
#[derive(Debug)]
pub(super) struct Waiting {
    held: Arc<Held>,
    /// That of the connection on which they come.
    account: Account,
    counted: usize,
    /// They are on their way to a laptop, and count against its session.
    of_session: Option<Hold>,
}

/// The source of a window's growth.
#[derive(Debug)]
enum Source {
    Pool(Arc<Pool>),
    Session(Hold),
}

/// The window of one connection.
#[derive(Debug)]
pub(super) struct Window {
    source: Source,
    size: u32,
    largest: u32,
    /// The part beyond `size`, for data that waits for laptops.
    beyond: u32,
    held: Arc<Held>,
}

impl Pool {
    /// A pool of this number of bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        Self { left: AtomicUsize::new(usize::try_from(bytes).unwrap_or(usize::MAX)) }
    }

    fn take(&self, bytes: usize) -> bool {
        let left = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }
}

impl Held {
    /// The waker to wake whenever the waiting data has changed.
    pub(super) fn register(&self, waker: &Waker) {
        self.changed.register(waker);
    }

    fn change(&self, count: &AtomicUsize, before: usize, now: usize) {
        if now > before {
            count.fetch_add(now - before, Ordering::Relaxed);
        } else if before > now {
            count.fetch_sub(before - now, Ordering::Relaxed);
        }
        self.changed.wake();
    }
}

impl Waiting {
    pub(super) fn new(held: Arc<Held>, account: Account) -> Self {
        Self { held, account, counted: 0, of_session: None }
    }

    /// Bytes from a caller to a laptop.
    pub(super) fn for_laptop(held: Arc<Held>, account: Account, session: &Budget) -> Self {
        Self { held, account, counted: 0, of_session: Some(session.nothing()) }
    }

    /// A frame of this length, which did not end its stream, was read.
    pub(super) fn read(&self, len: usize) {
        self.account.read(len);
    }

    /// Sets the number of waiting bytes. False: more than the session may hold.
    pub(super) fn count(&mut self, bytes: usize) -> bool {
        if bytes == self.counted {
            return true;
        }
        let count = match &mut self.of_session {
            Some(hold) => {
                if !hold.set(bytes as u64) {
                    return false;
                }
                &self.held.for_laptops
            }
            None => &self.held.plain,
        };
        self.held.change(count, self.counted, bytes);
        self.counted = bytes;
        true
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.count(0);
    }
}

impl Window {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self { source: Source::Pool(pool), size: SMALLEST, largest: LARGEST, beyond: 0, held: Arc::default() }
    }

    /// The window of a connection to a laptop.
    pub(super) fn of_lane(session: &Budget) -> Self {
        let mut hold = session.hold(SMALLEST.into());
        let wide = hold.widen((WIDE_LANE - SMALLEST).into());
        let size = if wide { WIDE_LANE } else { SMALLEST };
        Self { source: Source::Session(hold), size, largest: LARGEST_LANE, beyond: 0, held: Arc::default() }
    }

    pub(super) fn held(&self) -> Arc<Held> {
        self.held.clone()
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Returns a new size, if half of the window waits for receivers, or if the data that waits for laptops has
    /// changed. The additions are returned when the connection ends.
    pub(super) fn grow(&mut self) -> Option<u32> {
        let needed = self.held.plain.load(Ordering::Relaxed) * 2 >= self.size as usize;
        let grows = needed && self.size < self.largest && self.take(self.size);
        if grows {
            self.size *= 2;
        }
        let for_laptops = self.held.for_laptops.load(Ordering::Relaxed).next_multiple_of(STEP);
        let beyond = u32::try_from(for_laptops).unwrap_or(u32::MAX).min(LARGEST);
        let follows = std::mem::replace(&mut self.beyond, beyond) != beyond;
        (grows || follows).then_some(self.size + self.beyond)
    }

    fn take(&mut self, bytes: u32) -> bool {
        match &mut self.source {
            Source::Pool(pool) => pool.take(bytes as usize),
            Source::Session(hold) => hold.widen(bytes.into()),
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if let Source::Pool(pool) = &self.source {
            pool.left.fetch_add((self.size - SMALLEST) as usize, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: usize = 128 << 20;

    fn pool() -> Arc<Pool> {
        Arc::new(Pool::new(POOL as u64))
    }

    #[test]
    fn a_window_grows_while_streams_stall() {
        let pool = pool();
        let mut window = Window::new(pool.clone());
        let mut waiting = Waiting::new(window.held(), Account::default());
        assert_eq!(window.grow(), None, "nothing waits");
        assert!(waiting.count(150 << 10));
        assert_eq!(window.grow(), Some(512 << 10));
        assert_eq!(window.grow(), None, "less than half of it waits");
        assert!(waiting.count(300 << 10));
        assert_eq!(window.grow(), Some(1 << 20));
        drop(window);
        assert_eq!(pool.left.load(Ordering::Relaxed), POOL, "it is given back");
    }

    #[test]
    fn the_pool_has_an_end() {
        let pool = pool();
        let mut windows: Vec<_> = (0..4).map(|_| Window::new(pool.clone())).collect();
        let mut waiting: Vec<_> =
            windows.iter().map(|window| Waiting::new(window.held(), Account::default())).collect();
        assert!(waiting.iter_mut().all(|waiting| waiting.count(usize::MAX / 4)));
        while windows.iter_mut().any(|window| window.grow().is_some()) {}
        let total: usize = windows.iter().map(|window| window.size as usize).sum();
        assert!(total <= POOL + 4 * SMALLEST as usize, "{total}");
    }

    #[test]
    fn data_that_waits_for_a_laptop_takes_no_room_from_others() {
        let (pool, session) = (pool(), Budget::new(1 << 20));
        let mut window = Window::new(pool.clone());
        let mut waiting = Waiting::for_laptop(window.held(), Account::default(), &session);
        assert!(waiting.count(300 << 10));
        assert_eq!(
            window.grow(),
            Some(SMALLEST + (512 << 10)),
            "the window is as wide as before, and what waits"
        );
        assert_eq!((pool.left.load(Ordering::Relaxed), session.held()), (POOL, 300 << 10));
        assert!(!waiting.count(2 << 20), "the session has no more");
        drop(waiting);
        assert_eq!(window.grow(), Some(SMALLEST));
        assert_eq!(session.held(), 0);
    }

    #[test]
    fn a_lane_is_its_session_s() {
        let session = Budget::new(64 << 20);
        let lanes: Vec<_> = (0..100).map(|_| Window::of_lane(&session)).collect();
        assert_eq!(lanes[0].size, WIDE_LANE);
        assert_eq!(lanes[99].size, SMALLEST, "there is not plenty any more");
        let total: u64 = lanes.iter().map(|lane| u64::from(lane.size)).sum();
        assert_eq!(session.held(), total);
        drop(lanes);
        assert_eq!(session.held(), 0);
    }
}
