//! The pod's resolver, asked through the daemon.

use std::sync::Arc;

use bridge_client::{DaemonClient, Via, is_gone};
use bridge_proto::v1;
use bytes::Bytes;
use tonic::Status;

use super::resolver::Ask;
use super::waits::SESSION_FOR_NAMES_WITHIN;

/// The pod's resolver, asked through the daemon.
#[derive(Clone)]
pub struct ClusterDns {
    pub daemon: DaemonClient,
    pub via: Via,
}

impl Ask for ClusterDns {
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
