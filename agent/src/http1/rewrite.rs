//! The few changes that are made to heads. All other bytes stay as they are.

use super::head::is_h2c;

/// What is changed in a laptop's answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks<'a> {
    /// Whose laptop it was.
    pub(super) served_by: &'a str,
    /// Shared caches must not keep it.
    pub(super) private: bool,
    /// The connection ends with it, and it does not say so itself.
    pub(super) close: bool,
}

/// The header that names whose laptop answered.
pub(crate) const SERVED_BY: &str = "x-bridge-served-by";

/// The same head with `Connection: close`: the only bytes that are ever added for an origin, and only while draining.
pub(super) fn with_close(head: &[u8]) -> Vec<u8> {
    let (status, rest) = head.split_at(status_line_len(head));
    [status, b"Connection: close\r\n", rest].concat()
}

/// The same head, marked as a laptop's.
pub(super) fn marked(head: &[u8], marks: Marks<'_>) -> Vec<u8> {
    let (status, headers) = head.split_at(status_line_len(head));
    let private =
        marks.private && !lines(headers).any(|line| is_cache_control(line) && is_private(value_of(line)));
    let mut marked = Vec::with_capacity(head.len() + 128);
    marked.extend_from_slice(status);
    for (name, value, wanted) in [
        (SERVED_BY, marks.served_by, true),
        ("Cache-Control", "private", private),
        ("Connection", "close", marks.close),
    ] {
        if wanted {
            marked.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }
    for line in lines(headers) {
        if !(is_named(line, SERVED_BY) || private && is_cache_control(line)) {
            marked.extend_from_slice(line);
        }
    }
    marked
}

/// A request's head as a laptop gets it: without the offer to go on in HTTP/2. If the local process took it, the requests
/// of others that follow on the same connection would be its own, too.
pub(super) fn without_h2c(head: &[u8]) -> Vec<u8> {
    let offers = |line: &&[u8]| {
        is_named(line, "http2-settings") || is_named(line, "upgrade") && is_h2c(value_of(line))
    };
    lines(head).filter(|line| !offers(line)).collect::<Vec<_>>().concat()
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

fn is_cache_control(line: &[u8]) -> bool {
    is_named(line, "cache-control")
}

fn value_of(line: &[u8]) -> &[u8] {
    line.splitn(2, |&byte| byte == b':').nth(1).unwrap_or_default()
}

/// Whether this value of `Cache-Control` keeps shared caches away.
pub(crate) fn is_private(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).any(|directive| {
        // `private="field"` restricts that field alone.
        directive.eq_ignore_ascii_case(b"private") || directive.eq_ignore_ascii_case(b"no-store")
    })
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
                "cache-control: public, max-age=60\r\nX: y\r\n",
                "x-bridge-served-by: alice\r\nCache-Control: private\r\nX: y\r\n",
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
    fn a_laptop_is_not_offered_http2() {
        let websocket = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(without_h2c(websocket.as_bytes()), websocket.as_bytes(), "other upgrades stay");
        let h2c = "GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUPGRADE: h2c\r\nHTTP2-Settings: AAEA\r\nA: b\r\n\r\n";
        let plain = "GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nA: b\r\n\r\n";
        assert_eq!(without_h2c(h2c.as_bytes()), plain.as_bytes());
    }

    #[test]
    fn a_drained_answer_says_close() {
        let head = with_close(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n");
        assert_eq!(head, b"HTTP/1.1 200 OK\r\nConnection: close\r\nX: y\r\n\r\n");
    }
}
