//! The cluster's network, for processes of this machine, by way of a session that the daemon holds.
//!
//! `streams` asks the daemon for connections and hands over those that are to be tied to them, `flows` for UDP; `names` decides what the
//! cluster is asked for a name, and `resolver` asks; `destinations` knows which addresses are the cluster's, and `overlap`
//! which of them are this machine's as well.

mod destinations;
mod flows;
mod names;
mod overlap;
mod resolver;
mod streams;

use bridge_proto::v1;
use bytes::Bytes;
use tonic::Status;
use tonic::transport::Channel;

pub(crate) use destinations::{Destinations, Place, Scope};
pub(crate) use flows::{Flow, FlowError, Flows};
pub(crate) use names::Search;
pub(crate) use overlap::{Overlap, overlaps};
pub(crate) use resolver::{Answered, Resolver, Source};
pub(crate) use streams::{Dialled, Streams};

pub(crate) type DaemonClient = v1::daemon_client::DaemonClient<Channel>;

/// The pod's resolver, asked through the daemon.
#[derive(Clone)]
pub(crate) struct ClusterDns {
    pub(crate) daemon: DaemonClient,
    pub(crate) session: String,
}

impl resolver::Ask for ClusterDns {
    async fn ask(&self, message: Bytes) -> Result<Bytes, Status> {
        let request = v1::ResolveRequest { session: self.session.clone(), message };
        Ok(self.daemon.clone().resolve(request).await?.into_inner().message)
    }
}
