//! Runs a command supervised, as `bridge run` does. The cluster is played in memory: one address, whose connections end
//! when the command ends them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use bridge_supervise::{Carry, Destinations, Flow, Refusal, SuperviseError, Transport, Verdict, Way};
use bytes::Bytes;
use tokio::net::TcpStream;

/// The cluster's only address, of loopback's own range: nothing leaves the machine.
pub const CLUSTER: Ipv4Addr = Ipv4Addr::new(127, 96, 0, 1);

/// Runs it until it ends.
///
/// # Errors
///
/// The errors of supervision.
pub async fn run(command: Command) -> Result<ExitStatus, SuperviseError> {
    let cluster = Arc::new(Cluster);
    bridge_supervise::run(command, Arc::clone(&cluster), cluster, |_| ()).await
}

struct Cluster;

impl Destinations for Cluster {
    fn of(&self, destination: SocketAddr, _: Transport) -> Verdict {
        if destination.ip() == IpAddr::V4(CLUSTER) { Verdict::Relay } else { Verdict::Leave }
    }
}

impl Way for Cluster {
    type Stream = Silence;

    async fn dial(&self, _: SocketAddr) -> Result<Silence, Refusal> {
        Ok(Silence)
    }

    async fn flow(&self, _: SocketAddr) -> Result<Flow, Refusal> {
        Err(Refusal::Refused)
    }

    async fn resolve(&self, _: Bytes, _: SocketAddr) -> Bytes {
        Bytes::new()
    }
}

struct Silence;

impl Carry for Silence {
    async fn carry(self, mut local: TcpStream) {
        let _ = tokio::io::copy(&mut local, &mut tokio::io::sink()).await;
    }
}
