//! The mode `stand-in`: agents in pods of their own take the place of the origin behind the Service. The crate
//! `bridge-deploy` describes the objects.

mod create;

use std::collections::BTreeMap;

use bridge_deploy::StandIn;
use k8s_openapi::api::core::v1::Service;

use super::claim::claim;
use super::selector::lead_back;
use super::step::{Step, Waiter, unless_given_up};
use super::wanted::{Prepared, Wanted};
use crate::agents::AgentsOf;
use crate::error::ClusterError;
use crate::follow::{self, Followed, Follower};
use crate::mode::Mode;
use crate::objects::managed_fields;
use crate::obstacle::Warning;
use crate::ownership;
use crate::ready::{wait_ready, wait_rolled};
use crate::spec::selector;
use crate::state::{Attachment, VERSION};

use self::create::create;
pub(super) use self::create::key;

/// Claims, and creates missing objects.
pub(super) async fn prepare<W: Waiter>(wanted: &Wanted, waiter: &W) -> Result<Prepared, W::Error> {
    let Wanted { cluster, service, snapshot, claim, agent, replicas } = wanted;
    let id = format!("{:04x}", rand::random::<u16>());
    let mut stand_in = snapshot.stand_in(&id, &claim.user, *replicas, agent.clone())?;
    let attachment = claimed(wanted, &stand_in).await?;
    stand_in.id.clone_from(&attachment.stand_in);
    let name = stand_in.names().stand_in;
    waiter.step(Step::StartingAgents { service: service.clone(), deployment: name }).await?;
    let created = create(cluster, &stand_in, &attachment).await?;
    Ok(Prepared {
        stand_in: attachment.stand_in,
        agents: AgentsOf::StandIn { deployment: created.deployment },
        control_port: attachment.control,
        key: created.key,
        original: attachment.original,
        restore: created.restore,
        stale: created.stale,
    })
}

/// Writes the claim: into the existing attachment, if its agents listen on the origin's ports.
async fn claimed(wanted: &Wanted, stand_in: &StandIn) -> Result<Attachment, ClusterError> {
    let Wanted { cluster, service, snapshot, .. } = wanted;
    let listen = snapshot.listen_ports()?;
    let ports: BTreeMap<u16, u16> = listen.iter().map(|port| (port.service_port, port.agent)).collect();
    let there = Attachment::of(&snapshot.service)?;
    if let Some(there) = there.filter(|there| !there.listens_as(&ports)) {
        // Until another stand-in replaces it, its agents must not get requests.
        lead_back(cluster, service, &there.stand_in, None).await?;
    }
    let fresh = |now: &Service| fresh(now, stand_in, ports.clone());
    claim(cluster, snapshot.service.clone(), &snapshot.selector, fresh, &wanted.claim).await
}

/// A new attachment: the Service as it is now, and the future stand-in.
fn fresh(service: &Service, stand_in: &StandIn, ports: BTreeMap<u16, u16>) -> Attachment {
    let managed = managed_fields(service);
    let original = selector(service);
    Attachment {
        version: VERSION,
        mode: Mode::StandIn,
        stand_in: stand_in.id.clone(),
        attached: bridge_deploy::attached_selector(&original, &stand_in.names().stand_in),
        original,
        selector_owners: ownership::selector_owners(&managed),
        control: stand_in.own_ports.control,
        ports,
        ..Attachment::default()
    }
}

/// Brings existing agents up to date, and waits until some are ready.
pub(super) async fn until_ready<W: Waiter>(
    wanted: &Wanted,
    prepared: &Prepared,
    waiter: &W,
) -> Result<(), W::Error> {
    let Wanted { cluster, service, .. } = wanted;
    let Prepared { stand_in, agents, .. } = prepared;
    let waiting = async {
        if prepared.stale {
            Box::pin(bring_up_to_date(wanted, stand_in, waiter)).await?;
        }
        let progress = |reason: &str| waiter.hint(Step::WaitingForAgents(reason.to_owned()));
        Ok(wait_ready(cluster, service, stand_in, agents, progress).await?)
    };
    unless_given_up(waiter, waiting).await
}

/// Makes an existing stand-in follow the origin's current template. A failure does not fail the connect, and if the new
/// agents do not become ready, the old ones go on.
async fn bring_up_to_date<W: Waiter>(wanted: &Wanted, stand_in: &str, waiter: &W) -> Result<(), W::Error> {
    let Wanted { cluster, service, claim, agent, .. } = wanted;
    waiter.step(Step::FollowingOrigin).await?;
    let follower = Follower { user: claim.user.clone(), agent: agent.clone() };
    let why = match follow::follow(cluster, service, stand_in, &follower).await {
        Ok(Followed::Rolls) => match wait_rolled(cluster, service, stand_in).await? {
            true => return Ok(()),
            false => "the new ones are not ready yet".to_owned(),
        },
        Ok(Followed::Cannot(why)) => why,
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    waiter.warn(Warning::OldTemplate { why }).await
}
