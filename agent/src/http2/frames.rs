//! What small DATA frames cost a connection. Pure.
//!
//! h2 charges a connection for each until it is read, and ends it with all its streams once that is beyond a budget. A
//! frame for a stream that was reset stays charged for good, so a long life uses the budget up. The same account, kept
//! here, shows that early: then the connection ends in order, after its streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::connection::sniff::{FRAME_HEAD, PREFACE};

/// Limit on the cost of small frames that have come and were not processed, as h2 counts it: 256 bytes each, less their
/// content.
pub(super) const SMALL_FRAMES: usize = 8 << 20;
/// A longer frame costs nothing, and pays for others.
const SMALL: usize = 256;
/// The number of empty frames that h2 takes in the life of a connection.
const MOST_EMPTY: usize = 100;

/// A frame's type and its flags (RFC 9113 section 6.1).
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

/// The cost of one connection's small frames.
#[derive(Debug, Clone, Default)]
pub(super) struct Account(Arc<Spent>);

#[derive(Debug, Default)]
struct Spent {
    cost: AtomicUsize,
    empty: AtomicUsize,
}

impl Account {
    /// Half of the budget is spent.
    pub(super) fn is_high(&self) -> bool {
        self.0.cost.load(Ordering::Relaxed) > SMALL_FRAMES / 2
            || self.0.empty.load(Ordering::Relaxed) > MOST_EMPTY / 2
    }

    /// A frame of this length, which did not end its stream, was read.
    pub(super) fn read(&self, len: usize) {
        if (1..SMALL).contains(&len) {
            self.change(|cost| cost.saturating_sub(SMALL - len));
        }
    }

    /// A frame of this length, which does not end its stream, has come.
    fn came(&self, len: usize) {
        match len {
            0 => drop(self.0.empty.fetch_add(1, Ordering::Relaxed)),
            1..SMALL => self.change(|cost| cost + (SMALL - len)),
            _ => self.change(|cost| cost.saturating_sub(len - SMALL)),
        }
    }

    /// One task changes it.
    fn change(&self, change: impl FnOnce(usize) -> usize) {
        let cost = self.0.cost.load(Ordering::Relaxed);
        self.0.cost.store(change(cost), Ordering::Relaxed);
    }
}

/// The frames in a peer's bytes.
#[derive(Debug)]
pub(super) struct Frames {
    account: Account,
    head: [u8; FRAME_HEAD],
    /// The bytes of `head` that have come.
    begun: usize,
    /// The bytes before the next head.
    left: usize,
}

impl Frames {
    pub(super) fn of_client(account: Account) -> Self {
        Self { left: PREFACE.len(), ..Self::of_server(account) }
    }

    pub(super) fn of_server(account: Account) -> Self {
        Self { account, head: [0; FRAME_HEAD], begun: 0, left: 0 }
    }

    /// Takes the next bytes, however they are cut.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        loop {
            let passed = self.left.min(bytes.len());
            self.left -= passed;
            bytes = &bytes[passed..];
            if bytes.is_empty() {
                return;
            }
            let more = (FRAME_HEAD - self.begun).min(bytes.len());
            self.head[self.begun..self.begun + more].copy_from_slice(&bytes[..more]);
            self.begun += more;
            bytes = &bytes[more..];
            if self.begun == FRAME_HEAD {
                self.begun = 0;
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        let [length @ .., kind, flags, _, _, _, _] = self.head;
        self.left = payload_of(&length);
        if kind == DATA && flags & END_STREAM == 0 {
            // How much of it is padding does not matter: at worst it counts for more than it is.
            self.account.came(if flags & PADDED == 0 { self.left } else { self.left.min(1) });
        }
    }
}

/// The length of a frame's payload, from the beginning of its head (RFC 9113 section 4.1).
pub(super) fn payload_of([high, middle, low]: &[u8; 3]) -> usize {
    usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, len: usize) -> Vec<u8> {
        let length = u32::try_from(len).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], &vec![0; len]].concat()
    }

    fn cost(account: &Account) -> usize {
        account.0.cost.load(Ordering::Relaxed)
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let frames = [
            frame(4, 0, 12),
            frame(DATA, 0, 1000),
            frame(DATA, 0, 6),
            frame(1, 4, 9),
            frame(DATA, END_STREAM, 1),
            frame(DATA, PADDED, 200),
            frame(DATA, 0, 0),
        ];
        let bytes = [PREFACE, &frames.concat()].concat();
        for size in 1..bytes.len() {
            let account = Account::default();
            let mut frames = Frames::of_client(account.clone());
            bytes.chunks(size).for_each(|chunk| frames.advance(chunk));
            let empty = account.0.empty.load(Ordering::Relaxed);
            assert_eq!((cost(&account), empty), (250 + 255, 1), "in pieces of {size} bytes");
        }
    }

    #[test]
    fn what_is_read_and_what_is_large_gives_room() {
        let account = Account::default();
        for _ in 0..10 {
            account.came(56);
        }
        assert_eq!(cost(&account), 2000);
        account.read(56);
        assert_eq!(cost(&account), 1800);
        account.came(1256);
        assert_eq!(cost(&account), 800);
        account.came(16_384);
        account.read(1);
        assert_eq!(cost(&account), 0);
    }

    #[test]
    fn the_account_is_high_beyond_half_of_a_budget() {
        let account = Account::default();
        account.0.cost.store(SMALL_FRAMES / 2 - (SMALL - 1), Ordering::Relaxed);
        account.came(1);
        assert_eq!((cost(&account), account.is_high()), (SMALL_FRAMES / 2, false));
        account.came(SMALL - 1);
        assert!(account.is_high(), "one more");
        account.read(SMALL - 1);
        assert!(!account.is_high(), "and one less");

        (0..MOST_EMPTY / 2).for_each(|_| account.came(0));
        assert!(!account.is_high());
        account.came(0);
        assert!(account.is_high(), "one more empty frame");
    }
}
