//! Attacks by HTTP/1.

use std::net::Ipv4Addr;
use std::time::Duration;

use bridge_benches::http1::Caller;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::{Attack, Front};

const SLOW: Duration = Duration::from_millis(100);

async fn connect(port: u16) -> anyhow::Result<TcpStream> {
    Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?)
}

/// Each asks once and then stays.
pub(crate) fn idle(front: Front) -> Attack {
    // One after the other in each task: a burst of all at once is another attack.
    (0..80)
        .map(|_| async move {
            let mut callers = Vec::new();
            for _ in 0..100 {
                let mut caller = Caller::connect((Ipv4Addr::LOCALHOST, front.http1).into(), "").await?;
                caller.ask().await?;
                callers.push(caller);
            }
            std::future::pending().await
        })
        .collect()
}

/// Each asks every half a second.
pub(crate) fn active(front: Front) -> Attack {
    (0..1000)
        .map(|_| async move {
            let mut caller = Caller::connect((Ipv4Addr::LOCALHOST, front.http1).into(), "").await?;
            loop {
                caller.ask().await?;
                sleep(5 * SLOW).await;
            }
        })
        .collect()
}

/// Each connects, asks, goes, and comes again.
pub(crate) fn new_connections(front: Front) -> Attack {
    (0..16)
        .map(|_| async move {
            loop {
                Caller::connect((Ipv4Addr::LOCALHOST, front.http1).into(), "").await?.ask().await?;
            }
        })
        .collect()
}

pub(crate) fn slow_heads(front: Front) -> Attack {
    dripping(front, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
}

pub(crate) fn slow_bodies(front: Front) -> Attack {
    dripping(front, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
}

/// The beginning at once, and then a byte now and then.
fn dripping(front: Front, beginning: &'static [u8]) -> Attack {
    (0..500)
        .map(|_| async move {
            let mut stream = connect(front.http1).await?;
            stream.write_all(beginning).await?;
            while stream.write_all(b"x").await.is_ok() {
                sleep(SLOW).await;
            }
            Ok(())
        })
        .collect()
}

/// Heads that do not end, as fast as they are taken.
pub(crate) fn endless_headers(front: Front) -> Attack {
    (0..50)
        .map(|_| async move {
            let mut stream = connect(front.http1).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await?;
            let line = [b"X-Endless: ".as_slice(), &[b'x'; 1000], b"\r\n"].concat();
            // If the origin ends it, it has had enough.
            while stream.write_all(&line).await.is_ok() {
                tokio::task::yield_now().await;
            }
            let _ = stream.read(&mut [0; 1024]).await;
            Ok(())
        })
        .collect()
}
