//! The handshake: version, key, and the token of a new session.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bridge_proto::v1::{OpenReply, OpenRequest};
use bridge_proto::version;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use subtle::ConstantTimeEq as _;
use tonic::Status;

use crate::agent::Shared;
use crate::sessions::Session;

/// A session whose control call does not come within this time is forgotten.
const ATTEND_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a session's id and of a user's name.
const MAX_NAME: usize = 256;
const TOKEN_BYTES: usize = 32;

/// Checks who asks, and takes the session in.
pub(super) async fn open(shared: &Arc<Shared>, request: OpenRequest) -> Result<OpenReply, Status> {
    let theirs = request.version.unwrap_or_default();
    version::agree("the agent", "this bridge command", &theirs)
        .map_err(|mismatch| Status::failed_precondition(mismatch.to_string()))?;
    check_key(shared, &request.key).await?;
    let wanted = request.session.ok_or_else(|| Status::invalid_argument("the request names no session"))?;
    if !is_name(&wanted.id) || !is_name(&wanted.user) {
        return Err(Status::invalid_argument(
            "a session needs an id and a user, of at most 256 printable characters",
        ));
    }
    let token = new_token()?;
    let session = Session::new(&wanted.id, &wanted.user, wanted.since_ms, token.clone());
    let session = shared.registry.open(session).map_err(|error| Status::unavailable(error.to_string()))?;
    let later = shared.clone();
    shared.tasks.spawn(async move {
        tokio::time::sleep(ATTEND_WITHIN).await;
        later.registry.end_unattended(&session);
    });
    Ok(OpenReply { version: Some(version::ours()), token, agent: shared.name.clone() })
}

async fn check_key(shared: &Shared, shown: &[u8]) -> Result<(), Status> {
    let key = tokio::fs::read(&shared.key_file).await.map_err(|error| {
        tracing::warn!(%error, file = %shared.key_file.display(), "cannot read the key");
        Status::unavailable("the agent cannot read its key yet")
    })?;
    if !key.is_empty() && bool::from(key.ct_eq(shown)) {
        Ok(())
    } else {
        tracing::warn!("a daemon showed a wrong key");
        Err(Status::unauthenticated(
            "the key is not that of this stand-in: it may have been replaced, connect anew",
        ))
    }
}

/// Names go into headers and log lines.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control) && name.trim() == name
}

fn new_token() -> Result<String, Status> {
    let mut random = [0; TOKEN_BYTES];
    OsRng.try_fill_bytes(&mut random).map_err(|_| Status::internal("the system has no randomness"))?;
    Ok(random.iter().fold(String::with_capacity(TOKEN_BYTES * 2), |mut token, byte| {
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
