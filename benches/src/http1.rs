//! The smallest HTTP/1: an origin with one answer, and callers with one question.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::load::{Answered, Callers};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
/// Room for a small answer.
const MOST: usize = 4096;

/// Answers every request of a connection; each comes in one piece, and no two at a time.
///
/// # Errors
///
/// The errors of the connection.
pub async fn answer(mut client: TcpStream) -> std::io::Result<()> {
    let (mut buffer, mut filled) = ([0; MOST], 0);
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

/// One connection with one request after the other.
#[derive(Debug)]
pub struct Caller {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Box<[u8; MOST]>,
}

impl Caller {
    /// `headers` are whole lines.
    ///
    /// # Errors
    ///
    /// The errors of the connect.
    pub async fn connect(to: SocketAddr, headers: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /whoami HTTP/1.1\r\nHost: orders\r\nUser-Agent: bench\r\nAccept: */*\r\n{headers}\r\n"
        );
        Ok(Self { stream, request: request.into_bytes(), answer: Box::new([0; MOST]) })
    }

    /// Sends one request, and waits for the whole answer.
    ///
    /// # Errors
    ///
    /// If it is not a small answer with the status 200.
    pub async fn ask(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.request).await?;
        let (mut filled, mut whole) = (0, None);
        loop {
            let read = self.stream.read(&mut self.answer[filled..]).await?;
            filled += read;
            let answer = &self.answer[..filled];
            whole = match whole {
                None => length(answer)?,
                known => known,
            };
            if whole == Some(filled) {
                return Ok(());
            }
            let room = read > 0 && filled < MOST && whole.is_none_or(|whole| filled < whole);
            ensure!(room, "not a whole small answer: {}", String::from_utf8_lossy(answer));
        }
    }
}

/// The length of a whole answer; `None`: its head is incomplete.
fn length(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..head])?;
    ensure!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let named = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse())
    };
    let body: usize = text.lines().find_map(named).context("an answer without Content-Length")??;
    Ok(Some(head + body))
}

/// This number of callers that ask as fast as they are answered.
#[must_use]
pub fn callers(connections: usize, port: u16, answered: &Answered) -> Callers {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    (0..connections).map(|_| ask_for_ever(to, String::new(), answered.clone())).collect()
}

/// Asks again and again; returns only with the error.
///
/// # Errors
///
/// The error of a request.
pub async fn ask_for_ever(to: SocketAddr, headers: String, answered: Answered) -> anyhow::Result<()> {
    let mut caller = Caller::connect(to, &headers).await?;
    loop {
        caller.ask().await?;
        answered.count();
    }
}

/// Asks every `interval`, whether the last answer was fast or slow, and returns the duration of each since it was due.
///
/// # Errors
///
/// If one was not answered.
pub async fn ask_every(
    interval: Duration,
    first: Instant,
    count: usize,
    port: u16,
) -> anyhow::Result<Vec<Duration>> {
    let mut caller = Caller::connect((Ipv4Addr::LOCALHOST, port).into(), "").await?;
    caller.ask().await?;
    let mut took = Vec::with_capacity(count);
    let mut due = first;
    for _ in 0..count {
        sleep_until(due).await;
        caller.ask().await?;
        took.push(due.elapsed());
        due += interval;
    }
    Ok(took)
}
