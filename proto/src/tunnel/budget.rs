//! Limits the bytes that streams hold: one limit for a whole program, shared by all its users.
//!
//! A part of it is set aside, so that everyone has a share however much the others hold. The rest is for those who need
//! it: each may have two thirds of what the others leave of it, so that something is always left for the next one. As
//! it runs out, windows stop growing first, then nothing new begins, and last, streams in progress wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The share of each is the same up to this number; more users have to share what is set aside for these.
const SEATS: u64 = 8;

/// The purpose of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    /// A wider window: half of what three quarters leave, so that others can still have theirs.
    Wider,
    /// Something new: up to nine tenths.
    New,
    /// A stream in progress: everything that is left.
    UnderWay,
}

/// A limit for all its users, in bytes or in pieces of anything else. A clone is a handle to the same limit.
#[derive(Debug, Clone)]
pub struct Pool {
    total: u64,
    /// The part that is set aside, and the number of its seats.
    set_aside: u64,
    seats: u64,
    users: Arc<Mutex<Users>>,
}

#[derive(Debug, Default)]
struct Users {
    /// The bytes that each user holds.
    held: Vec<Arc<AtomicU64>>,
    /// To be woken when something is returned.
    waiting: Vec<Waker>,
}

/// One user's part of a limit. A clone is a handle to the same part.
#[derive(Debug, Clone)]
pub struct Budget(Arc<User>);

#[derive(Debug)]
struct User {
    pool: Pool,
    held: Arc<AtomicU64>,
}

/// An amount that is held; returned when dropped.
#[derive(Debug)]
pub struct Hold {
    budget: Budget,
    amount: u64,
}

impl Pool {
    /// A limit of `total`, for any number of users.
    #[must_use]
    pub fn new(total: u64) -> Self {
        Self { total, set_aside: total / 4, seats: SEATS, users: Arc::default() }
    }

    /// A new user's part.
    #[must_use]
    pub fn budget(&self) -> Budget {
        let held = Arc::<AtomicU64>::default();
        self.lock().held.push(held.clone());
        Budget(Arc::new(User { pool: self.clone(), held }))
    }

    /// The amount that every user always has, if there are only a few.
    #[must_use]
    pub fn share(&self) -> u64 {
        self.set_aside / self.seats
    }

    /// The bytes that all users hold together.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.lock().held.iter().map(|held| held.load(Ordering::Relaxed)).sum()
    }

    /// The limit of all users together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    fn lock(&self) -> MutexGuard<'_, Users> {
        // No code that holds the lock can leave them half changed, so a panic elsewhere does no harm.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limit of a user that holds `own` now.
    fn ceiling(&self, users: &Users, own: u64) -> u64 {
        let share = self.set_aside / self.seats.max(users.held.len() as u64);
        let beyond = |held: u64| held.saturating_sub(share);
        let all: u64 = users.held.iter().map(|held| beyond(held.load(Ordering::Relaxed))).sum();
        let others = all - beyond(own);
        share + (self.total - self.set_aside).saturating_sub(others) / 3 * 2
    }
}

impl Budget {
    /// A limit of `total` for a single user.
    #[must_use]
    pub fn new(total: u64) -> Self {
        Pool { total, set_aside: total, seats: 1, users: Arc::default() }.budget()
    }

    /// The free bytes.
    #[must_use]
    pub fn left(&self) -> u64 {
        let pool = &self.0.pool;
        let held = self.held();
        pool.ceiling(&pool.lock(), held).saturating_sub(held)
    }

    /// The bytes that are held.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Holds nothing yet.
    #[must_use]
    pub fn nothing(&self) -> Hold {
        Hold { budget: self.clone(), amount: 0 }
    }

    /// Holds `amount`, whatever is left.
    #[must_use]
    pub fn hold(&self, amount: u64) -> Hold {
        let users = self.0.pool.lock();
        self.0.held.fetch_add(amount, Ordering::Relaxed);
        drop(users);
        Hold { budget: self.clone(), amount }
    }

    /// Holds `amount` for something new, if that leaves enough for streams in progress.
    #[must_use]
    pub fn begin(&self, amount: u64) -> Option<Hold> {
        self.take(amount, For::New).then(|| Hold { budget: self.clone(), amount })
    }

    /// Holds `amount` more for a stream in progress, or waits until it can. `first`: without waiting, so that the
    /// stream goes on however little is left.
    pub(crate) fn poll_hold(&self, cx: &mut Context<'_>, amount: u64, first: bool) -> Poll<Hold> {
        let mut users = self.0.pool.lock();
        if !first && !self.may_hold(&users, amount, For::UnderWay) {
            if !users.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                users.waiting.push(cx.waker().clone());
            }
            return Poll::Pending;
        }
        self.0.held.fetch_add(amount, Ordering::Relaxed);
        Poll::Ready(Hold { budget: self.clone(), amount })
    }

    fn take(&self, amount: u64, what_for: For) -> bool {
        let users = self.0.pool.lock();
        let may = self.may_hold(&users, amount, what_for);
        if may {
            self.0.held.fetch_add(amount, Ordering::Relaxed);
        }
        may
    }

    fn may_hold(&self, users: &Users, amount: u64, what_for: For) -> bool {
        if amount == 0 {
            return true;
        }
        let held = self.held();
        let ceiling = self.0.pool.ceiling(users, held);
        match what_for {
            For::Wider => amount <= (ceiling / 4 * 3).saturating_sub(held) / 2,
            For::New => held.saturating_add(amount) <= ceiling / 10 * 9,
            For::UnderWay => held.saturating_add(amount) <= ceiling,
        }
    }

    fn give_back(&self, amount: u64) {
        if amount == 0 {
            return;
        }
        let mut users = self.0.pool.lock();
        self.0.held.fetch_sub(amount, Ordering::Relaxed);
        let waiting = std::mem::take(&mut users.waiting);
        drop(users);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.pool.lock().held.retain(|held| !Arc::ptr_eq(held, &self.held));
    }
}

/// Memory of a stream without a place of its own.
impl From<&Budget> for Hold {
    fn from(budget: &Budget) -> Self {
        budget.nothing()
    }
}

impl Hold {
    /// Holds this much more for a wider window, if there is plenty.
    pub fn widen(&mut self, amount: u64) -> bool {
        self.grow(amount, For::Wider)
    }

    /// Holds `amount` in place of the current one, for a stream in progress. False: there is not so much, and nothing
    /// changes.
    pub fn set(&mut self, amount: u64) -> bool {
        match amount.checked_sub(self.amount) {
            Some(more) => self.grow(more, For::UnderWay),
            None => {
                self.budget.give_back(self.amount - amount);
                self.amount = amount;
                true
            }
        }
    }

    /// The bytes that are held.
    #[must_use]
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// The part that it is taken from.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    fn grow(&mut self, amount: u64, what_for: For) -> bool {
        let took = self.budget.take(amount, what_for);
        if took {
            self.amount += amount;
        }
        took
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget.give_back(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_takes_at_most_half_of_what_is_left_and_gives_it_back() {
        let budget = Budget::new(1000);
        let mut first = budget.nothing();
        assert!(first.widen(375), "half of three quarters");
        assert!(!first.widen(200), "200 is more than half of the 375 that are left");
        let mut second = budget.nothing();
        assert!(second.widen(180));
        assert_eq!(budget.left(), 445);
        drop((first, second));
        assert_eq!(budget.left(), 1000);
    }

    #[test]
    fn windows_stop_growing_first_then_nothing_new_begins_and_last_what_is_under_way_waits() {
        let budget = Budget::new(1000);
        let mut all = budget.begin(750).expect("there is room");
        assert!(!budget.nothing().widen(10));
        assert!(budget.begin(10).is_some());
        assert!(all.set(900) && budget.begin(10).is_none());
        assert!(all.set(1000) && !all.set(1001));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(budget.poll_hold(&mut cx, 1, false).is_pending());
        assert!(budget.poll_hold(&mut cx, 1, true).is_ready(), "the first goes on all the same");
        assert!(all.set(0));
        assert!(budget.poll_hold(&mut cx, 1, false).is_ready());
    }

    #[test]
    fn a_user_that_holds_all_it_can_leaves_the_others_a_share() {
        const MIB: u64 = 1 << 20;
        let pool = Pool::new(256 * MIB);
        let greedy: Vec<_> = (0..7).map(|_| pool.budget()).collect();
        let holds: Vec<_> = greedy.iter().map(|budget| fill(budget, MIB)).collect();
        assert!(greedy[0].held() > 100 * MIB, "alone, one has much: {}", greedy[0].held());
        assert!(greedy[1].held() > 30 * MIB, "the next, too: {}", greedy[1].held());
        let late = pool.budget();
        let begun: Vec<_> = std::iter::from_fn(|| late.begin(MIB)).collect();
        assert!(begun.len() as u64 >= pool.share() / MIB * 8 / 10, "{} MiB for the last", begun.len());
        assert!(pool.held() <= pool.total());
        drop((begun, late, holds, greedy));
        assert_eq!(pool.held(), 0);
        assert!(pool.lock().held.is_empty(), "who has gone is forgotten");
    }

    /// Holds as much as possible.
    fn fill(budget: &Budget, step: u64) -> Hold {
        let mut hold = budget.nothing();
        while hold.set(hold.amount() + step) {}
        hold
    }

    proptest! {
        /// In any order of events, all together never hold more than there is, as long as there are seats.
        #[test]
        fn the_total_holds(wishes in prop::collection::vec((0usize..8, 0u64..400), 1..200)) {
            let pool = Pool::new(1000);
            let budgets: Vec<_> = (0..8).map(|_| pool.budget()).collect();
            let mut holds: Vec<_> = budgets.iter().map(Budget::nothing).collect();
            for (user, wish) in wishes {
                let may = holds[user].set(wish);
                prop_assert!(may || wish > pool.share(), "a share is always there");
                prop_assert!(pool.held() <= pool.total());
            }
        }
    }
}
