//! The cost of an HTTP/2 stream through an agent that has no route for it, beside Envoy: 8 connections with one stream
//! at a time, and with ten. Processes with one worker thread, on loopback, that take turns.

use bridge_benches::load::{Answered, Round, round};
use bridge_benches::peer::{Peer, Protocol, programs};
use bridge_benches::{Budget, Row, http2, median, write};
use serde_json::json;

const CONNECTIONS: usize = 8;
const ROUNDS: usize = 7;
/// Streams in flight on each connection, and the agent's budget beside Envoy then.
const SHAPES: [(usize, f64); 2] = [(1, 0.45), (10, 0.30)];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (agent, envoy) = programs()?;
    let origin = Peer::ours("origin", &["http2"])?;
    let agent = Peer::agent(&agent, origin.port)?;
    let envoy = Peer::envoy(&envoy, Protocol::Http2, origin.port)?;
    let peers = [origin, agent, envoy];
    let mut rows = Vec::new();
    for (streams, budget) in SHAPES {
        let mut rounds = peers.each_ref().map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (peer, rounds) in peers.iter().zip(&mut rounds) {
                let answered = Answered::default();
                let callers = http2::callers(CONNECTIONS, streams, peer.port, &answered);
                rounds.push(round(peer, answered, callers).await?);
            }
        }
        rows.extend(rows_of(&peers, streams, budget, &rounds));
    }
    write("http2", &rows)
}

fn rows_of(peers: &[Peer; 3], streams: usize, budget: f64, rounds: &[Vec<Round>; 3]) -> [Row; 2] {
    let cpu = |of: &Vec<Round>| median(&of.iter().map(|round| round.cpu_us).collect::<Vec<_>>());
    let rate = |of: &Vec<Round>| median(&of.iter().map(|round| round.per_second).collect::<Vec<_>>());
    let samples: Vec<_> = peers
        .iter()
        .zip(rounds)
        .map(|(peer, rounds)| {
            json!({
                "through": peer.name,
                "requestsPerSecond": rounds.iter().map(|round| round.per_second).collect::<Vec<_>>(),
                "cpuMicrosecondsPerRequest": rounds.iter().map(|round| round.cpu_us).collect::<Vec<_>>(),
            })
        })
        .collect();
    let [_, agent, envoy] = rounds;
    let row = |what, measured, beside, figure, budget| Row {
        what: format!("HTTP/2 pass-through, {streams} at a time, {what}"),
        measured,
        beside,
        figure,
        unit: "×".to_owned(),
        budget,
        samples: json!(samples),
    };
    let thousands = |of| format!("{:.1} k/s", rate(of) / 1000.0);
    [
        row(
            "CPU",
            format!("{:.1} µs", cpu(agent)),
            format!("Envoy {:.1} µs", cpu(envoy)),
            cpu(agent) / cpu(envoy),
            Some(Budget::AtMost(budget)),
        ),
        row("rate", thousands(agent), format!("Envoy {}", thousands(envoy)), rate(agent) / rate(envoy), None),
    ]
}
