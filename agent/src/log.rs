//! Where log lines go: standard error, as text or JSON. No bodies, no header values, no secrets are ever logged.

use tracing_subscriber::EnvFilter;

use crate::args::LogFormat;

/// Sets up logging for the process. A level that cannot be read means `info`.
pub fn init(format: LogFormat, level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
