//! Proves to both ends of a tunnel that the other knows the stand-in's key, which never travels: each shows a MAC over
//! both sides' nonces and the name of the agent's pod. A proof is good for one connection to one pod: an agent that
//! relays a challenge to another one gets the proof of the other's name.
//!
//! [`of_agent`] and [`of_daemon`] are the proofs, [`is_of_agent`] and [`is_of_daemon`] check them; [`open`] is the
//! daemon's side of the handshake.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::v1::agent_client::AgentClient;
use crate::v1::{ChallengeReply, ChallengeRequest, OpenRequest, Session, Version};
use crate::version::{self, Mismatch};

/// Bytes of a nonce, of a proof and of a session's secret.
pub const LENGTH: usize = 32;
/// The longest message before both sides have proven themselves.
pub const LONGEST_MESSAGE: usize = 8 * 1024;

/// The side of a proof: neither proof can be shown as the other's.
const OF_AGENT: &str = "bridge agent";
const OF_DAEMON: &str = "bridge daemon";

/// The input of both proofs of one handshake.
#[derive(Debug, Clone, Copy)]
pub struct Handshake<'a> {
    pub daemon_nonce: &'a [u8],
    pub agent_nonce: &'a [u8],
    /// The name of the agent's pod.
    pub pod: &'a str,
}

/// The agent's proof.
#[must_use]
pub fn of_agent(key: &[u8], handshake: Handshake<'_>) -> [u8; LENGTH] {
    mac(key, OF_AGENT, handshake).finalize().into_bytes().into()
}

/// The daemon's proof.
#[must_use]
pub fn of_daemon(key: &[u8], handshake: Handshake<'_>) -> [u8; LENGTH] {
    mac(key, OF_DAEMON, handshake).finalize().into_bytes().into()
}

/// Whether this is the agent's proof. Takes the same time wherever it differs.
#[must_use]
pub fn is_of_agent(key: &[u8], handshake: Handshake<'_>, shown: &[u8]) -> bool {
    mac(key, OF_AGENT, handshake).verify_slice(shown).is_ok()
}

/// Whether this is the daemon's proof; likewise.
#[must_use]
pub fn is_of_daemon(key: &[u8], handshake: Handshake<'_>, shown: &[u8]) -> bool {
    mac(key, OF_DAEMON, handshake).verify_slice(shown).is_ok()
}

/// The part of a session's secret that an agent keeps.
#[must_use]
pub fn fingerprint(secret: &[u8]) -> [u8; LENGTH] {
    Sha256::digest(secret).into()
}

fn mac(key: &[u8], role: &str, handshake: Handshake<'_>) -> Hmac<Sha256> {
    let Handshake { daemon_nonce, agent_nonce, pod } = handshake;
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in [role.as_bytes(), daemon_nonce, agent_nonce, pod.as_bytes()] {
        // With its length before it, no part can be read as the end of one and the beginning of the next.
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part);
    }
    mac
}

/// A daemon's secret for a session.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    pub key: &'a [u8],
    /// The pod that was called.
    pub pod: &'a str,
    /// Random, only for this handshake.
    pub nonce: [u8; LENGTH],
    pub session: &'a Session,
    /// Random, for as long as the session lives.
    pub secret: &'a [u8; LENGTH],
}

/// Without the secrets.
impl fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("pod", &self.pod)
            .field("session", &self.session.id)
            .finish_non_exhaustive()
    }
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub enum NotOpened {
    #[error(transparent)]
    Version(#[from] Mismatch),
    #[error("pod {pod} cannot prove that it has the stand-in's key; bridge sent nothing to it")]
    NoAgent { pod: String },
    #[error("the agent answered: {}", .0.message())]
    Refused(#[from] Status),
}

/// An open session.
#[derive(Clone)]
pub struct Opened {
    /// For the metadata of each call: never logged.
    pub token: String,
    /// The newest revision that the agent and this program have in common.
    pub revision: u32,
}

/// Without the token.
impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("revision", &self.revision).finish_non_exhaustive()
    }
}

/// Opens a session at an agent, which must prove itself before it learns anything of the session.
///
/// # Errors
///
/// [`NotOpened`]; after [`NotOpened::Version`] and [`NotOpened::NoAgent`] the agent knows nothing of the session.
pub async fn open(channel: Channel, opening: Opening<'_>) -> Result<Opened, NotOpened> {
    let mut client = AgentClient::new(channel).max_decoding_message_size(LONGEST_MESSAGE);
    let Opening { key, pod, nonce, session, secret } = opening;
    let request = ChallengeRequest { version: Some(version::ours()), nonce: nonce.to_vec() };
    let reply = match client.challenge(request).await {
        Ok(reply) => reply.into_inner(),
        // Revision 1 had no such call.
        Err(status) if status.code() == Code::Unimplemented => {
            return Err(agree(&Version::default()).err().map_or(NotOpened::Refused(status), Into::into));
        }
        Err(status) => return Err(status.into()),
    };
    let ChallengeReply { version, nonce: agent_nonce, agent: _, proof } = reply;
    let revision = agree(&version.unwrap_or_default())?;
    let handshake = Handshake { daemon_nonce: &nonce, agent_nonce: &agent_nonce, pod };
    if agent_nonce.len() != LENGTH || !is_of_agent(key, handshake, &proof) {
        return Err(NotOpened::NoAgent { pod: pod.to_owned() });
    }
    let request = OpenRequest {
        version: Some(version::ours()),
        session: Some(session.clone()),
        proof: of_daemon(key, handshake).to_vec(),
        secret: secret.to_vec(),
    };
    let token = client.open(request).await?.into_inner().token;
    Ok(Opened { token, revision })
}

fn agree(agent: &Version) -> Result<u32, Mismatch> {
    version::agree("this bridge", "the agent", agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"key";

    fn handshake() -> Handshake<'static> {
        Handshake { daemon_nonce: &[1; LENGTH], agent_nonce: &[2; LENGTH], pod: "orders-1" }
    }

    #[test]
    fn a_proof_is_good_for_its_side_its_nonces_and_its_pod_alone() {
        let now = handshake();
        assert!(is_of_agent(KEY, now, &of_agent(KEY, now)) && is_of_daemon(KEY, now, &of_daemon(KEY, now)));
        assert!(!is_of_daemon(KEY, now, &of_agent(KEY, now)), "the agent's proof was taken for the daemon's");
        assert!(!is_of_agent(KEY, now, &of_daemon(KEY, now)), "the daemon's proof was taken for the agent's");
        assert!(!is_of_agent(b"other", now, &of_agent(KEY, now)), "another key's proof was taken");
        for (what, other) in [
            ("another daemon's nonce's", Handshake { daemon_nonce: &[3; LENGTH], ..now }),
            ("another agent's nonce's", Handshake { agent_nonce: &[3; LENGTH], ..now }),
            ("another pod's", Handshake { pod: "orders-2", ..now }),
            (
                "exchanged nonces'",
                Handshake { daemon_nonce: now.agent_nonce, agent_nonce: now.daemon_nonce, ..now },
            ),
        ] {
            assert!(!is_of_agent(KEY, now, &of_agent(KEY, other)), "{what} proof was taken for the agent's");
            assert!(
                !is_of_daemon(KEY, now, &of_daemon(KEY, other)),
                "{what} proof was taken for the daemon's"
            );
        }
    }

    #[test]
    fn no_part_of_a_proof_s_input_runs_into_the_next() {
        let one = Handshake { daemon_nonce: b"ab", agent_nonce: b"c", pod: "d" };
        let other = Handshake { daemon_nonce: b"a", agent_nonce: b"bc", pod: "d" };
        assert_ne!(of_agent(KEY, one), of_agent(KEY, other));
    }

    #[test]
    fn an_incomplete_proof_does_not_match() {
        let proof = of_agent(KEY, handshake());
        let longer = [proof.as_slice(), &[0]].concat();
        for shown in [&proof[..31], &[][..], &longer] {
            assert!(!is_of_agent(KEY, handshake(), shown), "{} bytes were taken for a proof", shown.len());
        }
    }

    #[test]
    fn an_opening_shows_nothing_secret() {
        let session = Session { id: "s1".into(), user: "alice".into(), since_ms: 1 };
        let opening = Opening {
            key: b"hidden",
            pod: "orders-1",
            nonce: [7; LENGTH],
            session: &session,
            secret: &[9; LENGTH],
        };
        assert_eq!(format!("{opening:?}"), "Opening { pod: \"orders-1\", session: \"s1\", .. }");
    }
}
