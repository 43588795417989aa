//! Serves one caller's connection, from its first byte to its last: request by request, or unread.

use std::sync::Arc;

use super::everything::{self, Begun};
use super::next::{Next, next};
use super::{After, Aside, Connection, Opened};
use crate::http1;
use crate::http1::head::Request;
use crate::http2;
use crate::io::relay;
use crate::io::side::Side as _;
use crate::requests::{FellBack, Record, To};
use crate::routes::{Entry, Goes};

/// How a connection ended before a request came.
enum Broken {
    /// It was relayed until its end.
    Over,
    Abort,
}

/// Serves a connection until its end.
pub(crate) async fn serve(mut conn: Connection) {
    let everything = conn.context.routes().everything(conn.port);
    let mut opened = match everything {
        None => {
            conn.origin.dial();
            None
        }
        Some(route) => match Box::pin(begin(&mut conn, route)).await {
            Ok(opened) => opened,
            Err(Broken::Over) => return,
            Err(Broken::Abort) => return abort(conn),
        },
    };
    loop {
        // Ends with the exchange, or with the connection if that goes on unread.
        let mut record = None;
        let after = match next(&mut conn).await {
            Next::Request(request, goes, begun) => {
                let record = record.insert(begun);
                exchange(&mut conn, &request, goes, opened.take(), record).await
            }
            Next::Opaque(why) => {
                if let Some(why) = why {
                    let to =
                        opened.as_ref().map_or_else(|| unread_goes_to(&conn), |(route, _)| To::Laptop(route));
                    conn.context.requests.opaque(conn.port, why, to);
                }
                if conn.goes_nowhere() { After::Abort } else { After::Opaque }
            }
            Next::Http2 => return Box::pin(http2::serve(conn, opened)).await,
            Next::Close => After::Close,
            Next::Abort => After::Abort,
        };
        match after {
            After::Next => {}
            After::Opaque | After::ToOrigin => return Box::pin(go_on_unread(conn, opened)).await,
            After::Close => {
                // The client may be slow to close.
                drop(record);
                return Box::pin(close(conn)).await;
            }
            After::Abort => return abort(conn),
        }
    }
}

/// Begins on a port that goes to a laptop as a whole.
async fn begin(conn: &mut Connection, route: Arc<Entry>) -> Result<Option<Opened>, Broken> {
    let begun = if is_from_this_pod(conn) {
        Begun::Origin(FellBack::OwnPod)
    } else {
        everything::begin(conn, &route).await
    };
    match begun {
        Begun::Laptop(end) => return Ok(Some((route, end))),
        Begun::Unopened => {}
        Begun::Origin(why) => {
            conn.aside = Some(Aside::Origin(why, route));
            conn.origin.dial();
        }
        Begun::Unanswered => conn.aside = Some(Aside::Nowhere(route)),
        Begun::Over => return Err(Broken::Over),
        Begun::Abort => return Err(Broken::Abort),
    }
    Ok(None)
}

/// Whether it has not come through a network: a port-forward into this pod, or a dial from the pod to itself. Behind it
/// may be the very laptop that it would go to, which cannot be detected in bytes that are not HTTP.
fn is_from_this_pod(conn: &Connection) -> bool {
    let to = conn.client.side.local_addr();
    to.is_ok_and(|to| to.ip().to_canonical() == conn.peer.ip())
}

/// The destination if it is relayed unread.
fn unread_goes_to(conn: &Connection) -> To<'_> {
    match &conn.aside {
        None => To::Origin,
        Some(Aside::Origin(why, route)) => To::OriginAfterAll(*why, route),
        Some(Aside::Nowhere(route)) => To::Nowhere(route),
    }
}

/// Exchanges one request for its answer, at the laptop or the origin.
async fn exchange(
    conn: &mut Connection,
    request: &Request,
    goes: Goes,
    opened: Option<Opened>,
    record: &mut Record,
) -> After {
    let copy = match goes {
        Goes::Laptop(way) if !has_just_tried(conn, &way.route, record) => {
            let opened = opened.filter(|(theirs, _)| theirs.leads_where(&way.route)).map(|(_, end)| end);
            let after = Box::pin(http1::laptop::exchange(conn, request, &way, opened, record)).await;
            if after != After::ToOrigin {
                return after;
            }
            None
        }
        Goes::Laptop(_) | Goes::Origin => None,
        Goes::Copied(way) => http1::copy::begin(conn, request, *way, record),
    };
    if std::mem::take(&mut conn.served_by_laptop) {
        conn.origin.drop_if_stale();
    }
    http1::origin::exchange(conn, request, copy, record).await
}

/// Whether this laptop failed to answer a moment ago, when the connection began with this request.
fn has_just_tried(conn: &mut Connection, route: &Arc<Entry>, record: &mut Record) -> bool {
    match conn.aside.take() {
        Some(Aside::Origin(why, tried)) if why != FellBack::OwnPod => {
            let same = Arc::ptr_eq(&tried, route);
            if same {
                record.fell_back(why);
            }
            same
        }
        aside => {
            conn.aside = aside;
            false
        }
    }
}

/// Relays the rest unread.
async fn go_on_unread(mut conn: Connection, opened: Option<Opened>) {
    conn.kept.clear(&conn.context.tasks);
    if let Some((_, mut laptop)) = opened {
        // Dropping the stream resets it.
        return match relay::both_ways(&mut conn.client, &mut laptop).await {
            Ok(()) => {}
            Err(_) => abort(conn),
        };
    }
    if std::mem::take(&mut conn.served_by_laptop) {
        if conn.client.ended && conn.client.read.is_empty() {
            // The origin has nothing to send to it.
            return close(conn).await;
        }
        conn.origin.drop_if_stale();
    }
    let up = std::future::poll_fn(|cx| conn.origin.poll_up(cx).map(|up| up.map(drop))).await;
    let relayed = match (up, conn.origin.up()) {
        (Ok(()), Some(origin)) => relay::both_ways(&mut conn.client, origin).await,
        (up, _) => up,
    };
    if relayed.is_err() {
        abort(conn);
    }
}

/// Ends in order.
async fn close(mut conn: Connection) {
    conn.kept.clear(&conn.context.tasks);
    drop(conn.origin);
    conn.client.close().await;
}

/// Ends both sides with a reset.
fn abort(mut conn: Connection) {
    conn.kept.clear(&conn.context.tasks);
    conn.origin.abort();
    conn.client.side.abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        fn size_of_result<T>(_: impl FnOnce(Connection) -> T) -> usize {
            size_of::<T>()
        }
        let size = size_of_result(serve);
        assert!(size <= 1536, "each connection holds {size} bytes beside its buffers");
    }
}
