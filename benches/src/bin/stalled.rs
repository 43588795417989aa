//! The throughput of 80 streams to the laptop while 20 more are stalled, beside the same alone: a program at a
//! breakpoint must hold up no other. All in one process, on loopback.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bridge_benches::laptop::Everything;
use bridge_benches::{Budget, Row, median, write};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const GOING: usize = 80;
const STALLED: usize = 20;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const PIECE: usize = 64 * 1024;
/// The time after which a sender that cannot send a byte counts as stalled.
const STILL: Duration = Duration::from_millis(300);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let laptop = Everything::to(&receiver, GOING + STALLED).await?;
    let received = Arc::new(AtomicU64::new(0));
    let mut streams = JoinSet::new();
    for _ in 0..GOING {
        let (caller, local) = open(&laptop, &receiver).await?;
        streams.spawn(send(caller));
        streams.spawn(receive(local, received.clone()));
    }
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(rate(&received).await);
        let mut stalled = Vec::new();
        for _ in 0..STALLED {
            let (mut caller, local) = open(&laptop, &receiver).await?;
            stall(&mut caller).await;
            stalled.push((caller, local));
        }
        beside.push(rate(&received).await);
        if let Some(failed) = streams.try_join_next() {
            failed??;
        }
    }
    let (alone_rate, beside_rate) = (median(&alone), median(&beside));
    let row = Row {
        what: format!("{GOING} streams beside {STALLED} stalled ones"),
        measured: format!("{beside_rate:.0} MB/s"),
        beside: format!("alone {alone_rate:.0}"),
        figure: beside_rate / alone_rate,
        unit: "×".to_owned(),
        budget: Some(Budget::AtLeast(0.95)),
        samples: json!({"alone": alone, "besideStalled": beside, "unit": "MB/s"}),
    };
    write("stalled", &[row])
}

/// A stream from a caller to the laptop: both its ends.
async fn open(laptop: &Everything, receiver: &TcpListener) -> anyhow::Result<(TcpStream, TcpStream)> {
    let mut caller = TcpStream::connect(laptop.address).await?;
    caller.write_all(b"?").await?;
    let (mut local, _) = timeout(Duration::from_secs(10), receiver.accept()).await.context("a stream")??;
    ensure!(local.read_u8().await? == b'?', "the first byte is the first");
    Ok((caller, local))
}

/// Sends until nothing more is taken.
async fn stall(caller: &mut TcpStream) {
    let piece = vec![7; PIECE];
    while let Ok(Ok(_)) = timeout(STILL, caller.write(&piece)).await {}
}

async fn rate(received: &AtomicU64) -> f64 {
    let (began, before) = (Instant::now(), received.load(Relaxed));
    sleep(ROUND).await;
    (received.load(Relaxed) - before) as f64 / 1e6 / began.elapsed().as_secs_f64()
}

async fn send(mut to: TcpStream) -> anyhow::Result<()> {
    let piece = vec![7; PIECE];
    loop {
        to.write_all(&piece).await?;
    }
}

async fn receive(mut from: TcpStream, received: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece).await? {
            0 => anyhow::bail!("a stream has ended"),
            more => received.fetch_add(more as u64, Relaxed),
        };
    }
}
