//! The agent's own answers in HTTP/2, and its marks on those of a laptop.

use bytes::Bytes;
use h2::Reason;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::caller::Caller;
use crate::caching::{Fate, Unshared, is_for_caches};
use crate::http1::answers::Failure;
use crate::http1::rewrite::SERVED_BY;
use crate::routes::Entry;

/// gRPC's codes (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>) for a service that cannot be reached
/// now, and for a call that must not be retried before something was changed.
const UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");
const FAILED_PRECONDITION: HeaderValue = HeaderValue::from_static("9");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The form of answer that a caller understands.
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
    let status = match failure {
        Failure::Loop { .. } | Failure::TooFar { .. } | Failure::LeadsBack { .. } => FAILED_PRECONDITION,
        _ => UNAVAILABLE,
    };
    let given = match (caller, wanted) {
        (Caller::Waits(mut respond), Wanted::Grpc) => {
            let mut answer = Response::new(());
            *answer.headers_mut() = grpc_trailers(status, &sentence);
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
        (Caller::Hears(mut stream), Wanted::Grpc) => stream.send_trailers(grpc_trailers(status, &sentence)),
        (Caller::Hears(mut stream), _) => {
            stream.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
    };
    if let Err(error) = given {
        tracing::debug!(%error, "the caller went away");
    }
}

/// Ends a stream whose origin is gone while its connection goes on, with the result that the connection's end would
/// have had.
///
/// A gRPC caller takes a lost connection for UNAVAILABLE. The only reset with the same meaning asserts that nobody has
/// seen the request, which may be wrong.
pub(super) fn lose(mut caller: Caller, wanted: Wanted) {
    let trailers = || grpc_trailers(UNAVAILABLE, "the connection to the server was lost");
    let given = match (&mut caller, wanted) {
        (Caller::Waits(respond), Wanted::Grpc) => {
            let mut answer = Response::new(());
            *answer.headers_mut() = trailers();
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            respond.send_response(answer, true).map(drop)
        }
        (Caller::Hears(stream), Wanted::Grpc) => stream.send_trailers(trailers()),
        _ => {
            caller.reset(Reason::INTERNAL_ERROR);
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

fn grpc_trailers(status: HeaderValue, sentence: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, status);
    trailers.insert(GRPC_MESSAGE, header_of(&percent_encoded(sentence)));
    trailers
}

/// Encodes a gRPC status message.
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
    if !route.keep_cache_headers {
        keep_from_shared_caches(headers);
    }
}

fn keep_from_shared_caches(headers: &mut HeaderMap) {
    let mut unshared = Unshared::new(headers.get_all(CACHE_CONTROL).iter().map(HeaderValue::as_bytes));
    for name in for_caches(headers) {
        let values: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
        headers.remove(&name);
        for value in values {
            let value = match unshared.fate(name.as_str(), value.as_bytes()) {
                Fate::Stays => Some(value),
                Fate::Goes => None,
                // Built from a valid value.
                Fate::Becomes(value) => HeaderValue::from_bytes(&value).ok(),
            };
            if let Some(value) = value {
                headers.append(&name, value);
            }
        }
    }
    if unshared.is_unsaid() {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

/// Removes trailers that caches would follow if they took trailers for headers.
pub(super) fn strip(trailers: &mut HeaderMap) {
    for name in for_caches(trailers) {
        trailers.remove(&name);
    }
}

fn for_caches(fields: &HeaderMap) -> Vec<HeaderName> {
    fields.keys().filter(|name| is_for_caches(name.as_str())).cloned().collect()
}

/// Users' names have no control characters, so this is never empty.
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
    fn headers_are_kept_from_shared_caches() {
        let fields = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            pairs.iter().map(pair).collect()
        };
        let mut headers = fields(&[
            ("cache-control", "public"),
            ("x", "y"),
            ("cache-control", "no-transform"),
            ("cdn-cache-control", "max-age=9"),
        ]);
        keep_from_shared_caches(&mut headers);
        let expected = [
            ("cache-control", "private"),
            ("cache-control", "no-transform"),
            ("x", "y"),
            ("cdn-cache-control", "no-store"),
        ];
        assert_eq!(headers, fields(&expected));
        let mut trailers = fields(&[("grpc-status", "0"), ("cache-control", "public"), ("expires", "0")]);
        strip(&mut trailers);
        assert_eq!(trailers, fields(&[("grpc-status", "0")]));
    }

    #[test]
    fn a_sentence_is_a_grpc_message() {
        assert_eq!(percent_encoded("50% of Zoë's\n"), "50%25 of Zo%C3%AB's%0A");
    }
}
