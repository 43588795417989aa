//! What a session that replaces a Service's pods does beyond others: the pods are back before the laptop goes.

use std::net::SocketAddr;

use bridge_cluster::clean::{self, Whose};
use bridge_cluster::error::ClusterError;
use bridge_cluster::objects;
use bridge_cluster::replace;
use bridge_cluster::state::Attachment;
use bridge_cluster::takeover::claim::no_longer_replaces;
use bridge_cluster::workload::Workload;

use super::failure::Failure;
use super::plan::{self, Found};
use super::probe;
use super::session::Session;
use super::users::Users;

/// Restores what a session has replaced, and waits until the pods are ready and the agents reach them: until then, the
/// laptop goes on answering.
pub(crate) async fn bring_back(session: &Session) -> Result<(), ClusterError> {
    let facts = &session.facts;
    let Some(app) = facts.replaces.as_ref().filter(|_| facts.mode.is_some()) else { return Ok(()) };
    session.gets_pods_back();
    replace::restore(&facts.cluster, app, &facts.id).await?;
    let has_pods = replace::until_back(&facts.cluster, app).await?;
    let Some(port) = facts.ports.first().filter(|_| has_pods) else { return Ok(()) };
    match objects::origin(&facts.cluster, &facts.service, &facts.stand_in).await {
        Ok(origin) => probe::until_reached(session, SocketAddr::new(origin, port.service_port)).await,
        // Someone has cleaned up.
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The same, if the last of a session's users that replaces the pods is not among these.
pub(crate) async fn has_pods_for(session: &Session, users: &Users) -> Result<(), ClusterError> {
    let facts = &session.facts;
    if facts.mode.is_none() || !session.users().replace() || users.replace() {
        return Ok(());
    }
    bring_back(session).await?;
    no_longer_replaces(&facts.cluster, &facts.service, &facts.id).await
}

/// The Service with its pods, if a session that is gone has replaced them.
pub(crate) async fn restored(found: Found, whose: &Whose) -> Result<Found, Failure> {
    let claims = Attachment::of(&found.snapshot.service)?.map(|there| there.sessions).unwrap_or_default();
    if claims.iter().all(|claim| claim.replaces.is_none()) {
        return Ok(found);
    }
    let Found { cluster, service, snapshot } = found;
    let cleaned = clean::clean(&cluster, Some(&service), whose).await?;
    if let Some(app) = snapshot.origin().and_then(Workload::app).filter(|_| !cleaned.restored.is_empty()) {
        replace::until_back(&cluster, &app).await?;
    }
    plan::find(cluster, service).await
}
