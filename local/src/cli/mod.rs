//! The `bridge` command: parses its arguments, asks the daemon or the cluster, and prints the result.

mod args;
mod attach;
mod call;
mod choices;
mod clean;
mod config;
mod connect;
mod daemon;
mod describe;
mod detached;
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
mod mcp;
mod names;
mod open;
mod output;
mod program;
mod proxy;
mod request;
mod requests;
mod run;
mod sessions;
mod shim;
mod status;
mod variables;
mod version;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use bridge_proto::target::Target;
use clap::{CommandFactory, FromArgMatches, ValueEnum as _};

use self::args::{Cli, Command};
use self::error::Failed;
pub use self::exit::Exit;
use self::output::Format;

/// Runs the command with this process's arguments.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let matches = program::command_called(arguments.first()).try_get_matches_from(&arguments);
    let command = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => {
            output::show_progress_as(cli.progress);
            cli.command
        }
        Err(error) => {
            if error.use_stderr() {
                let failed = Failed::new(Exit::Usage, first_line(&error), "bridge --help");
                output::fail_as(format_of(&arguments), failed.report(None).as_ref());
            }
            error.exit()
        }
    };
    let (format, object) = (command.format(), command.target().map(Target::with_kind));
    match block_on(command) {
        Ok(code) => ExitCode::from(code),
        Err(failed) => {
            output::fail(&failed);
            output::fail_as(format, failed.report(object).as_ref());
            ExitCode::from(failed.exit as u8)
        }
    }
}

/// "the following required arguments were not provided"
fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").trim_end_matches(':').to_owned()
}

/// The format that a command line asks for that cannot be read otherwise.
fn format_of(arguments: &[OsString]) -> Format {
    let mut words = arguments.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let value = match word {
            "-o" | "--output" => words.next(),
            _ => word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o")),
        };
        if let Some(format) = value.and_then(|value| Format::from_str(value, false).ok()) {
            return format;
        }
    }
    Format::Text
}

/// Runs it to its end; returns the exit code.
fn block_on(command: Command) -> Result<u8, Failed> {
    let mut builder = match &command {
        // These carry streams.
        Command::Daemon { .. } | Command::Run(_) | Command::Shell(_) | Command::Open(_) => {
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
        Command::Requests(args) => return requests::run(args).await,
        Command::Call(args) => return call::run(args).await,
        Command::Ps(args) => detached::list(&args),
        Command::Stop(args) => detached::stop(&args).await,
        Command::Shim(args) => shim::run(&args),
        Command::Connect { connect, restart_origin, restart_callers, replace, lasts, output } => {
            let pods = connect::Pods { replace, restart: restart_origin, restart_callers };
            connect::run(connect, pods, lasts, output.output).await
        }
        Command::Env(args) => env::run(args).await,
        Command::Forward(args) => forward::run(args).await,
        Command::Proxy(args) => proxy::run(args).await,
        Command::Dns(args) => dns::run(args).await,
        Command::Open(args) => open::run(args).await,
        Command::Disconnect(args) => disconnect::run(args).await,
        Command::Status(output) => status::run(output.output).await,
        Command::Logs(args) => logs::run(args).await,
        Command::Completion { shell } => completion(shell),
        Command::Version { short, output } => version::run(short, output.output).await,
        Command::Daemon { idle } => daemon::run(Duration::from_secs(idle)).await,
        Command::Mcp => mcp::run().await,
        Command::Describe(args) => describe::run(args).await,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_that_cannot_be_read_still_says_its_format() {
        for (typed, expected) in [
            ("bridge connect -o json", Format::Json),
            ("bridge -ojson connect", Format::Json),
            ("bridge list --output yaml --bogus", Format::Yaml),
            ("bridge list --output=json", Format::Json),
            ("bridge list -o", Format::Text),
            ("bridge list -o bogus", Format::Text),
            ("bridge run orders -- x -o json", Format::Text),
        ] {
            let words: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
            assert_eq!(format_of(&words), expected, "{typed}");
        }
    }
}
