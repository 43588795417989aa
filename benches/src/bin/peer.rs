//! The processes that are measured, or answer: `peer http1|http2|relay ADDRESS:PORT`. Each listens on a port of the
//! kernel's choice on loopback, prints it, and ends with standard input.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::bail;
use bridge_benches::{http1, http2};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy)]
enum Kind {
    Http1,
    Http2,
    Relay(SocketAddr),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let kind = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["http1"] => Kind::Http1,
        ["http2"] => Kind::Http2,
        ["relay", to] => Kind::Relay(to.parse()?),
        _ => bail!("peer http1 | http2 | relay ADDRESS:PORT"),
    };
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
        // The load misses a connection that breaks, and reports it.
        tokio::spawn(async move {
            match kind {
                Kind::Http1 => http1::answer(client).await.map_err(anyhow::Error::from),
                Kind::Http2 => http2::answer(client).await,
                Kind::Relay(to) => relay(client, to).await,
            }
        });
    }
}

async fn relay(mut client: TcpStream, to: SocketAddr) -> anyhow::Result<()> {
    let mut origin = TcpStream::connect(to).await?;
    origin.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut origin).await?;
    Ok(())
}
