//! A command's failure: an exit code, what happened, and what to do next.

use bridge_client::ClientError;
use bridge_proto::v1::{self, failure::Cause};
use serde::Serialize;

use super::exit::Exit;

/// A failed command: its exit code, and its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) exit: Exit,
    /// The failure, and its object.
    pub(crate) message: String,
    /// Advice; may be empty.
    pub(crate) advice: String,
    /// The cause, if the daemon or the cluster reported one.
    cause: Cause,
    /// The result is printed, and says what is wrong.
    beside_result: bool,
}

/// A failure for programs. The names of the fields are stable.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    error: Described,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Described {
    code: String,
    message: String,
    /// What the command was about, as typed with its kind: "svc/orders".
    object: Option<String>,
    /// Advice.
    next: Option<String>,
}

impl Failed {
    pub(crate) fn new(exit: Exit, message: impl Into<String>, advice: impl Into<String>) -> Self {
        let (message, advice) = (message.into(), advice.into());
        Failed { exit, message, advice, cause: Cause::Unspecified, beside_result: false }
    }

    /// The same, where the command has printed a result that says what is wrong.
    pub(crate) fn beside_result(self) -> Self {
        Failed { beside_result: true, ..self }
    }

    /// The failure for programs; `None`: the result is already there.
    pub(crate) fn report(&self, object: Option<String>) -> Option<Report> {
        let described = || Described {
            code: self.code(),
            message: self.message.clone(),
            object,
            next: Some(self.advice.clone()).filter(|advice| !advice.is_empty()),
        };
        (!self.beside_result).then(|| Report { error: described() })
    }

    /// "no-such-target": the cause, or else what the exit code stands for.
    fn code(&self) -> String {
        match self.cause {
            Cause::Unspecified => self.exit.word().to_owned(),
            cause => cause.as_str_name().trim_start_matches("CAUSE_").to_ascii_lowercase().replace('_', "-"),
        }
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
        let cause = failure.cause();
        Failed { cause, ..Failed::new(exit, failure.message, failure.advice) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_the_cause_the_object_and_the_next_step() {
        let failure = v1::Failure {
            cause: Cause::NoSuchTarget.into(),
            message: "Service \"order\" not found".to_owned(),
            advice: "did you mean orders?".to_owned(),
            ..v1::Failure::default()
        };
        let report = |failed: Failed| serde_json::to_value(failed.report(Some("svc/order".into()))).unwrap();
        let expected = serde_json::json!({"error": {
            "code": "no-such-target", "message": "Service \"order\" not found", "object": "svc/order",
            "next": "did you mean orders?",
        }});
        assert_eq!(report(failure.into()), expected);
        let local = report(Failed::new(Exit::Usage, "no command to run", ""));
        assert_eq!(local["error"]["code"], "usage");
        assert!(local["error"]["next"].is_null(), "{local}");
        assert!(report(Failed::new(Exit::Target, "2 checks failed", "").beside_result()).is_null());
    }

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
