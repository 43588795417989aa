//! Members of the W3C header `tracestate` (<https://www.w3.org/TR/trace-context/#tracestate-header>). Pure.

use super::baggage::trimmed;

/// The values of the members with this key, in one value of the header. Keys and values have no escapes and no
/// properties.
pub(super) fn members<'a>(header: &'a [u8], key: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    header.split(|&byte| byte == b',').filter_map(move |member| {
        let member = trimmed(member);
        let equals = memchr::memchr(b'=', member)?;
        (&member[..equals] == key).then(|| &member[equals + 1..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_as_the_recommendation_says() {
        for (header, expected) in [
            ("bridge=alice", &["alice"][..]),
            ("rojo=00f067aa0ba902b7,bridge=alice,congo=t61rcWkgMzE", &["alice"]),
            (" rojo=1 \t,\t bridge=alice\t ,congo=2", &["alice"]),
            ("bridge=alice;p=1", &["alice;p=1"]),
            ("bridge=a,bridge=b", &["a", "b"]),
            ("bridge=", &[""]),
            ("bridge=a=b", &["a=b"]),
            ("bridge=al%69ce", &["al%69ce"]),
            ("Bridge=alice,xbridge=alice,bridge =alice,t@bridge=alice,bridge,=,,", &[]),
            ("", &[]),
        ] {
            let found = members(header.as_bytes(), b"bridge");
            let found: Vec<_> = found.map(|value| String::from_utf8_lossy(value).into_owned()).collect();
            assert_eq!(found, expected, "{header}");
        }
    }
}
