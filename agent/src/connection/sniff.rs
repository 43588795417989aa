//! Detects a connection's protocol by its first bytes. Pure: bytes in, verdict out.

use std::time::Duration;

/// How long the beginning of a method is held.
const METHOD: Duration = Duration::from_secs(1);
/// How long to wait for the rest of a head before the connection goes to the origin unread.
pub(crate) const HEAD: Duration = Duration::from_secs(30);

/// The preface of every HTTP/2 connection (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of an HTTP/2 frame's head (RFC 9113 section 4.1).
pub(crate) const FRAME_HEAD: usize = 9;
const SETTINGS: u8 = 4;

/// The verdict on a client's bytes so far.
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
///
/// Clients of other protocols wait for an answer to a few letters without a line end (`ruok`, `JDWP-Handshake`), so
/// bytes are held only while they can become nothing but a request.
pub(crate) fn sniff(bytes: &[u8]) -> Sniff {
    if bytes.len() >= PREFACE.len() {
        if bytes.starts_with(PREFACE) {
            return Sniff::Http2;
        }
    } else if PREFACE.starts_with(bytes) {
        return Sniff::Undecided;
    }
    match first_line(bytes) {
        Line::Whole(line) if is_request_line(line) => Sniff::Http1,
        Line::Part(part) if begins_request_line(part) => Sniff::Undecided,
        _ => Sniff::Opaque,
    }
}

/// Whether the bytes can still become a request on a connection that has carried requests before: no other protocol has
/// clients that could be kept waiting.
pub(crate) fn may_be_request(bytes: &[u8]) -> bool {
    match first_line(bytes) {
        Line::Whole(line) => is_request_line(line),
        Line::Part(part) => part.is_empty() || part == b"\r" || may_begin_request_line(part),
    }
}

/// How long to hold bytes that may still become a request. A method and its space show that it is a slow request.
pub(crate) fn patience(bytes: &[u8]) -> Duration {
    if memchr::memchr(b' ', bytes).is_some() { HEAD } else { METHOD }
}

/// The first line that is not empty.
enum Line<'a> {
    /// Without its LF.
    Whole(&'a [u8]),
    Part(&'a [u8]),
}

fn first_line(bytes: &[u8]) -> Line<'_> {
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        rest = after;
    }
    match memchr::memchr(b'\n', rest) {
        Some(end) => Line::Whole(&rest[..end]),
        None => Line::Part(rest),
    }
}

/// Whether the server's first bytes begin with a SETTINGS frame, as an HTTP/2 server's may. `None` if there are too
/// few.
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

/// Whether a client that sends only this, without an LF, can only be about to make a request.
fn begins_request_line(part: &[u8]) -> bool {
    let Some(method_end) = memchr::memchr(b' ', part) else {
        return !part.is_empty() && METHODS.iter().any(|method| method.as_bytes().starts_with(part));
    };
    let (method, rest) = (&part[..method_end], &part[method_end + 1..]);
    let known = METHODS.iter().any(|known| known.as_bytes() == method);
    let target_end = memchr::memchr2(b' ', b'\r', rest).unwrap_or(rest.len());
    let (target, after) = rest.split_at(target_end);
    let begins = if method == b"CONNECT" {
        target.iter().all(|&byte| is_target(byte))
    } else {
        begins_target(target) && (known || !target.is_empty())
    };
    is_token(method) && begins && is_version_so_far(after)
}

/// Whether it is, or can become, a target in one of the forms that clients use (RFC 9112 section 3.2).
fn begins_target(target: &[u8]) -> bool {
    let has_scheme = |scheme: &&[u8]| {
        let common = scheme.len().min(target.len());
        target[..common].eq_ignore_ascii_case(&scheme[..common])
    };
    let starts = target.is_empty()
        || target[0] == b'/'
        || target == b"*"
        || [&b"http://"[..], b"https://", b"ws://", b"wss://"].iter().any(has_scheme);
    starts && target.iter().all(|&byte| is_target(byte))
}

/// `after` is the text after a target.
fn is_version_so_far(after: &[u8]) -> bool {
    [&b" HTTP/1.1\r"[..], b" HTTP/1.0\r"].iter().any(|version| version.starts_with(after))
}

/// `bytes` have no LF yet.
fn may_begin_request_line(bytes: &[u8]) -> bool {
    let method_end = memchr::memchr(b' ', bytes).unwrap_or(bytes.len());
    let (method, rest) = bytes.split_at(method_end);
    let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
    is_token(method) && rest.iter().all(|&byte| is_target(byte) || byte == b' ')
}

/// Methods that clients send: IANA's registry, and those of UPnP and of caches. Other methods are known once the whole
/// line has come.
const METHODS: [&str; 47] = [
    "ACL",
    "BAN",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LIST",
    "LOCK",
    "M-SEARCH",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "NOTIFY",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "SUBSCRIBE",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UNSUBSCRIBE",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

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
    fn first_bytes_show_the_protocol() {
        let cases: &[(&[u8], Sniff)] = &[
            (b"", Sniff::Undecided),
            (b"G", Sniff::Undecided),
            (b"GET", Sniff::Undecided),
            (b"GET ", Sniff::Undecided),
            (b"GET /orders", Sniff::Undecided),
            (b"GET /orders HTTP/1.1\r", Sniff::Undecided),
            (b"GET /orders HTTP/1.1\r\n", Sniff::Http1),
            (b"\r\nGET / HTTP/1.0\r\nHost: a\r\n", Sniff::Http1),
            (b"\r\nGET /", Sniff::Undecided),
            (b"CONNECT a:1 HTTP/1.1\r\n", Sniff::Http1),
            (b"CONNECT a:1", Sniff::Undecided),
            (b"OPTIONS *", Sniff::Undecided),
            (b"GET HTTP://a", Sniff::Undecided),
            (b"M-SEARCH * HTTP/1.1\r\n", Sniff::Http1),
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
            // A method that is in no list is known by the whole line, and by a target that is hardly anything else.
            (b"patch /orders HTTP/1.1\r\n", Sniff::Http1),
            (b"patch /orders", Sniff::Undecided),
            (b"FROBNICATE /orders", Sniff::Undecided),
        ];
        for (bytes, expected) in cases {
            assert_eq!(sniff(bytes), *expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn letters_of_other_protocols_are_not_held() {
        let cases: &[&[u8]] = &[
            b"ruok",
            b"r",
            b"mntr",
            b"get x",
            b"get ",
            b"version",
            b"PING",
            b"GET fo",
            b"HELLO",
            b"JDWP-Handshake",
            b"STATS",
            b"hello there",
            b"GET /a b",
            b"SSH-2.0-OpenSSH_9.2",
            b"0042",
            b"\r\n",
            b"\r",
            b" ",
        ];
        for bytes in cases {
            assert_eq!(sniff(bytes), Sniff::Opaque, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_request_of_a_known_method_is_found_however_it_is_cut() {
        for method in METHODS {
            for target in ["/orders?x=1", "http://orders/", "HTTPS://orders:443/x"] {
                let line = format!("{method} {target} HTTP/1.1\r\n");
                for at in 0..line.len() {
                    assert_eq!(sniff(&line.as_bytes()[..at]), Sniff::Undecided, "{:?}", &line[..at]);
                }
                assert_eq!(sniff(line.as_bytes()), Sniff::Http1, "{line:?}");
            }
        }
    }

    #[test]
    fn between_requests_more_is_waited_for() {
        for bytes in [&b""[..], b"\r", b"\r\n", b"\r\nx", b"frobnicate", b"GET /a HTTP/1.1\r\n"] {
            assert!(may_be_request(bytes), "{}", bytes.escape_ascii());
        }
        for bytes in [&b"\0"[..], b"\x16\x03", b"GET / HTTP/1.1\n", b"GET /\r\n"] {
            assert!(!may_be_request(bytes), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_request_that_is_slow_to_come_is_waited_for() {
        assert_eq!([patience(b"GET"), patience(b"GET /o")], [METHOD, HEAD]);
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
    }
}
