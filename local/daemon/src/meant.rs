//! Which target or session a command names, decided in one place for all calls. Everywhere else a session is known by
//! its id.
//!
//! A session belongs to a Service of a namespace of an API server, or is aside of a target there. A command may name that
//! Service, or a workload behind it; then the cluster is asked which Service that is, as a Service of the workload's name
//! may be another. Names of contexts are the kubeconfig's; two of them may mean one API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use bridge_cluster::client::{Access, Cluster};
use bridge_cluster::error::ClusterError;
use bridge_cluster::target;
use bridge_proto::target::Target;

use super::failure::Failure;
use super::place::Place;
use super::session::{Facts, Session};

/// A description of sessions. Parts that are not given match any.
#[derive(Debug, Default)]
pub(crate) struct Question {
    pub(crate) target: Option<Target>,
    pub(crate) access: Access,
    pub(crate) whose: Whose,
    /// Prefer the place that kubectl would use, if there are several.
    pub(crate) rather_here: bool,
}

/// The owner of the sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Whose {
    #[default]
    Anyone,
    Named(String),
    /// This user's, else anyone's.
    Rather(String),
}

/// Parses the name of a target.
pub(crate) fn target(text: &str) -> Result<Target, Failure> {
    text.parse().map_err(|why| Failure::BadTarget { text: text.to_owned(), why })
}

/// What a target means to commands about everything at it: the Service that it is or is behind, if there is one, and the
/// place aside of it.
pub(crate) struct At {
    pub(crate) service: Option<String>,
    pub(crate) aside: String,
}

/// Finds what is meant.
///
/// # Errors
///
/// If it does not exist or is ambiguous, with the possible meanings.
pub(crate) async fn at(cluster: &Cluster, named: &str) -> Result<At, Failure> {
    let target = target(named)?;
    let service = match target::resolve(cluster, &target).await {
        Ok(service) => Some(service),
        Err(ClusterError::NoServiceSelects { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    Ok(At { service, aside: target.with_kind() })
}

/// The place of a session.
pub(crate) fn place_of(facts: &Facts) -> Result<Place, Failure> {
    match facts.mode {
        Some(_) => Ok(Place::Service(facts.service.clone())),
        None => target(&facts.service).map(Place::Aside),
    }
}

/// Selects the sessions that are meant.
///
/// # Errors
///
/// If a workload is named: the cluster's error when asked for its Service.
pub(crate) async fn among(
    sessions: Vec<Arc<Session>>,
    question: &Question,
) -> Result<Vec<Arc<Session>>, Failure> {
    let server = server_of(&sessions, &question.access);
    let there: Vec<_> = sessions
        .into_iter()
        .filter(|session| is_in(&session.facts, &question.access, server.as_deref()))
        .collect();
    // Without a kubeconfig that can be read, no place is preferred.
    let here = question.rather_here.then(|| question.access.place().ok()).flatten();
    let mut services = Services::default();
    for preferred in by_preference(there, &question.whose, here.as_ref()) {
        let meant = services.at(question.target.as_ref(), preferred).await?;
        if !meant.is_empty() {
            return Ok(meant);
        }
    }
    Ok(Vec::new())
}

/// Groups of candidates, the preferred ones first: the first group with a session at the target is meant. So a cluster is
/// asked only if needed.
fn by_preference(
    sessions: Vec<Arc<Session>>,
    whose: &Whose,
    here: Option<&(String, String)>,
) -> Vec<Vec<Arc<Session>>> {
    let of = |name: &String| -> Vec<_> {
        sessions.iter().filter(|session| session.facts.user == *name).cloned().collect()
    };
    let groups = match whose {
        Whose::Named(name) => vec![of(name)],
        Whose::Rather(name) => vec![of(name), sessions],
        Whose::Anyone => vec![sessions],
    };
    let Some((context, namespace)) = here else { return groups };
    let is_here = |session: &&Arc<Session>| {
        let at = &session.facts.cluster;
        (&at.context, &at.namespace) == (context, namespace)
    };
    groups.into_iter().flat_map(|group| [group.iter().filter(is_here).cloned().collect(), group]).collect()
}

/// Of the sessions at a target, those at its Service if there are any: one aside ends with the command that uses it.
fn rather_at_services(mut sessions: Vec<Arc<Session>>) -> Vec<Arc<Session>> {
    if sessions.iter().any(|session| session.facts.mode.is_some()) {
        sessions.retain(|session| session.facts.mode.is_some());
    }
    sessions
}

/// The Service that a target is, or is behind, in each cluster and namespace asked so far.
#[derive(Default)]
struct Services(BTreeMap<(String, String), Option<String>>);

impl Services {
    /// Selects the sessions at the target.
    async fn at(
        &mut self,
        target: Option<&Target>,
        sessions: Vec<Arc<Session>>,
    ) -> Result<Vec<Arc<Session>>, Failure> {
        let Some(target) = target else { return Ok(sessions) };
        let mut at_target = Vec::new();
        for session in sessions {
            let Facts { cluster, service, mode, .. } = &session.facts;
            let is_at_it = match mode {
                Some(_) => self.of(target, cluster).await?.as_ref() == Some(service),
                None => *service == target.with_kind(),
            };
            if is_at_it {
                at_target.push(session);
            }
        }
        Ok(rather_at_services(at_target))
    }

    async fn of(&mut self, target: &Target, cluster: &Cluster) -> Result<Option<String>, Failure> {
        if target.is_service() {
            // No call is needed, so a session can be ended while its cluster is unreachable.
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

/// The API server of the named context, if no session has a context of that name.
fn server_of(sessions: &[Arc<Session>], access: &Access) -> Option<String> {
    let named = access.context.as_ref()?;
    if sessions.iter().any(|session| session.facts.cluster.context == *named) {
        return None;
    }
    // A context that cannot be found matches no session.
    access.server().ok()
}

fn is_in(facts: &Facts, access: &Access, server: Option<&str>) -> bool {
    let at = &facts.cluster;
    access.namespace.as_ref().is_none_or(|namespace| *namespace == at.namespace)
        && access.context.as_ref().is_none_or(|context| *context == at.context || server == Some(&at.server))
}

#[cfg(test)]
#[path = "meant_tests.rs"]
mod tests;
