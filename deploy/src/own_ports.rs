//! The ports of the agent itself.

use serde_json::Value;

use crate::pod::{ListenPort, tcp_ports};

/// The first port to try for ourselves: below the range of ephemeral ports, and not in common use.
pub(crate) const FIRST_OWN_PORT: u16 = 7390;

/// Ports of the agent itself, besides those of the Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnPorts {
    /// On loopback: for daemons.
    pub control: u16,
    /// On the pod's address: `/ready`.
    pub readiness: u16,
    /// On loopback: for Prometheus.
    pub metrics: u16,
}

/// Ports that neither the Service leads to nor any container of the origin declares.
#[must_use]
pub fn own_ports(pod_template: &Value, listen: &[ListenPort]) -> OwnPorts {
    let declared = tcp_ports(pod_template);
    let taken =
        |port: u16| declared.iter().any(|d| d.number == port) || listen.iter().any(|l| l.listen == port);
    let mut free = (FIRST_OWN_PORT..u16::MAX).filter(|port| !taken(*port));
    let mut own = |otherwise: u16| free.next().unwrap_or(otherwise);
    OwnPorts {
        control: own(FIRST_OWN_PORT),
        readiness: own(FIRST_OWN_PORT + 1),
        metrics: own(FIRST_OWN_PORT + 2),
    }
}
