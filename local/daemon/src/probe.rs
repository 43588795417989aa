//! Checks that the Service leads to the agents: an agent opens connections to the Service, and we wait for one to
//! arrive at an agent; and that agents reach the origin. Nothing is sent on them, so one that still reaches the origin disturbs nobody.

use std::net::SocketAddr;
use std::time::Duration;

use bridge_cluster::snapshot::Snapshot;
use bridge_proto::v1;
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::{SelectAll, select_all};
use tonic::Streaming;

use super::failure::Failure;
use super::session::Session;
use super::tunnel::Client;

/// kube-proxy follows within its `minSyncPeriod` (1 s by default); this leaves time for slower implementations.
const SEEN_WITHIN: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// The connections that arrive at the agents from now on.
pub(crate) struct Arrivals {
    streams: SelectAll<Streaming<v1::Arrival>>,
    clients: Vec<Client>,
}

/// Begins to listen, at all agents that have a tunnel.
pub(crate) async fn listen(session: &Session) -> Result<Arrivals, Failure> {
    let attended = session.live().agents.into_values().filter_map(|agent| agent.attended);
    let clients: Vec<Client> = attended.map(|attended| attended.client).collect();
    let mut streams = Vec::new();
    for client in &clients {
        let arrivals = client.clone().arrivals(v1::ArrivalsRequest {}).await;
        streams.push(
            arrivals
                .map_err(|status| Failure::NoTunnel { reason: status.message().to_owned() })?
                .into_inner(),
        );
    }
    Ok(Arrivals { streams: select_all(streams), clients })
}

/// The address of the Service: its first TCP port.
pub(crate) fn address(snapshot: &Snapshot, service: &str) -> Result<SocketAddr, Failure> {
    let none = || Failure::NoTunnel { reason: format!("Service {service} has no address or no TCP port") };
    snapshot.address()?.ok_or_else(none)
}

/// Waits until each agent that has a tunnel reaches this address: nodes learn late of pods that have become ready.
pub(crate) async fn until_reached(session: &Session, address: SocketAddr) {
    let attended = session.live().agents.into_values().filter_map(|agent| agent.attended);
    let reached = attended.map(|attended| reached(attended.client, address));
    if tokio::time::timeout(SEEN_WITHIN, join_all(reached)).await.is_err() {
        tracing::warn!(session = %session.facts.id, %address, "the agents do not reach the pods");
    }
}

/// Resolves when an agent has reached the address, or has gone.
async fn reached(mut client: Client, address: SocketAddr) {
    let request = v1::ProbeRequest { address: address.to_string() };
    let mut every = tokio::time::interval(PROBE_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        match client.probe(request.clone()).await {
            Ok(reply) if !reply.get_ref().failure.is_empty() => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Probes until a connection arrives at an agent: before the switch none does. Whose it is does not matter, and a node
/// may translate the address of a connection from a pod to itself.
pub(crate) async fn until_seen(
    session: &Session,
    mut arrivals: Arrivals,
    address: SocketAddr,
) -> Result<(), Failure> {
    let request = v1::ProbeRequest { address: address.to_string() };
    let mut turn = arrivals.clients.iter().cycle();
    let probing = async {
        let mut every = tokio::time::interval(PROBE_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(arrival) = arrivals.streams.next() => if arrival.is_ok() { return },
                _ = every.tick() => {
                    let Some(client) = turn.next() else { return };
                    // Another follows one that fails; if none arrives, the final error says so.
                    let _ = client.clone().probe(request.clone()).await;
                }
            }
        }
    };
    let seen = tokio::time::timeout(SEEN_WITHIN, probing).await;
    seen.map_err(|_| Failure::NotSeen {
        service: session.facts.service.clone(),
        seconds: SEEN_WITHIN.as_secs(),
    })
}
