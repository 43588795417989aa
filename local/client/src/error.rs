//! Why a request to the daemon failed: cause, message and advice.

use std::fmt;

use bridge_proto::v1::{self, failure::Cause};

/// The daemon's answer, or the reason why the request did not reach it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientError(v1::Failure);

impl ClientError {
    #[must_use]
    pub fn new(cause: Cause, message: impl Into<String>, advice: impl Into<String>) -> Self {
        let (message, advice) = (message.into(), advice.into());
        Self(v1::Failure { cause: cause.into(), message, advice, ..v1::Failure::default() })
    }

    /// An error that should not happen.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::of_daemon(Cause::Internal, message)
    }

    /// The daemon's log may have details.
    fn of_daemon(cause: Cause, message: impl Into<String>) -> Self {
        Self::new(cause, message, "bridge logs --daemon may say more")
    }

    /// The failure, and its object.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Advice; may be empty.
    #[must_use]
    pub fn advice(&self) -> &str {
        &self.0.advice
    }

    /// The cause; `Unspecified` if the daemon is older than causes.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.0.cause()
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for ClientError {}

/// The daemon failed.
impl From<v1::Failure> for ClientError {
    fn from(failure: v1::Failure) -> Self {
        Self(failure)
    }
}

impl From<ClientError> for v1::Failure {
    fn from(error: ClientError) -> Self {
        error.0
    }
}

/// The call failed, not the request to the daemon.
impl From<tonic::Status> for ClientError {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::Unimplemented => Self::new(
                Cause::OtherDaemon,
                "the running daemon is another version of bridge and does not know this command",
                "run `bridge disconnect --all`, then try again: that starts a new daemon",
            ),
            // Its own word: a daemon that is gone leaves an error of the connection.
            tonic::Code::Unavailable if std::error::Error::source(&status).is_none() => {
                Self::new(Cause::NoTunnel, status.message(), "`bridge status` shows why")
            }
            code => Self::of_daemon(
                Cause::NoDaemon,
                format!("the daemon did not answer: {} ({code:?})", status.message()),
            ),
        }
    }
}

/// An error with its causes, as one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_does_not_know_a_call_is_another_version() {
        let error = ClientError::from(tonic::Status::unimplemented(""));
        assert_eq!(error.cause(), Cause::OtherDaemon);
        assert!(error.advice().contains("bridge disconnect --all"), "{}", error.advice());

        let error = ClientError::from(tonic::Status::internal("broken"));
        assert_eq!(error.cause(), Cause::NoDaemon);
        assert_eq!(error.to_string(), "the daemon did not answer: broken (Internal)");

        let error = ClientError::from(tonic::Status::unavailable("cannot reach an agent of orders"));
        let expected = (Cause::NoTunnel, "cannot reach an agent of orders", "`bridge status` shows why");
        assert_eq!((error.cause(), error.message(), error.advice()), expected);
    }

    #[test]
    fn the_daemon_s_failure_arrives_whole() {
        let failure = v1::Failure {
            cause: Cause::Held.into(),
            exit_code: 6,
            message: "bob takes these requests".to_owned(),
            advice: "ask bob".to_owned(),
        };
        let error = ClientError::from(failure.clone());
        assert_eq!(
            (error.cause(), error.message(), error.advice()),
            (Cause::Held, "bob takes these requests", "ask bob")
        );
        assert_eq!(v1::Failure::from(error), failure);
    }
}
