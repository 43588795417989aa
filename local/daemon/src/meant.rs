//! Which target, which session: what a command names, decided in one place for all calls. Everywhere else a session is
//! known by its id.
//!
//! A session stands at a Service of a namespace of an API server. What is named may be that Service, or a workload behind
//! it, and then the cluster is asked which Service that is: a Service of the workload's name may be another. Names of
//! contexts are the kubeconfig's; two of them may mean one API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use bridge_cluster::client::{Access, Cluster};
use bridge_cluster::error::ClusterError;
use bridge_cluster::target;
use bridge_proto::target::Target;

use super::failure::Failure;
use super::session::{Facts, Session};

/// Which sessions are meant. What is not said is no matter.
#[derive(Debug, Default)]
pub(crate) struct Question {
    pub(crate) target: Option<Target>,
    pub(crate) access: Access,
    pub(crate) whose: Whose,
    /// Of several places, the one that kubectl would mean.
    pub(crate) rather_here: bool,
}

/// Whose sessions are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Whose {
    #[default]
    Anyone,
    Named(String),
    /// This name's, else anyone's.
    Rather(String),
}

/// What a text names.
pub(crate) fn target(text: &str) -> Result<Target, Failure> {
    text.parse().map_err(|why| Failure::BadTarget { text: text.to_owned(), why })
}

/// The Service that is to be connected or cleaned.
///
/// # Errors
///
/// For what is not there, or not clear, what may have been meant.
pub(crate) async fn service(cluster: &Cluster, named: &str) -> Result<String, Failure> {
    Ok(target::resolve(cluster, &target(named)?).await?)
}

/// Those of the sessions that are meant.
///
/// # Errors
///
/// Where a workload is named: what the cluster says when it is asked for its Service.
pub(crate) async fn among(
    sessions: Vec<Arc<Session>>,
    question: &Question,
) -> Result<Vec<Arc<Session>>, Failure> {
    let server = server_of(&sessions, &question.access).await;
    let mut meant: Vec<_> = sessions
        .into_iter()
        .filter(|session| is_in(&session.facts, &question.access, server.as_deref()))
        .collect();
    if let Some(target) = &question.target {
        let mut services = Services::default();
        let mut of_target = Vec::new();
        for session in meant {
            if services.of(target, &session.facts.cluster).await?.as_deref() == Some(&*session.facts.service)
            {
                of_target.push(session);
            }
        }
        meant = of_target;
    }
    meant = whose(meant, &question.whose, |session| &session.facts.user);
    if question.rather_here {
        // Without a kubeconfig that can be read, no place is preferred.
        let here = question.access.place().ok();
        meant = rather_at(meant, here, |session| {
            (&session.facts.cluster.context, &session.facts.cluster.namespace)
        });
    }
    Ok(meant)
}

/// The Service that a target is, or is behind, in each cluster and namespace that was asked.
#[derive(Default)]
struct Services(BTreeMap<(String, String), Option<String>>);

impl Services {
    async fn of(&mut self, target: &Target, cluster: &Cluster) -> Result<Option<String>, Failure> {
        if target.is_service() {
            // Nothing needs to be asked, so a session can be ended while its cluster is away.
            return Ok(Some(target.name.clone()));
        }
        let place = (cluster.server.clone(), cluster.namespace.clone());
        if let Some(known) = self.0.get(&place) {
            return Ok(known.clone());
        }
        let service = match target::resolve(cluster, target).await {
            Ok(service) => Some(service),
            Err(ClusterError::NoSuchTarget { .. } | ClusterError::NoServiceSelects { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        self.0.insert(place, service.clone());
        Ok(service)
    }
}

/// The API server of the context that is named, where no session has a context of that name.
async fn server_of(sessions: &[Arc<Session>], access: &Access) -> Option<String> {
    let named = access.context.as_ref()?;
    if sessions.iter().any(|session| session.facts.cluster.context == *named) {
        return None;
    }
    // One that cannot be found is no session's.
    Cluster::of(access).await.ok().map(|cluster| cluster.server)
}

fn is_in(facts: &Facts, access: &Access, server: Option<&str>) -> bool {
    let at = &facts.cluster;
    access.namespace.as_ref().is_none_or(|namespace| *namespace == at.namespace)
        && access.context.as_ref().is_none_or(|context| *context == at.context || server == Some(&at.server))
}

fn whose<T>(mut sessions: Vec<T>, whose: &Whose, user: impl Fn(&T) -> &String) -> Vec<T> {
    match whose {
        Whose::Anyone => {}
        Whose::Named(name) => sessions.retain(|session| user(session) == name),
        Whose::Rather(name) => {
            if sessions.iter().any(|session| user(session) == name) {
                sessions.retain(|session| user(session) == name);
            }
        }
    }
    sessions
}

fn rather_at<T>(
    mut sessions: Vec<T>,
    here: Option<(String, String)>,
    place: impl Fn(&T) -> (&String, &String),
) -> Vec<T> {
    if let Some((context, namespace)) = here
        && sessions.iter().any(|session| place(session) == (&context, &namespace))
    {
        sessions.retain(|session| place(session) == (&context, &namespace));
    }
    sessions
}

#[cfg(test)]
#[path = "meant_tests.rs"]
mod tests;
