//! Writes log lines to standard error, as text or JSON. Bodies, header values and secrets are never logged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Sets up logging for the process. A level that cannot be read means `info`.
pub fn init(format: LogFormat, level: &str) {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    // h2 logs warnings about things that any caller can do, as often as the caller likes.
    let filter = Targets::new().with_default(level).with_target("h2", level.min(LevelFilter::ERROR));
    // A line that cannot be written would be reported on standard error, by a macro that panics if it cannot be written.
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match format {
        LogFormat::Text => builder.with_ansi(false).finish().with(filter).init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().with(filter).init(),
    }
}

/// Limits a log line that strangers can cause at will to once a second.
#[derive(Debug)]
pub(crate) struct Seldom {
    began: Instant,
    /// The time from which it may be logged again, in ms since the start.
    next_ms: AtomicU64,
    left_out: AtomicU64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self { began: Instant::now(), next_ms: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }
}

impl Seldom {
    /// Whether to log it now; if so, the number of times it was left out since the last line.
    pub(crate) fn says(&self) -> Option<u64> {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = |next| (now >= next).then(|| now.saturating_add(1000));
        if self.next_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_events_are_logged_once() {
        let seldom = Seldom::default();
        assert_eq!(seldom.says(), Some(0));
        assert_eq!((0..1000).filter(|_| seldom.says().is_some()).count(), 0);
        assert_eq!(seldom.left_out.load(Ordering::Relaxed), 1000);
    }
}
