//! The effects of hostile and clumsy peers on an agent, and on the other callers: for each attack, the agent's memory
//! and the other callers' success and 99th percentile before, during and after it. An agent, the origins and the
//! attackers are on loopback; every attack is bounded in time.
//!
//! A row fails, and with it the program, when another caller's request failed, or when the agent holds more than `BOUND`.

mod callers;
mod frames;
mod http1;
mod http2;
mod laptop;
mod strangers;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bridge_benches::peer::{Agent, Peer, programs};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::callers::{Callers, Seen};

const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(2);
/// The duration of an attack.
const DURING: Duration = Duration::from_secs(5);
/// Limit on the agent's memory at any time, in MiB: half of the memory of a stand-in's pods.
const BOUND: f64 = 256.0;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The agent's addresses for attackers.
#[derive(Clone, Copy)]
pub(crate) struct Front {
    /// The agent's port before an origin of HTTP/1, and before one of HTTP/2.
    pub(crate) http1: u16,
    pub(crate) http2: u16,
    /// The port for daemons, and strangers.
    pub(crate) control: u16,
}

/// Attackers: each task runs until it is aborted, or ends when it has done all that it can.
pub(crate) type Attack = JoinSet<anyhow::Result<()>>;

struct Row {
    attack: &'static str,
    /// MiB before, at most during, and after.
    memory: [f64; 3],
    seen: [Seen; 3],
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    raise_descriptors()?;
    let (program, _) = programs()?;
    let origins = [Peer::ours("origin", &["http1"])?, Peer::ours("origin", &["http2"])?];
    let key_file = tempfile::NamedTempFile::new()?;
    std::fs::write(key_file.path(), laptop::KEY)?;
    let agent = Agent::new(&program, &origins.each_ref().map(|origin| origin.port), key_file.path())?;
    let front = Front { http1: agent.ports[0], http2: agent.ports[1], control: agent.control };
    let _laptops = (laptop::attach(front, "bench").await?, laptop::attach(front, "other").await?);
    let callers = Callers::start(front);

    let only: Vec<String> = std::env::args().skip(1).collect();
    let mut rows = Vec::new();
    for (name, begin) in attacks() {
        if only.is_empty() || only.iter().any(|wanted| name.contains(wanted.as_str())) {
            rows.push(row(name, &agent.peer, &callers, || begin(front)).await.context(name)?);
            print(rows.last().context("a row")?);
        }
    }
    write(&rows)?;
    let failed: u64 = rows.iter().flat_map(|row| &row.seen).map(|seen| seen.failed).sum();
    let most = rows.iter().flat_map(|row| row.memory).fold(0.0, f64::max);
    ensure!(failed == 0, "{failed} requests of others failed");
    ensure!(most <= BOUND, "the agent held {most:.0} MiB");
    Ok(())
}

type Begin = fn(Front) -> Attack;

fn attacks() -> [(&'static str, Begin); 22] {
    [
        ("8,000 idle connections", http1::idle),
        ("1,000 active connections", http1::active),
        ("new connections", http1::new_connections),
        ("slow heads", http1::slow_heads),
        ("slow bodies", http1::slow_bodies),
        ("endless headers", http1::endless_headers),
        ("h2 rapid resets", http2::rapid_resets),
        ("h2 CONTINUATION flood", http2::continuations),
        ("h2 HPACK bomb", http2::hpack_bomb),
        ("h2 ping flood", http2::pings),
        ("h2 SETTINGS flood", http2::settings),
        ("h2 zero windows", http2::zero_windows),
        ("h2 huge frames", http2::huge_frames),
        ("h2 garbage", http2::garbage),
        ("64 of 100 at a breakpoint", laptop::breakpoint),
        ("500 routed at once", laptop::burst),
        ("10,000 opened and cancelled", laptop::opened_and_cancelled),
        ("200 bodies of 64 MiB stall", laptop::stalled_bodies),
        ("200 answers of 64 MiB stall", laptop::stalled_answers),
        ("strangers say nothing", strangers::silent),
        ("strangers' endless messages", strangers::unfinished),
        ("strangers' many calls", strangers::calls),
    ]
}

async fn row(
    attack: &'static str,
    agent: &Peer,
    callers: &Callers,
    begin: impl FnOnce() -> Attack,
) -> anyhow::Result<Row> {
    callers.seen();
    sleep(BEFORE).await;
    let before = (agent.memory()?, callers.seen());
    let mut attackers = begin();
    let began = Instant::now();
    let mut most = 0.0_f64;
    while began.elapsed() < DURING {
        sleep(LOOK_EVERY).await;
        most = most.max(agent.memory()?);
        while let Some(ended) = attackers.try_join_next() {
            ended?.context("an attacker")?;
        }
    }
    let during = callers.seen();
    attackers.shutdown().await;
    sleep(AFTER).await;
    let after = (agent.memory()?, callers.seen());
    Ok(Row { attack, memory: [before.0, most, after.0], seen: [before.1, during, after.1] })
}

fn print(row: &Row) {
    let [before, during, after] = &row.seen;
    println!(
        "{:28} memory {:5.1} {:6.1} {:5.1} of {BOUND:.0} MiB   others {:5} ok {:2} failed   p99 {:6.2} {:6.2} {:6.2} ms",
        row.attack,
        row.memory[0],
        row.memory[1],
        row.memory[2],
        before.answered + during.answered + after.answered,
        before.failed + during.failed + after.failed,
        before.p99_ms,
        during.p99_ms,
        after.p99_ms,
    );
}

fn write(rows: &[Row]) -> anyhow::Result<()> {
    let all: Vec<_> = rows
        .iter()
        .map(|row| json!({"attack": row.attack, "memoryMiB": row.memory, "others": row.seen}))
        .collect();
    std::fs::create_dir_all("target/bench")?;
    Ok(std::fs::write("target/bench/hostile.json", serde_json::to_string_pretty(&all)? + "\n")?)
}

/// Each connection here has a descriptor at the attacker's end.
fn raise_descriptors() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
