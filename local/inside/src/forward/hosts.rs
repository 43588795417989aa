//! Distinguishes HTTP requests to a forwarded port by programs of this machine from those by websites. A browser lets
//! any page send requests to a name whose address has become 127.0.0.1 (DNS rebinding), or to localhost itself; the
//! names in the requests give it away. Pure.

use std::net::IpAddr;

/// The names of a Service.
#[derive(Debug)]
pub struct Names {
    service: String,
    namespace: String,
    address: IpAddr,
}

/// The verdict on the first bytes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum First {
    /// Perhaps the beginning of a request: more is needed.
    Open,
    /// No HTTP/1, or a request that may pass.
    Pass,
    /// A request whose host or origin is foreign.
    Foreign(Foreign),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Foreign {
    Host(String),
    Origin(String),
}

/// No server accepts a longer head.
pub(super) const LONGEST_HEAD: usize = 64 * 1024;
/// The longest existing method has 17 letters.
const LONGEST_METHOD: usize = 32;
const LONGEST_LINE: usize = 16 * 1024;
/// The length of a name to show.
const SHOWN: usize = 100;

impl Names {
    pub fn new(service: &str, namespace: &str, address: IpAddr) -> Self {
        Self { service: service.to_owned(), namespace: namespace.to_owned(), address }
    }

    pub fn service(&self) -> &str {
        &self.service
    }

    /// Judges the first bytes of a client.
    pub fn look_at(&self, bytes: &[u8]) -> First {
        match fields(bytes) {
            Head::Other => First::Pass,
            Head::Open => First::Open,
            Head::Whole(fields) => {
                let foreign = fields.lines().find_map(|line| self.foreign(line));
                foreign.map_or(First::Pass, First::Foreign)
            }
        }
    }

    fn foreign(&self, line: &str) -> Option<Foreign> {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        let shown = || value.chars().take(SHOWN).collect();
        if name.trim().eq_ignore_ascii_case("host") {
            return (!value.is_empty() && !self.is_one(value)).then(|| Foreign::Host(shown()));
        }
        if name.trim().eq_ignore_ascii_case("origin") {
            let host = value.split_once("://").map(|(_, authority)| authority);
            return (!host.is_some_and(|host| self.is_one(host))).then(|| Foreign::Origin(shown()));
        }
        None
    }

    /// Whether "host" or "host:port" names loopback or the Service.
    fn is_one(&self, authority: &str) -> bool {
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return address.to_canonical().is_loopback() || address == self.address;
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if host == "localhost" || host.ends_with(".localhost") {
            return true;
        }
        // "orders", "orders.shop", "orders.shop.svc", and with the cluster's domain, which no other host can be.
        let Some(rest) = host.strip_prefix(&self.service) else { return false };
        let Some(rest) = rest.strip_prefix('.') else { return rest.is_empty() };
        let Some(rest) = rest.strip_prefix(&self.namespace) else { return false };
        rest.is_empty() || rest == ".svc" || rest == ".svc.cluster.local"
    }
}

impl Foreign {
    /// The whole answer; `place` is the port's address.
    pub fn answer(&self, service: &str, place: &str) -> Vec<u8> {
        let (status, text) = match self {
            Foreign::Host(host) => (
                "421 Misdirected Request",
                format!("{host:?} is not a local name of {service}; use http://{place}/"),
            ),
            Foreign::Origin(origin) => {
                ("403 Forbidden", format!("pages of {origin:?} may not reach {service} through your laptop"))
            }
        };
        let text = format!("bridge forward: {text}\n");
        let head =
            format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n");
        format!("{head}X-Content-Type-Options: nosniff\r\nContent-Length: {}\r\n\r\n{text}", text.len())
            .into_bytes()
    }

    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Foreign::Host(host) => format!("a request for {host:?} was refused"),
            Foreign::Origin(origin) => format!("a request of a page of {origin:?} was refused"),
        }
    }
}

enum Head {
    Open,
    Other,
    /// The lines after the first.
    Whole(String),
}

/// As generous as the most generous server in what it takes for a head: lines may end in LF alone.
fn fields(bytes: &[u8]) -> Head {
    // Empty lines before a request are skipped.
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let bytes = &bytes[start..];
    let method = bytes.iter().position(|byte| !is_token(*byte)).unwrap_or(bytes.len());
    if method > LONGEST_METHOD {
        return Head::Other;
    }
    let Some(next) = bytes.get(method) else { return Head::Open };
    if method == 0 || !matches!(next, b' ' | b'\t') {
        return Head::Other;
    }
    let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() > LONGEST_LINE { Head::Other } else { Head::Open };
    };
    let version = b" HTTP/1.";
    if !bytes[..line].windows(version.len()).any(|window| window.eq_ignore_ascii_case(version)) {
        return Head::Other;
    }
    let rest = &bytes[line + 1..];
    let ends = |end: &[u8]| rest.windows(end.len()).any(|window| window == end);
    let is_whole = ends(b"\n\r\n") || ends(b"\n\n") || rest.starts_with(b"\r\n") || rest.starts_with(b"\n");
    match is_whole || bytes.len() >= LONGEST_HEAD {
        true => Head::Whole(head_of(rest)),
        false => Head::Open,
    }
}

/// Up to the first empty line.
fn head_of(rest: &[u8]) -> String {
    let text = String::from_utf8_lossy(rest);
    let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("orders", "shop", "10.96.7.1".parse().unwrap())
    }

    fn request(fields: &str) -> First {
        names().look_at(format!("POST /x HTTP/1.1\r\n{fields}\r\nA: b\r\n\r\nbody").as_bytes())
    }

    #[test]
    fn loopback_and_the_service_s_own_names_pass() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "api.localhost:8080",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]:8080",
            "orders",
            "orders:80",
            "orders.shop",
            "Orders.Shop.svc:80",
            "orders.shop.svc.cluster.local.",
            "10.96.7.1",
            "",
        ] {
            assert_eq!(request(&format!("Host: {host}")), First::Pass, "{host}");
            assert_eq!(request(&format!("hOsT:{host}\r\nOrigin: http://localhost:5173")), First::Pass);
        }
        assert_eq!(request("User-Agent: curl"), First::Pass, "HTTP/1.0 needs no host");
        assert_eq!(request("Host: orders\r\nOrigin: http://orders.shop:80"), First::Pass);
    }

    #[test]
    fn a_rebound_name_does_not() {
        for host in [
            "evil.example",
            "evil.example:8080",
            "orders.evil.example",
            "orders.shop.evil.example",
            "orders.shop.svc.evil.example",
            "orders-evil",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "notlocalhost",
            "10.96.7.2",
            "192.168.1.1:8080",
            "evil.example@localhost",
        ] {
            assert_eq!(
                request(&format!("Host: {host}")),
                First::Foreign(Foreign::Host(host.into())),
                "{host}"
            );
        }
        let twice = request("Host: localhost\r\nHost: evil.example");
        assert_eq!(twice, First::Foreign(Foreign::Host("evil.example".into())));
    }

    #[test]
    fn nor_does_a_foreign_page_that_asks_for_localhost() {
        for origin in
            ["https://evil.example", "http://evil.example:8080", "null", "http://localhost.evil.example"]
        {
            let first = request(&format!("Host: localhost:8080\r\nUpgrade: websocket\r\nOrigin: {origin}"));
            assert_eq!(first, First::Foreign(Foreign::Origin(origin.into())), "{origin}");
        }
    }

    #[test]
    fn a_head_is_waited_for_and_other_protocols_are_not() {
        let look = |bytes: &[u8]| names().look_at(bytes);
        for open in [
            &b""[..],
            b"G",
            b"GET /",
            b"\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n",
            b"GET / HTTP/1.1\r\nHost: evil.example",
            b"M-SEARCH * HTTP/1.1\nHost: x\n",
        ] {
            assert_eq!(look(open), First::Open, "{}", open.escape_ascii());
        }
        for other in [
            &b"\x16\x03\x01"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PING\r\n",
            b"EHLO me\r\n",
            b"CONNECT {\"verbose\":false}\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"<34>1 2026-01-01",
            b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            &[0; 20],
        ] {
            assert_eq!(look(other), First::Pass, "{}", other.escape_ascii());
        }
        let lenient = look(b"GET / HTTP/1.1\nHost: evil.example\n\n");
        assert_eq!(lenient, First::Foreign(Foreign::Host("evil.example".into())));
        assert_eq!(
            look(b"GET / HTTP/1.1\r\n\r\nHost: evil.example\r\n\r\n"),
            First::Pass,
            "a body is no head"
        );
        let endless = [&b"GET / HTTP/1.1\r\nHost: evil.example\r\n"[..], &vec![b'a'; LONGEST_HEAD]].concat();
        assert!(matches!(look(&endless), First::Foreign(_)));
    }

    #[test]
    fn a_browser_is_answered_in_http() {
        let text =
            String::from_utf8(Foreign::Host("evil\u{1b}".into()).answer("orders", "127.0.0.1:8080")).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 421 "), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        assert_eq!(
            body,
            "bridge forward: \"evil\\u{1b}\" is not a local name of orders; use http://127.0.0.1:8080/\n"
        );
    }
}
