//! The pod's resolvers, asked on behalf of a laptop.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bridge_proto::dns;
use bytes::Bytes;

use super::Outbound;

/// How long one resolver is waited for, each time.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// A header and the shortest question.
const SHORTEST: usize = 17;
/// Nobody's resolv.conf is longer.
const MAX_CONF: u64 = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("the question has {0} bytes, which no question has")]
    Length(usize),
    #[error("this agent has no room for more questions")]
    NoRoom,
    #[error("the pod has no resolver: {0}")]
    NoResolver(String),
    #[error("no answer from {0}")]
    Silent(SocketAddr),
}

impl Outbound {
    /// Asks one after the other.
    pub(crate) async fn resolve(&self, query: &[u8]) -> Result<Bytes, ResolveError> {
        if !(SHORTEST..=dns::LONGEST).contains(&query.len()) {
            return Err(ResolveError::Length(query.len()));
        }
        let _room = self.room.try_acquire().map_err(|_| ResolveError::NoRoom)?;
        let resolvers = match self.resolver {
            Some(resolver) => vec![resolver],
            None => dns::nameservers(&self.resolv_conf().map_err(|error| no_resolver(&error))?),
        };
        let last = *resolvers.last().ok_or_else(|| ResolveError::NoResolver("none is named".to_owned()))?;
        for resolver in resolvers.iter().cycle().take(resolvers.len() * ROUNDS) {
            match tokio::time::timeout(ANSWER_WITHIN, dns::ask(*resolver, query)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => tracing::debug!(%resolver, %error, "no answer"),
                Err(_) => tracing::debug!(%resolver, "no answer in time"),
            }
        }
        Err(ResolveError::Silent(last))
    }

    /// The pod's resolv.conf, as far as it is text of a bearable length.
    pub(super) fn resolv_conf(&self) -> io::Result<String> {
        read(&self.resolv_conf)
    }
}

fn read(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_CONF).read_to_string(&mut text)?;
    Ok(text)
}

fn no_resolver(error: &io::Error) -> ResolveError {
    ResolveError::NoResolver(error.to_string())
}
