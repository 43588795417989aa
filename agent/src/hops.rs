//! The laptops that a request has been to, in a header of every request that goes to one. Pure.
//!
//! The listener on a laptop's port may lead back to the Service (a forward, a port-forward, a proxy), and with it the
//! request. `x-bridge-hops: 1a2b3c4d:8080, 5e6f7a8b:50051` names the sessions in their order, each with the port of its
//! target, so that a returning request is known, however many laptops are between. The header comes from outside:
//! invalid entries are ignored.

use std::fmt::Write as _;

/// The header's name.
pub(crate) const HOPS: &str = "x-bridge-hops";
/// The maximum number of laptops that a request goes through.
const MOST: usize = 8;
/// The part of the header that is read, in bytes; more than `MOST` of our entries.
const MAX_HEADER: usize = 8 * 1024;

/// Why a request goes to no further laptop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Loop {
    /// It has been to this session and port. The entries of the laptops since then.
    Back(Vec<String>),
    /// It has been to the maximum number of laptops.
    TooFar,
}

/// The header of a request on its way to this session's laptop. `values` are the present ones.
pub(crate) fn onward<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    session: &str,
    port: u16,
) -> Result<String, Loop> {
    let here = entry(session, port);
    let mut left = MAX_HEADER;
    let within = values.take_while(|value| {
        let fits = value.len() <= left;
        left = left.saturating_sub(value.len());
        fits
    });
    let entries = within.flat_map(|value| value.split(|&byte| byte == b',')).filter_map(read);
    let mut hops: Vec<&str> = entries.collect();
    if let Some(at) = hops.iter().position(|hop| *hop == here) {
        return Err(Loop::Back(hops[at + 1..].iter().map(|&hop| hop.to_owned()).collect()));
    }
    if hops.len() >= MOST {
        return Err(Loop::TooFar);
    }
    hops.push(&here);
    Ok(hops.join(", "))
}

/// Encodes any session id as text without a space, a comma or a colon.
fn entry(session: &str, port: u16) -> String {
    let mut entry = String::with_capacity(session.len() + 6);
    for byte in session.bytes() {
        match byte {
            b'%' => entry.push_str("%25"),
            _ if is_of_id(byte) => entry.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(entry, "%{byte:02X}")),
        }
    }
    let _ = write!(entry, ":{port}");
    entry
}

/// `None` if it is not an entry.
fn read(entry: &[u8]) -> Option<&str> {
    let entry = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let (id, port) = entry.rsplit_once(':')?;
    let is_port =
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (is_port && !id.is_empty() && id.bytes().all(is_of_id)).then_some(entry)
}

fn is_of_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(values: &[&str], session: &str, port: u16) -> Result<String, Loop> {
        onward(values.iter().map(|value| value.as_bytes()), session, port)
    }

    #[test]
    fn each_laptop_is_added() {
        for (values, expected) in [
            (&[][..], "s1:80"),
            (&["s2:80"], "s2:80, s1:80"),
            (&["s1:81"], "s1:81, s1:80"),
            (&["s2:80,s3:80", "s4:1"], "s2:80, s3:80, s4:1, s1:80"),
            // Entries that are not ours are ignored.
            (&[""], "s1:80"),
            (&["s1", ":80", "s1:", "s1:x", "s1:99999", "s1:+80", "s 1:80", "\u{fc}:80", ",,,"], "s1:80"),
            (&["yes, s2:80, 3"], "s2:80, s1:80"),
        ] {
            assert_eq!(after(values, "s1", 80).as_deref(), Ok(expected), "{values:?}");
        }
    }

    #[test]
    fn a_request_that_comes_back_is_known() {
        assert_eq!(after(&["s1:80"], "s1", 80), Err(Loop::Back(vec![])));
        let by_two = Err(Loop::Back(vec!["s2:90".to_owned(), "s3:1".to_owned()]));
        assert_eq!(after(&["s0:1, s1:80", "s2:90,s3:1"], "s1", 80), by_two);
        let mut value = after(&[], "session of alice, 50%", 80).expect("the first");
        assert_eq!(value, "session%20of%20alice%2C%2050%25:80");
        value.push_str(", other:1");
        let back = after(&[&value], "session of alice, 50%", 80);
        assert_eq!(back, Err(Loop::Back(vec!["other:1".to_owned()])));
    }

    #[test]
    fn there_are_only_so_many() {
        let hops = |count: usize| (0..count).map(|n| format!("s{n}:80")).collect::<Vec<_>>().join(",");
        assert!(after(&[&hops(7)], "mine", 80).is_ok());
        assert_eq!(after(&[&hops(8)], "mine", 80), Err(Loop::TooFar));
        // An entry longer than any of ours is not read.
        assert_eq!(after(&[&"x".repeat(9000), "s1:80"], "mine", 80).as_deref(), Ok("mine:80"));
    }

    proptest! {
        #[test]
        fn a_request_that_comes_back_is_the_last(
            value in proptest::collection::vec(any::<u8>(), 0..200),
            session in "\\PC{1,40}",
            port: u16,
        ) {
            if let Ok(first) = onward([&value[..]].into_iter(), &session, port) {
                prop_assert!(http::HeaderValue::from_str(&first).is_ok());
                prop_assert_eq!(onward([first.as_bytes()].into_iter(), &session, port), Err(Loop::Back(vec![])));
            }
        }
    }
}
