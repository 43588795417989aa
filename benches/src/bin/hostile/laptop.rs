//! A developer's laptop at the agent, and what it may do to others: requests that stand at a breakpoint, bursts, streams
//! that are opened and cancelled.

use std::net::Ipv4Addr;
use std::time::Duration;

use bridge_benches::http1::Caller;
use bridge_benches::laptop::{Laptop, Route};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::{Attack, Front};

pub(crate) use bridge_benches::laptop::KEY;

/// Parked calls, as a daemon has them at first.
const PARKED: usize = 32;
const HERS: &str = "x-bridge: bench\r\n";
const STALLED: &str = "x-bridge: bench\r\nx-stall: yes\r\n";
const PAUSE: Duration = Duration::from_millis(5);

/// Takes requests with her header to a local process that answers, but for those that are to stall until their caller
/// has gone.
pub(crate) async fn attach(control: u16, port: u16) -> anyhow::Result<Laptop> {
    let local = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let to = local.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = local.accept().await {
            // What goes wrong here, the caller sees.
            tokio::spawn(answer(client));
        }
    });
    Laptop::attach(control, Route { port, header: Some(("x-bridge", "bench")), to }, PARKED).await
}

async fn answer(mut client: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    loop {
        let read = client.read(&mut request).await?;
        if read == 0 {
            return Ok(());
        }
        if request[..read].windows(7).any(|bytes| bytes == b"x-stall") {
            while client.read(&mut request).await? > 0 {}
            return Ok(());
        }
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
    }
}

async fn caller(front: Front, headers: &str) -> anyhow::Result<Caller> {
    Caller::connect((Ipv4Addr::LOCALHOST, front.http1).into(), headers).await
}

/// 64 requests get no answer, and 36 callers beside them get theirs.
pub(crate) fn breakpoint(front: Front) -> Attack {
    (0..100)
        .map(|index| async move {
            let stalls = index < 64;
            let mut caller = caller(front, if stalls { STALLED } else { HERS }).await?;
            loop {
                caller.ask().await?;
                sleep(PAUSE).await;
            }
        })
        .collect()
}

/// All at once, against the few calls that are parked; each must be answered.
pub(crate) fn burst(front: Front) -> Attack {
    (0..500).map(|_| async move { caller(front, HERS).await?.ask().await }).collect()
}

/// Callers who go before their answer comes.
pub(crate) fn opened_and_cancelled(front: Front) -> Attack {
    (0..100)
        .map(|_| async move {
            for _ in 0..100 {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, front.http1)).await?;
                stream.write_all(format!("GET / HTTP/1.1\r\n{STALLED}\r\n").as_bytes()).await?;
                sleep(PAUSE).await;
            }
            Ok(())
        })
        .collect()
}
