//! Reads the heads of requests and answers, and judges whether two parsers could read them differently.
//!
//! `HeadScan` looks for a head's end as it arrives, each byte once, and insists on CRLF; httparse then parses the whole
//! head once.

use std::mem::MaybeUninit;

use httparse::Header;

use super::flaw::{Flaw, MAX_HEADERS};
use super::framing::{Framing, Lengths};
use crate::routes::head::Http1Head;

/// The beginning of every answer.
const ANSWER: &[u8] = b"HTTP/1.";

/// The progress of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    Partial,
    /// It is this many bytes long, the empty line included.
    Complete(usize),
}

/// Looks for the end of a head.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    looked: usize,
    line: usize,
    lines: usize,
}

impl HeadScan {
    /// The same for an answer, which is known by its first bytes: anything else is not held.
    pub(crate) fn advance_answer(&mut self, bytes: &[u8]) -> Result<Scan, Flaw> {
        let known = bytes.len().min(ANSWER.len());
        if bytes[..known] == ANSWER[..known] { self.advance(bytes) } else { Err(Flaw::NoHead) }
    }

    /// `bytes` are all bytes since the head's beginning, more at each call.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<Scan, Flaw> {
        while let Some(at) = memchr::memchr(b'\n', &bytes[self.looked..]) {
            let end = self.looked + at;
            if end == self.line || bytes[end - 1] != b'\r' {
                return Err(Flaw::LineEnd);
            }
            let empty = end == self.line + 1;
            self.looked = end + 1;
            self.line = end + 1;
            if !empty {
                self.lines += 1;
                if self.lines > MAX_HEADERS + 1 {
                    return Err(Flaw::TooManyHeaders);
                }
            } else if self.lines > 0 {
                return Ok(Scan::Complete(end + 1));
            }
        }
        self.looked = bytes.len();
        Ok(Scan::Partial)
    }
}

/// The method of a request, as far as needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Head,
    Connect,
    Other,
}

/// The head of a request, as far as needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) head_len: usize,
    pub(crate) method: Method,
    pub(crate) framing: Framing,
    /// It is an HTTP/1.0 request, whose client knows neither chunks nor interim answers.
    pub(crate) old: bool,
    /// No request follows on this connection.
    pub(crate) closes: bool,
    /// It asks for another protocol than HTTP/2.
    pub(crate) upgrades: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expects: bool,
}

/// The framing that an answer's head announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 1xx: another answer follows.
    Interim,
    /// Raw bytes in both directions: 101, or 2xx to CONNECT.
    Raw,
    Final(Framing),
}

/// The head of an answer, as far as needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) head_len: usize,
    pub(crate) status: u16,
    pub(crate) kind: Kind,
    /// No answer follows on this connection.
    pub(crate) closes: bool,
    /// The head itself announces it.
    pub(crate) says_close: bool,
}

/// Parses a whole request head; `look` gets the parsed head.
pub(crate) fn parse_request<T>(
    head: &[u8],
    look: impl FnOnce(&Http1Head<'_>) -> T,
) -> Result<(Request, T), Flaw> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let head_len = complete(parsed.parse_with_uninit_headers(head, &mut headers))?;
    let (Some(name), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Flaw::Grammar);
    };
    let noted = Noted::of(parsed.headers)?;
    let method = match name {
        "HEAD" => Method::Head,
        "CONNECT" => Method::Connect,
        _ => Method::Other,
    };
    if !is_target(method, target) {
        return Err(Flaw::Target);
    }
    if minor == 0 && noted.lengths.is_chunked() {
        return Err(Flaw::TransferEncoding);
    }
    let announced = noted.lengths.framing();
    if method == Method::Connect && announced.is_some() {
        return Err(Flaw::Body);
    }
    let request = Request {
        head_len,
        method,
        framing: announced.unwrap_or(Framing::None),
        old: minor == 0,
        closes: noted.closes(minor),
        upgrades: noted.upgrade_header && noted.upgrade_option && minor > 0,
        expects: noted.expects,
    };
    Ok((request, look(&Http1Head { method: name, target, headers: parsed.headers })))
}

/// Parses a whole head of an answer to a request with `method`.
pub(crate) fn parse_answer(head: &[u8], method: Method) -> Result<Answer, Flaw> {
    if !head.starts_with(ANSWER) {
        return Err(Flaw::NoHead);
    }
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let head_len = complete(config.parse_response_with_uninit_headers(&mut parsed, head, &mut headers))?;
    let (Some(status), Some(minor)) = (parsed.code, parsed.version) else { return Err(Flaw::Grammar) };
    let noted = Noted::of(parsed.headers)?;
    if minor == 0 && noted.lengths.is_chunked() {
        return Err(Flaw::TransferEncoding);
    }
    let announced = noted.lengths.framing();
    let has_body = matches!(announced, Some(Framing::Chunked) | Some(Framing::Length(1..)));
    let kind = match (status, method) {
        (100..=199 | 204, _) | (200..=299, Method::Connect) if has_body => return Err(Flaw::Body),
        (101, _) | (200..=299, Method::Connect) => Kind::Raw,
        (100..=199, _) => Kind::Interim,
        (204 | 304, _) | (_, Method::Head) => Kind::Final(Framing::None),
        (200..=999, _) => Kind::Final(announced.unwrap_or(Framing::UntilClose)),
        _ => return Err(Flaw::Grammar),
    };
    let closes = noted.closes(minor) || kind == Kind::Final(Framing::UntilClose);
    Ok(Answer { head_len, status, kind, closes, says_close: noted.close })
}

/// Whether it has one of the forms of RFC 9112 section 3.2.
fn is_target(method: Method, target: &str) -> bool {
    let has_scheme = || {
        target.split_once("://").is_some_and(|(scheme, _)| {
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        })
    };
    method == Method::Connect || target.starts_with('/') || target == "*" || has_scheme()
}

fn complete(status: httparse::Result<usize>) -> Result<usize, Flaw> {
    match status {
        Ok(httparse::Status::Complete(len)) => Ok(len),
        Ok(httparse::Status::Partial) => Err(Flaw::Grammar),
        Err(httparse::Error::TooManyHeaders) => Err(Flaw::TooManyHeaders),
        Err(_) => Err(Flaw::Grammar),
    }
}

/// An `Upgrade` to HTTP/2 without TLS (RFC 7540 section 3.2), which RFC 9113 has withdrawn and some clients still offer.
pub(super) fn is_h2c(upgrade: &[u8]) -> bool {
    upgrade.trim_ascii().eq_ignore_ascii_case(b"h2c")
}

/// The facts noted in one walk over the headers.
#[derive(Debug, Default)]
struct Noted {
    lengths: Lengths,
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    upgrade_header: bool,
    expects: bool,
    /// A proxy that honours it loses the length.
    drops_length: bool,
}

impl Noted {
    fn of(headers: &[Header<'_>]) -> Result<Self, Flaw> {
        let mut noted = Self::default();
        for header in headers {
            // By length first: most headers are none of these.
            match header.name.len() {
                6 if header.name.eq_ignore_ascii_case("expect") => {
                    noted.expects = true;
                }
                7 if header.name.eq_ignore_ascii_case("upgrade") => {
                    noted.upgrade_header |= !is_h2c(header.value);
                }
                10 if header.name.eq_ignore_ascii_case("connection") => noted.connection(header.value),
                14 if header.name.eq_ignore_ascii_case("content-length") => {
                    noted.lengths.length(header.value)?
                }
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    noted.lengths.transfer_encoding(header.value)?;
                }
                _ => {}
            }
        }
        noted.lengths.agree()?;
        if noted.drops_length { Err(Flaw::ConnectionOption) } else { Ok(noted) }
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade_option |= option.eq_ignore_ascii_case(b"upgrade");
            self.drops_length |= option.eq_ignore_ascii_case(b"content-length")
                || option.eq_ignore_ascii_case(b"transfer-encoding");
        }
    }

    fn closes(&self, minor: u8) -> bool {
        self.close || (minor == 0 && !self.keep_alive)
    }
}

#[cfg(test)]
mod tests;
