//! Inbound streams: from a caller's connection here to a port of a laptop.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge_proto::tunnel::{Refused, TunnelStream};
use bridge_proto::v1::{Cause, Open};
use tokio::io::AsyncWriteExt as _;

use crate::connection::end::{End, Side};
use crate::routes::Entry;

/// How long the local process may take to close, once its answer is complete.
const FAREWELL: Duration = Duration::from_secs(5);

/// Asks for a stream to where the route leads, as soon as the laptop has a call parked. `None`: the session has ended.
pub(crate) async fn open(route: &Entry, target_port: u16, peer: SocketAddr) -> Option<TunnelStream> {
    let session = &route.session;
    let parked = session.take_parked().await?;
    session.streams.fetch_add(1, Ordering::Relaxed);
    let open = Open {
        session: session.id.clone(),
        target_port: target_port.into(),
        local_port: route.local_port.into(),
        peer: peer.to_string(),
        ..Open::default()
    };
    let incoming = session.while_it_lives(parked.incoming);
    Some(TunnelStream::open(open, incoming, parked.outgoing, &session.budget))
}

/// What a refusal means for a request whose head has been sent ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// The laptop is there, but its port does not answer.
    Port,
    /// The laptop is not there (any more) for this route; nothing was delivered.
    Laptop,
    /// It was lost, and nobody knows what was delivered.
    Unknown,
}

impl From<&Refused> for Unreached {
    fn from(refused: &Refused) -> Self {
        match refused.cause {
            Cause::TunnelLost => Unreached::Unknown,
            Cause::Forbidden | Cause::Cancelled | Cause::Protocol => Unreached::Laptop,
            _ => Unreached::Port,
        }
    }
}

/// Takes leave of a stream whose work is done: it is finished in order, so that the local process sees an orderly end.
pub(crate) async fn farewell(mut end: End<TunnelStream>) {
    let orderly = async {
        if end.side.shutdown().await.is_ok() {
            let _ = tokio::io::copy(&mut end.side, &mut tokio::io::sink()).await;
        }
    };
    if tokio::time::timeout(FAREWELL, orderly).await.is_err() {
        end.side.abort();
    }
}
