//! The speed of one stream through the tunnel, beside two plain TCP relays in its place. All in one process, on
//! loopback:
//!
//!   sender ─► agent ─► gRPC ─► laptop ─► receiver        sender ─► relay ─► TCP ─► relay ─► receiver
//!
//! A plain relay is tokio's `copy_bidirectional`; the same with the large buffers of a laptop's end is shown beside it.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use bridge_benches::laptop::{COPY_BUFFER, Everything};
use bridge_benches::{Budget, Row, median, write};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const BYTES: u64 = 1 << 30;
const ROUNDS: usize = 5;
const PIECE: usize = 256 * 1024;
/// tokio's size for `copy_bidirectional`.
const PLAIN_BUFFER: usize = 8 * 1024;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (mut plain, mut large) = (receiver.local_addr()?, receiver.local_addr()?);
    for _ in 0..2 {
        plain = relay(plain, PLAIN_BUFFER).await?;
        large = relay(large, COPY_BUFFER).await?;
    }
    let laptop = Everything::to(&receiver, 4).await?;

    let mut rows = Vec::new();
    for (to_laptop, what) in [(true, "to the laptop"), (false, "from the laptop")] {
        let mut rates = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (through, rates) in [laptop.address, plain, large].into_iter().zip(&mut rates) {
                rates.push(rate(&receiver, through, to_laptop).await.with_context(|| what.to_owned())?);
            }
        }
        let [tunnel, plain, large] = rates.each_ref().map(|rates| median(rates));
        let samples =
            json!({"tunnel": rates[0], "plainRelays": rates[1], "largeRelays": rates[2], "unit": "MB/s"});
        let row = |beside: &str, theirs: f64, budget| Row {
            what: format!("one stream, {what}"),
            measured: format!("{tunnel:.0} MB/s"),
            beside: format!("{beside} {theirs:.0}"),
            figure: tunnel / theirs,
            unit: "×".to_owned(),
            budget,
            samples: samples.clone(),
        };
        rows.push(row("two plain TCP relays", plain, Some(Budget::AtLeast(1.0))));
        rows.push(row("two with large buffers", large, None));
    }
    write("bulk", &rows)
}

/// MB/s of one connection to `through`, which leads to `receiver`.
async fn rate(receiver: &TcpListener, through: SocketAddr, to_laptop: bool) -> anyhow::Result<f64> {
    let mut caller = TcpStream::connect(through).await?;
    // A connection that passes a first byte on is connected all the way.
    caller.write_all(b"?").await?;
    let (mut local, _) = receiver.accept().await?;
    ensure!(local.read_u8().await? == b'?', "the first byte is the first");
    let began = Instant::now();
    let (from, to) = if to_laptop { (&mut caller, &mut local) } else { (&mut local, &mut caller) };
    let ((), received) = tokio::try_join!(send(from), receive(to))?;
    ensure!(received == BYTES, "{received} bytes of {BYTES} came");
    Ok(BYTES as f64 / 1e6 / began.elapsed().as_secs_f64())
}

async fn send(to: &mut TcpStream) -> anyhow::Result<()> {
    let piece = vec![7; PIECE];
    for _ in 0..BYTES / PIECE as u64 {
        to.write_all(&piece).await?;
    }
    Ok(to.shutdown().await?)
}

async fn receive(from: &mut TcpStream) -> anyhow::Result<u64> {
    let (mut piece, mut received) = (vec![0; PIECE], 0);
    loop {
        match from.read(&mut piece).await? {
            0 => return Ok(received),
            more => received += more as u64,
        }
    }
}

/// A TCP relay to an address.
async fn relay(to: SocketAddr, buffer: usize) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await?;
                copy_bidirectional_with_sizes(&mut caller, &mut far, buffer, buffer).await
            });
        }
    });
    Ok(address)
}
