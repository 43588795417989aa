//! Where log lines go: standard error, as text or JSON. No bodies, no header values, no secrets are ever logged.

use tracing_subscriber::filter::LevelFilter;

use crate::args::LogFormat;

/// Sets up logging for the process. A level that cannot be read means `info`.
pub fn init(format: LogFormat, level: &str) {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
