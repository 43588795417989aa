//! How a session is made, told to the commands that use it: this process may die, and they make the session again.

use bridge_proto::v1;
use tokio::sync::{mpsc, watch};

use super::reattach::same_ports;
use super::registry::Registry;

/// Tells it now, and each time that it changes, until nobody listens.
pub(super) async fn tell(registry: Registry, id: String, told_tx: mpsc::Sender<v1::FollowedSession>) {
    let mut sessions = registry.count();
    let mut last = None;
    loop {
        // The session itself is not kept alive by this: it ends with its last user.
        let session = registry.by_id(&id);
        let mut routes = session.as_ref().map(|session| session.watch_routes());
        let now = v1::FollowedSession { made_by: session.map(|session| same_ports(&session)) };
        if last.as_ref() != Some(&now) {
            if told_tx.send(now.clone()).await.is_err() {
                return;
            }
            last = Some(now);
        }
        tokio::select! {
            // The registry outlives this.
            _ = sessions.changed() => {}
            () = changed(&mut routes) => {}
            () = told_tx.closed() => return,
        }
    }
}

async fn changed(routes: &mut Option<watch::Receiver<v1::Routes>>) {
    match routes {
        // One that has ended is found to be gone.
        Some(routes) => drop(routes.changed().await),
        None => std::future::pending().await,
    }
}
