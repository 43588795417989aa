//! The name by which this program was called.

use std::{ffi::OsString, path::Path};

use clap::CommandFactory;

use super::args::Cli;

/// The name for help and hints: `bridge`, or `kubectl bridge`.
pub(crate) fn name() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    command_called(Some(&program)).get_bin_name().unwrap_or("bridge").to_owned()
}

/// kubectl runs `kubectl-bridge` for `kubectl bridge`; help then shows what the user typed.
pub(crate) fn command_called(program: Option<&OsString>) -> clap::Command {
    let name = program.and_then(|program| Path::new(program).file_name());
    let command = Cli::command();
    if name.is_some_and(|name| name == "kubectl-bridge") {
        command.bin_name("kubectl bridge")
    } else {
        command
    }
}
