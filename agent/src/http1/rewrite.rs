//! The few changes that are made to heads. All other bytes stay as they are.

use super::head::is_h2c;
use crate::caching::{Fate, Unshared, is_for_caches};
use crate::hops::HOPS;

/// The changes to a laptop's answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks<'a> {
    /// The laptop's user.
    pub(super) served_by: &'a str,
    /// Shared caches must not keep it.
    pub(super) private: bool,
    /// The connection ends with it, and the answer itself does not announce it.
    pub(super) close: bool,
}

/// The header with the name of the laptop's user.
pub(crate) const SERVED_BY: &str = "x-bridge-served-by";

/// The same head with `Connection: close`: the only bytes ever added for an origin, and only while draining.
pub(super) fn with_close(head: &[u8]) -> Vec<u8> {
    let (status, rest) = head.split_at(status_line_len(head));
    [status, b"Connection: close\r\n", rest].concat()
}

/// The same head, marked as a laptop's.
pub(super) fn marked(head: &[u8], marks: Marks<'_>) -> Vec<u8> {
    let (status, headers) = head.split_at(status_line_len(head));
    let cache_control = lines(headers).filter(|line| is_named(line, "cache-control"));
    let mut unshared = marks.private.then(|| Unshared::new(cache_control.map(value_of)));
    let mut rest = Vec::with_capacity(head.len());
    for line in lines(headers) {
        let fate = match &mut unshared {
            _ if is_named(line, SERVED_BY) => Fate::Goes,
            Some(unshared) => unshared.fate(name_of(line), value_of(line)),
            None => Fate::Stays,
        };
        match fate {
            Fate::Stays => rest.extend_from_slice(line),
            Fate::Goes => {}
            Fate::Becomes(value) => {
                rest.extend_from_slice(&[name_of(line).as_bytes(), b": ", &value, b"\r\n"].concat());
            }
        }
    }
    let mut marked = Vec::with_capacity(head.len() + 128);
    marked.extend_from_slice(status);
    for (name, value, wanted) in [
        (SERVED_BY, marks.served_by, true),
        ("Cache-Control", "private", unshared.is_some_and(|unshared| unshared.is_unsaid())),
        ("Connection", "close", marks.close),
    ] {
        if wanted {
            marked.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
    marked.extend_from_slice(&rest);
    marked
}

/// A section of trailers, its empty line included, without fields that caches would follow if they took trailers for
/// headers.
pub(super) fn without_caching(trailers: &[u8]) -> Vec<u8> {
    lines(trailers).filter(|line| !is_for_caches(name_of(line))).collect::<Vec<_>>().concat()
}

/// A request's head for a laptop: with the hops so far, and without the offer to continue in HTTP/2. If the local
/// process accepted it, it would get all later requests on the same connection, too.
pub(super) fn for_laptop(head: &[u8], hops: &str) -> Vec<u8> {
    let goes = |line: &[u8]| {
        is_named(line, HOPS)
            || is_named(line, "http2-settings")
            || is_named(line, "upgrade") && is_h2c(value_of(line))
    };
    // There may be empty lines in front; the one at the end is the last.
    let end = head.len().saturating_sub(2);
    let mut sent = Vec::with_capacity(head.len() + HOPS.len() + hops.len() + 4);
    for line in lines(&head[..end]).filter(|line| !goes(line)) {
        sent.extend_from_slice(line);
    }
    sent.extend_from_slice(format!("{HOPS}: {hops}\r\n\r\n").as_bytes());
    sent
}

fn status_line_len(head: &[u8]) -> usize {
    memchr::memchr(b'\n', head).map_or(head.len(), |end| end + 1)
}

/// Lines with their CRLF.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n')
}

fn is_named(line: &[u8], name: &str) -> bool {
    line.len() > name.len()
        && line[name.len()] == b':'
        && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
}

/// Empty for a line without a name.
fn name_of(line: &[u8]) -> &str {
    let name = memchr::memchr(b':', line).map(|colon| &line[..colon]);
    name.and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
}

/// Without the white space around it.
fn value_of(line: &[u8]) -> &[u8] {
    line.splitn(2, |&byte| byte == b':').nth(1).unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Marks<'static> = Marks { served_by: "alice", private: true, close: false };

    fn marked_text(head: &str, marks: Marks<'_>) -> String {
        String::from_utf8(marked(head.as_bytes(), marks)).expect("text stays text")
    }

    #[test]
    fn a_laptops_answer_is_marked() {
        let cases = [
            ("X: y\r\n", "x-bridge-served-by: alice\r\nCache-Control: private\r\nX: y\r\n"),
            (
                "cache-control:public, max-age=60\r\nX: y\r\n",
                "x-bridge-served-by: alice\r\ncache-control: private, max-age=60\r\nX: y\r\n",
            ),
            (
                "Expires: Thu, 01 Dec 2044 16:00:00 GMT\r\nCDN-Cache-Control: max-age=9\r\n",
                "x-bridge-served-by: alice\r\nCache-Control: private\r\nExpires: 0\r\nCDN-Cache-Control: no-store\r\n",
            ),
            ("Cache-Control: No-Store\r\n", "x-bridge-served-by: alice\r\nCache-Control: No-Store\r\n"),
            (
                "Cache-Control: max-age=1\r\nCache-Control: private\r\n",
                "x-bridge-served-by: alice\r\nCache-Control: max-age=1\r\nCache-Control: private\r\n",
            ),
            ("X-Bridge-Served-By: bob\r\n", "x-bridge-served-by: alice\r\nCache-Control: private\r\n"),
        ];
        for (headers, expected) in cases {
            let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
            assert_eq!(marked_text(&head, ALICE), format!("HTTP/1.1 200 OK\r\n{expected}\r\n"));
        }
    }

    #[test]
    fn cache_headers_are_kept_on_request() {
        let head = "HTTP/1.1 200 OK\r\nCache-Control: public\r\n\r\n";
        let marks = Marks { private: false, close: true, ..ALICE };
        assert_eq!(
            marked_text(head, marks),
            "HTTP/1.1 200 OK\r\nx-bridge-served-by: alice\r\nConnection: close\r\nCache-Control: public\r\n\r\n"
        );
    }

    #[test]
    fn a_laptop_gets_the_hops_and_no_offer_of_http2() {
        let sent =
            |head: &str| String::from_utf8(for_laptop(head.as_bytes(), "s1:80")).expect("text stays text");
        let websocket = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        assert_eq!(
            sent(&format!("{websocket}\r\n")),
            format!("{websocket}x-bridge-hops: s1:80\r\n\r\n"),
            "other upgrades stay"
        );
        assert_eq!(
            sent("\r\n\r\nGET / HTTP/1.1\r\nX-Bridge-Hops: s0:1\r\nA: b\r\nx-bridge-hops:\r\n\r\n"),
            "\r\n\r\nGET / HTTP/1.1\r\nA: b\r\nx-bridge-hops: s1:80\r\n\r\n"
        );
        let h2c = "GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUPGRADE: h2c\r\nHTTP2-Settings: AAEA\r\nA: b\r\n\r\n";
        let plain =
            "GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nA: b\r\nx-bridge-hops: s1:80\r\n\r\n";
        assert_eq!(sent(h2c), plain);
    }

    #[test]
    fn a_drained_answer_says_close() {
        let head = with_close(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n");
        assert_eq!(head, b"HTTP/1.1 200 OK\r\nConnection: close\r\nX: y\r\n\r\n");
    }
}
