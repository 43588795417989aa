//! Sends a request's head to a laptop while the stream opens, so that it costs no round trip.

use bridge_proto::tunnel::TunnelStream;
use tokio::io::AsyncWriteExt as _;

use super::head::Request;
use super::rewrite;
use crate::connection::Connection;
use crate::inbound::{self, Unreached};
use crate::io::end::End;
use crate::routes::Entry;

/// The result of the attempt to reach the laptop.
pub(super) enum Reached {
    /// The head has been delivered.
    Yes(End<TunnelStream>),
    No(Unreached, String),
    ClientGone,
}

/// Opens a stream, if there is none, and sends the head ahead. The open message carries the request's hops. `opened`: a
/// stream that is already open and has carried nothing.
pub(super) async fn reach(
    conn: &mut Connection,
    request: &Request,
    (route, hops): (&Entry, &str),
    opened: Option<End<TunnelStream>>,
) -> Reached {
    let head = rewrite::for_laptop(&conn.client.read.filled()[..request.head_len], hops);
    if let Some(mut end) = conn.kept.take(route, &conn.context.tasks).await {
        let sent = end.side.bytes().0;
        let written = tokio::select! {
            written = end.side.write_all(&head) => written,
            _ = conn.client.failure() => return Reached::ClientGone,
        };
        match written {
            Ok(()) => return Reached::Yes(end),
            // It broke meanwhile, before any of this request was sent.
            Err(_) if end.side.bytes().0 == sent => {}
            Err(error) => return Reached::No(Unreached::Unknown, error.to_string()),
        }
    }
    let (port, peer) = (conn.port.number, conn.peer);
    let mut end = match opened {
        Some(end) => end,
        None => {
            let stream = tokio::select! {
                stream = inbound::open(route, port, peer) => stream,
                _ = conn.client.failure() => return Reached::ClientGone,
            };
            match stream {
                Ok(stream) => End::new(stream),
                Err(why) => return Reached::No(why.into(), String::new()),
            }
        }
    };
    let opening = async {
        // If this fails, the answer to `Open` has the reason.
        let written = end.side.write_all(&head).await;
        end.side.opened().await.map(|()| written)
    };
    let answered = tokio::select! {
        answered = opening => answered,
        _ = conn.client.failure() => return Reached::ClientGone,
    };
    match answered {
        Ok(Ok(())) => Reached::Yes(end),
        Ok(Err(error)) => Reached::No(Unreached::Unknown, error.to_string()),
        Err(refused) => Reached::No(Unreached::from(&refused), inbound::words(refused)),
    }
}
