//! The `bridge` command; see `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_local::cli::main()
}
