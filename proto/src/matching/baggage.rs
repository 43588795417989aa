//! Members of the W3C header `baggage` (<https://www.w3.org/TR/baggage/>). Pure.

/// The values of the members with this key, in one value of the header, unchanged: percent-encoded.
///
/// Several members may have the same key, and one may have properties after a semicolon, which are ignored here. Keys
/// are compared unchanged; only values are encoded.
pub(super) fn members<'a>(header: &'a [u8], key: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    header.split(|&byte| byte == b',').filter_map(move |member| {
        let member = member.split(|&byte| byte == b';').next().unwrap_or_default();
        let equals = memchr::memchr(b'=', member)?;
        (trimmed(&member[..equals]) == key).then(|| trimmed(&member[equals + 1..]))
    })
}

/// Without optional white space, which is only space and tab (RFC 9110 section 5.6.3).
pub(super) fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// A member's value without its percent-encoding; an invalid escape stands for itself.
pub(super) fn decoded(mut bytes: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (byte, rest) = match *bytes {
            [] => return None,
            [b'%', high, low, ref rest @ ..] => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => (high * 16 + low, rest),
                _ => (b'%', &bytes[1..]),
            },
            [byte, ref rest @ ..] => (byte, rest),
        };
        bytes = rest;
        Some(byte)
    })
}

/// The invariants for any header: each member's value is the text between its `=` and the next `,` or `;`, and a member
/// added at the end is found, whatever is in front of it. The input is a key's length, the key, the header.
#[cfg(any(test, fuzzing))]
pub fn hostile(data: &[u8]) {
    let Some((len, rest)) = data.split_first() else { return };
    let (key, header) = rest.split_at(usize::from(len % 8).min(rest.len()));
    let read: Vec<&[u8]> = members(header, key).collect();
    let mut end = 0;
    for value in &read {
        let begin = value.as_ptr().addr() - header.as_ptr().addr();
        assert!(begin >= end, "values stand in the header one behind the other");
        end = begin + value.len();
        assert!(trimmed(&header[..begin]).ends_with(b"="), "a value begins behind an equals sign");
        let behind = trimmed(&header[end..]).first();
        assert!(behind.is_none_or(|byte| b",;".contains(byte)), "a value ends at a comma or semicolon");
        assert!(!value.iter().any(|byte| b",;".contains(byte)), "and has none in it");
        let plain = decoded(value).eq(value.iter().copied());
        assert!(plain || value.contains(&b'%'), "without escapes a value is itself");
        assert!(decoded(value).count() <= value.len(), "decoding adds nothing");
    }
    let is_key = !key.is_empty() && trimmed(key) == key && !key.iter().any(|byte| b",;=".contains(byte));
    if is_key {
        let encoded: String = header.iter().map(|byte| format!("%{byte:02x}")).collect();
        let longer = [header, b" , ", key, b"\t= ", encoded.as_bytes(), b" ;p=q"].concat();
        let last = members(&longer, key).last().map(|value| decoded(value).collect::<Vec<u8>>());
        assert_eq!(last.as_deref(), Some(header), "a member at the end is found");
        assert_eq!(members(&longer, key).count(), read.len() + 1, "and changes no other");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_corpus_holds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/baggage");
        let inputs = std::fs::read_dir(folder).expect("the target has a corpus");
        let inputs: Vec<_> = inputs.map(|entry| entry.expect("a readable folder").path()).collect();
        assert!(!inputs.is_empty(), "the corpus should not be empty");
        for input in inputs {
            hostile(&std::fs::read(input).expect("a readable file"));
        }
    }

    fn values(header: &str, key: &str) -> Vec<String> {
        let values = members(header.as_bytes(), key.as_bytes()).map(|value| decoded(value).collect());
        values.map(|value| String::from_utf8_lossy(&Vec::<u8>::clone(&value)).into_owned()).collect()
    }

    #[test]
    fn members_are_read_as_the_recommendation_says() {
        for (header, expected) in [
            ("bridge=alice", &["alice"][..]),
            ("a=1,bridge=alice,b=2", &["alice"]),
            ("a=1 \t,\t bridge \t= alice\t ,b=2", &["alice"]),
            ("bridge=alice;p;q=1 ; r = 2", &["alice"]),
            ("bridge=alice ; p", &["alice"]),
            ("a=1;bridge=bob", &[]),
            ("bridge=bob,bridge=alice", &["bob", "alice"]),
            ("bridge=al%69ce", &["alice"]),
            ("bridge=al%C3%A9a", &["al\u{e9}a"]),
            ("bridge=a%2Cb%3Bc%3Dd%25", &["a,b;c=d%"]),
            ("bridge=%FFa", &["\u{fffd}a"]),
            ("bridge=100%,x=%4", &["100%"]),
            ("bridge=a+b", &["a+b"]),
            ("bridge=a=b==", &["a=b=="]),
            ("bridge=", &[""]),
            ("bridge", &[]),
            ("Bridge=alice", &[]),
            ("bridg%65=alice", &[]),
            ("xbridge=alice, bridgex=alice", &[]),
            ("", &[]),
            (",,;=,", &[]),
        ] {
            assert_eq!(values(header, "bridge"), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_value_that_is_encoded_is_read_back(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let encoded: String = value.iter().map(|byte| format!("%{byte:02X}")).collect();
            let header = format!("a=1, bridge = {encoded} ;p, c=2");
            let read: Vec<Vec<u8>> =
                members(header.as_bytes(), b"bridge").map(|value| decoded(value).collect()).collect();
            prop_assert_eq!(read, vec![value]);
        }

        #[test]
        fn nothing_that_arrives_is_too_strange(input in proptest::collection::vec(any::<u8>(), 0..80)) {
            hostile(&input);
        }

        #[test]
        fn nor_is_almost_baggage(header in "([ab]|[ab]| |\t|%4|%41|=|,|;){0,40}", key in "[ab]{1,2}") {
            let len = u8::try_from(key.len()).expect("1 or 2");
            hostile(&[&[len], key.as_bytes(), header.as_bytes()].concat());
        }
    }
}
