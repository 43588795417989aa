//! The order of changes: those to one target happen one after the other, so that each finds the result of the one
//! before. Two targets never wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bridge_cluster::client::Cluster;
use tokio::sync::watch;

/// The turn at one target: it belongs to the holder of the lock.
pub(crate) type Turn = Arc<tokio::sync::Mutex<()>>;

/// All targets. A clone is a handle to the same.
#[derive(Clone)]
pub(crate) struct Turns {
    targets: Arc<Mutex<HashMap<Target, Weak<tokio::sync::Mutex<()>>>>>,
    under_way: Arc<watch::Sender<usize>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Target {
    server: String,
    namespace: String,
    service: String,
}

/// Work in progress that the daemon's end would cut off.
pub(crate) struct UnderWay(Arc<watch::Sender<usize>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { targets: Arc::default(), under_way: Arc::new(watch::Sender::new(0)) }
    }

    pub(crate) fn at(&self, cluster: &Cluster, service: &str) -> Turn {
        self.of(Target {
            server: cluster.server.clone(),
            namespace: cluster.namespace.clone(),
            service: service.to_owned(),
        })
    }

    fn of(&self, target: Target) -> Turn {
        // Code under this lock only looks something up.
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = targets.get(&target).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Turn::default();
        targets.insert(target, Arc::downgrade(&turn));
        turn
    }

    /// Work is in progress until the returned value is dropped.
    pub(crate) fn begin(&self) -> UnderWay {
        self.under_way.send_modify(|count| *count += 1);
        UnderWay(self.under_way.clone())
    }

    /// The amount of work in progress, now and from now on.
    pub(crate) fn under_way(&self) -> watch::Receiver<usize> {
        self.under_way.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(namespace: &str, service: &str) -> Target {
        let of = |text: &str| text.to_owned();
        Target { server: of("https://dev.example"), namespace: of(namespace), service: of(service) }
    }

    #[test]
    fn only_changes_of_the_same_target_wait() {
        let turns = Turns::new();
        let turn = turns.of(target("shop", "orders"));
        let held = turn.try_lock().unwrap();
        assert!(turns.of(target("shop", "orders")).try_lock().is_err(), "the same target");
        assert!(turns.of(target("shop", "prices")).try_lock().is_ok(), "another Service");
        assert!(turns.of(target("test", "orders")).try_lock().is_ok(), "another namespace");
        drop(held);
        assert!(turns.of(target("shop", "orders")).try_lock().is_ok(), "its turn has come");
    }

    #[test]
    fn targets_that_nobody_works_at_are_forgotten() {
        let turns = Turns::new();
        for number in 0..100 {
            drop(turns.of(target("shop", &format!("orders-{number}"))));
        }
        let kept = turns.of(target("shop", "orders"));
        assert_eq!(turns.targets.lock().unwrap().len(), 1);
        drop(kept);
    }

    #[test]
    fn work_in_progress_is_counted() {
        let turns = Turns::new();
        let (one, two) = (turns.begin(), turns.begin());
        assert_eq!(*turns.under_way().borrow(), 2);
        drop((one, two));
        assert_eq!(*turns.under_way().borrow(), 0);
    }
}
