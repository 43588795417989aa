//! A stream's two directions as pure state: offsets, credit, half-close.
//!
//! Messages in, messages out; no I/O and no clock. Each direction has a sender that may go up to a limit, and a receiver
//! that moves the limit as bytes are taken from it. The receiver's window doubles while its reader keeps up, so a fast
//! stream fills a long round trip and a stalled one holds little.

use super::budget::Hold;

/// Limit on the bytes in one data message: with its framing, it fits into one read of container runtimes, and into two
/// whole records of TLS.
pub const FRAME: usize = 32 * 1024 - 64;
/// A receiver's window at the beginning, which needs no message and no budget.
pub const MIN_WINDOW: u64 = 64 * 1024;
/// The window that a receiver grows to as soon as the first bytes are taken, if the tunnel's budget allows.
const FIRST_WINDOW: u64 = 256 * 1024;
/// The widest window.
pub const MAX_WINDOW: u64 = 4 * 1024 * 1024;

/// The other side broke the rules; the stream is reset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("data at offset {got} where {expected} was due")]
    Offset { expected: u64, got: u64 },
    #[error("{over} bytes beyond the credit that was given")]
    Credit { over: u64 },
    #[error("data after the stream was finished")]
    AfterFinish,
}

/// The sending end of one direction.
#[derive(Debug)]
pub(crate) struct Sending {
    sent: u64,
    limit: u64,
    finished: bool,
}

impl Sending {
    pub(crate) fn new() -> Self {
        Self { sent: 0, limit: MIN_WINDOW, finished: false }
    }

    /// The number of bytes that the next data message may hold.
    pub(crate) fn room(&self) -> usize {
        FRAME.min(usize::try_from(self.limit - self.sent).unwrap_or(FRAME))
    }

    /// Notes `len` bytes as sent (at most `room`) and returns their offset.
    pub(crate) fn sent(&mut self, len: usize) -> u64 {
        debug_assert!(len <= self.room() && !self.finished);
        let offset = self.sent;
        self.sent += len as u64;
        offset
    }

    /// The receiver moved the limit. Limits only grow; an older one changes nothing.
    pub(crate) fn credited(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Ends this direction: returns the final offset the first time.
    pub(crate) fn finish(&mut self) -> Option<u64> {
        (!std::mem::replace(&mut self.finished, true)).then_some(self.sent)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.sent
    }
}

/// The receiving end of one direction.
#[derive(Debug)]
pub(crate) struct Receiving {
    received: u64,
    taken: u64,
    limit: u64,
    window: u64,
    finished: bool,
    room: Hold,
}

impl Receiving {
    /// Wider windows are held together with `room`.
    pub(crate) fn new(room: Hold) -> Self {
        Self { received: 0, taken: 0, limit: MIN_WINDOW, window: MIN_WINDOW, finished: false, room }
    }

    /// Takes a data message.
    pub(crate) fn data(&mut self, offset: u64, len: usize) -> Result<(), Violation> {
        if self.finished {
            return Err(Violation::AfterFinish);
        }
        if offset != self.received {
            return Err(Violation::Offset { expected: self.received, got: offset });
        }
        let end = offset.saturating_add(len as u64);
        if end > self.limit {
            return Err(Violation::Credit { over: end - self.limit });
        }
        self.received = end;
        Ok(())
    }

    /// Takes the sender's end.
    pub(crate) fn finish(&mut self, offset: u64) -> Result<(), Violation> {
        if offset != self.received {
            return Err(Violation::Offset { expected: self.received, got: offset });
        }
        self.finished = true;
        Ok(())
    }

    /// Notes that the reader took `len` bytes. Returns the new limit when it is time to send it.
    pub(crate) fn taken(&mut self, len: usize) -> Option<u64> {
        self.taken += len as u64;
        debug_assert!(self.taken <= self.received);
        if self.finished {
            return None;
        }
        let unused = self.limit - self.taken;
        if unused > self.window / 2 {
            return None;
        }
        let keeps_up = self.received - self.taken <= self.window / 4;
        if keeps_up {
            self.widen();
        }
        let limit = self.taken + self.window;
        if limit <= self.limit {
            return None;
        }
        self.limit = limit;
        Some(limit)
    }

    fn widen(&mut self) {
        let wider = (self.window * 2).clamp(FIRST_WINDOW, MAX_WINDOW);
        if wider > self.window && self.room.widen(wider - self.window) {
            self.window = wider;
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.received
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::super::budget::Budget;
    use super::*;

    /// Both ends of one direction with a network of a given delay between them, in simulated time.
    struct Pair {
        now: u64,
        delay: u64,
        sending: Sending,
        receiving: Receiving,
        data: VecDeque<(u64, u64, usize)>,
        credit: VecDeque<(u64, u64)>,
        unread: u64,
        most_unread: u64,
    }

    impl Pair {
        fn new(delay: u64, budget: &Budget) -> Self {
            Self {
                now: 0,
                delay,
                sending: Sending::new(),
                receiving: Receiving::new(budget.nothing()),
                data: VecDeque::new(),
                credit: VecDeque::new(),
                unread: 0,
                most_unread: 0,
            }
        }

        fn send(&mut self, wanted: usize) -> usize {
            let len = wanted.min(self.sending.room());
            if len > 0 {
                let offset = self.sending.sent(len);
                self.data.push_back((self.now + self.delay, offset, len));
            }
            len
        }

        fn deliver(&mut self) {
            while self.data.front().is_some_and(|(at, ..)| *at <= self.now) {
                let (_, offset, len) = self.data.pop_front().expect("just seen");
                self.receiving.data(offset, len).expect("a correct sender never breaks the rules");
                self.unread += len as u64;
                self.most_unread = self.most_unread.max(self.unread);
            }
            while self.credit.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, limit) = self.credit.pop_front().expect("just seen");
                self.sending.credited(limit);
            }
        }

        fn read(&mut self, most: u64) -> u64 {
            let len = most.min(self.unread);
            self.unread -= len;
            if len > 0
                && let Some(limit) = self.receiving.taken(len as usize)
            {
                self.credit.push_back((self.now + self.delay, limit));
            }
            len
        }
    }

    #[test]
    fn a_reader_that_keeps_up_gets_a_window_that_fills_the_round_trip() {
        let budget = Budget::new(64 << 20);
        let mut pair = Pair::new(20, &budget);
        let (mut read, total) = (0, 256 << 20);
        while read < total {
            pair.deliver();
            read += pair.read(u64::MAX);
            while pair.send(FRAME) > 0 {}
            pair.now += 1;
        }
        let per_round_trip = total / (pair.now / 40);
        assert!(per_round_trip > 3 << 20, "expected some 4 MiB a round trip, got {per_round_trip} bytes");
    }

    #[test]
    fn a_reader_that_stalls_holds_no_more_than_the_first_window() {
        let budget = Budget::new(64 << 20);
        let mut pair = Pair::new(1, &budget);
        for _ in 0..1000 {
            pair.deliver();
            while pair.send(FRAME) > 0 {}
            pair.now += 1;
        }
        assert_eq!(pair.unread, MIN_WINDOW);
    }

    #[test]
    fn many_streams_never_hold_more_than_the_budget_and_their_minimum() {
        let budget = Budget::new(8 << 20);
        let mut pairs: Vec<_> = (0..100).map(|_| Pair::new(1, &budget)).collect();
        for round in 0..200 {
            for pair in &mut pairs {
                pair.deliver();
                if round < 100 {
                    pair.read(u64::MAX);
                }
                while pair.send(FRAME) > 0 {}
                pair.now += 1;
            }
        }
        let held: u64 = pairs.iter().map(|pair| pair.unread).sum();
        assert!(held <= (8 << 20) + 100 * MIN_WINDOW, "{held} bytes held");
        assert!(pairs.iter().all(|pair| pair.unread >= MIN_WINDOW), "each stream keeps its minimum");
    }

    #[test]
    fn each_violation_has_its_name() {
        let mut receiving = Receiving::new(Budget::new(0).nothing());
        assert_eq!(receiving.data(1, 1), Err(Violation::Offset { expected: 0, got: 1 }));
        assert_eq!(receiving.data(0, MIN_WINDOW as usize + 1), Err(Violation::Credit { over: 1 }));
        assert_eq!(receiving.data(0, 10), Ok(()));
        assert_eq!(receiving.finish(9), Err(Violation::Offset { expected: 10, got: 9 }));
        assert_eq!(receiving.finish(10), Ok(()));
        assert_eq!(receiving.data(10, 1), Err(Violation::AfterFinish));
    }

    proptest! {
        /// In any order of events: no rule is broken, the window's limit holds, and all bytes arrive.
        #[test]
        fn bytes_arrive_whatever_the_order(
            steps in prop::collection::vec((0u8..4, 1u64..200_000), 1..400),
            delay in 0u64..5,
            budget in 0u64..(16 << 20),
        ) {
            let budget = Budget::new(budget);
            let mut pair = Pair::new(delay, &budget);
            let (mut sent, mut read) = (0, 0);
            for (step, size) in steps {
                match step {
                    0 => sent += pair.send(size as usize) as u64,
                    1 => read += pair.read(size),
                    2 => pair.deliver(),
                    _ => pair.now += 1,
                }
            }
            while read < sent {
                pair.now += 1;
                pair.deliver();
                read += pair.read(u64::MAX);
            }
            pair.now += 2 * delay;
            pair.deliver();
            prop_assert!(pair.most_unread <= MAX_WINDOW);
            prop_assert!(pair.sending.room() > 0, "a drained stream can always go on");
        }
    }
}
