//! Begins a connection on a port that goes to a laptop as a whole: the laptop takes the place of the origin, even for
//! other protocols than HTTP and for servers that speak first.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bridge_proto::tunnel::TunnelStream;
use bridge_proto::v1::Fallback;
use tokio::time::Sleep;

use super::Connection;
use super::sniff::{Sniff, begins_settings, patience, sniff};
use crate::inbound::{self, Unreached};
use crate::io::end::End;
use crate::io::relay;
use crate::io::side::Side as _;
use crate::requests::{FellBack, Opaque, To};
use crate::routes::Entry;

/// How a connection has begun.
pub(super) enum Begun {
    /// The client speaks HTTP; the stream has carried nothing yet, except perhaps HTTP/2's SETTINGS of the process.
    Laptop(End<TunnelStream>),
    /// The client speaks HTTP, and no stream is open: it is routed request by request.
    Unopened,
    /// The laptop cannot answer, so the origin does.
    Origin(FellBack),
    /// Nothing listens, and the origin may not step in: a request gets a message, anything else a reset.
    Unanswered,
    /// It was relayed until its end.
    Over,
    Abort,
}

/// The result of a connection's first moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Http,
    Opaque(Opaque),
    LaptopLost,
    ClientGone,
}

/// Opens a stream to the laptop at once and waits for the first bytes of either side. If too many connections wait
/// already, the client must speak first: connections that lead back here from the laptop would open streams without
/// end, and pass not one byte.
pub(super) async fn begin(conn: &mut Connection, route: &Arc<Entry>) -> Begun {
    let mut deadline = None;
    let (_room, early) = tokio::select! {
        biased;
        room = route.unheard.acquire() => (room.ok(), None),
        early = std::future::poll_fn(|cx| poll_client(cx, conn, &mut deadline)) => (None, Some(early)),
    };
    match early {
        Some(Shown::Http) => return Begun::Unopened,
        Some(Shown::ClientGone) => return Begun::Abort,
        Some(Shown::Opaque(_) | Shown::LaptopLost) | None => {}
    }
    let opening = async {
        let mut stream = inbound::open(route, conn.port.number, conn.peer).await.ok()?;
        let opened = stream.opened().await;
        Some((stream, opened))
    };
    let opening = tokio::select! {
        opening = opening => opening,
        _ = conn.client.failure() => return Begun::Abort,
    };
    let mut laptop = match opening {
        None => return Begun::Origin(FellBack::LaptopAway),
        Some((stream, Ok(()))) => End::new(stream),
        Some((_, Err(refused))) => {
            return match (Unreached::from(&refused), route.fallback) {
                (Unreached::Port | Unreached::Loop, Fallback::Answer) => Begun::Unanswered,
                (Unreached::Port | Unreached::Loop, Fallback::Origin) => {
                    Begun::Origin(FellBack::NothingListens)
                }
                (Unreached::Laptop | Unreached::Full | Unreached::Crowded | Unreached::Unknown, _) => {
                    Begun::Origin(FellBack::LaptopAway)
                }
            };
        }
    };
    let shown = match early {
        Some(early) => early,
        None => std::future::poll_fn(|cx| poll_shown(cx, conn, &mut laptop, &mut deadline)).await,
    };
    match shown {
        Shown::Http => Begun::Laptop(laptop),
        Shown::LaptopLost => Begun::Origin(FellBack::LaptopAway),
        Shown::ClientGone => {
            laptop.side.abort();
            Begun::Abort
        }
        Shown::Opaque(why) => {
            conn.context.requests.opaque(conn.port, why, To::Laptop(route));
            match relay::both_ways(&mut conn.client, &mut laptop).await {
                Ok(()) => Begun::Over,
                Err(_) => {
                    laptop.side.abort();
                    Begun::Abort
                }
            }
        }
    }
}

/// Runs while bytes are held, for as long as their kind allows.
type Deadline = Option<(Duration, Pin<Box<Sleep>>)>;

fn poll_shown(
    cx: &mut Context<'_>,
    conn: &mut Connection,
    laptop: &mut End<TunnelStream>,
    deadline: &mut Deadline,
) -> Poll<Shown> {
    if let Poll::Ready(shown) = poll_client(cx, conn, deadline) {
        return Poll::Ready(shown);
    }
    while laptop.read.is_empty() {
        match laptop.poll_fill(cx) {
            Poll::Pending => break,
            Poll::Ready(Ok(read)) if read > 0 && begins_settings(laptop.read.filled()) == Some(true) => {}
            Poll::Ready(Ok(_)) => return Poll::Ready(Shown::Opaque(Opaque::ServerSpokeFirst)),
            Poll::Ready(Err(_)) => return Poll::Ready(Shown::LaptopLost),
        }
    }
    Poll::Pending
}

/// The first signs of the client.
fn poll_client(cx: &mut Context<'_>, conn: &mut Connection, deadline: &mut Deadline) -> Poll<Shown> {
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
    if conn.client.read.is_empty() {
        return Poll::Pending;
    }
    let bound = patience(conn.client.read.filled());
    let deadline = match deadline {
        Some(deadline) if deadline.0 == bound => deadline,
        _ => deadline.insert((bound, Box::pin(tokio::time::sleep(bound)))),
    };
    deadline.1.as_mut().poll(cx).map(|()| Shown::Opaque(Opaque::NotHttp))
}
