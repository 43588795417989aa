//! The parameters of a take-over, and what its tunnels need from it.

use bridge_deploy::{AgentSource, Restore};

use crate::agents::AgentsOf;
use crate::client::Cluster;
use crate::snapshot::Snapshot;
use crate::state::Claim;
use crate::workload::Labels;

/// The Service to take over, the user, and the agents.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub cluster: Cluster,
    pub service: String,
    /// The Service and what is behind it, as it was when the mode was chosen.
    pub snapshot: Snapshot,
    pub claim: Claim,
    pub agent: AgentSource,
    /// The number of agents; `None`: as many as the origin has pods.
    pub replicas: Option<u32>,
}

/// The identity of the agents, and the way to reach them.
#[derive(Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The id of the stand-in, or of the sidecars.
    pub stand_in: String,
    /// Which pods are agents.
    pub agents: AgentsOf,
    /// The agents' port for daemons.
    pub control_port: u16,
    pub key: Vec<u8>,
    /// The Service's own selector.
    pub original: Labels,
    /// When the agents restore the Service without a laptop; `None`: they do not.
    pub restore: Option<Restore>,
    /// The agents existed before, with an earlier template of the origin.
    pub(super) stale: bool,
}
