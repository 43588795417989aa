//! Connects a target until it is disconnected.

use bridge_proto::v1::{self, connect_event};

use crate::error::ClientError;
use crate::find::Daemon;
use crate::said::Said;

/// Has the daemon connect, and reports each step until the session exists. If this is dropped before that, the daemon
/// undoes what it has begun.
///
/// # Errors
///
/// The daemon's answer, or the reason why there is none.
pub async fn connect(
    daemon: &mut Daemon,
    request: v1::ConnectRequest,
    say: impl Fn(&Said),
) -> Result<v1::SessionStatus, ClientError> {
    let mut events = daemon.client.connect(request).await?.into_inner();
    loop {
        let Some(event) = events.message().await? else {
            return Err(ClientError::internal("the daemon ended the call without a result"));
        };
        let step_kind = event.step_kind();
        match event.kind {
            Some(connect_event::Kind::Step(text)) => say(&Said::Step { kind: step_kind, text }),
            Some(connect_event::Kind::Warning(warning)) => say(&Said::Warning(warning)),
            Some(connect_event::Kind::Connected(session)) => return Ok(session),
            Some(connect_event::Kind::Failed(failure)) => return Err(failure.into()),
            // An event that only a newer daemon knows.
            None => {}
        }
    }
}
