//! An HTTP proxy's client: CONNECT, and single requests for a whole URL, each of which gets a connection of its own.

use std::io;

use bridge_proto::tunnel::Refused;
use bridge_proto::v1::Cause;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wanted::{Asked, Host, Wanted};

/// Limit on a request's head.
const MAX_HEAD: usize = 64 * 1024;
const NOT_UNDERSTOOD: &[u8] =
    b"HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Reads a head, and not one byte more: the rest is for the destination.
pub(super) async fn asked(connection: &mut TcpStream) -> io::Result<Asked> {
    let mut head = Vec::with_capacity(1024);
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
        if head.len() > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    match understood(&head) {
        Some(asked) => Ok(asked),
        None => {
            connection.write_all(NOT_UNDERSTOOD).await?;
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

fn understood(head: &[u8]) -> Option<Asked> {
    let head = std::str::from_utf8(head).ok()?;
    let (line, fields) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if method == "CONNECT" {
        let (name, port) = target.rsplit_once(':')?;
        return Some(Asked::Connect(Wanted { host: Host::of(name), port: port.parse().ok()? }));
    }
    let (authority, path) = split_url(target)?;
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
        _ => (authority, 80),
    };
    let request = format!("{method} {path} {version}\r\n{}", passed_on(fields));
    Some(Asked::Request(Wanted { host: Host::of(name), port }, request.into_bytes()))
}

/// Splits "http://orders:80/menu?x" into "orders:80" and "/menu?x".
fn split_url(url: &str) -> Option<(&str, String)> {
    let scheme = url.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"))?;
    let rest = &url[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // The user's name and password are not passed on.
    let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
    let slash = if path.starts_with('/') { "" } else { "/" };
    (!authority.is_empty()).then(|| (authority, format!("{slash}{path}")))
}

/// The fields without those for the proxy. The connection is for this one request, as the next may be for another
/// server; an upgraded connection (a WebSocket) stays what it is.
fn passed_on(fields: &str) -> String {
    let is_upgraded = names(fields).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let is_for_us = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("proxy-") || (!is_upgraded && matches!(name.as_str(), "connection" | "keep-alive"))
    };
    let mut kept = String::with_capacity(fields.len() + 32);
    for line in fields.lines().filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        if !is_for_us(name) {
            kept.push_str(line);
            kept.push_str("\r\n");
        }
    }
    if !is_upgraded {
        kept.push_str("Connection: close\r\n");
    }
    kept + "\r\n"
}

fn names(fields: &str) -> impl Iterator<Item = &str> {
    fields.lines().filter_map(|line| line.split(':').next())
}

pub(super) fn answer_connect(refused: Option<&Refused>) -> Vec<u8> {
    refused.map_or_else(|| b"HTTP/1.1 200 Connected\r\n\r\n".to_vec(), sentence)
}

/// A server that is reached answers itself.
pub(super) fn answer_request(refused: Option<&Refused>) -> Vec<u8> {
    refused.map(sentence).unwrap_or_default()
}

fn sentence(refused: &Refused) -> Vec<u8> {
    let status = match refused.cause {
        Cause::Forbidden => "403 Forbidden",
        Cause::TimedOut => "504 Gateway Timeout",
        _ => "502 Bad Gateway",
    };
    let text = format!("bridge: {refused}\n");
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(host: &str, port: u16) -> Wanted {
        Wanted { host: Host::of(host), port }
    }

    fn heard(line: &str) -> Option<Asked> {
        understood(format!("{line}\r\nHost: x\r\n\r\n").as_bytes())
    }

    #[test]
    fn connect_names_host_and_port() {
        let connect = |host, port| Some(Asked::Connect(wanted(host, port)));
        assert_eq!(heard("CONNECT db.shop:5432 HTTP/1.1"), connect("db.shop", 5432));
        assert_eq!(heard("CONNECT [fd00::7]:80 HTTP/1.1"), connect("fd00::7", 80));
        for line in [
            "GET /menu HTTP/1.1",
            "GET https://db/ HTTP/1.1",
            "CONNECT db HTTP/1.1",
            "CONNECT db:x HTTP/1.1",
            "",
        ] {
            assert_eq!(heard(line), None, "{line}");
        }
    }

    #[test]
    fn a_request_for_a_url_goes_on_as_the_server_expects_it() {
        for (url, host, port, path) in [
            ("http://web/menu?x=1", "web", 80, "/menu?x=1"),
            ("HTTP://web:8080", "web", 8080, "/"),
            ("http://u:p@web.shop?x", "web.shop", 80, "/?x"),
            ("http://[fd00::7]/", "fd00::7", 80, "/"),
            ("http://[fd00::7]:81/", "fd00::7", 81, "/"),
        ] {
            let Some(Asked::Request(to, head)) = heard(&format!("GET {url} HTTP/1.1")) else {
                panic!("{url}")
            };
            assert_eq!(to, wanted(host, port), "{url}");
            let expected = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            assert_eq!(String::from_utf8(head).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn fields_for_the_proxy_are_not_passed_on() {
        let fields = "Host: web\r\nProxy-Authorization: x\r\nConnection: keep-alive\r\nproxy-connection: y\r\nA: b\r\n\r\n";
        assert_eq!(passed_on(fields), "Host: web\r\nA: b\r\nConnection: close\r\n\r\n");
        let upgrade = "Host: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(passed_on(upgrade), upgrade);
    }

    #[test]
    fn a_failure_is_reported_in_the_client_s_protocol() {
        let refused = Refused { cause: Cause::Refused, detail: "nothing listens".into() };
        let text = String::from_utf8(answer_connect(Some(&refused))).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 502"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{text}");
        assert_eq!(answer_request(None), b"");
    }
}
