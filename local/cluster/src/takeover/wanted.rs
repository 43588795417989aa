//! What goes into a take-over, and what its tunnels need of it.

use bridge_deploy::AgentSource;

use crate::client::Cluster;
use crate::snapshot::Snapshot;
use crate::state::Claim;
use crate::workload::Labels;

/// What is to be taken over, for whom, and by what agents.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub cluster: Cluster,
    pub service: String,
    /// The Service and what stands behind it, as it was when the mode was chosen.
    pub snapshot: Snapshot,
    pub claim: Claim,
    pub agent: AgentSource,
    /// How many agents; `None`: as many as the origin has pods.
    pub replicas: Option<u32>,
}

/// What the agents are known by and reached with.
#[derive(Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The stand-in's id.
    pub stand_in: String,
    /// The uid of its Deployment: only its pods are agents.
    pub deployment: String,
    /// The agents' port for daemons.
    pub control_port: u16,
    pub key: Vec<u8>,
    /// The Service's own selector.
    pub original: Labels,
    /// The agents were there before, made of an earlier template of the origin.
    pub(super) stale: bool,
}
