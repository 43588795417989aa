//! Why a connect or disconnect failed: what happened, to which object, what to do, and the exit code for it.

use bridge_cluster::error::{ClusterError, exit};
use bridge_proto::matching::BadMatch;
use bridge_proto::v1;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("this bridge command carries no agent for the cluster")]
    NoProgram,
    #[error("{0} is no port: ports are numbers from 1 to 65535")]
    BadPort(u32),
    #[error("the match that was asked for {0}")]
    BadMatch(BadMatch),
    #[error("the agents are ready, but no tunnel to them could be opened: {reason}")]
    NoTunnel { reason: String },
    #[error("Service {service} has agents of another version of bridge: {reason}")]
    OtherVersion { service: String, reason: String },
    #[error("Service {service} was switched, but no connection through it reached an agent for {seconds} s")]
    NotSeen { service: String, seconds: u64 },
    #[error(
        "requests would come to port {port} of this laptop, where {listener} listens and leads them back into the cluster"
    )]
    ListenerThere { port: u32, listener: String, remote: String },
    #[error(
        "requests to Service {service} come to port {port} of this laptop: what listens there must not lead into the cluster"
    )]
    RequestsCome { service: String, port: u32 },
    #[error("given up before it was connected")]
    GivenUp,
    #[error("no session with {wanted}")]
    NoSession { wanted: String, sessions: Vec<String> },
    #[error("{first}; and it could not be undone: {undo}")]
    LeftBehind { first: Box<Failure>, undo: ClusterError },
}

impl Failure {
    /// The same, and undoing it failed as well.
    pub(crate) fn and_left_behind(self, undo: &ClusterError) -> Self {
        Self::LeftBehind { first: Box::new(self), undo: undo.clone() }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Cluster(error) => error.exit_code(),
            Self::NoProgram
            | Self::BadPort(_)
            | Self::BadMatch(_)
            | Self::ListenerThere { .. }
            | Self::RequestsCome { .. } => exit::USAGE,
            Self::NoTunnel { .. } | Self::OtherVersion { .. } | Self::NotSeen { .. } => exit::NOT_READY,
            Self::GivenUp => 130,
            Self::NoSession { .. } => exit::TARGET,
            Self::LeftBehind { .. } => exit::LEFT_BEHIND,
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Cluster(error) => error.advice(),
            Self::NoProgram => Some(
                "it was built by plain cargo: build it with `make build`, or name an image that has the agent with \
                 --agent-image"
                    .to_owned(),
            ),
            Self::NoTunnel { .. } => {
                Some("`bridge logs` shows the daemon's side, `bridge doctor` checks rights and network".to_owned())
            }
            Self::OtherVersion { service, .. } => Some(format!(
                "`bridge list` shows who is connected to {service}: once they have disconnected, agents of your version \
                 come; an image named with --agent-image must be of your version"
            )),
            Self::NotSeen { .. } => {
                Some("everything was put back; does kube-proxy (or what stands for it) follow Services?".to_owned())
            }
            Self::ListenerThere { listener, remote, .. } => {
                Some(format!("choose another port, --port LOCAL:{remote}, or end {listener}"))
            }
            Self::RequestsCome { service, .. } => {
                Some(format!("listen on another port, or bridge disconnect {service}"))
            }
            Self::NoSession { sessions, .. } if sessions.is_empty() => None,
            Self::NoSession { sessions, .. } => Some(format!("there is: {}", sessions.join(", "))),
            Self::LeftBehind { .. } => Some("`bridge clean` tries again, from any laptop".to_owned()),
            Self::BadPort(_) | Self::BadMatch(_) | Self::GivenUp => None,
        }
    }

    /// As the command gets it.
    pub(crate) fn to_message(&self) -> v1::Failure {
        v1::Failure {
            exit_code: self.exit_code().into(),
            message: self.to_string(),
            advice: self.advice().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_of_another_version_are_told_in_two_lines() {
        let reason = "the agent is too old for this bridge 0.2.0 (protocol 2)".to_owned();
        let failure = Failure::OtherVersion { service: "orders".into(), reason }.to_message();
        assert_eq!(
            failure.message,
            "Service orders has agents of another version of bridge: \
             the agent is too old for this bridge 0.2.0 (protocol 2)"
        );
        assert!(
            failure.advice.starts_with("`bridge list` shows who is connected to orders"),
            "{}",
            failure.advice
        );
    }
}
