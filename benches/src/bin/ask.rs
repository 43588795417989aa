//! Callers as a program, to be run inside the networks of a cluster. Each prints one number.
//!
//!   ask rate TO CONNECTIONS HEADERS     requests per second, as fast as they are answered
//!   ask connections TO CONNECTIONS HEADERS   the same, each with a connection of its own
//!   ask down TO BYTES HEADERS           MB/s of one large answer of shop's `orders`
//!   ask up TO BYTES HEADERS             MB/s of one large request to it

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{bail, ensure};
use bridge_benches::http1;
use bridge_benches::load::{Answered, rate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

const FOR: Duration = Duration::from_secs(3);
const PIECE: usize = 256 * 1024;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let printed = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["rate", to, connections, headers] => {
            let (to, answered) = (to.parse()?, Answered::default());
            let callers = (0..connections.parse()?)
                .map(|_| http1::ask_for_ever(to, lines(headers), answered.clone()))
                .collect();
            rate(answered, callers, FOR).await?
        }
        ["connections", to, connections, headers] => {
            let (to, answered) = (to.parse()?, Answered::default());
            let callers = (0..connections.parse()?)
                .map(|_| connect_for_ever(to, lines(headers), answered.clone()))
                .collect();
            rate(answered, callers, FOR).await?
        }
        ["down", to, bytes, headers] => down(to.parse()?, bytes.parse()?, &lines(headers)).await?,
        ["up", to, bytes, headers] => up(to.parse()?, bytes.parse()?, &lines(headers)).await?,
        _ => bail!(
            "ask rate|connections TO CONNECTIONS HEADERS | ask down TO BYTES HEADERS | ask up TO BYTES HEADERS"
        ),
    };
    println!("{printed}");
    Ok(())
}

/// "a: 1" as a line; nothing as none.
fn lines(headers: &str) -> String {
    if headers.is_empty() { String::new() } else { format!("{headers}\r\n") }
}

/// One request on each connection, one connection after the other.
async fn connect_for_ever(to: SocketAddr, headers: String, answered: Answered) -> anyhow::Result<()> {
    let request = format!("GET /whoami HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n{headers}\r\n");
    let mut answer = Vec::new();
    loop {
        answer.clear();
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut answer).await?;
        ensure!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        answered.count();
    }
}

async fn down(to: SocketAddr, bytes: u64, headers: &str) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(to).await?;
    let began = Instant::now();
    let request = format!(
        "GET /bytes?n={bytes}&length=1 HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let (mut piece, mut received) = (vec![0; PIECE], 0);
    loop {
        match stream.read(&mut piece).await? {
            0 => break,
            more => received += more as u64,
        }
    }
    ensure!(received > bytes, "{received} bytes came of an answer with {bytes}");
    Ok(bytes as f64 / 1e6 / began.elapsed().as_secs_f64())
}

async fn up(to: SocketAddr, bytes: u64, headers: &str) -> anyhow::Result<f64> {
    let mut stream = TcpStream::connect(to).await?;
    let began = Instant::now();
    let head = format!(
        "PUT /sink HTTP/1.1\r\nHost: orders\r\nConnection: close\r\nContent-Length: {bytes}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let (piece, mut left) = (vec![7; PIECE], bytes);
    while left > 0 {
        let next = left.min(PIECE as u64);
        stream.write_all(&piece[..usize::try_from(next)?]).await?;
        left -= next;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    Ok(bytes as f64 / 1e6 / began.elapsed().as_secs_f64())
}
