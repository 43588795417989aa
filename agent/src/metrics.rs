//! Metrics for Prometheus, on a loopback port: its text format 0.0.4, from counters that exist anyway.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bridge_proto::latency::BOUNDS_US;
use bridge_proto::v1::Reason;
use tokio::net::TcpListener;

use crate::asked::{self, Answer};
use crate::listen::Callers;
use crate::registry::Registry;
use crate::requests::Requests;
use crate::tally::Tally;

/// By the index of `Tally::by_status`.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters, each with its label.
const REQUEST_REASONS: [(Reason, &str); 9] = [
    (Reason::Matched, "matched"),
    (Reason::NoRoute, "no-route"),
    (Reason::Absent, "absent"),
    (Reason::Differs, "differs"),
    (Reason::LaptopAway, "laptop-away"),
    (Reason::NothingListens, "nothing-listens"),
    (Reason::Loop, "loop"),
    (Reason::Copied, "copied"),
    (Reason::NotCopied, "not-copied"),
];
const COPY_REASONS: [(Reason, &str); 7] = [
    (Reason::Copy, "answered"),
    (Reason::CopyTooSlow, "too-slow"),
    (Reason::CopyNoRoom, "no-room"),
    (Reason::CopyCutShort, "cut-short"),
    (Reason::CopyNoAnswer, "no-answer"),
    (Reason::CopyLaptopAway, "laptop-away"),
    (Reason::CopyNothingListens, "nothing-listens"),
];
const OPAQUE_REASONS: [(Reason, &str); 5] = [
    (Reason::Tls, "tls"),
    (Reason::ServerSpokeFirst, "server-spoke-first"),
    (Reason::NotHttp, "not-http"),
    (Reason::Ambiguous, "ambiguous"),
    (Reason::OwnPod, "own-pod"),
];

/// The counters' owners.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) callers: Arc<Callers>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) requests: Arc<Requests>,
}

/// Answers forever.
pub(crate) async fn run(listener: TcpListener, sources: Sources) {
    let answer = |sources: Sources| async move { Answer { status: "200 OK", words: of(&sources) } };
    asked::run(listener, move |_| answer(sources.clone())).await;
}

fn of(sources: &Sources) -> String {
    let Sources { callers, registry, requests } = sources;
    let mut text = of_requests(requests);
    let accepted = callers.accepted();
    let open = accepted.saturating_sub(callers.ended());
    let sessions = registry.sessions() as u64;
    for (name, kind, help, value) in [
        ("connections_total", "counter", "Connections of callers", accepted),
        ("connections_open", "gauge", "Connections of callers that are open", open),
        ("sessions", "gauge", "Sessions of developers", sessions),
        ("sessions_memory_bytes", "gauge", "Memory that sessions hold", registry.memory.held()),
        (
            "sessions_memory_limit_bytes",
            "gauge",
            "Memory that sessions may hold together",
            registry.memory.total(),
        ),
        (
            "streams_total",
            "counter",
            "Streams that were opened to laptops",
            registry.streams.load(Ordering::Relaxed),
        ),
        ("defects_total", "counter", "Connections that a defect of the agent ended", callers.defects()),
    ] {
        begin(&mut text, name, kind, help);
        line(&mut text, name, "", value);
    }
    text
}

fn of_requests(requests: &Requests) -> String {
    let mut text = String::new();
    let destinations =
        [("laptop", requests.to_laptops()), ("origin", requests.to_origin()), ("copy", requests.copied())];
    begin(&mut text, "requests_total", "counter", "Requests that have ended, by where they went and how");
    for (to, tally) in destinations {
        for (class, count) in CLASSES.iter().zip(tally.by_status()) {
            line(&mut text, "requests_total", &format!("{{to=\"{to}\",status=\"{class}\"}}"), count);
        }
    }
    begin(&mut text, "request_duration_seconds", "histogram", "From the head to the end of the answer");
    for (to, tally) in destinations {
        histogram(&mut text, to, tally);
    }
    for (name, help, reasons) in [
        ("decisions_total", "Requests that have ended, by why they went there", &REQUEST_REASONS[..]),
        ("copies_total", "Copies of requests that have ended, by how", &COPY_REASONS[..]),
        ("opaque_total", "Connections that are relayed unread, by why", &OPAQUE_REASONS[..]),
    ] {
        begin(&mut text, name, "counter", help);
        for (reason, label) in reasons {
            line(&mut text, name, &format!("{{reason=\"{label}\"}}"), requests.counted(*reason));
        }
    }
    text
}

fn histogram(text: &mut String, to: &str, tally: &Tally) {
    let took = tally.took();
    let mut so_far = 0;
    for (bound_us, count) in BOUNDS_US.iter().zip(took) {
        so_far += count;
        let labels = format!("{{to=\"{to}\",le=\"{}\"}}", *bound_us as f64 / 1e6);
        line(text, "request_duration_seconds_bucket", &labels, so_far);
    }
    let total: u64 = took.iter().sum();
    line(text, "request_duration_seconds_bucket", &format!("{{to=\"{to}\",le=\"+Inf\"}}"), total);
    let sum = tally.took_us() as f64 / 1e6;
    line(text, "request_duration_seconds_sum", &format!("{{to=\"{to}\"}}"), sum);
    line(text, "request_duration_seconds_count", &format!("{{to=\"{to}\"}}"), total);
}

// Writing to a string does not fail.
fn begin(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP bridge_agent_{name} {help}.\n# TYPE bridge_agent_{name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "bridge_agent_{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_sample_or_describes_the_next() {
        let text = of_requests(&Requests::new());
        for sample in text.lines().filter(|line| !line.starts_with("# ")) {
            let (name, value) = sample.rsplit_once(' ').expect("a name and a value");
            assert!(name.starts_with("bridge_agent_") && value == "0", "{sample}");
        }
        assert!(text.contains("bridge_agent_requests_total{to=\"laptop\",status=\"5xx\"} 0\n"), "{text}");
        assert!(text.contains("_bucket{to=\"origin\",le=\"0.0001\"} 0\n"), "{text}");
        assert!(text.contains("_bucket{to=\"origin\",le=\"60\"} 0\n"), "{text}");
    }
}
