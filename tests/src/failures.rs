//! The failure table: what broke, what had to follow, and how long it took beside its bound. `tests/run` prints the rows of
//! all stories together.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use crate::Load;

/// Writes a row, with the requests of others until now.
///
/// # Panics
///
/// In `make soak`, where few stories run beside each other: if it took longer than the bound.
#[track_caller]
pub fn took(event: &str, then: &str, took: Duration, bound: Duration, others: &Load) {
    let (failed, requests) = others.so_far().iter().fold((0, 0), |(failed, requests), (_, report)| {
        (failed + report.failed(), requests + report.requests())
    });
    let (seconds, limit) = (took.as_secs_f64(), bound.as_secs_f64());
    let row = format!("{event:36} {then:42} {seconds:6.2} s of {limit:3} s   others {failed} of {requests}");
    println!("{row}");
    if let Some(file) = std::env::var_os("BRIDGE_TEST_FAILURES") {
        let mut file = OpenOptions::new().append(true).create(true).open(file).expect("the table");
        writeln!(file, "{row}").expect("a row");
    }
    assert!(!crate::soak() || took <= bound, "{event}: {then}: expected within {bound:?}, not {took:?}");
}

/// The same for what is over once the nodes follow a Service: the bound grows by kube-proxy's minSyncPeriod, where a run has
/// made it longer than the test cluster's own.
///
/// # Panics
///
/// As [`took`].
#[track_caller]
pub fn nodes_took(event: &str, then: &str, after: Duration, bound: Duration, others: &Load) {
    took(event, then, after, bound + proxy_period(), others);
}

fn proxy_period() -> Duration {
    let seconds = std::env::var("BRIDGE_TEST_PROXY_SECONDS").ok();
    Duration::from_secs(seconds.map_or(0, |seconds| seconds.parse().expect("a number of seconds")))
}
