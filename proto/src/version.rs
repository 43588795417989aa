//! The version handshake: which revisions of bridge.v1 two programs have in common.
//!
//! Revisions grow by one with each addition that the other side must know; additions that can be ignored need none.

use crate::v1::Version;

/// The revision of bridge.v1 that this program speaks. 2: both ends prove the key by a challenge. 3: routes may copy.
pub const REVISION: u32 = 3;
/// The first revision in which routes may copy. Agents of an earlier one take such a route for one that does not.
pub const COPIES: u32 = 3;
/// The oldest revision that this program still understands. In revision 1 daemons sent the key.
pub const OLDEST: u32 = 2;
/// Limit on the other side's version text to show.
const LONGEST_NAME: usize = 32;

/// This program's version, for the handshake.
pub fn ours() -> Version {
    Version { program: env!("CARGO_PKG_VERSION").to_owned(), revision: REVISION, oldest: OLDEST }
}

/// Two programs that have no revision in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{older_name}{older} is too old for {newer_name}{newer}: use the same version of bridge on both sides"
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
        older: shown(older),
        newer_name: newer_name.to_owned(),
        newer: shown(newer),
    };
    if common >= a.oldest && common >= b.oldest {
        Ok(common)
    } else if a.revision < b.revision {
        Err(mismatch(a_name, a, b_name, b))
    } else {
        Err(mismatch(b_name, b, a_name, a))
    }
}

/// " 0.1.0 (protocol 2)"; nothing for a program without a version. Only characters of a version: the other side is not
/// trusted yet.
fn shown(version: &Version) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || ['.', '-', '+'].contains(c);
    let program: String = version.program.chars().filter(is_plain).take(LONGEST_NAME).collect();
    if version.revision == 0 {
        return String::new();
    }
    format!(" {program} (protocol {})", version.revision)
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
            let expected = "the agent 1.0 (protocol 3) is too old for the daemon 9.0 (protocol 9): \
                            use the same version of bridge on both sides";
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn the_other_side_s_version_is_shown_as_one() {
        let odd = version(&format!("\u{1b}[31m1.0\n{}", "x".repeat(100)), 1, 3);
        let message = agree_between("a", &odd, "b", &version("9.0", 4, 9)).expect_err("too old").to_string();
        let name = format!("31m1.0{}", "x".repeat(LONGEST_NAME - 6));
        assert!(message.starts_with(&format!("a {name} (protocol 3) is too old")), "{message:?}");
    }

    #[test]
    fn a_program_without_a_version_is_too_old() {
        let message =
            agree("this bridge", "the agent", &Version::default()).expect_err("too old").to_string();
        assert!(message.starts_with("the agent is too old for this bridge "), "{message}");
    }
}
