//! The `bridge` command: parses its arguments, asks the daemon or the cluster, and prints the result.

mod args;
mod attach;
mod choices;
mod clean;
mod config;
mod connect;
mod daemon;
mod disconnect;
mod dns;
mod doctor;
mod env;
mod error;
mod exit;
mod files;
mod forward;
mod inside;
mod interrupt;
mod list;
mod logs;
mod names;
mod output;
mod program;
mod proxy;
mod request;
mod requests;
mod run;
mod sessions;
mod status;
mod variables;
mod version;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{CommandFactory, FromArgMatches};

use self::args::{Cli, Command};
use self::error::Failed;
pub use self::exit::Exit;

/// Runs the command with this process's arguments.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let matches = program::command_called(arguments.first()).get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match block_on(cli.command) {
        Ok(code) => ExitCode::from(code),
        Err(failed) => {
            output::fail(&failed);
            ExitCode::from(failed.exit as u8)
        }
    }
}

/// Runs it to its end; returns the exit code.
fn block_on(command: Command) -> Result<u8, Failed> {
    let mut builder = match &command {
        // These carry streams.
        Command::Daemon { .. } | Command::Run(_) | Command::Shell(_) => {
            tokio::runtime::Builder::new_multi_thread()
        }
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(|error| Failed::internal(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(run(command));
    // A blocking read that nobody waits for any more (a lock, a name) must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn run(command: Command) -> Result<u8, Failed> {
    match command {
        Command::Run(args) => return run::run(args).await,
        Command::Shell(args) => return run::shell(args).await,
        Command::Connect { connect, restart_origin, restart_callers, replace, output } => {
            let pods = connect::Pods { replace, restart: restart_origin, restart_callers };
            connect::run(connect, pods, output.output).await
        }
        Command::Env(args) => env::run(args).await,
        Command::Forward(args) => forward::run(args).await,
        Command::Proxy(args) => proxy::run(args).await,
        Command::Dns(args) => dns::run(args).await,
        Command::Disconnect(args) => disconnect::run(args).await,
        Command::Status(output) => status::run(output.output).await,
        Command::Requests(args) => requests::run(args).await,
        Command::Logs(args) => logs::run(args).await,
        Command::Completion { shell } => completion(shell),
        Command::Version { short, output } => version::run(short, output.output).await,
        Command::Daemon { idle } => daemon::run(Duration::from_secs(idle)).await,
        Command::List(args) => list::run(args).await,
        Command::Clean(args) => clean::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
    }?;
    Ok(0)
}

fn completion(shell: clap_complete::Shell) -> Result<(), Failed> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bridge", &mut script);
    output::print_data(&String::from_utf8_lossy(&script))
}
