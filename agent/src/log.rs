//! Where log lines go: standard error, as text or JSON. No bodies, no header values, no secrets are ever logged.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::LogFormat;

/// Sets up logging for the process. A level that cannot be read means `info`.
pub fn init(format: LogFormat, level: &str) {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    // h2 warns of what any caller can do, as often as the caller likes.
    let filter = Targets::new().with_default(level).with_target("h2", level.min(LevelFilter::ERROR));
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).finish().with(filter).init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().with(filter).init(),
    }
}
