//! A command's reaction to its daemon's death: when to reconnect, and what to print. Pure.

use std::time::Duration;

use bridge_proto::v1::{self, failure::Cause};

use crate::error::ClientError;

/// The pause before another attempt; it doubles up to a limit.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A session that ends sooner has not shown that it is worth reconnecting at once.
const PROVED: Duration = Duration::from_secs(10);
/// Reasons to print while it does not work, each of them once.
const MOST_REASONS: usize = 3;

/// A command's session, with everything that is needed to open it again.
#[derive(Debug)]
pub(super) struct Again {
    target: String,
    /// The request of `connect`, besides this command's.
    lasting: Option<v1::ConnectRequest>,
    failures: u32,
    reasons: Vec<String>,
}

/// The next step after a failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The pause before another, and the message.
    Retry(Duration, Option<String>),
    /// No other attempt would work: the reason.
    End(String),
}

/// Whether another attempt may work without a change by the user.
fn may_pass(cause: Cause) -> bool {
    match cause {
        // The API server, the network, or the daemon.
        Cause::Unreachable | Cause::Api | Cause::Conflict | Cause::NoDaemon => true,
        // A user who works with the cluster logs in again and rewrites the kubeconfig anyway.
        Cause::Credentials | Cause::NoKubeconfig | Cause::BadKubeconfig | Cause::NoContext => true,
        // Pods come and go, and with them what counts against a quota; without pods, there is an obstacle.
        Cause::NotReady | Cause::NoTunnel | Cause::NotSeen | Cause::NotFound => true,
        Cause::Refused | Cause::Obstacles | Cause::LeftBehind => true,
        // The cause is unknown.
        Cause::Unspecified | Cause::Internal | Cause::GivenUp => true,

        Cause::BadRequest | Cause::BadTarget | Cause::Forbidden => false,
        // The target has changed or is gone,
        Cause::NoSuchNamespace | Cause::NoSuchTarget | Cause::SeveralTargets => false,
        Cause::NoSuchPort | Cause::SeveralPorts => false,
        // or others have it.
        Cause::Held | Cause::NotOurs | Cause::NewerAttachment | Cause::UnreadableAttachment => false,
        // Other versions of bridge.
        Cause::OtherDaemon | Cause::OtherVersion | Cause::NoAgent => false,
        // Another command of this user.
        Cause::ListenerThere | Cause::RequestsCome => false,
        Cause::NoSession | Cause::SeveralSessions | Cause::Ended => false,
    }
}

impl Again {
    pub(super) fn new(target: String, lasting: Option<v1::ConnectRequest>) -> Self {
        Self { target, lasting, failures: 0, reasons: Vec::new() }
    }

    pub(super) fn lasts(&mut self, lasting: Option<v1::ConnectRequest>) {
        self.lasting = lasting;
    }

    pub(super) fn lasting(&self) -> Option<&v1::ConnectRequest> {
        self.lasting.as_ref()
    }

    /// To be called when the daemon is gone, and the session had existed for this time. Returns the pause before the
    /// first attempt, and the message.
    pub(super) fn daemon_is_gone(&mut self, lasted: Duration) -> (Duration, String) {
        self.reasons.clear();
        if lasted >= PROVED {
            self.failures = 0;
        }
        let said = format!(
            "the daemon is gone: reconnecting {}; open connections were reset, new ones wait",
            self.target
        );
        (self.pause(), said)
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, error: &ClientError) -> Next {
        let why = error.message();
        if !may_pass(error.cause()) {
            let advice = Some(error.advice()).filter(|advice| !advice.is_empty());
            let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
            return Next::End(format!("cannot reconnect {}: {why}{advice}", self.target));
        }
        self.failures = self.failures.saturating_add(1);
        let new = self.reasons.len() < MOST_REASONS && self.reasons.iter().all(|printed| printed != why);
        if new {
            self.reasons.push(why.to_owned());
        }
        let said = || format!("cannot reconnect {}: {why}; retrying", self.target);
        Next::Retry(self.pause(), new.then(said))
    }

    /// To be called when the session exists again.
    pub(super) fn is_there(&mut self) -> String {
        // It has yet to last.
        self.failures = self.failures.saturating_add(1);
        format!("{} is connected again", self.target)
    }

    fn pause(&self) -> Duration {
        let doubled = self.failures.checked_sub(1).map(|times| FIRST_PAUSE * 2_u32.pow(times.min(8)));
        doubled.unwrap_or_default().min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn connected() -> Again {
        Again::new("orders".to_owned(), None)
    }

    fn failure(cause: Cause, why: &str) -> ClientError {
        ClientError::new(cause, why, "")
    }

    #[test]
    fn attempts_become_rare_and_each_reason_is_printed_once() {
        let mut again = connected();
        assert_eq!(again.daemon_is_gone(LONG).0, Duration::ZERO);
        let fails = |again: &mut Again, why| match again.failed(&failure(Cause::Unreachable, why)) {
            Next::Retry(pause, said) => (pause, said),
            end => panic!("{end:?}"),
        };
        let tried: Vec<_> = ["a", "b", "a", "c", "d", "a", "a", "a"].map(|why| fails(&mut again, why)).into();
        let pauses: Vec<u128> = tried.iter().map(|(pause, _)| pause.as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        let printed: Vec<&String> = tried.iter().filter_map(|(_, said)| said.as_ref()).collect();
        assert_eq!(printed.len(), 3, "{printed:?}");
        assert_eq!(printed[0], "cannot reconnect orders: a; retrying");
        let _ = again.is_there();
        let _ = again.daemon_is_gone(LONG);
        let said = fails(&mut again, "a").1;
        assert_eq!(said.as_ref(), Some(printed[0]), "after another death it is printed again");
    }

    #[test]
    fn a_cause_that_does_not_pass_ends_the_attempts_with_its_advice() {
        let mut again = connected();
        let error = ClientError::new(Cause::Held, "bob takes these requests", "ask bob");
        let said = "cannot reconnect orders: bob takes these requests; ask bob".to_owned();
        assert_eq!(again.failed(&error), Next::End(said));
        let error = failure(Cause::NoSuchTarget, "Service orders is gone");
        assert_eq!(again.failed(&error), Next::End("cannot reconnect orders: Service orders is gone".into()));
    }

    #[test]
    fn a_cluster_that_is_away_may_come_back_and_a_right_that_is_missing_does_not() {
        for (cause, expected) in [
            (Cause::Unreachable, true),
            (Cause::Api, true),
            (Cause::Credentials, true),
            (Cause::NoDaemon, true),
            (Cause::NotReady, true),
            (Cause::NoTunnel, true),
            (Cause::Refused, true),
            (Cause::Unspecified, true),
            (Cause::Forbidden, false),
            (Cause::OtherDaemon, false),
            (Cause::OtherVersion, false),
            (Cause::NoSuchTarget, false),
            (Cause::NoSuchNamespace, false),
            (Cause::NoSuchPort, false),
            (Cause::Held, false),
            (Cause::NewerAttachment, false),
        ] {
            assert_eq!(may_pass(cause), expected, "{cause:?}");
        }
    }

    #[test]
    fn a_daemon_that_dies_again_and_again_is_started_ever_less_often() {
        let mut again = connected();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            pauses.push(again.daemon_is_gone(Duration::from_secs(1)).0.as_millis());
            let _ = again.is_there();
        }
        assert_eq!(pauses, [0, 250, 500, 1000]);
        assert_eq!(again.daemon_is_gone(LONG).0, Duration::ZERO, "it has proved itself");
    }
}
