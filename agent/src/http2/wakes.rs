//! Tracks which parts of a connection's task have something to do.
//!
//! The two HTTP/2 connections and the streams between them run in one task and wake each other all the time. Each has a
//! waker of its own, so that only woken parts are polled, and so that waking another part from within the task does not
//! make the scheduler run the task again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Wake, Waker};

use futures::task::AtomicWaker;

/// A part of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Caller = 1,
    Origin = 2,
    Streams = 4,
    /// Timers, and the agent's end.
    Others = 8,
}

/// The parts that were woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due(u8);

impl Due {
    pub(super) fn has(self, part: Part) -> bool {
        self.0 & part as u8 != 0
    }
}

#[derive(Debug)]
pub(super) struct Wakes {
    shared: Arc<Shared>,
    wakers: [Waker; 4],
}

#[derive(Debug)]
struct Shared {
    due: AtomicU8,
    /// The task is running and will look at `due` before it rests.
    running: AtomicBool,
    task: AtomicWaker,
}

struct PartWaker {
    shared: Arc<Shared>,
    part: Part,
}

impl Wake for PartWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.shared.due.fetch_or(self.part as u8, Ordering::SeqCst);
        if !self.shared.running.load(Ordering::SeqCst) {
            self.shared.task.wake();
        }
    }
}

impl Wakes {
    /// All parts are due at first.
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared {
            due: AtomicU8::new(15),
            running: AtomicBool::new(false),
            task: AtomicWaker::new(),
        });
        let waker = |part| Arc::new(PartWaker { shared: shared.clone(), part }).into();
        let wakers = [Part::Caller, Part::Origin, Part::Streams, Part::Others].map(waker);
        Self { shared, wakers }
    }

    pub(super) fn waker(&self, part: Part) -> &Waker {
        &self.wakers[(part as u8).trailing_zeros() as usize]
    }

    pub(super) fn set(&self, part: Part) {
        self.shared.due.fetch_or(part as u8, Ordering::SeqCst);
    }

    /// Notes that the task runs.
    pub(super) fn run(&self, cx: &Context<'_>) {
        self.shared.task.register(cx.waker());
        self.shared.running.store(true, Ordering::SeqCst);
    }

    /// The parts that are due now.
    pub(super) fn take(&self) -> Due {
        Due(self.shared.due.swap(0, Ordering::SeqCst))
    }

    /// To be called when the task is about to rest. False: something became due meanwhile.
    pub(super) fn rest(&self) -> bool {
        self.shared.running.store(false, Ordering::SeqCst);
        let rests = self.shared.due.load(Ordering::SeqCst) == 0;
        self.shared.running.store(!rests, Ordering::SeqCst);
        rests
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts how often the task is woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn only_woken_parts_are_due() {
        let (task, wakes) = (Arc::new(Task::default()), Wakes::new());
        let waker = task.clone().into();
        wakes.run(&Context::from_waker(&waker));
        let due = wakes.take();
        assert!([Part::Caller, Part::Origin, Part::Streams, Part::Others].iter().all(|&part| due.has(part)));

        // While the task runs, a part wakes another without waking the task,
        wakes.waker(Part::Origin).wake_by_ref();
        assert_eq!(task.0.load(Ordering::SeqCst), 0);
        assert!(!wakes.rest(), "there is something to do");
        let due = wakes.take();
        assert!(due.has(Part::Origin) && !due.has(Part::Caller));

        // and while it rests, waking a part wakes the task.
        assert!(wakes.rest());
        wakes.waker(Part::Caller).wake_by_ref();
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
        assert!(wakes.take().has(Part::Caller));
    }
}
