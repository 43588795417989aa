//! The version handshake: which revisions of bridge.v1 two programs have in common.
//!
//! Revisions grow by one with each addition that the other side must know of; additions that can be ignored need none.

use crate::v1::Version;

/// The revision of bridge.v1 that this program speaks.
pub const REVISION: u32 = 1;
/// The oldest revision that this program still understands.
pub const OLDEST: u32 = 1;

/// What this program says of itself.
pub fn ours() -> Version {
    Version { program: env!("CARGO_PKG_VERSION").to_owned(), revision: REVISION, oldest: OLDEST }
}

/// Two programs that have no revision in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{older_name} {older} is too old for {newer_name} {newer}: use the same version of bridge on both sides"
)]
pub struct Mismatch {
    older_name: String,
    older: String,
    newer_name: String,
    newer: String,
}

/// Checks that `theirs` and this program have a revision in common, and returns the newest such.
///
/// `our_name` and `their_name` ("the agent", "this bridge command") are for the message.
pub fn agree(our_name: &str, their_name: &str, theirs: &Version) -> Result<u32, Mismatch> {
    agree_between(our_name, &ours(), their_name, theirs)
}

fn agree_between(a_name: &str, a: &Version, b_name: &str, b: &Version) -> Result<u32, Mismatch> {
    let common = a.revision.min(b.revision);
    let mismatch = |older_name: &str, older: &Version, newer_name: &str, newer: &Version| Mismatch {
        older_name: older_name.to_owned(),
        older: older.program.clone(),
        newer_name: newer_name.to_owned(),
        newer: newer.program.clone(),
    };
    if common >= a.oldest && common >= b.oldest {
        Ok(common)
    } else if a.revision < b.revision {
        Err(mismatch(a_name, a, b_name, b))
    } else {
        Err(mismatch(b_name, b, a_name, a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(program: &str, oldest: u32, revision: u32) -> Version {
        Version { program: program.to_owned(), revision, oldest }
    }

    #[test]
    fn the_newest_common_revision_is_agreed_on() {
        let (old, new) = (version("1.0", 1, 3), version("2.0", 2, 5));
        assert_eq!(agree_between("a", &old, "b", &new), Ok(3));
        assert_eq!(agree_between("b", &new, "a", &old), Ok(3));
    }

    #[test]
    fn without_one_the_message_names_the_older_program() {
        let (old, new) = (version("1.0", 1, 3), version("9.0", 4, 9));
        for result in [
            agree_between("the agent", &old, "the daemon", &new),
            agree_between("the daemon", &new, "the agent", &old),
        ] {
            let message = result.expect_err("no common revision").to_string();
            assert!(message.starts_with("the agent 1.0 is too old for the daemon 9.0"), "{message}");
        }
    }
}
