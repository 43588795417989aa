//! Progress on stderr: for people one moving line on a terminal and plain lines elsewhere, for programs JSON lines.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use bridge_client::Said;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::visible;
use super::{line, note, printable, say};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressAs {
    /// A moving line on a terminal, plain lines elsewhere
    #[default]
    Auto,
    /// One JSON object a line: {"step": …}, note, warning, error or next
    Json,
    /// No steps, only messages
    None,
}

static SHOWN_AS: OnceLock<ProgressAs> = OnceLock::new();

/// For all of this process's output; the first call counts.
pub(crate) fn show_progress_as(chosen: ProgressAs) {
    let _ = SHOWN_AS.set(chosen);
}

pub(super) fn shown_as() -> ProgressAs {
    SHOWN_AS.get().copied().unwrap_or_default()
}

/// The lines of a text as JSON. If they cannot be written, there is no other place to report it.
pub(super) fn lines(kind: &str, text: &str) {
    let plain = anstream::adapter::strip_str(text).to_string();
    let objects: String = plain
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| visible::json(&json!({ kind: line }).to_string()) + "\n")
        .collect();
    let _ = io::stderr().write_all(objects.as_bytes());
}

/// A step of what happens while nobody waits for it.
pub(super) fn step(text: &str) {
    match shown_as() {
        ProgressAs::Auto => note(&line(&format!("  {text}"))),
        ProgressAs::Json => lines("step", text),
        ProgressAs::None => {}
    }
}

/// The steps of a longer operation.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let moves = shown_as() == ProgressAs::Auto && io::stderr().is_terminal();
        let bar = moves.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Progress { bar }
    }

    pub(crate) fn step(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(printable(text)),
            None => step(text),
        }
    }

    /// Prints a message between the steps.
    pub(crate) fn say(&self, said: &Said) {
        match (said, &self.bar) {
            (Said::Step { text, .. }, _) => self.step(text),
            (said, Some(bar)) => bar.suspend(|| say(said)),
            (said, None) => say(said),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
