//! Connects that end by themselves at a time that the user has chosen.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::session::Session;
use super::sharing::Sharing;
use super::users::Users;

/// A laptop that sleeps stops our timers, and not the clock.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Ends a connect that is not among the users before when its time has come, which begins now. One that has been made
/// again meanwhile has a time of its own.
pub(crate) fn begin(sharing: &Sharing, session: &Session, before: &Users) {
    let users = session.users().timed(now_ms());
    let Some((id, ends_ms)) = users.lease().filter(|(id, _)| !before.has(*id)) else { return };
    session.note_users(users);
    let (sharing, session) = (sharing.clone(), session.facts.id.clone());
    tokio::spawn(async move {
        until(ends_ms).await;
        let left = {
            let _under_way = sharing.turns.begin();
            Box::pin(sharing.leave(&session, id)).await
        };
        match left {
            Ok(_) => tracing::info!(%session, "the time of the connect is over"),
            Err(failure) => {
                tracing::warn!(%session, %failure, "cannot restore the Service; retrying");
                sharing.give_back(&session).await;
            }
        }
    });
}

async fn until(ends_ms: u64) {
    loop {
        match ends_ms.saturating_sub(now_ms()) {
            0 => return,
            left => tokio::time::sleep(LOOK_EVERY.min(Duration::from_millis(left))).await,
        }
    }
}

/// Since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
