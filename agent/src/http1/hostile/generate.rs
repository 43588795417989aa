//! Generates requests for tests: valid ones, and variants with one or two small changes.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Strings that make trouble anywhere.
const TROUBLE: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\0",
    " ",
    "\t",
    "\u{b}",
    ":",
    ";",
    ",",
    "\"",
    "\\",
    "0",
    "1",
    "f",
    "+",
    "-",
    "0x",
    "x",
    "\u{e9}",
    "HTTP/1.0",
    "HTTP/1.1",
    "0\r\n\r\n",
    "\r\nX: y",
    "\r\n folded",
    "\r\nContent-Length: 5",
    "\r\nContent-Length: 0",
    "\r\nTransfer-Encoding: chunked",
    "\r\nTransfer-Encoding: identity",
    "\r\nConnection: close",
    "\r\nConnection: keep-alive",
    "\r\nExpect: 100-continue",
    "GET / HTTP/1.1\r\n\r\n",
];

#[derive(Debug, Clone)]
enum Change {
    Insert(&'static str),
    /// Deletes this many bytes.
    Delete(usize),
    Overwrite(&'static str),
}

/// Bytes that a client could send: requests, most of them valid.
pub(super) fn requests() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop_oneof![
        3 => select(TROUBLE).prop_map(Change::Insert),
        1 => (1usize..4).prop_map(Change::Delete),
        1 => select(TROUBLE).prop_map(Change::Overwrite),
    ];
    let changes = prop::collection::vec((any::<Index>(), changes), 0..3);
    let changed = (request(), changes).prop_map(|(mut bytes, changes)| {
        for (at, change) in changes {
            let at = at.index(bytes.len() + 1);
            let (gone, new) = match change {
                Change::Insert(new) => (0, new),
                Change::Delete(len) => (len, ""),
                Change::Overwrite(new) => (new.len(), new),
            };
            let end = (at + gone).min(bytes.len());
            bytes.splice(at..end, new.bytes());
        }
        bytes
    });
    prop::collection::vec(changed, 1..4).prop_map(|requests| requests.concat())
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = select(&["GET", "POST", "HEAD", "OPTIONS", "get", "X-Y"][..]);
    let target = select(&["/", "/a%20b?c=d", "/a;b/c//d", "*", "http://a/b", "/\u{e9}"][..]);
    let version = prop_oneof![9 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0")];
    let header =
        select(&["Host: a", "X:y", "X-Empty:", "Connection: keep-alive", "X:\t z ", "TE: trailers"][..]);
    let headers = prop::collection::vec(header, 0..4);
    (method, target, version, headers, body()).prop_map(
        |(method, target, version, headers, (framing, body))| {
            let headers = headers.into_iter().chain((!framing.is_empty()).then_some(framing.as_str()));
            let headers: String = headers.map(|header| format!("{header}\r\n")).collect();
            let mut bytes = format!("{method} {target} {version}\r\n{headers}\r\n").into_bytes();
            bytes.extend_from_slice(&body);
            bytes
        },
    )
}

/// A header that frames a body, and the body.
fn body() -> impl Strategy<Value = (String, Vec<u8>)> {
    let data = || prop::collection::vec(prop_oneof![any::<u8>(), select(&b"\r\n0 GET/"[..])], 0..20);
    let length = data().prop_map(|data| (format!("Content-Length: {}", data.len()), data));
    let extension = select(&["", "", ";a", ";a=b", ";a=\"b;c\""][..]);
    let trailer = select(&["", "", "X: y\r\n", "Content-Length: 3\r\n"][..]);
    let chunks = prop::collection::vec((data(), extension), 0..4);
    let chunked = (chunks, trailer).prop_map(|(chunks, trailer)| {
        let mut bytes = Vec::new();
        for (data, extension) in chunks.iter().filter(|(data, _)| !data.is_empty()) {
            bytes.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            bytes.extend_from_slice(data);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
        ("Transfer-Encoding: chunked".to_owned(), bytes)
    });
    prop_oneof![Just((String::new(), Vec::new())), length, chunked]
}
