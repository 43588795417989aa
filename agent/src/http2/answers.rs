//! What the agent says itself in HTTP/2: its own answers, and the marks on those of a laptop.

use bytes::Bytes;
use h2::Reason;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::exchange::Caller;
use crate::http1::answers::Failure;
use crate::http1::rewrite::{self, SERVED_BY};
use crate::routes::Entry;

/// gRPC's code for a service that cannot be reached now
/// (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>).
const UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// In which form a caller understands an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Grpc,
    /// HTTP, without a body.
    Head,
    Http,
}

impl Wanted {
    pub(super) fn of(request: &Parts) -> Self {
        let grpc = |value: &HeaderValue| is_grpc(value.as_bytes());
        if request.headers.get(CONTENT_TYPE).is_some_and(grpc) {
            Wanted::Grpc
        } else if request.method == Method::HEAD {
            Wanted::Head
        } else {
            Wanted::Http
        }
    }
}

/// `application/grpc`, perhaps with `+proto` or parameters
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
fn is_grpc(content_type: &[u8]) -> bool {
    let essence = content_type.to_ascii_lowercase();
    essence
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Answers in place of a laptop, or ends an answer that has begun.
pub(super) fn give(caller: Caller, wanted: Wanted, failure: &Failure) {
    tracing::debug!(%failure, "answered in place of a laptop");
    let sentence = format!("bridge: {failure}");
    let given = match (caller, wanted) {
        (Caller::Waits(mut respond), Wanted::Grpc) => {
            let mut answer = Response::new(());
            *answer.headers_mut() = grpc_trailers(&sentence);
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            answer.headers_mut().insert(SERVED_BY, header_of(failure.user()));
            respond.send_response(answer, true).map(drop)
        }
        (Caller::Waits(mut respond), _) => {
            let sentence = sentence + "\n";
            let answer = plain(failure, sentence.len());
            match respond.send_response(answer, wanted == Wanted::Head) {
                Ok(mut stream) if wanted == Wanted::Http => stream.send_data(Bytes::from(sentence), true),
                sent => sent.map(drop),
            }
        }
        (Caller::Hears(mut stream), Wanted::Grpc) => stream.send_trailers(grpc_trailers(&sentence)),
        (Caller::Hears(mut stream), _) => {
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
    };
    if let Err(error) = given {
        tracing::debug!(%error, "the caller went away");
    }
}

fn plain(failure: &Failure, len: usize) -> Response<()> {
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::from_u16(failure.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, len.into());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SERVED_BY, header_of(failure.user()));
    answer
}

fn grpc_trailers(sentence: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, UNAVAILABLE);
    trailers.insert(GRPC_MESSAGE, header_of(&percent_encoded(sentence)));
    trailers
}

/// As gRPC encodes a status message.
fn percent_encoded(message: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

/// Marks the head of a laptop's answer.
pub(super) fn mark(headers: &mut HeaderMap, route: &Entry) {
    headers.insert(SERVED_BY, header_of(&route.session.user));
    let private = |value: &HeaderValue| rewrite::is_private(value.as_bytes());
    if !route.keep_cache_headers && !headers.get_all(CACHE_CONTROL).iter().any(private) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// Users have no control characters in their names, so this is never empty.
fn header_of(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (content_type, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(content_type.as_bytes()), grpc, "{content_type}");
        }
    }

    #[test]
    fn a_sentence_is_a_grpc_message() {
        assert_eq!(percent_encoded("50% of Zoë's\n"), "50%25 of Zo%C3%AB's%0A");
    }
}
