//! The session through which a command reaches the cluster. It dies with its daemon, and another may replace it:
//! requests wait for that meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// The present session. A clone is a handle to the same.
#[derive(Debug, Clone)]
pub struct Via {
    /// Its id; `None`: there is none now.
    session: watch::Receiver<Option<Arc<str>>>,
}

/// Sets the present session. When it is dropped, the last one stays.
pub type Sessions = watch::Sender<Option<Arc<str>>>;

impl Via {
    pub fn to(session: &str) -> (Sessions, Self) {
        let (sessions, session) = watch::channel(Some(session.into()));
        (sessions, Self { session })
    }

    pub fn now(&self) -> Option<Arc<str>> {
        self.session.borrow().clone()
    }

    /// Asks through the session, as soon as there is one. If the daemon is gone (`ask` returns `None`), asks again
    /// through the next one. `None`: there was none in time.
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

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_question_waits_while_the_session_is_away() {
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
    async fn a_question_cut_off_by_a_death_is_asked_again_of_the_next_session() {
        let (sessions, via) = Via::to("a");
        let asking = tokio::spawn(async move {
            via.ask(WITHIN, |session| async move { (&*session != "a").then_some(session) }).await
        });
        // The same session is not asked again and again meanwhile.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let _ = sessions.send_replace(None);
        let _ = sessions.send_replace(Some("b".into()));
        assert_eq!(asking.await.unwrap().as_deref(), Some("b"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_a_limit_and_ends_if_nothing_can_come() {
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
