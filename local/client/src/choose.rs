//! Finds the sessions that a program names: the daemon decides.

use bridge_proto::v1::{self, failure::Cause};

use crate::error::ClientError;
use crate::find::Daemon;

/// Returns the sessions that are meant.
///
/// # Errors
///
/// If the daemon does not answer, or cannot ask the cluster which Service a workload is behind.
pub async fn meant(
    daemon: &mut Daemon,
    request: v1::FindRequest,
) -> Result<Vec<v1::SessionStatus>, ClientError> {
    let v1::FindReply { sessions, failed } = daemon.client.find(request).await?.into_inner();
    failed.map_or(Ok(sessions), |failure| Err(failure.into()))
}

/// The only one of them, if there is any.
///
/// # Errors
///
/// If there are several.
pub fn one_of(mut sessions: Vec<v1::SessionStatus>) -> Result<Option<v1::SessionStatus>, ClientError> {
    if sessions.len() < 2 {
        return Ok(sessions.pop());
    }
    let place = |session: &v1::SessionStatus| format!("{} ({})", session.namespace, session.context);
    let mut places: Vec<_> = sessions.iter().map(place).collect();
    places.dedup();
    let target = &sessions[0].target;
    let (message, advice) = match places.as_slice() {
        [place] => {
            let users: Vec<_> = sessions.iter().map(|session| session.user.as_str()).collect();
            let message =
                format!("{target} is connected in {place} under several names: {}", users.join(", "));
            (message, "choose one: --me NAME")
        }
        places => (
            format!("{target} is connected in several namespaces: {}", places.join(", ")),
            "choose one: -n NAMESPACE, and --context if they are in several clusters",
        ),
    };
    Err(ClientError::new(Cause::SeveralSessions, message, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(context: &str, namespace: &str, user: &str) -> v1::SessionStatus {
        let of = |text: &str| text.to_owned();
        v1::SessionStatus {
            target: of("orders"),
            context: of(context),
            namespace: of(namespace),
            user: of(user),
            ..v1::SessionStatus::default()
        }
    }

    #[test]
    fn of_several_none_is_taken_and_the_differences_are_named() {
        let (shop, test) = (session("dev", "shop", "alice"), session("prod", "test", "alice"));
        assert_eq!(one_of(Vec::new()), Ok(None));
        assert_eq!(one_of(vec![test.clone()]), Ok(Some(test.clone())));
        let said = |sessions| {
            let error = one_of(sessions).unwrap_err();
            assert_eq!(error.cause(), Cause::SeveralSessions);
            format!("{}; {}", error.message(), error.advice())
        };
        assert_eq!(
            said(vec![shop.clone(), test]),
            "orders is connected in several namespaces: shop (dev), test (prod); choose one: -n NAMESPACE, and \
             --context if they are in several clusters"
        );
        assert_eq!(
            said(vec![shop, session("dev", "shop", "bob")]),
            "orders is connected in shop (dev) under several names: alice, bob; choose one: --me NAME"
        );
    }
}
