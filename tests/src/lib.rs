//! The vocabulary of the end-to-end stories in `tests/e2e`: a [`World`] is a namespace with the sample application in
//! it, a [`Laptop`] a developer with a daemon, a [`Load`] callers that forgive nothing.
//!
//! They run against the cluster of `tests/cluster`, or against the context that `BRIDGE_TEST_CONTEXT` names. A step
//! that fails ends the test with a panic that states the reason; `Drop` undoes everything that was begun.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a test fails")]

pub mod api;
mod away;
pub mod client;
mod clock;
pub mod failures;
pub mod laptop;
pub mod load;
pub mod objects;
pub mod place;
pub mod policy;
pub mod process;
mod shortage;
pub mod world;

use std::time::{Duration, Instant};

pub use away::Away;
pub use clock::Clock;
pub use laptop::{Laptop, Local};
pub use load::{Load, Report};
pub use objects::Objects;
pub use policy::Policy;
pub use process::{Done, Running};
pub use shortage::Shortage;
pub use world::World;

/// Whether there is time for stories longer than two minutes (`make soak`).
#[must_use]
pub fn soak() -> bool {
    std::env::var_os("BRIDGE_TEST_SOAK").is_some_and(|value| !value.is_empty())
}

/// Looks again and again until there is something, and returns it. The panic names `what`.
///
/// # Panics
///
/// If there is nothing after `within`.
pub fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    let mut next = Duration::from_millis(10);
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(instead) if begun.elapsed() > within => {
                panic!("expected within {within:?}: {what}\ninstead: {instead}")
            }
            Err(_) => {
                pause(next);
                next = (next * 2).min(Duration::from_millis(300));
            }
        }
    }
}

/// Sleeps between two looks at a condition, or where time itself is tested.
#[allow(clippy::disallowed_methods, reason = "nothing tells when a condition of the cluster comes true")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
