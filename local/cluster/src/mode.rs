//! The ways to connect a Service. One word each in code, output and docs. An agent aside ([`crate::aside`]) connects
//! none.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The way a Service is connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Agents in pods of their own take the place of the origin behind the Service; nothing restarts.
    #[default]
    StandIn,
    /// An agent in each of the origin's own pods, in front of the container's port; the pods roll out once.
    Sidecar,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StandIn => "stand-in",
            Self::Sidecar => "sidecar",
        })
    }
}
