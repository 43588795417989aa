//! Begins a connection on a port that is a laptop's as a whole: the laptop takes the place of the origin, also for what is
//! not HTTP and for servers that speak first.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bridge_proto::tunnel::TunnelStream;
use bridge_proto::v1::Fallback;
use tokio::time::Sleep;

use super::end::{End, Side as _};
use super::sniff::{Sniff, begins_settings, sniff};
use super::{Connection, opaque};
use crate::inbound::{self, Unreached};
use crate::requests::Opaque;
use crate::routes::Entry;

/// How long bytes are held before it is known what they are.
const SNIFF: Duration = Duration::from_secs(1);

/// How a connection has begun.
pub(super) enum Begun {
    /// The client speaks HTTP; the stream has carried nothing yet, but perhaps HTTP/2's SETTINGS of the process.
    Laptop(End<TunnelStream>),
    /// As if the route did not exist.
    Origin,
    /// It was relayed until its end.
    Over,
    Abort,
}

/// What the first moments show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Http,
    Opaque(Opaque),
    LaptopLost,
    ClientGone,
}

/// Opens a stream to the laptop at once and waits for what either side says.
pub(super) async fn begin(conn: &mut Connection, route: &Arc<Entry>) -> Begun {
    let opening = async {
        let mut stream = inbound::open(route, conn.shared.port(conn.port), conn.peer).await?;
        let opened = stream.opened().await;
        Some((stream, opened))
    };
    let opening = tokio::select! {
        opening = opening => opening,
        _ = conn.client.failure() => return Begun::Abort,
    };
    let mut laptop = match opening {
        None => return Begun::Origin,
        Some((stream, Ok(()))) => End::new(stream),
        Some((_, Err(refused))) => {
            let port_refused = Unreached::from(&refused) == Unreached::Port;
            if !port_refused || route.fallback == Fallback::Origin {
                return Begun::Origin;
            }
            // As an origin that refuses: a request of HTTP/1 still gets a sentence, the rest a reset.
            conn.origin.refuse();
            return Begun::Origin;
        }
    };
    let mut deadline = None;
    match std::future::poll_fn(|cx| poll_shown(cx, conn, &mut laptop, &mut deadline)).await {
        Shown::Http => Begun::Laptop(laptop),
        Shown::LaptopLost => Begun::Origin,
        Shown::ClientGone => {
            laptop.side.abort();
            Begun::Abort
        }
        Shown::Opaque(why) => {
            conn.shared.requests.opaque(conn.port, why, Some(route));
            match opaque::relay(&mut conn.client, &mut laptop).await {
                Ok(()) => Begun::Over,
                Err(_) => {
                    laptop.side.abort();
                    Begun::Abort
                }
            }
        }
    }
}

fn poll_shown(
    cx: &mut Context<'_>,
    conn: &mut Connection,
    laptop: &mut End<TunnelStream>,
    deadline: &mut Option<Pin<Box<Sleep>>>,
) -> Poll<Shown> {
    loop {
        match sniff(conn.client.read.filled()) {
            Sniff::Http1 | Sniff::Http2 => return Poll::Ready(Shown::Http),
            Sniff::Opaque => {
                return Poll::Ready(Shown::Opaque(Opaque::of(conn.client.read.filled())));
            }
            Sniff::Undecided if conn.client.read.is_full() => {
                return Poll::Ready(Shown::Opaque(Opaque::NotHttp));
            }
            Sniff::Undecided => {}
        }
        match conn.client.poll_fill(cx) {
            Poll::Pending => break,
            Poll::Ready(Err(_)) => return Poll::Ready(Shown::ClientGone),
            Poll::Ready(Ok(0)) => return Poll::Ready(Shown::Opaque(Opaque::NotHttp)),
            Poll::Ready(Ok(_)) => {}
        }
    }
    while laptop.read.is_empty() {
        match laptop.poll_fill(cx) {
            Poll::Pending => break,
            Poll::Ready(Ok(read)) if read > 0 && begins_settings(laptop.read.filled()) == Some(true) => {}
            Poll::Ready(Ok(_)) => return Poll::Ready(Shown::Opaque(Opaque::ServerSpokeFirst)),
            Poll::Ready(Err(_)) => return Poll::Ready(Shown::LaptopLost),
        }
    }
    if conn.client.read.is_empty() {
        return Poll::Pending;
    }
    let deadline = deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(SNIFF)));
    deadline.as_mut().poll(cx).map(|()| Shown::Opaque(Opaque::NotHttp))
}

/// Relays between the client and a stream that is open already.
pub(super) async fn relay(mut conn: Connection, laptop: &mut End<TunnelStream>) {
    if opaque::relay(&mut conn.client, laptop).await.is_err() {
        // Dropping the stream resets it.
        conn.abort();
    }
}
