//! A set that forgets: sockets are noted when they send, and nobody reports when they are closed.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::socket::{Identity, Socket};

/// A socket is forgotten when at least this many others have been noted since.
const GENERATION: usize = 16 << 10;

/// The UDP sockets that have sent to a front.
#[derive(Debug, Default)]
pub(crate) struct Touched(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    new: HashSet<Identity>,
    old: HashSet<Identity>,
}

impl Touched {
    pub(crate) fn insert(&self, socket: &Socket) {
        if let Some(identity) = socket.identity() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(identity);
        }
    }

    pub(crate) fn contains(&self, socket: &Socket) -> bool {
        let identity = socket.identity();
        identity
            .is_some_and(|identity| self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(identity))
    }

    pub(crate) fn is_empty(&self) -> bool {
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        generations.new.is_empty() && generations.old.is_empty()
    }
}

impl Generations {
    fn insert(&mut self, identity: Identity) {
        if self.new.len() >= GENERATION {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(identity);
    }

    fn contains(&mut self, identity: Identity) -> bool {
        if self.old.contains(&identity) {
            self.insert(identity);
        }
        self.new.contains(&identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_bounded_and_keeps_what_is_used() {
        let mut generations = Generations::default();
        let socket = Identity::of_test;
        generations.insert(socket(0));
        for number in 1..10 * GENERATION as u64 {
            generations.insert(socket(number));
            assert!(generations.contains(socket(0)), "used all the time");
        }
        assert!(!generations.contains(socket(1)), "not used since");
        assert!(generations.new.len() + generations.old.len() <= 2 * GENERATION);
    }
}
