//! A session for the time of a command: the one that is there, or one that the command makes and ends.

use bridge_proto::v1;

use super::args::ConnectArgs;
use super::connect;
use super::daemon::{self, Daemon, Place};
use super::disconnect;
use super::error::Failed;
use super::names::Target;
use super::request;

pub(crate) struct Attached {
    pub(crate) daemon: Daemon,
    pub(crate) place: Place,
    /// Its id.
    pub(crate) session: String,
    pub(crate) target: String,
    pub(crate) namespace: String,
    pub(crate) context: String,
    /// This command has made it.
    pub(crate) made: bool,
    /// Where requests come in.
    pub(crate) routes: Vec<v1::RouteStatus>,
    /// What it was made by, if its local ports were nobody's choice.
    pub(crate) free: Option<v1::ConnectRequest>,
}

impl Attached {
    /// The session with the target, as asked for: if nothing is asked of it, one that is there will do.
    pub(crate) async fn to(args: &ConnectArgs) -> Result<Self, Failed> {
        let place = Place::find()?;
        let before = sessions(&place).await?;
        let config = request::config()?;
        let cluster = request::cluster(&args.cluster, &config)?;
        if args.is_plain()
            && let Some(there) = before.iter().find(|session| is_meant(session, &args.target, &cluster))
        {
            return Self::of(place, there.clone(), None).await;
        }
        let mut request = connect::request(args)?;
        request.for_command = true;
        let session = connect::connect(request.clone()).await?;
        let made = before.iter().all(|there| {
            there.target != session.target
                || there.namespace != session.namespace
                || there.context != session.context
        });
        Self::of(place, session, made.then_some(request)).await
    }

    /// The session with the target, or the only one there is.
    pub(crate) async fn existing(
        target: Option<&Target>,
        cluster: &v1::Cluster,
    ) -> Result<Option<Self>, Failed> {
        let place = Place::find()?;
        let mut meant = sessions(&place).await?;
        meant.retain(|session| match target {
            Some(target) => is_meant(session, target, cluster),
            None => is_in(session, cluster),
        });
        match meant.pop() {
            Some(session) if meant.is_empty() => Self::of(place, session, None).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn of(
        place: Place,
        session: v1::SessionStatus,
        made_by: Option<v1::ConnectRequest>,
    ) -> Result<Self, Failed> {
        let daemon = daemon::started(&place).await?;
        let v1::SessionStatus { id, target, namespace, context, routes, .. } = session;
        let made = made_by.is_some();
        let free = made_by.filter(|request| request.ports.is_empty());
        Ok(Self { daemon, place, session: id, target, namespace, context, made, routes, free })
    }

    /// What the target's container sees.
    pub(crate) async fn surroundings(&mut self) -> Result<v1::SurroundingsOfTarget, Failed> {
        let query = v1::SurroundingsQuery { session: self.session.clone() };
        let reply = self.daemon.client.surroundings(query).await.map_err(|status| Failed::call(&status))?;
        Ok(reply.into_inner())
    }

    /// Gives the target back, if this command has taken it.
    pub(crate) async fn end(mut self) -> Result<(), Failed> {
        if !self.made {
            return Ok(());
        }
        let cluster = v1::Cluster { context: self.context, namespace: self.namespace, ..Default::default() };
        let request =
            v1::DisconnectRequest { target: self.target, cluster: Some(cluster), ..Default::default() };
        disconnect::disconnect(&mut self.daemon, request).await.map(drop)
    }
}

async fn sessions(place: &Place) -> Result<Vec<v1::SessionStatus>, Failed> {
    let Some(mut daemon) = daemon::running(place).await? else { return Ok(Vec::new()) };
    let status = daemon.client.status(v1::StatusRequest {}).await.map_err(|status| Failed::call(&status))?;
    Ok(status.into_inner().sessions)
}

fn is_meant(session: &v1::SessionStatus, target: &Target, cluster: &v1::Cluster) -> bool {
    session.target == target.name() && is_in(session, cluster)
}

/// What is not said is no matter.
fn is_in(session: &v1::SessionStatus, cluster: &v1::Cluster) -> bool {
    (cluster.namespace.is_empty() || cluster.namespace == session.namespace)
        && (cluster.context.is_empty() || cluster.context == session.context)
}
