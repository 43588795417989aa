//! Inbound streams: from a caller's connection here to a port of a laptop.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge_proto::tunnel::{Refused, TunnelStream};
use bridge_proto::v1::{Cause, Open};
use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::io::end::End;
use crate::io::side::Side;
use crate::routes::Entry;
use crate::session::{Parked, share};

/// The time that the local process has to close, once its answer is complete.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why a stream is not opened. Nothing was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// The session has ended.
    Ended,
    /// The session has used up its share of this agent.
    Full,
}

/// Opens a stream to the route's local port, as soon as the laptop has a call parked.
pub(crate) async fn open(
    route: &Entry,
    target_port: u16,
    peer: SocketAddr,
) -> Result<TunnelStream, NotOpened> {
    let session = &route.session;
    // Before the wait, so that waiting streams count as well.
    let room = session.budget.begin(share::STREAM).ok_or(NotOpened::Full)?;
    let Parked { incoming, outgoing, room: call } = session.take_parked().await.ok_or(NotOpened::Ended)?;
    session.streams.fetch_add(1, Ordering::Relaxed);
    let open = Open {
        session: session.id.clone(),
        target_port: target_port.into(),
        local_port: route.local_port.into(),
        peer: peer.to_string(),
        ..Open::default()
    };
    // The call lasts as long as its messages are read.
    let incoming = session.while_it_lives(incoming).map(move |frame| {
        let _lasts = &call;
        frame
    });
    Ok(TunnelStream::open(open, incoming, outgoing, room))
}

/// The consequence of a refusal for a request whose head was sent ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreached {
    /// The laptop is there, but its port does not answer.
    Port,
    /// Its local port leads back to the cluster.
    Loop,
    /// The laptop has no room for another connection; nothing was delivered.
    Crowded,
    /// No laptop serves this route (any more); nothing was delivered.
    Laptop,
    /// The session has used up its share of this agent; nothing was delivered.
    Full,
    /// It was lost, and what was delivered is unknown.
    Unknown,
}

impl From<NotOpened> for Unreached {
    fn from(why: NotOpened) -> Self {
        match why {
            NotOpened::Ended => Unreached::Laptop,
            NotOpened::Full => Unreached::Full,
        }
    }
}

impl From<&Refused> for Unreached {
    fn from(refused: &Refused) -> Self {
        match refused.cause {
            Cause::TunnelLost => Unreached::Unknown,
            Cause::Forbidden | Cause::Cancelled | Cause::Protocol => Unreached::Laptop,
            Cause::Loop => Unreached::Loop,
            Cause::NoRoom => Unreached::Crowded,
            _ => Unreached::Port,
        }
    }
}

/// The laptop's message, else the meaning of its refusal.
pub(crate) fn words(refused: Refused) -> String {
    if refused.detail.is_empty() { refused.to_string() } else { refused.detail }
}

/// Finishes a stream whose work is done, so that the local process sees an orderly end.
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
