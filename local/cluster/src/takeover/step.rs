//! The steps of a connect, for people and for programs, and the waiter that gets them.

use std::fmt;

use crate::mode::Mode;
use crate::obstacle::{Against, Obstacle, Warning};

/// A step of a connect that begins now. Some are the daemon's; the sentences of all are here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Another command changes the same target.
    WaitingForTurn {
        service: String,
    },
    /// The mode is not the first one, because of these reasons.
    Chose {
        mode: Mode,
        instead_of: Vec<Against>,
    },
    StartingAgents {
        service: String,
        deployment: String,
    },
    /// Beside this target, without requests.
    StartingAside {
        target: String,
        deployment: String,
    },
    /// A laptop takes the place of this workload.
    ScalingToZero {
        workload: String,
    },
    /// Pods of the workload have not ended yet.
    WaitingForPods {
        workload: String,
        left: usize,
    },
    /// The pods of this workload roll out once.
    AddingSidecar {
        workload: String,
    },
    /// The stand-in exists and follows an earlier template of the origin.
    FollowingOrigin,
    /// The reason why they are not ready, in Kubernetes' words.
    WaitingForAgents(String),
    OpeningTunnel,
    Switching {
        service: String,
    },
    RestartingOrigin,
    /// A caller that keeps its connections: "Deployment web".
    RestartingCaller {
        target: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitingForTurn { service } => write!(f, "waiting for another command on Service {service}"),
            Self::Chose { mode, instead_of } => {
                let reason = |reason: &Obstacle| reason.short();
                let against = instead_of.iter().map(|against| {
                    let reasons: Vec<&str> = against.reasons.iter().map(reason).collect();
                    format!("{} ({})", against.mode, reasons.join(", "))
                });
                write!(f, "mode {mode}, instead of {}", against.collect::<Vec<_>>().join(", "))
            }
            Self::StartingAgents { service, deployment } => {
                write!(f, "starting agents for Service {service} (Deployment {deployment})")
            }
            Self::StartingAside { target, deployment } => {
                write!(f, "starting an agent beside {target}, without requests (Deployment {deployment})")
            }
            Self::ScalingToZero { workload } => write!(f, "scaling {workload} to zero"),
            Self::WaitingForPods { workload, left } => {
                write!(f, "waiting for the pods of {workload} to end ({left} left)")
            }
            Self::AddingSidecar { workload } => {
                write!(f, "rolling out {workload} with an agent in each pod")
            }
            Self::FollowingOrigin => {
                f.write_str("the origin has been rolled out since: replacing the agents of its old template")
            }
            Self::WaitingForAgents(reason) => f.write_str(reason),
            Self::OpeningTunnel => f.write_str("opening the tunnel"),
            Self::Switching { service } => write!(f, "switching Service {service} to the agents"),
            Self::RestartingOrigin => {
                f.write_str("restarting the origin by a roll-out, so that callers make new connections")
            }
            Self::RestartingCaller { target } => {
                write!(f, "restarting {target} by a roll-out, so that it makes new connections")
            }
        }
    }
}

/// The one who waits for a take-over: gets each step, and may give up.
pub trait Waiter: Sync {
    /// The error of a take-over, its own or because nobody waits any more.
    type Error: From<crate::ClusterError>;

    /// A step begins.
    ///
    /// # Errors
    ///
    /// Nobody waits any more.
    fn step(&self, step: Step) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Progress within a step, which may be dropped.
    fn hint(&self, step: Step);

    /// A warning for the user.
    ///
    /// # Errors
    ///
    /// Nobody waits any more.
    fn warn(&self, warning: Warning) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Resolves when nobody waits any more.
    fn given_up(&self) -> impl Future<Output = Self::Error> + Send;
}

/// The result of `work`, unless the waiter gives up first: then it is cut off where it is.
///
/// # Errors
///
/// The errors of the work, and [`Waiter::given_up`].
pub async fn unless_given_up<W: Waiter, T>(
    waiter: &W,
    work: impl Future<Output = Result<T, W::Error>>,
) -> Result<T, W::Error> {
    tokio::select! {
        done = work => done,
        given_up = waiter.given_up() => Err(given_up),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_a_short_sentence() {
        let service = || "orders".to_owned();
        for (step, sentence) in [
            (Step::WaitingForTurn { service: service() }, "waiting for another command on Service orders"),
            (
                Step::StartingAgents { service: service(), deployment: "orders-bridge-7f3a".into() },
                "starting agents for Service orders (Deployment orders-bridge-7f3a)",
            ),
            (
                Step::Chose {
                    mode: Mode::Sidecar,
                    instead_of: vec![Against {
                        mode: Mode::StandIn,
                        reasons: vec![Obstacle::ClientIpAffinity, Obstacle::NotTcp(vec!["53/UDP".into()])],
                    }],
                },
                "mode sidecar, instead of stand-in (ClientIP affinity, port not TCP)",
            ),
            (
                Step::StartingAside {
                    target: "Deployment worker".into(),
                    deployment: "worker-bridge-7f3a".into(),
                },
                "starting an agent beside Deployment worker, without requests (Deployment worker-bridge-7f3a)",
            ),
            (
                Step::WaitingForPods { workload: "Deployment worker".into(), left: 2 },
                "waiting for the pods of Deployment worker to end (2 left)",
            ),
            (
                Step::AddingSidecar { workload: "Deployment orders".into() },
                "rolling out Deployment orders with an agent in each pod",
            ),
            (
                Step::FollowingOrigin,
                "the origin has been rolled out since: replacing the agents of its old template",
            ),
            (Step::WaitingForAgents("0 of 1 agents ready".into()), "0 of 1 agents ready"),
            (Step::OpeningTunnel, "opening the tunnel"),
            (Step::Switching { service: service() }, "switching Service orders to the agents"),
            (
                Step::RestartingOrigin,
                "restarting the origin by a roll-out, so that callers make new connections",
            ),
            (
                Step::RestartingCaller { target: "Deployment web".into() },
                "restarting Deployment web by a roll-out, so that it makes new connections",
            ),
        ] {
            assert_eq!(step.to_string(), sentence);
        }
    }
}
