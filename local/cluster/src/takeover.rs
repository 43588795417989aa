//! Taking a Service over and restoring it, phase by phase. Each phase looks at what exists and does the rest, so the
//! next one, or [`clean`], finishes an interrupted one, and two at once help each other.
//!
//! | phase | in every mode | stand-in | sidecar |
//! |---|---|---|---|
//! | [`Takeover::prepare`] | claim the requests (`claim`) | create agents (`stand_in`) | add agents to the workloads' pods (`sidecar`) |
//! | [`Takeover::until_ready`] (the caller opens tunnels) | | bring existing agents up to date; wait until some are ready | wait until all pods have one, and nodes know of no others |
//! | [`Takeover::switch`] | | set the selector (`selector`) | set targetPorts that are numbers |
//! | (the caller sees a connection arrive) | | | |
//! | [`Takeover::confirm`] | | leave the selector to nobody | likewise the ports |
//! | [`release`] | remove the claim; with the last one, the rest | restore the selector and its owners, let the agents drain (`retire`) | restore the targetPorts, take the agents out of the pods |
//! | [`clean`] | all of that for sessions that are gone (`rescue`) | | |
//!
//! A further [`Mode`] is one more arm of each `match` here and in `release`.

pub mod claim;
pub mod clean;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod race_tests;
pub mod release;
mod rescue;
mod retire;
#[cfg(test)]
mod rounds_tests;
pub mod selector;
mod sidecar;
#[cfg(test)]
mod sidecar_tests;
mod stand_in;
mod step;
mod wanted;

use k8s_openapi::api::core::v1::Service;

use crate::agents::AgentsOf;
use crate::error::ClusterError;
use crate::mode::Mode;

pub use step::{Step, Waiter, unless_given_up};
pub use wanted::{Prepared, Wanted};

/// A take-over in progress.
#[derive(Debug, Clone)]
pub struct Takeover {
    mode: Mode,
    wanted: Wanted,
}

/// A Service whose requests now go to agents.
#[derive(Debug)]
pub struct Switched {
    service: Service,
    retargeted: bool,
}

impl Takeover {
    /// Changes nothing yet. `mode`: see [`crate::choose`].
    #[must_use]
    pub fn new(mode: Mode, wanted: Wanted) -> Self {
        Self { mode, wanted }
    }

    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The parameters of the take-over.
    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Claims, and creates agents, which may not be ready yet and get no requests. The waiter cannot give up meanwhile.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Held`] if another session has the same match, [`ClusterError::Refused`] by admission (Pod
    /// Security, quota …), [`ClusterError::NotOurs`] if another's object has a name that the stand-in needs; and the
    /// errors of the calls and of the waiter.
    pub async fn prepare<W: Waiter>(&self, waiter: &W) -> Result<Prepared, W::Error> {
        match self.mode {
            Mode::StandIn => stand_in::prepare(&self.wanted, waiter).await,
            Mode::Sidecar => sidecar::prepare(&self.wanted, waiter).await,
        }
    }

    /// Waits until agents are ready.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NotReady`] with the reason, and those of the calls and of the waiter.
    pub async fn until_ready<W: Waiter>(&self, prepared: &Prepared, waiter: &W) -> Result<(), W::Error> {
        match self.mode {
            Mode::StandIn => stand_in::until_ready(&self.wanted, prepared, waiter).await,
            Mode::Sidecar => sidecar::until_ready(&self.wanted, prepared, waiter).await,
        }
    }

    /// Leads the requests to the agents, in one change.
    ///
    /// # Errors
    ///
    /// [`ClusterError::SelectorChanged`] if someone else has set the selector meanwhile, and those of the calls.
    pub async fn switch(&self, prepared: &Prepared) -> Result<Switched, ClusterError> {
        let Wanted { cluster, service, .. } = &self.wanted;
        let deployment = match &prepared.agents {
            AgentsOf::StandIn { deployment } => Some(deployment.as_str()),
            AgentsOf::Workloads { .. } | AgentsOf::Aside { .. } => None,
        };
        let (service, retargeted) =
            selector::switch(cluster, service, &prepared.stand_in, deployment).await?;
        Ok(Switched { service, retargeted })
    }

    /// Leaves the Service as others expect to find it: applying it causes no conflict. Where targetPorts were changed,
    /// waits until nodes know of it.
    ///
    /// # Errors
    ///
    /// The errors of the calls.
    pub async fn confirm(&self, switched: Switched) -> Result<(), ClusterError> {
        let Switched { service, retargeted } = switched;
        let known = async {
            if retargeted {
                sidecar::other_ports_are_known().await;
            }
        };
        tokio::join!(selector::disown(&self.wanted.cluster, service), known).0
    }

    /// Undoes the phases so far, except for parts that others use.
    ///
    /// # Errors
    ///
    /// As [`release::release`].
    pub async fn undo(&self) -> Result<(), ClusterError> {
        let Wanted { cluster, service, claim, .. } = &self.wanted;
        release::release(cluster, service, |other| other.id == claim.id).await.map(drop)
    }
}
