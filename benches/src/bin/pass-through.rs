//! What it costs that a request goes through an agent that has no route for it: `pass-through measure AGENT`.
//!
//! Origin, plain TCP relay and agent are processes with one worker thread each, on loopback; 32 keep-alive connections ask
//! for the same small thing as fast as they are answered. The three ways take turns, so that the machine's moods are the
//! same for all, and only ratios count. `pass-through origin` and `pass-through relay ADDRESS` are such processes.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bridge_benches::{Budget, Row, median, write};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 7;
const WARM_UP: Duration = Duration::from_millis(300);
const ROUND: Duration = Duration::from_millis(1500);
const REQUEST: &[u8] = b"GET /bench HTTP/1.1\r\nHost: orders\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

/// A process under load, and the port that it listens on.
struct Peer {
    name: &'static str,
    process: Child,
    port: u16,
    requests_per_s: Vec<f64>,
    cpu_us: Vec<f64>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It has ended already, or ends now.
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["measure", agent] => measure(agent).await,
        ["origin"] => serve(None).await,
        ["relay", to] => serve(Some(to.parse()?)).await,
        _ => bail!("pass-through measure AGENT | origin | relay ADDRESS:PORT"),
    }
}

async fn measure(agent: &str) -> anyhow::Result<()> {
    let origin = peer("origin", &["origin"])?;
    let address = format!("127.0.0.1:{}", origin.port);
    let relay = peer("TCP relay", &["relay", &address])?;
    let mut peers = [origin, relay, start_agent(agent, &address)?];
    for _ in 0..ROUNDS {
        for peer in &mut peers {
            load(peer).await.with_context(|| format!("through {}", peer.name))?;
        }
    }
    write("pass-through", &rows(&peers))
}

fn rows([origin, relay, agent]: &[Peer; 3]) -> [Row; 3] {
    let cpu = |peer: &Peer| median(&peer.cpu_us);
    let rate = |peer: &Peer| median(&peer.requests_per_s);
    let samples = json!([origin, relay, agent].map(|peer| {
        json!({"through": peer.name, "requestsPerSecond": peer.requests_per_s, "cpuMicrosecondsPerRequest": peer.cpu_us})
    }));
    let row = |what: &str, measured, beside, figure, budget| Row {
        what: format!("HTTP/1 pass-through, {what}"),
        measured,
        beside,
        figure,
        unit: "×".to_owned(),
        budget,
        samples: samples.clone(),
    };
    let thousands = |peer: &Peer| format!("{:.1} k/s", rate(peer) / 1000.0);
    [
        row(
            "CPU per request",
            format!("{:.1} µs", cpu(agent)),
            format!("TCP relay {:.1}, origin {:.1}", cpu(relay), cpu(origin)),
            cpu(agent) / cpu(relay),
            Some(Budget::AtMost(1.15)),
        ),
        row(
            "requests",
            thousands(agent),
            format!("TCP relay {}", thousands(relay)),
            rate(agent) / rate(relay),
            None,
        ),
        row(
            "requests",
            thousands(agent),
            format!("no agent {}", thousands(origin)),
            rate(agent) / rate(origin),
            None,
        ),
    ]
}

fn peer(name: &'static str, args: &[&str]) -> anyhow::Result<Peer> {
    let mut process =
        one_thread(Command::new(std::env::current_exe()?).args(args)).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
    let port = line.trim().parse().with_context(|| format!("{name} named no port"))?;
    Ok(Peer { name, process, port, requests_per_s: Vec::new(), cpu_us: Vec::new() })
}

fn start_agent(program: &str, origin: &str) -> anyhow::Result<Peer> {
    let args = [
        "--control",
        "0",
        "--readiness",
        "0",
        "--key-file",
        "/nonexistent",
        "--log-format",
        "json",
        "--forward",
    ];
    let mut command = Command::new(program);
    let mut process =
        one_thread(command.args(args).arg(format!("0={origin}"))).stderr(Stdio::piped()).spawn()?;
    let mut log = BufReader::new(process.stderr.take().context("its log")?);
    let mut line = String::new();
    let port = loop {
        line.clear();
        ensure!(log.read_line(&mut line)? > 0, "the agent ended before it listened");
        let ports = line.split_once("\"ports\":\"[").and_then(|(_, rest)| rest.split_once(']'));
        if let Some((port, _)) = ports {
            break port.parse().context("the agent's port")?;
        }
    };
    // A full pipe would stop it.
    std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
    Ok(Peer { name: "agent", process, port, requests_per_s: Vec::new(), cpu_us: Vec::new() })
}

fn one_thread(command: &mut Command) -> &mut Command {
    command.env("TOKIO_WORKER_THREADS", "1").stdin(Stdio::piped())
}

/// One round through one of them.
async fn load(peer: &mut Peer) -> anyhow::Result<()> {
    let answered = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        callers.spawn(call(peer.port, answered.clone()));
    }
    let pid = peer.process.id();
    let measured = async {
        sleep(WARM_UP).await;
        let (began, before, cpu) = (Instant::now(), answered.load(Relaxed), cpu_seconds(pid)?);
        sleep(ROUND).await;
        let (took, after) = (began.elapsed().as_secs_f64(), answered.load(Relaxed));
        anyhow::Ok(((after - before) as f64, took, cpu_seconds(pid)? - cpu))
    };
    let (requests, took, cpu) = tokio::select! {
        measured = measured => measured?,
        Some(failed) = callers.join_next() => return failed?,
    };
    ensure!(requests > 0.0, "no request was answered");
    peer.requests_per_s.push(requests / took);
    peer.cpu_us.push(cpu / requests * 1e6);
    Ok(())
}

/// Asks again and again; returns only with what went wrong.
async fn call(port: u16, answered: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    let mut answer = [0; ANSWER.len()];
    loop {
        stream.write_all(REQUEST).await?;
        stream.read_exact(&mut answer).await?;
        ensure!(answer == ANSWER, "the answer is not the origin's");
        answered.fetch_add(1, Relaxed);
    }
}

/// What all threads of a process have used so far.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let used: f64 = text.split(' ').next().unwrap_or_default().parse().context("schedstat")?;
        nanoseconds += used;
    }
    Ok(nanoseconds / 1e9)
}

/// Listens on a port of the kernel's choice, prints it, and ends with standard input.
async fn serve(to: Option<SocketAddr>) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?.port());
    std::thread::spawn(|| {
        // Whether it ends or fails: nobody needs us any more.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0)
    });
    loop {
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        tokio::spawn(async move {
            // A connection that breaks is missed by the load, which says so.
            let _ = match to {
                None => answer(client).await,
                Some(to) => relay(client, to).await,
            };
        });
    }
}

async fn relay(mut client: TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let mut origin = TcpStream::connect(to).await?;
    origin.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut origin).await.map(drop)
}

/// The load sends one request at a time, each in one piece.
async fn answer(mut client: TcpStream) -> std::io::Result<()> {
    let (mut buffer, mut filled) = ([0; 4096], 0);
    loop {
        match client.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            more => filled += more,
        }
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            client.write_all(ANSWER).await?;
        }
    }
}
