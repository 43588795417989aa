//! Which of this user's sessions a program means. Pure.

use bridge_proto::v1::{self, failure::Cause};

use crate::error::ClientError;

/// Whose sessions will do.
#[derive(Debug)]
pub enum Whose<'a> {
    /// Of this name only.
    Named(&'a str),
    /// Of this name rather than of another.
    Rather(Option<String>),
}

/// The session with the target; of several, the one that is `here`: in the context and namespace that kubectl would use.
///
/// # Errors
///
/// If there are several, and none is here.
pub fn meant(
    sessions: &[v1::SessionStatus],
    target: &str,
    cluster: &v1::Cluster,
    whose: &Whose<'_>,
    here: impl FnOnce() -> Option<(String, String)>,
) -> Result<Option<v1::SessionStatus>, ClientError> {
    let is_meant = |session: &&v1::SessionStatus| session.target == target && is_in(session, cluster);
    let fitting = of(whose, sessions.iter().filter(is_meant).collect());
    Ok(one_of(&fitting, here)?.cloned())
}

/// The only session in the cluster.
#[must_use]
pub fn only(sessions: &[v1::SessionStatus], cluster: &v1::Cluster) -> Option<v1::SessionStatus> {
    let mut there = sessions.iter().filter(|session| is_in(session, cluster));
    let first = there.next();
    first.filter(|_| there.next().is_none()).cloned()
}

/// Those that will do, by their names.
fn of<'a>(whose: &Whose<'_>, sessions: Vec<&'a v1::SessionStatus>) -> Vec<&'a v1::SessionStatus> {
    let named = |name: &str| sessions.iter().filter(|session| session.user == name).copied().collect();
    match whose {
        Whose::Named(name) => named(name),
        Whose::Rather(name) => {
            let own: Vec<_> = name.as_deref().map(named).unwrap_or_default();
            if own.is_empty() { sessions } else { own }
        }
    }
}

/// The only one, else the one that is here: in this context and namespace.
fn one_of<'a>(
    fitting: &[&'a v1::SessionStatus],
    here: impl FnOnce() -> Option<(String, String)>,
) -> Result<Option<&'a v1::SessionStatus>, ClientError> {
    if let [] | [_] = fitting {
        return Ok(fitting.first().copied());
    }
    let is_here = |session: &&&v1::SessionStatus, (context, namespace): &(String, String)| {
        session.context == *context && session.namespace == *namespace
    };
    let place = here();
    if let Some(one) =
        fitting.iter().find(|session| place.as_ref().is_some_and(|here| is_here(session, here)))
    {
        return Ok(Some(*one));
    }
    let place = |session: &&v1::SessionStatus| format!("{} ({})", session.namespace, session.context);
    let places: Vec<_> = fitting.iter().map(place).collect();
    let target = fitting.first().map_or("", |session| session.target.as_str());
    Err(ClientError::new(
        Cause::SeveralSessions,
        format!("{target} is connected in several namespaces: {}", places.join(", ")),
        "choose one: -n NAMESPACE, and --context if they are in several clusters",
    ))
}

/// What is not said is no matter.
fn is_in(session: &v1::SessionStatus, cluster: &v1::Cluster) -> bool {
    (cluster.namespace.is_empty() || cluster.namespace == session.namespace)
        && (cluster.context.is_empty() || cluster.context == session.context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(context: &str, namespace: &str) -> v1::SessionStatus {
        let of = |text: &str| text.to_owned();
        v1::SessionStatus {
            target: of("orders"),
            context: of(context),
            namespace: of(namespace),
            ..v1::SessionStatus::default()
        }
    }

    #[test]
    fn another_name_is_another_session_unless_the_network_is_all_that_is_wanted() {
        let named = |user: &str| v1::SessionStatus { user: user.to_owned(), ..session("dev", "shop") };
        let (alice, bob) = (named("alice"), named("bob"));
        let found = |whose: &Whose<'_>, sessions: &[&v1::SessionStatus]| {
            of(whose, sessions.to_vec()).iter().map(|session| session.user.clone()).collect::<Vec<_>>()
        };
        assert_eq!(found(&Whose::Named("bob"), &[&alice, &bob]), ["bob"]);
        assert_eq!(found(&Whose::Named("bob"), &[&alice]), Vec::<String>::new());
        let rather = |name: Option<&str>| Whose::Rather(name.map(str::to_owned));
        assert_eq!(found(&rather(Some("bob")), &[&alice, &bob]), ["bob"]);
        assert_eq!(found(&rather(Some("bob")), &[&alice]), ["alice"]);
        assert_eq!(found(&rather(None), &[&alice]), ["alice"]);
    }

    #[test]
    fn of_several_sessions_the_one_in_the_context_s_namespace_is_meant() {
        let (shop, test, other) = (session("dev", "shop"), session("dev", "test"), session("prod", "test"));
        let here = |namespace: &str| Some(("dev".to_owned(), namespace.to_owned()));
        let place = |fitting: &[&v1::SessionStatus], here: Option<(String, String)>| {
            one_of(fitting, || here).map(|one| one.map(|one| format!("{}/{}", one.context, one.namespace)))
        };
        assert_eq!(place(&[], here("shop")), Ok(None));
        assert_eq!(place(&[&other], here("shop")), Ok(Some("prod/test".to_owned())), "the only one");
        assert_eq!(place(&[&shop, &test, &other], here("test")), Ok(Some("dev/test".to_owned())));
        for elsewhere in [here("default"), None] {
            let failed = place(&[&shop, &other], elsewhere).unwrap_err();
            assert_eq!(failed.cause(), Cause::SeveralSessions);
            assert_eq!(
                failed.message(),
                "orders is connected in several namespaces: shop (dev), test (prod)"
            );
        }
    }
}
