//! A session for the duration of a program: the program is one of its users, from its wish to its end. Programs that
//! stay running keep the session: if the daemon dies, they have another daemon open it again.

mod again;
mod call;
mod keep;

use bridge_proto::v1;
use tokio::sync::watch;

use self::again::Again;
pub use self::call::Asked;
use self::call::Call;
use self::keep::{ByDaemon, Keeper, Kept, Known};
use crate::environment::environment;
use crate::error::ClientError;
use crate::find::{self, Daemon};
use crate::runtime_dir::RuntimeDir;
use crate::said::{Said, Say};
use crate::services::{self, Reachable};
use crate::via::Via;

/// A session that this program uses.
pub struct Attached {
    pub daemon: Daemon,
    pub runtime_dir: RuntimeDir,
    /// Its first id,
    pub session: String,
    /// and its present one.
    pub via: Via,
    pub user: String,
    pub target: String,
    pub namespace: String,
    pub context: String,
    /// The present routes of its requests.
    pub routes: watch::Receiver<Vec<v1::RouteStatus>>,
    /// This program's requests to it.
    pub asked: Asked,
    keeping: Keeping,
}

/// Its fate if the daemon dies.
enum Keeping {
    NotYet(Box<(Call, Again, Known)>),
    By(Keeper),
}

/// The work that remains at the end.
#[derive(Debug)]
#[must_use = "an orphaned target is still connected in the cluster"]
pub enum Ended {
    /// Nothing: the daemon has done it, or does it.
    Done,
    /// No daemon holds the target any more, and this program was its last user: the caller must restore the Service.
    Orphaned { target: String, cluster: v1::Cluster },
}

impl Attached {
    /// Asks for a session, and reports each step until it exists. If this is dropped before that, the daemon undoes
    /// what it has begun.
    ///
    /// # Errors
    ///
    /// The daemon's answer, or the reason why there is none.
    pub async fn begin(
        mut daemon: Daemon,
        runtime_dir: RuntimeDir,
        mut wish: v1::Wish,
        say: impl Fn(&Said),
    ) -> Result<Self, ClientError> {
        let (call, using) = Call::begin(&mut daemon.client, wish.clone(), say).await?;
        let v1::SessionStatus { id, user, target, namespace, context, routes, .. } =
            using.session.unwrap_or_default();
        // The same place, even if the kubeconfig has changed; and another daemon will know another id.
        wish.session.clear();
        if let Some(request) = &mut wish.request {
            request.target.clone_from(&target);
            let cluster = request.cluster.get_or_insert_default();
            (cluster.context, cluster.namespace) = (context.clone(), namespace.clone());
        }
        let asked = Asked::by(&call, wish);
        let (sessions, via) = Via::to(&id);
        let (routes_tx, routes) = watch::channel(routes);
        let again = Again::new(target.clone(), using.lasting);
        let keeping = Keeping::NotYet(Box::new((call, again, Known { sessions, routes_tx })));
        Ok(Self {
            daemon,
            runtime_dir,
            session: id,
            via,
            user,
            target,
            namespace,
            context,
            routes,
            asked,
            keeping,
        })
    }

    /// From now on until the end, the session is opened again if the daemon dies, and `say` gets the messages about it.
    #[must_use]
    pub fn kept(self, say: Say) -> Self {
        let Keeping::NotYet(beginning) = self.keeping else { return self };
        let (call, again, known) = *beginning;
        let (runtime_dir, target, asked) =
            (self.runtime_dir.clone(), self.target.clone(), self.asked.clone());
        let hands = ByDaemon { runtime_dir, target, asked, say };
        Self { keeping: Keeping::By(Keeper::begin(hands, again, known, call)), ..self }
    }

    /// Reports the ports on which this program listens for connections into the cluster.
    ///
    /// # Errors
    ///
    /// If requests come to one of them.
    pub async fn listens(&mut self, ports: Vec<u32>, what: &str) -> Result<(), ClientError> {
        self.asked.listen(v1::Listeners { ports, what: what.to_owned() });
        match &mut self.keeping {
            Keeping::NotYet(beginning) => beginning.0.may_listen().await,
            // The keeper reports it, if it is refused.
            Keeping::By(_) => Ok(()),
        }
    }

    /// The local ports to which requests of this user's sessions come.
    ///
    /// # Errors
    ///
    /// If the daemon does not answer.
    pub async fn taken(&self) -> Result<Vec<u32>, ClientError> {
        let all = find::sessions(&self.runtime_dir).await?;
        Ok(all.iter().flat_map(|session| &session.routes).map(|route| route.local_port).collect())
    }

    /// This user's other sessions.
    ///
    /// # Errors
    ///
    /// If the daemon does not answer.
    pub async fn others(&self) -> Result<Vec<v1::SessionStatus>, ClientError> {
        let mut all = find::sessions(&self.runtime_dir).await?;
        let own = self.via.now();
        all.retain(|session| own.as_deref() != Some(session.id.as_str()));
        Ok(all)
    }

    /// The Services of the target's namespace that have an address of their own.
    ///
    /// # Errors
    ///
    /// If the daemon does not answer, or they cannot be listed.
    pub async fn services(&mut self) -> Result<Vec<Reachable>, ClientError> {
        let query = v1::ServicesQuery { session: self.session.clone() };
        let v1::ServicesReply { services, failed } = self.daemon.client.services(query).await?.into_inner();
        failed.map_or_else(|| Ok(services::of_messages(services)), |failure| Err(failure.into()))
    }

    /// The target container's environment.
    ///
    /// # Errors
    ///
    /// If the daemon does not answer, or no agent does.
    pub async fn surroundings(&mut self) -> Result<v1::SurroundingsOfTarget, ClientError> {
        let query = v1::SurroundingsQuery { session: self.session.clone() };
        Ok(self.daemon.client.surroundings(query).await?.into_inner())
    }

    /// Stops using the session. If nobody else uses it, the daemon restores the target.
    ///
    /// # Errors
    ///
    /// If the daemon failed.
    pub async fn end(self, say: impl Fn(&Said)) -> Result<Ended, ClientError> {
        let kept = match self.keeping {
            Keeping::By(keeper) => keeper.end().await.unwrap_or(Kept::Ended),
            Keeping::NotYet(beginning) => Kept::There(beginning.0),
        };
        match kept {
            Kept::There(call) => call.end(say).await.map(|()| Ended::Done),
            Kept::Away { lasts: true } | Kept::Ended => Ok(Ended::Done),
            Kept::Away { lasts: false } => {
                let request = self.asked.wish().request.unwrap_or_default();
                let cluster =
                    v1::Cluster { environment: environment(), ..request.cluster.unwrap_or_default() };
                Ok(Ended::Orphaned { target: self.target, cluster })
            }
        }
    }
}
