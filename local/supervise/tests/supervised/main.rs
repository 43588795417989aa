//! Programs run under supervision against a cluster that is played in the supervisor's own memory.
//!
//! This one program has four roles. Without a role it is the tests (`stories`). Each starts it again as a supervisor
//! (`cluster`), which runs it a third time as the supervised program (`client`), or another program. The fourth
//! (`lacking`) removes features that this machine has and others lack.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
mod cluster;
mod lacking;
mod stories;
mod trouble;

use std::process::ExitCode;

/// The first argument of a role.
const SUPERVISOR: &str = "as-supervisor-of";
const CLIENT: &str = "as-client";
const LACKING: &str = "as-on-a-machine-lacking";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().unwrap_or_default();
    if first == SUPERVISOR {
        return cluster::supervise(arguments.collect());
    }
    if first == LACKING {
        lacking::become_one(&arguments.next().unwrap().to_string_lossy(), arguments.collect());
    }
    if first == CLIENT {
        client::play(&arguments.next().unwrap().to_string_lossy());
        return ExitCode::SUCCESS;
    }
    stories::run()
}
