//! The session by which a command reaches the cluster. It dies with the daemon that holds it, and another may take its
//! place: what is asked meanwhile waits for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

/// Which session it is. A clone is a handle to the same.
#[derive(Debug, Clone)]
pub struct Via {
    /// Its id; `None`: there is none just now.
    session: watch::Receiver<Option<Arc<str>>>,
}

/// Says which session it is. Without it, the last one said is the last one.
pub type Sessions = watch::Sender<Option<Arc<str>>>;

impl Via {
    pub fn to(session: &str) -> (Sessions, Self) {
        let (sessions, session) = watch::channel(Some(session.into()));
        (sessions, Self { session })
    }

    pub fn now(&self) -> Option<Arc<str>> {
        self.session.borrow().clone()
    }

    /// Asks by way of the session, as soon as there is one. If the daemon is gone (`ask` gives nothing), again by way of the
    /// next one. `None`: there was none in time.
    pub async fn ask<T, Asking>(&self, within: Duration, ask: impl Fn(Arc<str>) -> Asking) -> Option<T>
    where
        Asking: Future<Output = Option<T>>,
    {
        let until = Instant::now() + within;
        let mut asked = None;
        loop {
            let session = timeout_at(until, self.another_than(asked)).await.ok()??;
            if let Some(answer) = ask(session.clone()).await {
                return Some(answer);
            }
            asked = Some(session);
        }
    }

    async fn another_than(&self, asked: Option<Arc<str>>) -> Option<Arc<str>> {
        let mut session = self.session.clone();
        let another = session.wait_for(|now| now.is_some() && *now != asked).await;
        // An error means that none will come.
        another.ok()?.clone()
    }
}

/// Whether a call failed because the daemon is gone: what a daemon answers comes without a source.
pub fn is_gone(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

#[cfg(test)]
mod tests {
    use bridge_proto::v1::ResolveRequest;
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::service::Routes;
    use tonic::transport::{Endpoint, Server};

    use super::*;
    use crate::DaemonClient;

    #[tokio::test]
    async fn a_daemon_that_refuses_is_told_from_one_that_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let mut client = DaemonClient::new(connect());
        // One that refuses every call,
        let daemon = Server::builder().add_routes(Routes::default());
        let serving = daemon.serve_with_incoming(TcpListenerStream::new(listener));
        let refused = tokio::select! {
            refused = client.resolve(ResolveRequest::default()) => refused.unwrap_err(),
            served = serving => panic!("{served:?}"),
        };
        assert!(!is_gone(&refused), "{refused:?}");
        // none,
        let gone = DaemonClient::new(connect()).resolve(ResolveRequest::default()).await.unwrap_err();
        assert!(is_gone(&gone), "{gone:?}");
        // and one that dies of a call.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let mut client = DaemonClient::new(endpoint.connect_lazy());
        let (died, _) = tokio::join!(client.resolve(ResolveRequest::default()), async {
            drop(listener.accept().await.unwrap());
        });
        assert!(is_gone(&died.unwrap_err()));
    }

    const WITHIN: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_while_the_session_is_away_waits_for_the_next() {
        let (sessions, via) = Via::to("a");
        let answer = |session: Arc<str>| async move { Some(session) };
        assert_eq!(via.ask(WITHIN, answer).await.as_deref(), Some("a"));
        let _ = sessions.send_replace(None);
        let asking = tokio::spawn({
            let via = via.clone();
            async move { via.ask(WITHIN, answer).await }
        });
        tokio::time::sleep(Duration::from_secs(9)).await;
        let _ = sessions.send_replace(Some("b".into()));
        assert_eq!(asking.await.unwrap().as_deref(), Some("b"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_death_cut_off_is_asked_again_once_another_session_is_there() {
        let (sessions, via) = Via::to("a");
        let asking = tokio::spawn(async move {
            via.ask(WITHIN, |session| async move { (&*session != "a").then_some(session) }).await
        });
        // It is not asked of the same session time and again meanwhile.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let _ = sessions.send_replace(None);
        let _ = sessions.send_replace(Some("b".into()));
        assert_eq!(asking.await.unwrap().as_deref(), Some("b"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_said_nor_for_what_cannot_come() {
        let (sessions, via) = Via::to("a");
        let gone = |_| std::future::ready(None::<()>);
        let begun = Instant::now();
        assert_eq!(via.ask(WITHIN, gone).await, None);
        assert_eq!(begun.elapsed(), WITHIN);
        drop(sessions);
        assert_eq!(via.ask(WITHIN, gone).await, None);
        assert_eq!(begun.elapsed(), WITHIN, "at once");
    }
}
