//! The cluster's network, for processes of this machine, by way of a session that the daemon holds.
//!
//! [`Via`] knows which session it is, also after the daemon has died. `streams` asks the daemon for connections and hands over
//! those that are to be tied to them, `flows` for UDP; `names` decides what the cluster is asked for a name, and `resolver`
//! asks; `destinations` knows which addresses are the cluster's, and `overlap` which of them are this machine's as well.

mod destinations;
mod flows;
mod names;
mod overlap;
mod resolver;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use bridge_client::{DaemonClient, Via, is_gone};
use bridge_proto::v1;
use bytes::Bytes;
use tonic::Status;

pub use destinations::{Destinations, Place, Scope};
pub use flows::{Flow, FlowError, Flows};
pub use names::Search;
pub use overlap::{Overlap, overlaps};
pub use resolver::{Answered, Resolver, Source};
pub use streams::{Dialled, Streams};

/// How long connections wait for a session that is away,
const SESSION_WITHIN: Duration = Duration::from_secs(10);
/// and names: resolvers' clients ask again after five seconds.
const SESSION_FOR_NAMES_WITHIN: Duration = Duration::from_secs(3);

/// The pod's resolver, asked through the daemon.
#[derive(Clone)]
pub struct ClusterDns {
    pub daemon: DaemonClient,
    pub via: Via,
}

impl resolver::Ask for ClusterDns {
    async fn ask(&self, message: Bytes) -> Result<Bytes, Status> {
        let ask = |session: Arc<str>| {
            let request = v1::ResolveRequest { session: session.to_string(), message: message.clone() };
            let mut daemon = self.daemon.clone();
            async move {
                match daemon.resolve(request).await {
                    Err(status) if is_gone(&status) => None,
                    answered => Some(answered),
                }
            }
        };
        let answered = self.via.ask(SESSION_FOR_NAMES_WITHIN, ask).await;
        let away = || Err(Status::unavailable("the daemon is gone"));
        Ok(answered.unwrap_or_else(away)?.into_inner().message)
    }
}
