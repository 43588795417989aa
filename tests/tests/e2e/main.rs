//! The command against a real cluster. Each test has a namespace, a daemon and callers of its own, so they run beside
//! each other. `make test` runs them, `make soak` with larger figures.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod agents;
mod bulk;
mod command;
mod developers;
mod kills;
mod refusals;
mod requests;
mod resets;
mod rounds;
mod routing;
mod run;
