//! The agent's program, which travels with this command to the cluster.

/// What `make build` put into this command.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The agent, one zstd frame with a checksum; it may be cut anywhere into parts of a ConfigMap's size.
    pub agent_zst: &'static [u8],
    /// The static program that puts the parts together: `loader PART… TO -- ARG…`.
    pub loader: &'static [u8],
    /// What both run on, as Kubernetes calls it (`kubernetes.io/arch`): "amd64" or "arm64".
    pub architecture: &'static str,
}

// Statics, because what is written where it is used is in the program as often as that code is.
#[cfg(carries_agent)]
static AGENT_ZST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent.zst"));
#[cfg(carries_agent)]
static LOADER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/loader"));

/// The agent that this command carries; none if plain cargo built it.
#[cfg(carries_agent)]
pub fn carried() -> Option<Program> {
    Some(Program { agent_zst: AGENT_ZST, loader: LOADER, architecture: env!("BRIDGE_AGENT_ARCHITECTURE") })
}

/// The agent that this command carries; none if plain cargo built it.
#[cfg(not(carries_agent))]
pub fn carried() -> Option<Program> {
    None
}
