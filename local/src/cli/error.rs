//! A command's failure: an exit code, what happened, and what to do next.

use bridge_client::ClientError;
use bridge_proto::v1::{self, failure::Cause};

use super::exit::Exit;

/// A failed command: its exit code, and its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) exit: Exit,
    /// The failure, and its object.
    pub(crate) message: String,
    /// Advice; may be empty.
    pub(crate) advice: String,
}

impl Failed {
    pub(crate) fn new(exit: Exit, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Failed { exit, message: message.into(), advice: advice.into() }
    }

    /// An error that should not happen; the daemon's log may have details.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Failed::new(Exit::Internal, message, "bridge logs --daemon may say more")
    }
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        v1::Failure::from(error).into()
    }
}

impl From<v1::Failure> for Failed {
    fn from(failure: v1::Failure) -> Self {
        let exit = match failure.cause() {
            // The daemon sends no causes, or one that this command does not know.
            Cause::Unspecified => Exit::from_code(failure.exit_code),
            cause => Exit::of(cause),
        };
        Failed::new(exit, failure.message, failure.advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_of_any_age_is_understood() {
        let failure = |cause: i32, exit_code: u32| v1::Failure { cause, exit_code, ..v1::Failure::default() };
        for (sent, exit) in [
            (failure(Cause::Held.into(), 0), Exit::Held),
            (failure(0, 6), Exit::Held),
            (failure(0, 0), Exit::Internal),
            (failure(99_999, 0), Exit::Internal),
        ] {
            assert_eq!(Failed::from(sent).exit, exit);
        }
    }
}
