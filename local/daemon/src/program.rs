//! The programs that this command carries to the cluster.

use bridge_deploy::AgentSource;

use crate::failure::Failure;

/// The programs that `make build` put into this command.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The agent, one zstd frame with a checksum; it may be cut anywhere into parts of a ConfigMap's size.
    pub agent_zst: &'static [u8],
    /// The program by which agents restore what they are part of, likewise.
    pub restorer_zst: &'static [u8],
    /// The static program that puts the parts together: `loader PART… TO -- ARG…`.
    pub loader: &'static [u8],
    /// The architecture of all, as Kubernetes calls it (`kubernetes.io/arch`): "amd64" or "arm64".
    pub architecture: &'static str,
}

// Statics, because a constant is in the program as often as it is used.
#[cfg(carries_agent)]
static AGENT_ZST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent.zst"));
#[cfg(carries_agent)]
static RESTORER_ZST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/restorer.zst"));
#[cfg(carries_agent)]
static LOADER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/loader"));

/// The agent in this command; none if plain cargo built it.
#[cfg(carries_agent)]
pub fn carried() -> Option<Program> {
    Some(Program {
        agent_zst: AGENT_ZST,
        restorer_zst: RESTORER_ZST,
        loader: LOADER,
        architecture: env!("BRIDGE_AGENT_ARCHITECTURE"),
    })
}

/// The agent in this command; none if plain cargo built it.
#[cfg(not(carries_agent))]
pub fn carried() -> Option<Program> {
    None
}

/// The architecture of the agent in this command.
pub(crate) fn architecture() -> Option<&'static str> {
    carried().map(|program| program.architecture)
}

/// The source of a stand-in's agents: this image, or this command if it is empty.
pub(crate) fn source(image: &str) -> Result<AgentSource, Failure> {
    if !image.is_empty() {
        return Ok(AgentSource::Image(image.to_owned()));
    }
    let carried = carried().ok_or(Failure::NoProgram)?;
    Ok(AgentSource::Carried(bridge_deploy::Program {
        architecture: carried.architecture.to_owned(),
        os: "linux".to_owned(),
        loader: carried.loader.into(),
        agent: carried.agent_zst.into(),
        restorer: carried.restorer_zst.into(),
    }))
}
