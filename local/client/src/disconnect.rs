//! Ends a session.

use bridge_proto::v1::{self, disconnect_event};

use crate::error::ClientError;
use crate::find::Daemon;
use crate::said::Said;

/// Has the daemon disconnect one session, and reports each step.
///
/// # Errors
///
/// The daemon's answer, or the reason why there is none.
pub async fn disconnect(
    daemon: &mut Daemon,
    request: v1::DisconnectRequest,
    say: impl Fn(&Said),
) -> Result<v1::Disconnected, ClientError> {
    let target = request.target.clone();
    let mut events = daemon.client.disconnect(request).await?.into_inner();
    let mut result = None;
    while let Some(event) = events.message().await? {
        match event.kind {
            Some(disconnect_event::Kind::Step(text)) => {
                say(&Said::Step { kind: v1::StepKind::Unspecified, text });
            }
            Some(disconnect_event::Kind::Disconnected(done)) => result = Some(Ok(done)),
            Some(disconnect_event::Kind::Failed(failure)) => result = Some(Err(failure.into())),
            None => {}
        }
    }
    let nothing =
        || ClientError::internal(format!("the daemon ended the call for {target} without a result"));
    result.unwrap_or_else(|| Err(nothing()))
}
