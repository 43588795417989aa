//! Commands of `bridge run` that go on without a terminal (`--detach NAME`): how they start, what is known of them
//! (`record`), and their end.

mod record;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bridge_client::{Attached, chain};
use bridge_os::detach::{self, Detached, Start};
use bridge_os::life::Life;

use self::record::{Place, Record};
use super::args::{PsArgs, StopArgs};
use super::error::Failed;
use super::exit::Exit;
use super::names::RunName;
use super::output::{self, Format, GREEN, Progress, line, styled};
use super::request::now_ms;

/// A roll-out for a sidecar may take minutes.
const STARTS_WITHIN: Duration = Duration::from_secs(600);
/// The time for a command to end after SIGTERM, and for bridge to disconnect.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// A log that grows beyond this is begun again, and the former kept beside it.
const LARGEST_LOG: u64 = 32 * 1024 * 1024;
const LOOK_AT_LOG_EVERY: Duration = Duration::from_secs(10);

pub(crate) use self::record::log_of;

/// Starts this process's command line once more, without the terminal, and waits until its command runs.
pub(crate) async fn start(name: &RunName) -> Result<u8, Failed> {
    let place = Place::of(name)?;
    let there = place.read().map_err(|error| place.failed(&error))?;
    if there.is_some_and(|there| there.life().lasts()) {
        return Err(runs_already(name));
    }
    let program = std::env::current_exe()
        .map_err(|error| Failed::internal(format!("cannot find this program: {error}")))?;
    let here = std::env::current_dir()
        .map_err(|error| Failed::internal(format!("cannot find this directory: {error}")))?;
    let progress = Progress::new();
    progress.step(&format!("starting {name}"));
    let started = detach::start(Start {
        program,
        arguments: without_terminal(std::env::args_os().skip(1)),
        environment: std::env::vars_os().collect(),
        directory: here,
        log_file: place.log(),
        timeout: STARTS_WITHIN,
    })
    .await;
    drop(progress);
    started.map_err(|error| not_started(name, &place, &error))?;
    let log = place.log().display().to_string();
    output::print(&line(&format!(
        "{} {name} runs; its output: bridge logs {name}  ({log})",
        styled(GREEN, "✓")
    )))?;
    Ok(0)
}

fn runs_already(name: &RunName) -> Failed {
    let advice = format!("bridge stop {name}, or another name");
    Failed::new(Exit::Usage, format!("{name} runs already"), advice)
}

/// The same command line for the process that stays.
fn without_terminal(typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut found = false;
    let word = |word: OsString| {
        let rest =
            word.as_bytes().strip_prefix(b"--detach").filter(|rest| rest.is_empty() || rest[0] == b'=');
        match rest {
            // What follows the command's name is its own.
            Some(rest) if !std::mem::replace(&mut found, true) => {
                OsStr::from_bytes(&[b"--detached", rest].concat()).to_owned()
            }
            _ => word,
        }
    };
    typed.map(word).collect()
}

fn not_started(name: &RunName, place: &Place, error: &detach::StartError) -> Failed {
    match error {
        detach::StartError::Refused(reason) => failure_of(reason),
        _ => {
            let message = format!("{name} has not started: {}", chain(error));
            Failed::new(Exit::Internal, message, format!("its output is in {}", place.log().display()))
        }
    }
}

/// A failure as the process that stays reports it to the one that waits: exit code, message and advice, in lines.
fn report_of(failed: &Failed) -> String {
    format!("{}\n{}\n{}", failed.exit as u8, failed.message, failed.advice)
}

fn failure_of(report: &str) -> Failed {
    let mut lines = report.splitn(3, '\n');
    let code = lines.next().and_then(|code| code.parse().ok()).unwrap_or_default();
    let (message, advice) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    Failed::new(Exit::from_code(code), message, advice)
}

/// The process that stays.
pub(crate) struct Own {
    place: Place,
    name: RunName,
    /// Until its command runs, someone waits for that.
    waited_for: Mutex<Option<Detached>>,
    life: Life,
    /// Two that begin at once do not both get the name.
    _lock: File,
}

impl Own {
    pub(crate) fn take(name: &RunName) -> Result<Self, Failed> {
        let detached = Detached::in_own_session();
        let place = Place::of(name)?;
        let lock = place.lock().map_err(|error| place.failed(&error))?;
        let Some(lock) = lock else {
            let failed = runs_already(name);
            detached.failed(&report_of(&failed));
            return Err(failed);
        };
        let life = Life::of_this_process().ok_or_else(|| Failed::internal("cannot read /proc/self/stat"))?;
        Ok(Self { place, name: name.clone(), waited_for: Mutex::new(Some(detached)), life, _lock: lock })
    }

    /// Its command is about to start.
    pub(crate) fn begins(&self, attached: &Attached, command: &[OsString]) -> Result<(), Failed> {
        let record = Record {
            name: self.name.to_string(),
            pid: self.life.pid,
            started: self.life.started,
            target: attached.target.clone(),
            namespace: attached.namespace.clone(),
            context: attached.context.clone(),
            command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            since_ms: now_ms(),
            exit_code: None,
        };
        self.place.write(&record).map_err(|error| self.place.failed(&error))?;
        if let Some(detached) = self.waited_for() {
            detached.ready();
        }
        let log = self.place.log();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_AT_LOG_EVERY).await;
                // The command's output is worth more than this.
                let _ = kept_small(&log);
            }
        });
        Ok(())
    }

    pub(crate) fn ends(&self, result: &Result<u8, Failed>) {
        if let (Some(detached), Err(failed)) = (self.waited_for(), result) {
            return detached.failed(&report_of(failed));
        }
        let code = match result {
            Ok(code) => *code,
            Err(failed) => failed.exit as u8,
        };
        if let Ok(Some(record)) = self.place.read() {
            // Without it, the end is seen by the lock alone.
            let _ = self.place.write(&Record { exit_code: Some(code), ..record });
        }
    }

    fn waited_for(&self) -> Option<Detached> {
        self.waited_for.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The command writes at the end of its log, wherever that is.
fn kept_small(log: &Path) -> io::Result<()> {
    if fs::metadata(log)?.len() > LARGEST_LOG {
        fs::copy(log, log.with_extension("old"))?;
        File::options().write(true).mode(0o600).open(log)?.set_len(0)?;
    }
    Ok(())
}

/// `bridge ps`
pub(crate) fn list(args: &PsArgs) -> Result<(), Failed> {
    let runs = record::all()?;
    let listing = record::Listing::of(&runs);
    output::print_as(args.output.output, &listing, || record::table(&listing, now_ms()))
}

/// `bridge stop`: what has ended is forgotten.
pub(crate) async fn stop(args: &StopArgs) -> Result<(), Failed> {
    let all = record::all()?;
    let names: Vec<RunName> = match &args.name {
        Some(name) => vec![name.clone()],
        None => all.iter().filter_map(|run| run.name.parse().ok()).collect(),
    };
    for name in &names {
        let Some(run) = all.iter().find(|run| run.name == name.as_str()) else {
            let message = format!("nothing runs by the name {name}");
            return Err(Failed::new(Exit::Usage, message, "bridge ps"));
        };
        let place = Place::of(name)?;
        let life = run.life();
        let what = if life.lasts() { "stopped" } else { "had ended" };
        if life.lasts() {
            life.terminate();
            gone(&life, name).await?;
        }
        place.forget().map_err(|error| place.failed(&error))?;
        if args.output.output == Format::Text {
            output::print(&line(&format!("{} {name}: {what}", styled(GREEN, "✓"))))?;
        }
    }
    let stopped: Vec<String> = names.iter().map(RunName::to_string).collect();
    output::print_as(args.output.output, &serde_json::json!({ "stopped": stopped }), String::new)
}

async fn gone(life: &Life, name: &RunName) -> Result<(), Failed> {
    let progress = Progress::new();
    progress.step(&format!("waiting for {name} to end"));
    tokio::time::timeout(ENDS_WITHIN, life.ended()).await.map_err(|_| {
        let message = format!("{name} has got SIGTERM and has not ended within {} s", ENDS_WITHIN.as_secs());
        Failed::new(Exit::Left, message, format!("bridge logs {name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_stays_has_the_same_command_line() {
        for (typed, expected) in [
            ("run --detach web orders -- npm start", "run --detached web orders -- npm start"),
            ("run orders --detach=web npm", "run orders --detached=web npm"),
            ("run --detach a orders -- x --detach b", "run --detached a orders -- x --detach b"),
            ("run orders -- x", "run orders -- x"),
        ] {
            let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
            assert_eq!(without_terminal(words(typed).into_iter()), words(expected));
        }
    }

    #[test]
    fn why_it_did_not_start_arrives_whole() {
        for failed in [
            Failed::new(Exit::Rights, "you may not", "ask\nan admin"),
            Failed::new(Exit::Held, "alice has it", ""),
        ] {
            assert_eq!(failure_of(report_of(&failed).trim()), failed);
        }
        assert_eq!(failure_of("").exit, Exit::Internal);
    }

    #[test]
    fn a_log_begins_again_when_it_is_large() {
        let folder = tempfile::tempdir().expect("a directory");
        let log = folder.path().join("web.log");
        fs::write(&log, "a line\n").expect("written");
        kept_small(&log).expect("looked at");
        assert_eq!(fs::read_to_string(&log).expect("read"), "a line\n");
        File::options().write(true).open(&log).expect("a log").set_len(LARGEST_LOG + 1).expect("grown");
        kept_small(&log).expect("looked at");
        assert_eq!(fs::metadata(&log).expect("there").len(), 0);
        assert_eq!(fs::metadata(log.with_extension("old")).expect("there").len(), LARGEST_LOG + 1);
    }
}
