//! What bridge itself answers to a browser: why a request went nowhere, and what to do. HTML for people, text for
//! programs. Pure.

use bridge_proto::v1::Cause;
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};

use super::admission::Refusal;
use super::names::Destination;
use super::upstream::{Body, Trouble};

/// Nothing is loaded, nothing runs, and no other page shows it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The same with the one script below.
const POLICY_OF_ENTRANCE: &str =
    "default-src 'none'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:42em;margin:4em auto;padding:0 1em;\
    color-scheme:light dark}h1{font-size:1.3em}code{font-family:ui-monospace,monospace}";

/// A sentence, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) what: String,
    pub(super) next: String,
}

impl Page {
    fn new(status: StatusCode, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { status, what: what.into(), next: next.into() }
    }

    /// `port`: where `bridge open` listens.
    pub(super) fn refusal(refusal: &Refusal, port: u16) -> Self {
        match refusal {
            Refusal::Host => Self::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!("This is not a name under which bridge open serves anything on port {port}."),
                "Open the URL that bridge open has printed.",
            ),
            Refusal::Foreign => Self::new(
                StatusCode::FORBIDDEN,
                "A page of another origin sent this request, and bridge open answers only pages of its own.",
                "To follow a link from elsewhere, open the URL that bridge open has printed, and go on from there.",
            ),
            Refusal::Unknown => Self::new(
                StatusCode::FORBIDDEN,
                "This browser has not been let in.",
                "Open the URL that bridge open has printed: it lets in the browser that opens it.",
            ),
            Refusal::Meaningless => {
                Self::new(StatusCode::BAD_REQUEST, "This request has no meaning here.", "")
            }
        }
    }

    /// Why nothing came from there.
    pub(super) fn trouble(trouble: &Trouble, to: &Destination) -> Self {
        let place = match to {
            Destination::Service { name, address } => format!("{name}:{}", address.port()),
            Destination::Host(origin) => origin.url(),
        };
        match trouble {
            Trouble::Refused(refused) => Self::new(
                StatusCode::BAD_GATEWAY,
                format!("{place} cannot be reached from inside the cluster: {refused}."),
                after_refusal(refused.cause, to),
            ),
            Trouble::Unreachable(why) => Self::new(
                StatusCode::BAD_GATEWAY,
                format!("{place} cannot be reached from this machine: {why}."),
                "Check the URL given with --url, and whether you need a VPN for it.",
            ),
            Trouble::Tls(why) => Self::new(
                StatusCode::BAD_GATEWAY,
                format!("No TLS connection to {place}: {why}."),
                "Its certificate has to be one that this machine trusts; SSL_CERT_FILE adds others.",
            ),
            Trouble::SpeaksTls => Self::new(
                StatusCode::BAD_GATEWAY,
                format!("{place} speaks TLS, and bridge open reaches Services without TLS."),
                "Choose a port without TLS: bridge open SERVICE:PORT. Or go through the real host: --url https://HOST.",
            ),
            Trouble::SpeaksHttp2 => Self::new(
                StatusCode::BAD_GATEWAY,
                format!(
                    "{place} speaks only HTTP/2, as gRPC servers do, and a browser cannot call it like this."
                ),
                "Choose a port for browsers: bridge open SERVICE:PORT. bridge describe SERVICE lists the ports.",
            ),
            Trouble::NotHttp(why) => Self::new(
                StatusCode::BAD_GATEWAY,
                format!("{place} did not answer in HTTP/1: {why}."),
                "Check the port: bridge describe SERVICE lists those of the Service.",
            ),
            Trouble::Closed => Self::new(
                StatusCode::BAD_GATEWAY,
                format!("{place} closed the connection without an answer."),
                "If your laptop answers for it, look at your process; else see bridge requests.",
            ),
            Trouble::Silent(within) => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                format!("No answer from {place} within {} s.", within.as_secs()),
                "If your process stands at a breakpoint, let it go on, and reload this page.",
            ),
        }
    }

    /// An answer that means that TLS was expected, as servers give it in plain HTTP.
    pub(super) fn is_about_tls(status: StatusCode, beginning: &[u8]) -> bool {
        let text = String::from_utf8_lossy(beginning);
        status == StatusCode::BAD_REQUEST
            && ["HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port"]
                .iter()
                .any(|sentence| text.contains(sentence))
    }

    pub(super) fn answer(&self, html: bool) -> Response<Body> {
        let (text, kind) = match html {
            true => (self.html(), "text/html; charset=utf-8"),
            false => (self.text(), "text/plain; charset=utf-8"),
        };
        ours(self.status, text, kind, POLICY)
    }

    fn text(&self) -> String {
        let next = if self.next.is_empty() { String::new() } else { format!("→ {}\n", self.next) };
        format!("bridge open: {}\n{next}", self.what)
    }

    fn html(&self) -> String {
        let (what, next) = (escaped(&self.what), escaped(&self.next));
        format!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
             <title>bridge open</title><style>{STYLE}</style><h1>{what}</h1><p>{next}</p><p><small>bridge open, {}</small></p>\n",
            self.status
        )
    }
}

fn after_refusal(cause: Cause, to: &Destination) -> String {
    let Destination::Service { name, .. } = to else { return String::new() };
    match cause {
        Cause::Refused => format!("Does anything serve it? bridge describe {name} lists its ports and pods."),
        Cause::TunnelLost => {
            "The session or its daemon is gone. bridge status says what is connected; if bridge open does not \
             recover by itself, stop and start it."
                .to_owned()
        }
        Cause::NoRoom => "Too many connections are open at the agent. Close some tabs.".to_owned(),
        Cause::Forbidden => "The agent may not connect there: bridge logs shows why.".to_owned(),
        _ => format!("bridge describe {name} says whether it has pods; bridge status, whether the session works."),
    }
}

/// Sends the browser on, in a way that counts as the user's own step: `to` is a whole URL of ours. The fragment, which no
/// server sees, goes with it.
pub(super) fn entrance(to: &str) -> Response<Body> {
    let to = escaped(to);
    let text = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=referrer content=no-referrer><title>bridge open</title>\
         <noscript><meta http-equiv=refresh content='0;url={to}'></noscript><a id=on href='{to}'>Go on</a>\
         <script>const on=document.getElementById('on');if(location.hash)on.hash=location.hash;\
         location.replace(on.href)</script>\n"
    );
    ours(StatusCode::OK, text, "text/html; charset=utf-8", POLICY_OF_ENTRANCE)
}

/// Sends the browser on by a redirect.
pub(super) fn redirect(to: &str, status: StatusCode) -> Response<Body> {
    let mut answer = ours(status, String::new(), "text/plain; charset=utf-8", POLICY);
    // What comes next names the same page as the one that led here, by which it is known for ours.
    answer.headers_mut().remove(header::REFERRER_POLICY);
    if let Ok(to) = HeaderValue::try_from(to) {
        answer.headers_mut().insert(header::LOCATION, to);
    }
    answer
}

fn ours(status: StatusCode, text: String, kind: &'static str, policy: &'static str) -> Response<Body> {
    let mut answer =
        Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    let lines: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in lines {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// For text and for attributes in quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bridge_proto::tunnel::Refused;

    use super::*;
    use crate::open::names::tests::service;

    #[test]
    fn each_page_says_what_to_do() {
        let refused = |cause, detail: &str| Trouble::Refused(Refused { cause, detail: detail.to_owned() });
        let to = service("web", 1);
        for (trouble, status, what, next) in [
            (refused(Cause::Refused, ""), 502, "web:80 cannot be reached", "bridge describe web"),
            (refused(Cause::TunnelLost, "the daemon is gone"), 502, "the daemon is gone", "bridge status"),
            (refused(Cause::TunnelLost, "the session has ended"), 502, "session has ended", "bridge status"),
            (refused(Cause::TimedOut, ""), 502, "timed out", "whether it has pods"),
            (Trouble::SpeaksTls, 502, "speaks TLS", "--url https://HOST"),
            (Trouble::SpeaksHttp2, 502, "only HTTP/2", "bridge open SERVICE:PORT"),
            (Trouble::Closed, 502, "without an answer", "your process"),
            (Trouble::Silent(Duration::from_secs(600)), 504, "within 600 s", "breakpoint"),
        ] {
            let page = Page::trouble(&trouble, &to);
            assert_eq!(page.status.as_u16(), status, "{page:?}");
            assert!(page.what.contains(what) && page.next.contains(next), "{page:?}");
        }
        for refusal in [Refusal::Host, Refusal::Foreign, Refusal::Unknown] {
            assert!(Page::refusal(&refusal, 8080).next.contains("URL that bridge open has printed"));
        }
    }

    #[test]
    fn nothing_in_a_page_is_markup() {
        let hostile = "</h1><script>alert('x')</script>\"&";
        let page = Page::trouble(&Trouble::NotHttp(hostile.to_owned()), &service("web", 1));
        assert!(!page.html().contains("<script") && page.html().contains("&lt;/h1&gt;"), "{}", page.html());
        assert!(page.text().contains(hostile));
        assert_eq!(escaped("a'b\"c&<>"), "a&#39;b&quot;c&amp;&lt;&gt;");
    }

    #[test]
    fn answers_about_tls_are_known() {
        let bad = StatusCode::BAD_REQUEST;
        assert!(Page::is_about_tls(bad, b"Client sent an HTTP request to an HTTPS server.\n"));
        assert!(Page::is_about_tls(bad, b"<title>400 The plain HTTP request was sent to HTTPS port</title>"));
        assert!(!Page::is_about_tls(bad, b"bad request"));
        assert!(!Page::is_about_tls(StatusCode::OK, b"Client sent an HTTP request to an HTTPS server.\n"));
    }
}
