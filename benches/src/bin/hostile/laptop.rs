//! A developer's laptop at the agent, and its possible harm to others: requests at a breakpoint, bursts, streams that
//! are opened and cancelled.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bridge_benches::http1::Caller;
use bridge_benches::laptop::{Laptop, Route};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::{Attack, Front};

pub(crate) use bridge_benches::laptop::KEY;

/// Parked calls, as many as a daemon has at first.
const PARKED: usize = 32;
const MATCHED: &str = "x-bridge: bench\r\n";
const STALLED: &str = "x-bridge: bench\r\nx-stall: yes\r\n";
/// The length of a large body, in pieces.
const LARGE: usize = 64 << 20;
const PIECE: &[u8] = &[b'x'; 64 << 10];
/// The time for which the local process does not read: longer than the attack.
const UNREAD: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(5);

/// Takes requests with this developer's header to a local process that answers, except for those that must stall until
/// their caller has gone.
pub(crate) async fn attach(front: Front, name: &'static str) -> anyhow::Result<Laptop> {
    let local = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let to = local.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = local.accept().await {
            // Failures here show at the caller.
            tokio::spawn(answer(client));
        }
    });
    let route = Route { port: front.http1, header: Some(("x-bridge", name)), to };
    Laptop::attach(front.control, route, PARKED).await.context("a laptop")
}

async fn answer(mut client: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    loop {
        let read = client.read(&mut request).await?;
        if read == 0 {
            return Ok(());
        }
        let has = |word: &[u8]| request[..read].windows(word.len()).any(|bytes| bytes == word);
        if has(b"x-unread") {
            sleep(UNREAD).await;
            return Ok(());
        }
        if has(b"x-large") {
            client
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes())
                .await?;
            for _ in 0..LARGE / PIECE.len() {
                client.write_all(PIECE).await?;
            }
            continue;
        }
        if has(b"x-stall") {
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
            let mut caller = caller(front, if stalls { STALLED } else { MATCHED }).await?;
            loop {
                caller.ask().await?;
                sleep(PAUSE).await;
            }
        })
        .collect()
}

/// All at once, against the few parked calls; each must be answered.
pub(crate) fn burst(front: Front) -> Attack {
    (0..500).map(|_| async move { caller(front, MATCHED).await?.ask().await }).collect()
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

/// 200 large bodies that the local process does not read. Another session is working meanwhile: each of its requests
/// must be answered.
pub(crate) fn stalled_bodies(front: Front) -> Attack {
    let head =
        format!("POST / HTTP/1.1\r\nx-bridge: bench\r\nx-unread: yes\r\nContent-Length: {LARGE}\r\n\r\n");
    stalled(front, move |mut stream| {
        let head = head.clone();
        async move {
            stream.write_all(head.as_bytes()).await?;
            for _ in 0..LARGE / PIECE.len() {
                stream.write_all(PIECE).await?;
            }
            Ok(())
        }
    })
}

/// 200 large answers that nobody reads, with another session working.
pub(crate) fn stalled_answers(front: Front) -> Attack {
    stalled(front, |mut stream| async move {
        stream.write_all(b"GET / HTTP/1.1\r\nx-bridge: bench\r\nx-large: yes\r\n\r\n").await?;
        let head = stream.read_u8().await?;
        ensure!(head == b'H', "no answer");
        std::future::pending().await
    })
}

fn stalled<S: Future<Output = anyhow::Result<()>> + Send + 'static>(
    front: Front,
    stall: impl Fn(TcpStream) -> S + Clone + Send + Sync + 'static,
) -> Attack {
    let mut attack: Attack = (0..200)
        .map(|_| {
            let stall = stall.clone();
            async move { stall(TcpStream::connect((Ipv4Addr::LOCALHOST, front.http1)).await?).await }
        })
        .collect();
    attack.spawn(async move {
        let mut caller = caller(front, "x-bridge: other\r\n").await?;
        loop {
            caller.ask().await.context("the other session")?;
            sleep(PAUSE).await;
        }
    });
    attack
}
