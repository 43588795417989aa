//! The cost of supervision for everyday work: `npm ci`, `cargo build` and `go build` of something small, each into an
//! empty directory, with and without it in turn. All downloads are there before.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bridge_benches::{Budget, Row, median, supervisor, write};
use serde_json::json;
use tempfile::TempDir;

const PAIRS: usize = 5;
/// This program's role as the supervisor of a command.
const SUPERVISED: &str = "supervised";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match &arguments[..] {
        [role, program, rest @ ..] if role == SUPERVISED => supervise(program, rest),
        _ => compare().map(|()| ExitCode::SUCCESS),
    }
}

fn compare() -> anyhow::Result<()> {
    let downloaded = std::path::absolute("target/bench/npm-cache")?;
    let mut rows = Vec::new();
    for build in [Build::Npm { cache: downloaded }, Build::Cargo, Build::Go] {
        // All downloads are there after this one.
        build.seconds(&[])?;
        let this = std::env::current_exe()?;
        let (mut plain, mut supervised) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            plain.push(build.seconds(&[])?);
            supervised.push(build.seconds(&[this.as_os_str(), OsStr::new(SUPERVISED)])?);
        }
        rows.push(row(build.name(), &plain, &supervised));
    }
    write("builds", &rows)
}

/// No more than the spread of those without supervision, in hundredths.
fn row(name: &str, plain: &[f64], supervised: &[f64]) -> Row {
    let slowest = plain.iter().copied().fold(0.0, f64::max);
    let spread = (slowest / median(plain) * 100.0).floor() / 100.0;
    Row {
        what: format!("supervised {name}"),
        measured: format!("{:.2} s", median(supervised)),
        beside: format!("unsupervised {:.2}, at most {slowest:.2}", median(plain)),
        figure: median(supervised) / median(plain),
        unit: "×".to_owned(),
        budget: Some(Budget::AtMost(spread)),
        samples: json!({"supervised": supervised, "unsupervised": plain, "unit": "s"}),
    }
}

enum Build {
    Npm { cache: PathBuf },
    Cargo,
    Go,
}

impl Build {
    fn name(&self) -> &'static str {
        match self {
            Self::Npm { .. } => "npm ci",
            Self::Cargo => "cargo build",
            Self::Go => "go build",
        }
    }

    /// Its duration, started with these words in front.
    fn seconds(&self, by: &[&OsStr]) -> anyhow::Result<f64> {
        let into = tempfile::tempdir()?;
        let mut command = self.command(by, &into)?;
        let began = Instant::now();
        let done = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
        let took = began.elapsed().as_secs_f64();
        ensure!(done.status.success(), "{}: {}", self.name(), String::from_utf8_lossy(&done.stderr));
        Ok(took)
    }

    fn command(&self, by: &[&OsStr], into: &TempDir) -> anyhow::Result<Command> {
        let into = into.path();
        let words: &[&str] = match self {
            Self::Npm { .. } => &["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund"],
            Self::Cargo => &["cargo", "build", "--locked", "--manifest-path", "agent/loader/Cargo.toml"],
            Self::Go => &["go", "build", "-o", "/dev/null", "./cmd/tool"],
        };
        let mut all = by.iter().copied().chain(words.iter().map(OsStr::new));
        let mut command = Command::new(all.next().context("a command")?);
        command.args(all);
        match self {
            Self::Npm { cache } => {
                for file in ["package.json", "package-lock.json"] {
                    std::fs::copy(Path::new("benches/npm").join(file), into.join(file))?;
                }
                command.current_dir(into).arg("--cache").arg(cache);
            }
            Self::Cargo => {
                command.arg("--target-dir").arg(into);
            }
            Self::Go => {
                command.current_dir("tests/cluster").env("GOCACHE", into);
            }
        }
        Ok(command)
    }
}

fn supervise(program: &OsStr, arguments: &[std::ffi::OsString]) -> anyhow::Result<ExitCode> {
    let mut command = Command::new(program);
    command.args(arguments);
    let runtime = tokio::runtime::Runtime::new()?;
    // A failure has nothing to do with the cluster.
    let ended = runtime.block_on(supervisor::run(command))?;
    Ok(if ended.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
