//! An inbound stream, from the agent's offer to the local process and back.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge_proto::tunnel::{Offered, Refused, carry};
use bridge_proto::v1::Cause;
use tokio::net::TcpStream;

use super::listeners::Listeners;

/// Loopback answers at once; a listener that does not is full.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Streams of one session to this machine at a time. This also ends requests that go round in a circle.
const MOST_STREAMS: u64 = 1024;

/// State that all inbound streams of a session share.
#[derive(Default)]
pub(crate) struct Inbound {
    pub(crate) counters: Counters,
    pub(crate) listeners: Listeners,
}

/// Totals since the session began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) streams: AtomicU64,
    pub(crate) to_laptop: AtomicU64,
    pub(crate) from_laptop: AtomicU64,
    /// Streams open now.
    pub(crate) open: AtomicU64,
}

/// Serves one offered stream. `allowed`: a route of the session leads to the local port; streams to other ports are
/// refused.
pub(crate) async fn serve(offered: Offered, allowed: bool, inbound: &Inbound) {
    let counters = &inbound.counters;
    let (local, _open) = match admit(offered.open.local_port, allowed, inbound).await {
        Ok(admitted) => admitted,
        Err(Refused { cause, detail }) => {
            // A refusal that cannot be sent means that the tunnel is gone, and its reader with it.
            let _ = offered.refuse(cause, detail).await;
            return;
        }
    };
    counters.streams.fetch_add(1, Ordering::Relaxed);
    if let Ok(stream) = offered.accept().await {
        let carried = carry(local, stream).await;
        counters.from_laptop.fetch_add(carried.in_bytes, Ordering::Relaxed);
        counters.to_laptop.fetch_add(carried.out_bytes, Ordering::Relaxed);
    }
}

/// Connects to the local process, if allowed.
async fn admit(port: u32, allowed: bool, inbound: &Inbound) -> Result<(TcpStream, Open<'_>), Refused> {
    let refused = |cause, detail| Refused { cause, detail };
    let forbidden = || refused(Cause::Forbidden, format!("no route of this session leads to port {port}"));
    let local = u16::try_from(port).ok().filter(|_| allowed).ok_or_else(forbidden)?;
    if let Some(listener) = inbound.listeners.on(port) {
        return Err(refused(
            Cause::Loop,
            format!(
                "port {port} belongs to {listener}, which leads back into the cluster: stop it, or give it \
                 another port"
            ),
        ));
    }
    let open = Open::begin(&inbound.counters).ok_or_else(|| {
        refused(Cause::NoRoom, format!("this session already has {MOST_STREAMS} open connections"))
    })?;
    match connect(local).await {
        Ok(local) => Ok((local, open)),
        Err(error) => Err(refused(Cause::of_dial(&error), error.to_string())),
    }
}

/// An open stream.
struct Open<'a>(&'a Counters);

impl<'a> Open<'a> {
    /// `None`: too many are open.
    fn begin(counters: &'a Counters) -> Option<Self> {
        let one_more = |open| (open < MOST_STREAMS).then_some(open + 1);
        counters.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self(counters))
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects to a port of this machine, IPv4 first: some programs take "localhost" for ::1.
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::users::UserId;

    async fn listening() -> (TcpListener, u32) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port.into())
    }

    async fn cause(port: u32, allowed: bool, inbound: &Inbound) -> Option<Cause> {
        admit(port, allowed, inbound).await.err().map(|refused| refused.cause)
    }

    #[tokio::test]
    async fn requests_go_where_a_route_leads_and_never_to_a_listener_of_bridge_itself() {
        let inbound = Inbound::default();
        let (listener, port) = listening().await;
        assert_eq!(cause(port, true, &inbound).await, None);
        assert_eq!(cause(port, false, &inbound).await, Some(Cause::Forbidden), "no route leads there");

        let forward = inbound.listeners.add(UserId::new(), "bridge forward".into(), vec![port]);
        let refused = admit(port, true, &inbound).await.err().unwrap();
        assert_eq!(refused.cause, Cause::Loop);
        assert!(
            refused.detail.contains(&format!("port {port} belongs to bridge forward")),
            "{}",
            refused.detail
        );
        drop(forward);
        assert_eq!(cause(port, true, &inbound).await, None);

        drop(listener);
        assert_eq!(cause(port, true, &inbound).await, Some(Cause::Refused), "nothing listens");
        assert_eq!(inbound.counters.open.load(Ordering::Relaxed), 0, "what was not carried is not open");
    }

    #[tokio::test]
    async fn streams_that_pile_up_have_a_bound() {
        let inbound = Inbound::default();
        let (_listener, port) = listening().await;
        let open: Vec<_> = (0..MOST_STREAMS).map(|_| Open::begin(&inbound.counters)).collect();
        assert!(open.iter().all(Option::is_some));
        assert_eq!(cause(port, true, &inbound).await, Some(Cause::NoRoom));
        drop(open);
        assert_eq!(cause(port, true, &inbound).await, None);
    }
}
