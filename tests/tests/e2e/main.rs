//! The command against a real cluster. Each test has its own namespace, daemon and callers, so they run at the same
//! time, in the order of their names: the longest should be among the first. `make test` runs them, `make soak` with
//! larger figures.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod agents;
mod alone;
mod aside;
mod attached;
mod browsing;
mod bulk;
mod changes;
mod command;
mod connecting;
mod copies;
mod developers;
mod editors;
mod held;
mod hostile;
mod kills;
mod refusals;
mod replacing;
mod requests;
mod restart;
mod restore;
mod routing;
mod run;
mod sidecar;
mod sidecar_kinds;
mod soak;
mod trust;
mod users;
