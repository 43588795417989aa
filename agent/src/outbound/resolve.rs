//! Asks the pod's resolvers for a laptop.

use std::net::SocketAddr;
use std::time::Duration;

use bridge_proto::dns;
use bytes::Bytes;

use super::Outbound;
use crate::session::{Session, share};

/// The time to wait for one resolver, each time.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// A header and the shortest question.
const SHORTEST: usize = 17;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("invalid query length: {0} bytes")]
    Length(usize),
    #[error("{}", share::FULL)]
    NoRoom,
    #[error("the pod's resolv.conf names no resolver")]
    NoResolver,
    #[error("no answer from {0}")]
    Silent(SocketAddr),
}

impl Outbound {
    /// Asks the resolvers one after the other.
    pub(crate) async fn resolve(&self, session: &Session, query: &[u8]) -> Result<Bytes, ResolveError> {
        if !(SHORTEST..=dns::LONGEST).contains(&query.len()) {
            return Err(ResolveError::Length(query.len()));
        }
        let _place = session.outbound.begin(1).ok_or(ResolveError::NoRoom)?;
        let last = *self.resolvers.last().ok_or(ResolveError::NoResolver)?;
        for resolver in self.resolvers.iter().cycle().take(self.resolvers.len() * ROUNDS) {
            match tokio::time::timeout(ANSWER_WITHIN, dns::ask(*resolver, query)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => tracing::debug!(%resolver, %error, "no answer"),
                Err(_) => tracing::debug!(%resolver, "no answer in time"),
            }
        }
        Err(ResolveError::Silent(last))
    }
}
