//! Mutual authentication: each side proves that it knows the stand-in's key, which never travels
//! (`bridge_proto::proof`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bridge_proto::proof::{self, Handshake, LENGTH};
use bridge_proto::v1::{ChallengeReply, ChallengeRequest, Version};
use bridge_proto::version;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use tokio::time::Instant;
use tonic::Status;

use crate::context::Control;

/// The time limit for a daemon's answer to a challenge: one round trip.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The last challenge to the daemon of one connection, until it answers. Another challenge replaces it, so there is
/// never more than one to keep for a connection.
#[derive(Debug, Default)]
pub(super) struct Challenged {
    nonces: Mutex<Option<Nonces>>,
}

#[derive(Debug)]
struct Nonces {
    daemon: Vec<u8>,
    agent: [u8; LENGTH],
    at: Instant,
}

impl Challenged {
    fn ask(&self, nonces: Nonces) {
        *self.nonces.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonces);
    }

    /// The challenge to be answered now; it is good for one answer, and not for long.
    fn take(&self) -> Option<Nonces> {
        let nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner).take();
        nonces.filter(|nonces| nonces.at.elapsed() <= ANSWER_WITHIN)
    }
}

/// Proves to a daemon that this is the agent of this pod, and challenges it to prove itself.
pub(super) async fn challenge(
    context: &Control,
    challenged: &Challenged,
    request: ChallengeRequest,
) -> Result<ChallengeReply, Status> {
    check_version(request.version)?;
    if request.nonce.len() != LENGTH {
        return Err(Status::invalid_argument(format!("a challenge needs a nonce of {LENGTH} bytes")));
    }
    let key = key(context).await?;
    let agent = random()?;
    let handshake = Handshake { daemon_nonce: &request.nonce, agent_nonce: &agent, pod: &context.name };
    let reply = ChallengeReply {
        version: Some(version::ours()),
        nonce: agent.to_vec(),
        agent: context.name.clone(),
        proof: proof::of_agent(&key, handshake).to_vec(),
    };
    challenged.ask(Nonces { daemon: request.nonce, agent, at: Instant::now() });
    Ok(reply)
}

/// Whether a challenged daemon has proven itself.
pub(super) async fn check(context: &Control, challenged: &Challenged, shown: &[u8]) -> Result<(), Status> {
    let nonces = challenged.take().ok_or_else(|| {
        Status::unauthenticated("this connection got no challenge, or took too long to answer it")
    })?;
    let handshake =
        Handshake { daemon_nonce: &nonces.daemon, agent_nonce: &nonces.agent, pod: &context.name };
    if proof::is_of_daemon(&key(context).await?, handshake, shown) {
        return Ok(());
    }
    if let Some(left_out) = context.wrong_keys.says() {
        tracing::warn!(left_out, "a daemon could not prove that it knows the key");
    }
    Err(Status::unauthenticated("wrong key for this stand-in, which may have been replaced: connect again"))
}

/// Whether the two versions can work together.
pub(super) fn check_version(theirs: Option<Version>) -> Result<(), Status> {
    version::agree("the agent", "this bridge command", &theirs.unwrap_or_default())
        .map(|_| ())
        .map_err(|mismatch| Status::failed_precondition(mismatch.to_string()))
}

async fn key(context: &Control) -> Result<Vec<u8>, Status> {
    let read = tokio::fs::read(&context.key_file).await;
    if let Err(error) = &read
        && let Some(left_out) = context.unread_keys.says()
    {
        tracing::warn!(left_out, %error, file = %context.key_file.display(), "cannot read the key");
    }
    let key = read.ok().filter(|key| !key.is_empty());
    key.ok_or_else(|| Status::unavailable("the agent cannot read its key yet"))
}

/// Unpredictable bytes.
pub(super) fn random() -> Result<[u8; LENGTH], Status> {
    let mut random = [0; LENGTH];
    OsRng.try_fill_bytes(&mut random).map_err(|_| Status::internal("the system has no randomness"))?;
    Ok(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces() -> Nonces {
        Nonces { daemon: vec![1], agent: [2; LENGTH], at: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_challenge_is_good_for_one_answer_and_not_for_long() {
        let challenged = Challenged::default();
        assert!(challenged.take().is_none(), "nothing was asked");
        challenged.ask(nonces());
        assert!(challenged.take().is_some());
        assert!(challenged.take().is_none(), "it is answered already");
        challenged.ask(nonces());
        tokio::time::advance(ANSWER_WITHIN + Duration::from_millis(1)).await;
        assert!(challenged.take().is_none(), "too late");
    }
}
