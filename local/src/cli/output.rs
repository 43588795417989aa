//! Terminal output: results to stdout (text, JSON or YAML), progress and errors to stderr (as JSON lines, too). Texts of others cannot steer
//! the terminal (`visible`): each output function ensures that, and that no line becomes two.

mod format;
mod progress;
mod style;
mod visible;

use std::{
    io::{self, IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use bridge_client::{Said, Say};
use serde::Serialize;

pub(crate) use self::format::Format;
pub(crate) use self::progress::{Progress, ProgressAs, show_progress_as};
pub(crate) use self::style::{BOLD, GREEN, RED, YELLOW, styled};
#[cfg(test)]
pub(crate) use self::visible::{HOSTILE, is_harmless};
pub(crate) use self::visible::{json, printable};
use super::error::{Failed, Report};

/// Prints a result for people, line by line. A reader that stops early (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Failed> {
    written(anstream::stdout(), &visible::lines(text))
}

/// Prints a result for programs, unchanged; on a terminal as any other.
pub(crate) fn print_data(text: &str) -> Result<(), Failed> {
    if io::stdout().is_terminal() { print(text) } else { written(io::stdout(), text) }
}

/// Prints bytes from elsewhere, unchanged; on a terminal as text that cannot steer it.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failed> {
    if io::stdout().is_terminal() {
        return print(&String::from_utf8_lossy(bytes));
    }
    written_bytes(io::stdout(), bytes)
}

fn written(to: impl Write, text: &str) -> Result<(), Failed> {
    written_bytes(to, text.as_bytes())
}

fn written_bytes(mut to: impl Write, bytes: &[u8]) -> Result<(), Failed> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failed::internal(format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a result in this format; `text` is called only for the text format.
pub(crate) fn print_as<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce() -> String,
) -> Result<(), Failed> {
    let text = render_as(format, value, text)?;
    if format == Format::Text { print(&text) } else { print_data(&text) }
}

fn render_as<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce() -> String,
) -> Result<String, Failed> {
    let unwritable =
        |error: &dyn std::error::Error| Failed::internal(format!("cannot write the result: {error}"));
    match format {
        Format::Text => Ok(text()),
        Format::Json => pretty_json(value).map_err(|error| unwritable(&error)),
        Format::Yaml => match serde_saphyr::to_string(value).map_err(|error| unwritable(&error))? {
            text if visible::is_safe(&text) => Ok(text),
            // JSON is YAML, too, and can escape anything.
            _ => pretty_json(value).map_err(|error| unwritable(&error)),
        },
    }
}

fn pretty_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    Ok(json(&serde_json::to_string_pretty(value)?) + "\n")
}

/// Prints to stderr.
pub(crate) fn note(text: &str) {
    match progress::shown_as() {
        ProgressAs::Json => progress::lines("note", text),
        ProgressAs::Auto | ProgressAs::None => to_stderr(text),
    }
}

/// If that fails, there is no other place to report it.
fn to_stderr(text: &str) {
    let _ = anstream::stderr().write_all(visible::lines(text).as_bytes());
}

/// Prints a warning.
pub(crate) fn warn(warning: &str) {
    match progress::shown_as() {
        ProgressAs::Json => progress::lines("warning", warning),
        ProgressAs::Auto | ProgressAs::None => note(&warning_line(warning)),
    }
}

/// Prints why the command fails: two lines, or more of advice.
pub(crate) fn fail(failed: &Failed) {
    match progress::shown_as() {
        ProgressAs::Json => {
            progress::lines("error", &failed.message);
            progress::lines("next", &failed.advice);
        }
        ProgressAs::Auto | ProgressAs::None => note(&failure(failed)),
    }
}

/// The same for programs, to stdout, in the format of the result that they wait for.
pub(crate) fn fail_as(format: Format, report: Option<&Report>) {
    if let Some(report) = report.filter(|_| format != Format::Text) {
        // If that fails, stderr has said it.
        let _ = print_as(format, report, String::new);
    }
}

fn failure(failed: &Failed) -> String {
    let mut text = line(&format!("{} {}", styled(RED, "error:"), failed.message));
    for advice in failed.advice.lines() {
        text.push_str(&line(&format!("  → {advice}")));
    }
    text
}

/// Prints messages that come while nobody waits.
pub(crate) fn teller() -> Say {
    Arc::new(say)
}

fn say(said: &Said) {
    match said {
        Said::Warning(text) => warn(text),
        Said::Step { text, .. } => progress::step(text),
        Said::Note(text) => note(&line(&format!("  {text}"))),
    }
}

fn warning_line(warning: &str) -> String {
    line(&format!("{} {warning}", styled(YELLOW, "warning:")))
}

/// One line, whatever it contains.
pub(crate) fn line(text: &str) -> String {
    printable(text) + "\n"
}

/// Rows with their columns aligned, two spaces between them. The first row is the head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// 1,234,567 bytes are "1.2 MB".
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.5 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// The duration of a request: "3.4 ms".
pub(crate) fn milliseconds(took: f64) -> String {
    match took {
        ..10.0 => format!("{took:.1} ms"),
        10.0..10_000.0 => format!("{took:.0} ms"),
        _ => format!("{:.1} s", took / 1000.0),
    }
}

/// In the largest unit that fits: "5 min".
pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=89 => format!("{seconds} s"),
        seconds @ 90..=5_399 => format!("{} min", (seconds + 30) / 60),
        seconds @ 5_400..=172_799 => format!("{} h", (seconds + 1_800) / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn columns_are_aligned_and_lines_not_padded() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = table(&[row(["NAME", "PORTS"]), row(["é", "80"]), row(["orders", ""])]);
        assert_eq!(text, "NAME    PORTS\né       80\norders\n");
    }

    #[test]
    fn sizes_and_times_for_people() {
        for (count, text) in
            [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (1_234_567, "1.2 MB"), (999_600, "1.0 MB")]
        {
            assert_eq!(bytes(count), text);
        }
        for (seconds, text) in
            [(5, "5 s"), (90, "2 min"), (3_600, "60 min"), (7_200, "2 h"), (200_000, "2 days")]
        {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn formats() {
        let value = serde_json::json!({"name": "orders"});
        let render = |format| render_as(format, &value, || "text\n".to_owned()).unwrap();
        assert_eq!(render(Format::Text), "text\n");
        assert_eq!(render(Format::Json), "{\n  \"name\": \"orders\"\n}\n");
        assert_eq!(render(Format::Yaml).trim_end(), "name: orders");
    }

    #[test]
    fn no_format_lets_a_name_steer_the_terminal() {
        let hostile = "x\u{1b}[2J\u{9b}1A\u{7f}\u{202e}y\nz";
        let value = serde_json::json!({ "name": hostile });
        for format in [Format::Json, Format::Yaml] {
            let text = render_as(format, &value, String::new).unwrap();
            assert!(visible::is_safe(&text), "{format:?}: {text:?}");
            let back: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(back["name"], hostile, "{format:?}");
        }
        let row = vec![hostile.to_owned(), "80".to_owned()];
        assert_eq!(table(&[row]), "x\\u{1b}[2J\\u{9b}1A\\u{7f}\\u{202e}y\\nz  80\n");
        assert_eq!(warning_line("a\nerror: b").lines().count(), 1);
    }

    #[test]
    fn advice_follows_the_error() {
        let failed = Failed::new(Exit::Target, "Service shop/order does not exist", "did you mean orders?");
        let plain = anstream::adapter::strip_str(&failure(&failed)).to_string();
        assert_eq!(plain, "error: Service shop/order does not exist\n  → did you mean orders?\n");
    }

    #[test]
    fn texts_of_a_cluster_begin_no_line_and_steer_no_terminal() {
        let failed = Failed::new(Exit::NotReady, "refused: \u{1b}[2Jx\n✓ connected\r", "ask \u{9b}1A");
        let plain = anstream::adapter::strip_str(&failure(&failed)).to_string();
        assert_eq!(plain, "error: refused: \\u{1b}[2Jx\\n✓ connected\\r\n  → ask \\u{9b}1A\n");
    }
}
