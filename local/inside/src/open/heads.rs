//! The heads of requests on their way to a site, and of its answers on their way to the browser: hop-by-hop headers (RFC
//! 9110 section 7.6.1), the user's marks, and every header that names an origin. Pure.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::admission::Token;
use super::cookies;
use super::marks::Marks;
use super::names::{Site, Sites};
use super::policies;

/// Besides those that `Connection` names.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What an Ingress would say about a request.
const FORWARDED: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Makes a request's head that of a request to the real site.
pub(super) fn for_site(headers: &mut HeaderMap, site: &Site, sites: &Sites, marks: &Marks, by_service: bool) {
    let upgrade = upgrade(headers);
    end_hop(headers);
    // It has been met: the browser is asked for the body as soon as the site takes it.
    headers.remove(header::EXPECT);
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    let value = |text: &str| HeaderValue::from_str(text).ok();
    if let Some(host) = value(&site.origin.authority) {
        headers.insert(header::HOST, host);
    }
    for name in FORWARDED {
        headers.remove(name);
    }
    // A real URL has a real Ingress in front.
    if by_service {
        let (host, scheme) = (value(&site.origin.authority), site.origin.scheme());
        headers.insert("x-forwarded-proto", HeaderValue::from_static(scheme));
        headers.extend(host.map(|host| (HeaderName::from_static("x-forwarded-host"), host)));
    }
    for name in [header::ORIGIN, header::REFERER] {
        each(headers, &name, |text| sites.real(text));
    }
    let cookies: Vec<HeaderValue> =
        headers.get_all(header::COOKIE).iter().filter_map(cookies::for_site).collect();
    headers.remove(header::COOKIE);
    for cookie in cookies {
        headers.append(header::COOKIE, cookie);
    }
    marks.apply(headers);
}

/// Makes the head of an answer of a site that of one under its name here. `navigation`: of a document, for which a
/// redirect to another site goes by that site's entrance.
pub(super) fn for_browser(
    headers: &mut HeaderMap,
    site: &Site,
    sites: &Sites,
    token: &Token,
    navigation: bool,
) {
    end_hop(headers);
    // TLS and QUIC are the real host's.
    headers.remove(header::STRICT_TRANSPORT_SECURITY);
    headers.remove(header::ALT_SVC);
    let here = |url: &str| match navigation {
        true => sites.here_after(url, site, &token.path()),
        false => sites.here(url),
    };
    each(headers, &header::LOCATION, here);
    each(headers, &header::CONTENT_LOCATION, |url| sites.here(url));
    each(headers, &header::REFRESH, |text| refresh(text, here));
    let origin = |text: &str| sites.here(text).map(|url| url.trim_end_matches('/').to_owned());
    each(headers, &header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let timing = HeaderName::from_static("timing-allow-origin");
    each(headers, &timing, |text| Some(list(text, origin)));
    for name in [header::CONTENT_SECURITY_POLICY, header::CONTENT_SECURITY_POLICY_REPORT_ONLY] {
        each(headers, &name, |text| Some(policies::here(text, sites)));
    }
    let set: Vec<HeaderValue> =
        headers.get_all(header::SET_COOKIE).iter().filter_map(cookies::for_browser).collect();
    headers.remove(header::SET_COOKIE);
    for cookie in set {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// The protocol that a request or an answer switches to (RFC 9110 section 7.8). HTTP/2 without TLS is not switched to:
/// what follows would not be read here.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(header::UPGRADE)?;
    let is_asked = tokens(headers, &header::CONNECTION).any(|token| token == "upgrade");
    (is_asked && !upgrade.as_bytes().to_ascii_lowercase().starts_with(b"h2c")).then(|| upgrade.clone())
}

fn end_hop(headers: &mut HeaderMap) {
    let named: Vec<String> = tokens(headers, &header::CONNECTION).collect();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn tokens(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|token| token.trim().to_ascii_lowercase())
}

/// Changes the values of a header that have another form.
fn each(headers: &mut HeaderMap, name: &HeaderName, change: impl Fn(&str) -> Option<String>) {
    let header::Entry::Occupied(mut there) = headers.entry(name) else { return };
    for value in there.iter_mut() {
        let changed = value.to_str().ok().and_then(&change).and_then(|text| HeaderValue::try_from(text).ok());
        if let Some(changed) = changed {
            *value = changed;
        }
    }
}

/// "5; url=https://shop.example.com/"
fn refresh(text: &str, change: impl Fn(&str) -> Option<String>) -> Option<String> {
    let at = text.to_ascii_lowercase().find("url=")? + "url=".len();
    let (before, url) = text.split_at(at);
    let url = url.trim().trim_matches(['"', '\'']);
    Some(format!("{before}{}", change(url)?))
}

/// Of a list, those that have another form.
fn list(text: &str, change: impl Fn(&str) -> Option<String>) -> String {
    let all = text.split(',').map(str::trim).map(|one| change(one).unwrap_or_else(|| one.to_owned()));
    all.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::names::tests::sites;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let parsed = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(parsed) {
            headers.append(name, value);
        }
        headers
    }

    /// "name: value", sorted.
    fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    fn sent(given: &[(&str, &str)], by_service: bool) -> Vec<String> {
        let (sites, mut headers) = (sites(), headers(given));
        let site = sites.first().unwrap();
        for_site(&mut headers, site, &sites, &Marks::of("alice", &[]), by_service);
        lines(&headers)
    }

    fn answered(given: &[(&str, &str)], navigation: bool) -> Vec<String> {
        let (sites, mut headers) = (sites(), headers(given));
        let token = Token::random();
        for_browser(&mut headers, sites.first().unwrap(), &sites, &token, navigation);
        lines(&headers).into_iter().map(|line| line.replace(token.as_str(), "TOKEN")).collect()
    }

    #[test]
    fn a_request_is_as_if_sent_to_the_real_host() {
        let given = [
            ("host", "shop.example.com.localhost:8080"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("upgrade", "websocket"),
            ("x-forwarded-for", "1.2.3.4"),
            ("origin", "http://api.example.com.localhost:8080"),
            ("referer", "http://shop.example.com.localhost:8080/a?b"),
            ("cookie", "a=b; bridge-open-8080=t"),
            ("cookie", "bridge-open-9090=u"),
            ("accept", "*/*"),
            ("baggage", "x=y"),
        ];
        let expected = [
            "accept: */*",
            "baggage: x=y, bridge=alice",
            "cookie: a=b",
            "host: shop.example.com",
            "origin: https://api.example.com:8443",
            "referer: https://shop.example.com/a?b",
            "x-bridge: alice",
            "x-forwarded-host: shop.example.com",
            "x-forwarded-proto: https",
        ];
        assert_eq!(sent(&given, true), expected);
        let direct: Vec<&str> =
            expected.into_iter().filter(|line| !line.starts_with("x-forwarded")).collect();
        assert_eq!(sent(&given, false), direct);
    }

    #[test]
    fn an_upgrade_is_handed_on() {
        let upgraded = |given: &[(&str, &str)]| {
            let all = sent(given, false);
            all.into_iter()
                .filter(|line| line.starts_with("connection") || line.starts_with("upgrade"))
                .collect()
        };
        let none: Vec<String> = Vec::new();
        let asked: Vec<String> = upgraded(&[("connection", "Keep-Alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(asked, ["connection: upgrade", "upgrade: websocket"]);
        assert_eq!(upgraded(&[("upgrade", "websocket")]), none);
        assert_eq!(upgraded(&[("connection", "upgrade")]), none);
        let h2c = [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "x")];
        assert_eq!(sent(&h2c, false).len(), 3, "host and marks");
    }

    #[test]
    fn an_answer_stays_here() {
        let given = [
            ("location", "https://shop.example.com/login"),
            ("content-location", "https://shop.example.com/x"),
            ("refresh", "5; URL=\"https://shop.example.com/x\""),
            ("strict-transport-security", "max-age=63072000"),
            ("alt-svc", "h3=\":443\""),
            ("access-control-allow-origin", "https://shop.example.com"),
            ("timing-allow-origin", "https://shop.example.com, https://other.example"),
            ("set-cookie", "a=b; Domain=.example.com; Secure"),
            ("set-cookie", "bridge-open-8080=mine"),
            ("set-cookie", "c=d"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("vary", "Origin"),
        ];
        let expected = [
            "access-control-allow-origin: http://shop.example.com.localhost:8080",
            "content-location: http://shop.example.com.localhost:8080/x",
            "location: http://shop.example.com.localhost:8080/login",
            "refresh: 5; URL=http://shop.example.com.localhost:8080/x",
            "set-cookie: a=b; Domain=example.com.localhost",
            "set-cookie: c=d",
            "timing-allow-origin: http://shop.example.com.localhost:8080, https://other.example",
            "vary: Origin",
        ];
        assert_eq!(answered(&given, false), expected);
        for same in [
            ("location", "/login"),
            ("location", "https://other.example/"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-origin", "null"),
            ("refresh", "5"),
            ("refresh", "0; url=/x"),
        ] {
            assert_eq!(answered(&[same], true), [format!("{}: {}", same.0, same.1)]);
        }
    }

    #[test]
    fn a_document_s_redirect_to_another_site_lets_the_browser_in_there() {
        let given = [("location", "https://api.example.com:8443/x?y")];
        let fetched = "location: http://api.example.com.localhost:8080/x?y";
        assert_eq!(answered(&given, false), [fetched]);
        let navigated = "location: http://api.example.com.localhost:8080/.bridge/TOKEN/x?y";
        assert_eq!(answered(&given, true), [navigated]);
    }
}
