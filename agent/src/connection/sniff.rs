//! What a connection's first bytes say it speaks. Pure: bytes in, verdict out.

/// What every HTTP/2 connection begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of an HTTP/2 frame's head.
const FRAME_HEAD: usize = 9;
const SETTINGS: u8 = 4;

/// What a client's bytes so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sniff {
    /// They could still become an HTTP/1 request or the HTTP/2 preface.
    Undecided,
    /// A whole request line of HTTP/1.
    Http1,
    /// The whole HTTP/2 preface.
    Http2,
    /// Anything else: TLS, a database's protocol, something unreadable.
    Opaque,
}

/// Judges the first bytes of a client. Empty lines before the request line are allowed (RFC 9112 section 2.2).
pub(crate) fn sniff(bytes: &[u8]) -> Sniff {
    if bytes.len() >= PREFACE.len() {
        if bytes.starts_with(PREFACE) {
            return Sniff::Http2;
        }
    } else if PREFACE.starts_with(bytes) {
        return Sniff::Undecided;
    }
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        rest = after;
    }
    match memchr::memchr(b'\n', rest) {
        Some(end) if is_request_line(&rest[..end]) => Sniff::Http1,
        Some(_) => Sniff::Opaque,
        None if rest == b"\r" || may_begin_request_line(rest) => Sniff::Undecided,
        None => Sniff::Opaque,
    }
}

/// Whether the server's first bytes begin with a SETTINGS frame, as an HTTP/2 server's may. `None`: too few to tell.
pub(crate) fn begins_settings(bytes: &[u8]) -> Option<bool> {
    let judged = [
        bytes.first().is_none_or(|&high| high == 0),
        bytes.get(3).is_none_or(|&kind| kind == SETTINGS),
        bytes.get(4).is_none_or(|&flags| flags <= 1),
        bytes.iter().take(FRAME_HEAD).skip(5).all(|&stream| stream == 0),
    ];
    match judged {
        [true, true, true, true] if bytes.len() >= FRAME_HEAD => Some(true),
        [true, true, true, true] => None,
        _ => Some(false),
    }
}

/// `line` is without the LF.
fn is_request_line(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r") else { return false };
    let Some(line) = line.strip_suffix(b" HTTP/1.1").or_else(|| line.strip_suffix(b" HTTP/1.0")) else {
        return false;
    };
    let mut parts = line.splitn(2, |&byte| byte == b' ');
    let (method, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    is_token(method) && !target.is_empty() && target.iter().all(|&byte| is_target(byte))
}

/// `bytes` have no LF yet.
fn may_begin_request_line(bytes: &[u8]) -> bool {
    let method_end = memchr::memchr(b' ', bytes).unwrap_or(bytes.len());
    let (method, rest) = bytes.split_at(method_end);
    if rest.is_empty() {
        return bytes.is_empty() || is_token(method);
    }
    let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
    is_token(method) && rest.iter().all(|&byte| is_target(byte) || byte == b' ')
}

/// Longer than any method in use.
const LONGEST_METHOD: usize = 32;

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.len() <= LONGEST_METHOD
        && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_bytes_tell() {
        let cases: &[(&[u8], Sniff)] = &[
            (b"", Sniff::Undecided),
            (b"G", Sniff::Undecided),
            (b"GET /orders", Sniff::Undecided),
            (b"GET /orders HTTP/1.1\r", Sniff::Undecided),
            (b"GET /orders HTTP/1.1\r\n", Sniff::Http1),
            (b"\r\nGET / HTTP/1.0\r\nHost: a\r\n", Sniff::Http1),
            (b"CONNECT a:1 HTTP/1.1\r\n", Sniff::Http1),
            (b"GET / HTTP/1.1\n", Sniff::Opaque),
            (b"GET /a b HTTP/1.1\r\n", Sniff::Opaque),
            (b"GET / HTTP/1.2\r\n", Sniff::Opaque),
            (b"GET / HTTP/2.0\r\n", Sniff::Opaque),
            (b"GET /\r\n", Sniff::Opaque),
            (b"PING\r\n", Sniff::Opaque),
            (b"*1\r", Sniff::Opaque),
            (b"PRI * HTT", Sniff::Undecided),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Sniff::Undecided),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Sniff::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Sniff::Opaque),
            (b"\x16\x03\x01", Sniff::Opaque),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Sniff::Opaque),
        ];
        for (bytes, expected) in cases {
            assert_eq!(sniff(bytes), *expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_settings_frame_is_known_from_its_head() {
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 1];
        assert_eq!(begins_settings(&settings), Some(true));
        assert_eq!(begins_settings(&settings[..8]), None);
        assert_eq!(begins_settings(b"220 mail ready\r\n"), Some(false));
        let mysql_greeting = [0x4a, 0, 0, 0, 0x0a, b'8'];
        assert_eq!(begins_settings(&mysql_greeting), Some(false));
    }

    proptest! {
        #[test]
        fn more_bytes_never_unsay_a_verdict(bytes in proptest::collection::vec(any::<u8>(), 0..80), at in 0usize..80) {
            let part = &bytes[..at.min(bytes.len())];
            let early = sniff(part);
            if early != Sniff::Undecided {
                prop_assert_eq!(sniff(&bytes), early);
            }
        }

        #[test]
        fn a_request_line_is_found_however_it_is_cut(at in 0usize..26) {
            let line = b"POST /orders?x=1 HTTP/1.1\r\n";
            prop_assert_eq!(sniff(&line[..at.min(line.len() - 1)]), Sniff::Undecided);
        }
    }
}
