//! The requests that the agents of sessions see.

use bridge_proto::v1;
use tonic::Streaming;

use crate::error::ClientError;
use crate::find::Daemon;

/// Size of the records of a hundred agents: 1,000 requests each, with the longest paths.
const LARGEST: usize = 64 * 1024 * 1024;

/// The requests, in batches.
#[derive(Debug)]
pub struct Seen(Streaming<v1::SeenByAgents>);

impl Seen {
    /// Asks for them.
    ///
    /// # Errors
    ///
    /// If the daemon does not answer.
    pub async fn by(daemon: &mut Daemon, query: v1::RequestsQuery) -> Result<Self, ClientError> {
        let mut client = daemon.client.clone().max_decoding_message_size(LARGEST);
        Ok(Self(client.requests(query).await?.into_inner()))
    }

    /// The next batch; `None`: the sessions have ended, or nobody follows them.
    ///
    /// # Errors
    ///
    /// If the daemon is gone.
    pub async fn next(&mut self) -> Result<Option<v1::SeenByAgents>, ClientError> {
        Ok(self.0.message().await?)
    }
}
