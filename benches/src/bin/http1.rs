//! The cost of an HTTP/1 request through an agent that has no route for it, beside a plain TCP relay and Envoy.
//!
//! All are processes with one worker thread, on loopback. First, 32 keep-alive connections ask for the same small thing
//! as fast as they are answered: CPU per request. Then they ask at one and the same rate: the duration of the slowest.
//! The peers take turns, so that the machine's moods are the same for all.

use std::time::Duration;

use bridge_benches::load::{Answered, Round, round};
use bridge_benches::peer::{Peer, Protocol, programs};
use bridge_benches::{Budget, Row, http1, median, write};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 7;
/// Requests per second of all connections at equal load: easy for Envoy.
const EQUAL_RATE: f64 = 8000.0;
const EQUAL_FOR: Duration = Duration::from_secs(3);

struct Measured {
    peer: Peer,
    rounds: Vec<Round>,
    /// 99th percentiles at equal load, in milliseconds.
    p99: Vec<f64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (agent, envoy) = programs()?;
    let origin = Peer::ours("origin", &["http1"])?;
    let relay = Peer::ours("TCP relay", &["relay", &format!("127.0.0.1:{}", origin.port)])?;
    let agent = Peer::agent(&agent, origin.port)?;
    let envoy = Peer::envoy(&envoy, Protocol::Http1, origin.port)?;
    let mut all =
        [origin, relay, agent, envoy].map(|peer| Measured { peer, rounds: Vec::new(), p99: Vec::new() });
    for _ in 0..ROUNDS {
        for one in &mut all {
            let answered = Answered::default();
            let callers = http1::callers(CONNECTIONS, one.peer.port, &answered);
            one.rounds.push(round(&one.peer, answered, callers).await?);
        }
        for one in &mut all {
            one.p99.push(at_equal_load(one.peer.port).await?);
        }
    }
    write("http1", &rows(&all))
}

/// The 99th percentile of the duration of requests that are due at regular times, in milliseconds.
async fn at_equal_load(port: u16) -> anyhow::Result<f64> {
    let interval = Duration::from_secs_f64(CONNECTIONS as f64 / EQUAL_RATE);
    let count = (EQUAL_FOR.as_secs_f64() / interval.as_secs_f64()) as usize;
    let begin = Instant::now() + Duration::from_millis(100);
    let first = |caller: usize| begin + interval.mul_f64(caller as f64 / CONNECTIONS as f64);
    let mut callers: JoinSet<_> =
        (0..CONNECTIONS).map(|caller| http1::ask_every(interval, first(caller), count, port)).collect();
    let mut took = Vec::new();
    while let Some(caller) = callers.join_next().await {
        took.extend(caller??);
    }
    took.sort_unstable();
    Ok(took[took.len() * 99 / 100].as_secs_f64() * 1e3)
}

fn rows(all: &[Measured; 4]) -> Vec<Row> {
    let [origin, relay, agent, envoy] = all;
    let cpu = |one: &Measured| median(&one.rounds.iter().map(|round| round.cpu_us).collect::<Vec<_>>());
    let rate = |one: &Measured| median(&one.rounds.iter().map(|round| round.per_second).collect::<Vec<_>>());
    let p99 = |one: &Measured| median(&one.p99);
    let samples = json!(all.each_ref().map(|one| json!({
        "through": one.peer.name,
        "requestsPerSecond": one.rounds.iter().map(|round| round.per_second).collect::<Vec<_>>(),
        "cpuMicrosecondsPerRequest": one.rounds.iter().map(|round| round.cpu_us).collect::<Vec<_>>(),
        "p99Milliseconds": one.p99,
    })));
    let row = |what: &str, measured, beside, figure, budget| Row {
        what: format!("HTTP/1 pass-through, {what}"),
        measured,
        beside,
        figure,
        unit: "×".to_owned(),
        budget,
        samples: samples.clone(),
    };
    let micros = |one: &Measured| format!("{:.1} µs", cpu(one));
    let beside = |one: &Measured, value: String| format!("{} {value}", one.peer.name);
    let thousands = |one: &Measured| format!("{:.1} k/s", rate(one) / 1000.0);
    let millis = |one: &Measured| format!("{:.2} ms", p99(one));
    let (most, least) = (|limit| Some(Budget::AtMost(limit)), |limit| Some(Budget::AtLeast(limit)));
    vec![
        row("CPU", micros(agent), beside(envoy, micros(envoy)), cpu(agent) / cpu(envoy), most(0.25)),
        row("CPU", micros(agent), beside(relay, micros(relay)), cpu(agent) / cpu(relay), most(1.15)),
        row(
            "p99 at 8,000/s",
            millis(agent),
            beside(envoy, millis(envoy)),
            p99(agent) / p99(envoy),
            most(1.0),
        ),
        row("rate", thousands(agent), beside(envoy, thousands(envoy)), rate(agent) / rate(envoy), None),
        row(
            "rate",
            thousands(agent),
            beside(origin, thousands(origin)),
            rate(agent) / rate(origin),
            least(0.6),
        ),
    ]
}
