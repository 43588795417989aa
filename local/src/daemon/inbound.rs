//! An inbound stream, from the agent's offer to the local process and back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge_proto::tunnel::{Offered, carry};
use bridge_proto::v1::Cause;
use tokio::net::TcpStream;

/// Loopback answers at once; one that does not is full.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// What was carried since the session began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) streams: AtomicU64,
    pub(crate) to_laptop: AtomicU64,
    pub(crate) from_laptop: AtomicU64,
    /// Under way now.
    pub(crate) open: AtomicU64,
}

/// Serves one offered stream. `allowed`: a route of the session leads to the local port; an agent gets no other.
pub(crate) async fn serve(offered: Offered, allowed: bool, counters: &Counters) {
    let port = offered.open.local_port;
    let Some(port) = u16::try_from(port).ok().filter(|_| allowed) else {
        // A refusal that cannot be sent means that the tunnel is gone, and with it who would read it.
        let _ =
            offered.refuse(Cause::Forbidden, format!("no route of this session leads to port {port}")).await;
        return;
    };
    match connect(port).await {
        Ok(local) => {
            counters.streams.fetch_add(1, Ordering::Relaxed);
            let _open = Open::begin(counters);
            if let Ok(stream) = offered.accept().await {
                let carried = carry(local, stream).await;
                counters.from_laptop.fetch_add(carried.in_bytes, Ordering::Relaxed);
                counters.to_laptop.fetch_add(carried.out_bytes, Ordering::Relaxed);
            }
        }
        Err(error) => {
            let _ = offered.refuse(Cause::of_dial(&error), error.to_string()).await;
        }
    }
}

struct Open<'a>(&'a Counters);

impl<'a> Open<'a> {
    fn begin(counters: &'a Counters) -> Self {
        counters.open.fetch_add(1, Ordering::Relaxed);
        Self(counters)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects to a port of this machine, IPv4 first: "localhost" means ::1 to some programs.
pub(crate) async fn connect(port: u16) -> io::Result<TcpStream> {
    let connect = async |address: IpAddr| {
        let connected = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect((address, port))).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    };
    let stream = match connect(Ipv4Addr::LOCALHOST.into()).await {
        Ok(stream) => stream,
        Err(error) => connect(Ipv6Addr::LOCALHOST.into()).await.map_err(|_| error)?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}
