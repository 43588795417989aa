//! Exit codes, and the code for each cause. This is the only place with codes: cluster, daemon and client report
//! causes.

use bridge_proto::v1::failure::Cause;

/// The exit codes that `bridge --help` documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Internal = 1,
    Usage = 2,
    Target = 3,
    Rights = 4,
    Unreachable = 5,
    Held = 6,
    NotReady = 7,
    Left = 8,
    /// As shells report for a command that cannot be run,
    NotRun = 126,
    /// or does not exist.
    NotFound = 127,
    Interrupted = 130,
}

impl Exit {
    /// The exit code of a command that fails for this cause.
    pub(crate) fn of(cause: Cause) -> Self {
        match cause {
            Cause::Unspecified
            | Cause::Internal
            | Cause::Conflict
            | Cause::Api
            | Cause::NoDaemon
            | Cause::OtherDaemon => Self::Internal,
            Cause::BadRequest
            | Cause::BadTarget
            | Cause::NoKubeconfig
            | Cause::BadKubeconfig
            | Cause::NoContext
            | Cause::NoAgent
            | Cause::SeveralSessions
            | Cause::ListenerThere
            | Cause::RequestsCome => Self::Usage,
            Cause::NoSuchNamespace
            | Cause::NoSuchTarget
            | Cause::SeveralTargets
            | Cause::NoSuchPort
            | Cause::SeveralPorts
            | Cause::NotFound
            | Cause::Obstacles
            | Cause::NotOurs
            | Cause::NewerAttachment
            | Cause::NoSession
            | Cause::Ended => Self::Target,
            Cause::Credentials | Cause::Forbidden => Self::Rights,
            Cause::Unreachable => Self::Unreachable,
            Cause::Held => Self::Held,
            Cause::Refused | Cause::NotReady | Cause::NoTunnel | Cause::OtherVersion | Cause::NotSeen => {
                Self::NotReady
            }
            Cause::UnreadableAttachment | Cause::LeftBehind => Self::Left,
            Cause::GivenUp => Self::Interrupted,
        }
    }

    /// What it stands for, in a word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Usage => "usage",
            Self::Target => "target",
            Self::Rights => "rights",
            Self::Unreachable => "unreachable",
            Self::Held => "held",
            Self::NotReady => "not-ready",
            Self::Left => "left-behind",
            Self::NotRun => "not-run",
            Self::NotFound => "command-not-found",
            Self::Interrupted => "interrupted",
        }
    }

    /// The exit code from a daemon that sends codes instead of causes. An unknown code is an internal error.
    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            2 => Exit::Usage,
            3 => Exit::Target,
            4 => Exit::Rights,
            5 => Exit::Unreachable,
            6 => Exit::Held,
            7 => Exit::NotReady,
            8 => Exit::Left,
            130 => Exit::Interrupted,
            _ => Exit::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All values of the enum in `daemon.proto`.
    fn all_causes() -> Vec<Cause> {
        (0..1000).filter_map(|number| Cause::try_from(number).ok()).collect()
    }

    #[test]
    fn each_cause_has_the_exit_code_that_scripts_rely_on() {
        let expected = [
            (1, &["UNSPECIFIED", "INTERNAL", "CONFLICT", "API", "NO_DAEMON", "OTHER_DAEMON"][..]),
            (
                2,
                &[
                    "BAD_REQUEST",
                    "BAD_TARGET",
                    "NO_KUBECONFIG",
                    "BAD_KUBECONFIG",
                    "NO_CONTEXT",
                    "NO_AGENT",
                    "SEVERAL_SESSIONS",
                    "LISTENER_THERE",
                    "REQUESTS_COME",
                ],
            ),
            (
                3,
                &[
                    "NO_SUCH_NAMESPACE",
                    "NO_SUCH_TARGET",
                    "SEVERAL_TARGETS",
                    "NO_SUCH_PORT",
                    "SEVERAL_PORTS",
                    "NOT_FOUND",
                    "OBSTACLES",
                    "NOT_OURS",
                    "NEWER_ATTACHMENT",
                    "NO_SESSION",
                    "ENDED",
                ],
            ),
            (4, &["CREDENTIALS", "FORBIDDEN"]),
            (5, &["UNREACHABLE"]),
            (6, &["HELD"]),
            (7, &["REFUSED", "NOT_READY", "NO_TUNNEL", "OTHER_VERSION", "NOT_SEEN"]),
            (8, &["UNREADABLE_ATTACHMENT", "LEFT_BEHIND"]),
            (130, &["GIVEN_UP"]),
        ];
        let code_of = |cause: Cause| {
            let name = cause.as_str_name().trim_start_matches("CAUSE_");
            expected.iter().find(|(_, names)| names.contains(&name)).map(|(code, _)| *code)
        };
        for cause in all_causes() {
            assert_eq!(Some(Exit::of(cause) as u8), code_of(cause), "{cause:?}");
        }
        let named: usize = expected.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(named, all_causes().len());
    }

    #[test]
    fn the_codes_of_daemons_without_causes_are_the_command_s() {
        for cause in all_causes() {
            let exit = Exit::of(cause);
            assert_eq!(Exit::from_code(exit as u32), exit);
        }
        assert_eq!(Exit::from_code(77), Exit::Internal);
        assert_eq!(Exit::from_code(0), Exit::Internal);
    }
}
