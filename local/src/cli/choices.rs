//! Choices that can be typed and configured.

use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fallback {
    /// A 503 with a message that says what to do
    Answer,
    /// The target's own pods
    Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Compat {
    /// The header `kubernetes-route-as: ME`, in addition to the default
    BridgeToKubernetes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Agents in pods of their own; nothing restarts
    StandIn,
    /// An agent in each of the target's pods, which roll out once
    Sidecar,
}
