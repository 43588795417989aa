//! Tells the kubelet whether this agent is ready: its listeners are up, and it has once reached the origin.
//!
//! Latched, so that a hiccup of the origin does not make all agents unready at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How often the origin is tried until it is reached.
const RETRY: Duration = Duration::from_millis(200);
const DIAL: Duration = Duration::from_secs(1);
const ASK: Duration = Duration::from_secs(2);
/// Askers at a time.
const MAX_ASKERS: usize = 64;
const PAUSE: Duration = Duration::from_millis(100);

/// Whether the origin was reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ready(Arc<AtomicBool>);

impl Ready {
    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Dials the origin's ports in turn until one is reached.
pub(crate) async fn find_origin(origins: Vec<SocketAddr>, ready: Ready) {
    let mut retry = tokio::time::interval(RETRY);
    retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for (attempt, &origin) in origins.iter().cycle().enumerate() {
        if attempt % origins.len() == 0 {
            retry.tick().await;
        }
        if let Ok(Ok(_)) = tokio::time::timeout(DIAL, TcpStream::connect(origin)).await {
            ready.0.store(true, Ordering::Relaxed);
            tracing::info!(%origin, "ready");
            return;
        }
    }
}

/// Answers whoever asks.
pub(crate) async fn run(listener: TcpListener, ready: Ready) {
    let mut askers = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = askers.join_next() => {}
            accepted = listener.accept(), if askers.len() < MAX_ASKERS => match accepted {
                Ok((stream, _)) => {
                    let ready = ready.clone();
                    askers.spawn(tokio::time::timeout(ASK, async move { answer(stream, &ready).await }));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
    }
}

async fn answer(mut stream: TcpStream, ready: &Ready) -> io::Result<()> {
    let mut head = Vec::new();
    while memchr::memmem::find(&head, b"\r\n\r\n").is_none() && head.len() < 8192 {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let (status, words) = match ready.is_ready() {
        true => ("200 OK", "ready\n"),
        false => ("503 Service Unavailable", "the origin has not been reached yet\n"),
    };
    let length = words.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{words}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
