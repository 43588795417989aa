//! Programs run under supervision against a cluster that is played in the supervisor's own memory.
//!
//! This one program has three roles. Without a role it is the tests (`stories`). Each starts it again as a supervisor
//! (`cluster`), which runs it a third time as the supervised program (`client`), or another program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
mod cluster;
mod stories;

use std::process::ExitCode;

/// The first argument of a role.
const SUPERVISOR: &str = "as-supervisor-of";
const CLIENT: &str = "as-client";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().unwrap_or_default();
    if first == SUPERVISOR {
        return cluster::supervise(arguments.collect());
    }
    if first == CLIENT {
        client::play(&arguments.next().unwrap().to_string_lossy());
        return ExitCode::SUCCESS;
    }
    stories::run()
}
