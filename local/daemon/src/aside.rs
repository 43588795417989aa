//! One connect of a session aside: an agent beside the target, and a tunnel to it. No Service is involved, so nothing is
//! claimed and nothing switched.

use std::sync::Arc;

use bridge_cluster::aside::{self, Prepared, Wanted};
use bridge_cluster::client::Cluster;
use bridge_cluster::takeover::{Step, Waiter, unless_given_up};
use bridge_cluster::workload::Labels;
use bridge_proto::target::Target;

use super::connect::{Claimant, all_attended};
use super::failure::Failure;
use super::inbound::Inbound;
use super::program;
use super::session::{Facts, Session};
use super::teller::Teller;
use super::users::Users;

/// Connects; on failure nothing of it stays in the cluster.
pub(crate) async fn connect(
    cluster: Cluster,
    target: Target,
    users: Users,
    claimant: Claimant,
    inbound: Inbound,
    tell: &Teller,
) -> Result<Session, Failure> {
    let agent = program::source(users.agent_image())?;
    let (claim, replace) = (claimant.claim(&[]), users.replace());
    let wanted = Wanted { cluster, target, claim, agent, replace };
    let prepared = aside::prepare(&wanted, tell).await?;
    match begin(&wanted, &prepared, users, inbound, tell).await {
        Ok(session) => Ok(session),
        Err(failure) => {
            tracing::warn!(beside = %wanted.target, session = %wanted.claim.id, %failure, "connect failed; undoing it");
            let Prepared { replaces, agents, .. } = &prepared;
            match aside::end(&wanted.cluster, &wanted.claim.id, replaces.as_ref(), agents).await {
                Ok(()) => Err(failure),
                Err(error) => Err(failure.and_left_behind(&error)),
            }
        }
    }
}

/// Starts a session, which follows the agent while it starts, and waits until a tunnel leads to it; then the target may
/// have to go.
async fn begin(
    wanted: &Wanted,
    prepared: &Prepared,
    users: Users,
    inbound: Inbound,
    tell: &Teller,
) -> Result<Session, Failure> {
    let facts = Facts {
        id: wanted.claim.id.clone(),
        user: wanted.claim.user.clone(),
        cluster: wanted.cluster.clone(),
        service: wanted.target.with_kind(),
        stand_in: prepared.id.clone(),
        mode: None,
        agents: prepared.agents.clone(),
        replaces: prepared.replaces.clone(),
        restore: prepared.restore,
        control_port: prepared.control_port,
        original: Labels::new(),
        key: Arc::from(prepared.key.as_slice()),
        since_ms: wanted.claim.since,
        ports: Vec::new(),
        agent_image: users.agent_image().to_owned(),
    };
    let session = Session::start(facts, users, Vec::new(), Arc::new(inbound));
    aside::until_ready(&wanted.cluster, prepared, tell).await?;
    tell.step(Step::OpeningTunnel).await?;
    unless_given_up(tell, all_attended(&session)).await?;
    aside::replace(wanted, prepared, tell).await?;
    Ok(session)
}
