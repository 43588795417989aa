//! Opens the session of a daemon that has proven itself, and gives it a token.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bridge_proto::proof::{self, LENGTH};
use bridge_proto::v1::{OpenReply, OpenRequest};
use bridge_proto::version;
use tonic::Status;

use super::challenge::{self, Challenged, check_version, random};
use crate::context::Control;
use crate::registry::NotOpened;
use crate::session::Session;

/// The time after which a session without a control call is forgotten.
const ATTEND_WITHIN: Duration = Duration::from_secs(10);
/// Limit on a session's id and a user's name, in bytes.
const MAX_NAME: usize = 256;

/// Checks the daemon's proof, and opens its session.
pub(super) async fn open(
    context: &Arc<Control>,
    challenged: &Challenged,
    request: OpenRequest,
) -> Result<OpenReply, Status> {
    check_version(request.version)?;
    challenge::check(context, challenged, &request.proof).await?;
    let wanted = request.session.ok_or_else(|| Status::invalid_argument("the request names no session"))?;
    if !is_name(&wanted.id) || !is_name(&wanted.user) {
        return Err(Status::invalid_argument(
            "a session needs an id and a user, of at most 256 printable characters",
        ));
    }
    if request.secret.len() != LENGTH {
        return Err(Status::invalid_argument(format!("a session needs a secret of {LENGTH} bytes")));
    }
    let token = new_token()?;
    let mut session = Session::new(&wanted.id, &wanted.user, wanted.since_ms, token.clone());
    session.secret = proof::fingerprint(&request.secret);
    let session = context.registry.open(session).map_err(refused)?;
    let later = context.registry.clone();
    context.tasks.spawn(async move {
        // An ended session returns its memory at once.
        if tokio::time::timeout(ATTEND_WITHIN, session.ended.cancelled()).await.is_err() {
            later.end_unattended(&session);
        }
    });
    Ok(OpenReply { version: Some(version::ours()), token })
}

fn refused(error: NotOpened) -> Status {
    match error {
        NotOpened::Stopping | NotOpened::TooMany | NotOpened::Full => Status::unavailable(error.to_string()),
        NotOpened::AnothersSession => Status::permission_denied(error.to_string()),
    }
}

/// Names go into headers and log lines.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control) && name.trim() == name
}

fn new_token() -> Result<String, Status> {
    Ok(random()?.iter().fold(String::with_capacity(LENGTH * 2), |mut token, byte| {
        // Writing to a string does not fail.
        let _ = write!(token, "{byte:02x}");
        token
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_stand_in_a_header() {
        for (name, good) in
            [("alice", true), ("Alice B.", true), ("", false), ("a\r\nb", false), (" a", false)]
        {
            assert_eq!(is_name(name), good, "{name:?}");
        }
        assert!(!is_name(&"a".repeat(257)));
    }

    #[test]
    fn tokens_differ() {
        let tokens = (new_token().expect("random"), new_token().expect("random"));
        assert_eq!(tokens.0.len(), 64);
        assert_ne!(tokens.0, tokens.1);
    }
}
