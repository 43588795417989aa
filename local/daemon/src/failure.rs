//! Why a connect or disconnect failed: a cause for programs; for people, what happened, to which object, and what to
//! do.

use bridge_cluster::error::ClusterError;
use bridge_proto::matching::BadMatch;
use bridge_proto::target::{BadTarget, Target};
use bridge_proto::v1::{self, failure::Cause};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error("this bridge was built without the agent")]
    NoProgram,
    #[error("invalid port {0}: ports are numbers from 1 to 65535")]
    BadPort(u32),
    #[error("invalid target {text:?}: {why}")]
    BadTarget { text: String, why: BadTarget },
    #[error("the requested match {0}")]
    BadMatch(BadMatch),
    #[error("the agents are ready, but bridge cannot open a tunnel to them: {reason}")]
    NoTunnel { reason: String },
    #[error("Service {service} has agents of another version of bridge: {reason}")]
    OtherVersion { service: String, reason: String },
    #[error(
        "Service {service} was switched to the agents, but no connection through it reached an agent for \
         {seconds} s"
    )]
    NotSeen { service: String, seconds: u64 },
    #[error(
        "requests would go to port {port} of your laptop, where {listener} listens and would send them back \
         into the cluster"
    )]
    ListenerThere { port: u32, listener: String, remote: String },
    #[error(
        "requests to Service {service} go to port {port} of your laptop: a listener there must not lead back \
         into the cluster"
    )]
    RequestsCome { service: String, port: u32 },
    #[error("cancelled before it was connected")]
    GivenUp,
    #[error("no session with {wanted}")]
    NoSession { wanted: String, sessions: Vec<String> },
    #[error("{} in namespace {namespace} has no agents", .target.sentence())]
    NoAgents { target: Target, namespace: String },
    #[error("{first}; undoing it failed, too: {undo}")]
    LeftBehind { first: Box<Failure>, undo: ClusterError },
}

impl Failure {
    /// The same failure, when undoing it failed as well.
    pub(crate) fn and_left_behind(self, undo: &ClusterError) -> Self {
        Self::LeftBehind { first: Box::new(self), undo: undo.clone() }
    }

    /// The kind of failure, for programs.
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Cluster(error) => error.cause(),
            Self::NoProgram => Cause::NoAgent,
            Self::BadTarget { .. } => Cause::BadTarget,
            Self::BadPort(_) | Self::BadMatch(_) => Cause::BadRequest,
            Self::NoTunnel { .. } => Cause::NoTunnel,
            Self::OtherVersion { .. } => Cause::OtherVersion,
            Self::NotSeen { .. } => Cause::NotSeen,
            Self::ListenerThere { .. } => Cause::ListenerThere,
            Self::RequestsCome { .. } => Cause::RequestsCome,
            Self::GivenUp => Cause::GivenUp,
            Self::NoSession { .. } | Self::NoAgents { .. } => Cause::NoSession,
            Self::LeftBehind { .. } => Cause::LeftBehind,
        }
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Cluster(error) => error.advice(),
            Self::NoProgram => Some(
                "build it with `make build`, or pass --agent-image with an image that contains the agent"
                    .to_owned(),
            ),
            Self::NoTunnel { .. } => Some(
                "`bridge logs` shows the daemon's side, `bridge doctor` checks rights and network".to_owned(),
            ),
            Self::OtherVersion { service, .. } => Some(format!(
                "`bridge list` shows who is connected to {service}: after they disconnect, bridge starts \
                 agents of your version; an image for --agent-image must be of your version, too"
            )),
            Self::NotSeen { .. } => Some(
                "bridge restored everything; check that kube-proxy, or its replacement, follows Services"
                    .to_owned(),
            ),
            Self::ListenerThere { listener, remote, .. } => {
                Some(format!("choose another port with --port LOCAL:{remote}, or stop {listener}"))
            }
            Self::RequestsCome { service, .. } => {
                Some(format!("listen on another port, or run `bridge disconnect {service}`"))
            }
            Self::NoAgents { target, .. } => Some(format!("nobody is connected: bridge connect {target}")),
            Self::NoSession { sessions, .. } if sessions.is_empty() => None,
            Self::NoSession { sessions, .. } => Some(format!("available: {}", sessions.join(", "))),
            Self::LeftBehind { .. } => Some("`bridge clean` tries again, from any laptop".to_owned()),
            Self::BadTarget { .. } | Self::BadPort(_) | Self::BadMatch(_) | Self::GivenUp => None,
        }
    }

    /// The failure as a message to the command.
    pub(crate) fn to_message(&self) -> v1::Failure {
        v1::Failure {
            cause: self.cause().into(),
            message: self.to_string(),
            advice: self.advice().unwrap_or_default(),
            ..v1::Failure::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_of_another_version_are_reported_in_two_lines() {
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
