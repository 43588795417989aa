//! Tells the supervisor which destinations belong to the cluster, and how to reach them.

use std::net::SocketAddr;
use std::sync::Arc;

use bridge_proto::tunnel::Refused;
use bridge_proto::v1::Cause;
use bridge_supervise::{Carry, Flow, Refusal, Transport, Verdict};
use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use bridge_inside::network::{
    self, ClusterDns, Destinations, Dialled, FlowError, Flows, Place, Resolver, Streams,
};

/// Answers the supervisor which destinations are the cluster's.
pub(super) struct Where(pub(super) Arc<Destinations>);

impl bridge_supervise::Destinations for Where {
    fn of(&self, destination: SocketAddr, _: Transport) -> Verdict {
        match self.0.of(destination) {
            Place::Laptop => Verdict::Leave,
            Place::Cluster => Verdict::Relay,
            Place::Resolver => Verdict::Resolve,
        }
    }
}

/// The way into the cluster, through the daemon.
pub(super) struct Way {
    pub(super) streams: Arc<Streams>,
    pub(super) flows: Flows,
    pub(super) resolver: Arc<Resolver<ClusterDns>>,
    pub(super) listens_tx: mpsc::Sender<SocketAddr>,
}

impl bridge_supervise::Way for Way {
    type Stream = Connected;

    async fn dial(&self, destination: SocketAddr) -> Result<Connected, Refusal> {
        self.streams.dial(destination).await.map(Connected).map_err(|refused| refusal(&refused))
    }

    async fn flow(&self, destination: SocketAddr) -> Result<Flow, Refusal> {
        let opened = self.flows.open(destination).await.map_err(|error| match error {
            FlowError::Away => Refusal::NetworkUnreachable,
            FlowError::Refused => Refusal::HostUnreachable,
        })?;
        let network::Flow { datagrams_tx, datagrams_rx } = opened;
        Ok(Flow { datagrams_tx, datagrams_rx })
    }

    async fn resolve(&self, query: Bytes, resolver: SocketAddr) -> Bytes {
        self.resolver.answer(query, resolver).await.message
    }

    fn listens(&self, address: SocketAddr) {
        // If there is no room, it is one of many, and no single one can be named.
        let _ = self.listens_tx.try_send(address);
    }
}

pub(super) struct Connected(Dialled);

impl Carry for Connected {
    async fn carry(self, local: TcpStream) {
        // If the daemon is gone, the connection is closed here, which its program sees.
        let _ = self.0.carry(&local).await;
    }
}

fn refusal(refused: &Refused) -> Refusal {
    match refused.cause {
        Cause::Refused => Refusal::Refused,
        Cause::TimedOut => Refusal::TimedOut,
        Cause::Forbidden => Refusal::Forbidden,
        Cause::NetworkUnreachable | Cause::TunnelLost | Cause::NoRoom => Refusal::NetworkUnreachable,
        // Of a newer agent's causes, too.
        _ => Refusal::HostUnreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_fails_as_in_a_pod_and_without_a_known_cause_as_to_an_unknown_host() {
        for (cause, expected) in [
            (Cause::Refused, Refusal::Refused),
            (Cause::TimedOut, Refusal::TimedOut),
            (Cause::Forbidden, Refusal::Forbidden),
            (Cause::Unreachable, Refusal::HostUnreachable),
            (Cause::NetworkUnreachable, Refusal::NetworkUnreachable),
            (Cause::TunnelLost, Refusal::NetworkUnreachable),
            (Cause::Unspecified, Refusal::HostUnreachable),
        ] {
            assert_eq!(refusal(&Refused { cause, detail: String::new() }), expected, "{cause:?}");
        }
    }
}
