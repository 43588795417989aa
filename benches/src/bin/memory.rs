//! An agent's memory: idle, and with a thousand keep-alive connections that each have asked.

use std::net::Ipv4Addr;

use bridge_benches::peer::{Peer, programs};
use bridge_benches::{Budget, Row, http1, write};
use serde_json::json;

const CONNECTIONS: usize = 1000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (agent, _) = programs()?;
    let origin = Peer::ours("origin", &["http1"])?;
    let agent = Peer::agent(&agent, origin.port)?;
    let idle = agent.memory()?;
    let mut callers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut caller = http1::Caller::connect((Ipv4Addr::LOCALHOST, agent.port).into(), "").await?;
        caller.ask().await?;
        callers.push(caller);
    }
    let kept = agent.memory()?;
    let row = |what: &str, mebibytes: f64, limit| Row {
        what: format!("agent memory, {what}"),
        measured: format!("{mebibytes:.1} MiB"),
        beside: String::new(),
        figure: mebibytes,
        unit: "MiB".to_owned(),
        budget: Some(Budget::AtMost(limit)),
        samples: json!([mebibytes]),
    };
    write("memory", &[row("idle", idle, 10.0), row("1,000 keep-alive connections", kept, 40.0)])
}
