//! Who may use the port of `bridge open`: this user's browser, when the user asks for it. Pure.
//!
//! The port leads into the cluster as this user, and any page that the browser shows can send requests to it. Other users
//! of the machine are kept out before this (`loopback::Door`), and programs of this user need no port to do harm. What is
//! left are pages that did not come from here:
//!
//! * **A name that is pointed at loopback** (DNS rebinding): only our own names pass as `Host`, and those end in
//!   `.localhost`, which no DNS server decides about.
//! * **A page of a foreign origin**, on a website or on another port of localhost, which counts as the same site and gets
//!   the same cookies. Every request that such a page can cause carries one of three things that no script can change:
//!   an `Origin` (with another method than GET or HEAD, with CORS, with WebSockets), or a `Referer`, or `Sec-Fetch-Site`
//!   with `cross-site` or `same-site`. If none of them names one of our origins, the request is refused, whatever cookies
//!   it has. That holds for a link on a website as well: the user opens the printed URL instead.
//! * **A browser that the user has not let in**, such as another profile: without the cookie, which only the printed URL
//!   sets, it has no page of ours. Requests from a page of ours do without the cookie, because the sites of one
//!   application call each other in ways that carry none (`fetch` to another origin, frames): that such a page exists
//!   shows that the browser was let in.
//!
//! A browser without `Sec-Fetch-Site` (before 2023) sends none of the three for a GET that a page hides its origin from,
//! as with `no-referrer`. A website gets nowhere with it, because the cookie is `SameSite=Lax`; a page on another port of
//! localhost could cause requests whose answers it cannot read.
//!
//! A navigation that a redirect leads to another of our origins carries nothing that shows where it began. It goes by that
//! origin's own entrance, which sets the cookie there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method, Uri, header};
use subtle::ConstantTimeEq as _;

use super::cookies;
use super::names::{Site, Sites};

/// Paths below this are ours at every site.
const OURS: &str = "/.bridge/";

/// What lets a browser in: 128 random bits. Its text is a part of a path, and a cookie's value.
#[derive(Clone)]
pub(super) struct Token(String);

/// The verdict on a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// It goes to this site. `cookie`: the browser has none for it yet, and gets it.
    Admitted {
        site: &'a Site,
        cookie: bool,
    },
    /// The browser is let in at this site, and goes on to a path. `as_own`: by a page, so that what follows comes from us
    /// and not from where this navigation began.
    Enters {
        site: &'a Site,
        to: String,
        as_own: bool,
    },
    Refused(Refusal),
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its host is not one of our names.
    Host,
    /// It comes from a page of another origin.
    Foreign,
    /// The browser was not let in, or by another `bridge open`.
    Unknown,
    /// It has no meaning here: CONNECT, a path of ours that does not exist.
    Meaningless,
}

/// Where a request comes from, as far as the browser says.
#[derive(Debug, PartialEq, Eq)]
enum From {
    /// A page of ours.
    Ours,
    /// The user, or a page of ours that hides it, or a program.
    Unsaid,
    Elsewhere,
}

impl Token {
    pub(super) fn random() -> Self {
        Self(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The path at which a site lets a browser in: "/.bridge/TOKEN", before the path to go on to.
    pub(super) fn path(&self) -> String {
        format!("{OURS}{}", self.0)
    }

    /// In a time that does not depend on where they differ.
    fn is(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Judges a request.
pub(super) fn judge<'a>(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    sites: &'a Sites,
    token: &Token,
) -> Verdict<'a> {
    let host = only(headers, &header::HOST);
    // A request line with a host of its own has the same (RFC 9112 section 3.2.2).
    let is_same = |host: &&str| uri.authority().is_none_or(|other| other.as_str().eq_ignore_ascii_case(host));
    let Some(site) = host.filter(is_same).and_then(|host| sites.of_host(host)) else {
        return Verdict::Refused(Refusal::Host);
    };
    if method == Method::CONNECT {
        return Verdict::Refused(Refusal::Meaningless);
    }
    if let Some(rest) = uri.path().strip_prefix(OURS) {
        return entrance(rest, uri.query(), headers, site, sites, token);
    }
    match from(headers, sites) {
        From::Elsewhere => Verdict::Refused(Refusal::Foreign),
        _ if has_cookie(headers, sites.port(), token) => Verdict::Admitted { site, cookie: false },
        From::Ours => Verdict::Admitted { site, cookie: is_navigation(headers) },
        From::Unsaid => Verdict::Refused(Refusal::Unknown),
    }
}

/// The token is the proof here: whoever knows it comes from wherever it was printed or pasted.
fn entrance<'a>(
    rest: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    site: &'a Site,
    sites: &Sites,
    token: &Token,
) -> Verdict<'a> {
    let (given, to) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !token.is(given.as_bytes()) {
        return Verdict::Refused(Refusal::Unknown);
    }
    if to.starts_with(OURS) {
        return Verdict::Refused(Refusal::Meaningless);
    }
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let to = format!("{}{}{query}", if to.is_empty() { "/" } else { "" }, to);
    Verdict::Enters { site, to, as_own: from(headers, sites) == From::Elsewhere }
}

fn from(headers: &HeaderMap, sites: &Sites) -> From {
    let fetch_site = headers.get("sec-fetch-site").map(http::HeaderValue::as_bytes);
    if headers.contains_key(header::ORIGIN) {
        return match only(headers, &header::ORIGIN) {
            Some(origin) if sites.of_origin(origin).is_some() => From::Ours,
            // A form of a page of ours whose policy is to say nothing.
            Some("null") if fetch_site == Some(b"same-origin") => From::Unsaid,
            _ => From::Elsewhere,
        };
    }
    if headers.contains_key(header::REFERER) {
        return match only(headers, &header::REFERER) {
            Some(referer) if sites.of_origin(referer).is_some() => From::Ours,
            _ => From::Elsewhere,
        };
    }
    match fetch_site {
        None | Some(b"none" | b"same-origin") => From::Unsaid,
        Some(_) => From::Elsewhere,
    }
}

fn has_cookie(headers: &HeaderMap, port: u16, token: &Token) -> bool {
    let name = cookies::own(port);
    let all = headers.get_all(header::COOKIE).iter();
    all.flat_map(|header| cookies::values(header.as_bytes(), &name)).any(|value| token.is(value))
}

/// Whether a document is asked for, in a tab or a frame. Browsers that do not say so ask for HTML.
pub(super) fn is_navigation(headers: &HeaderMap) -> bool {
    match headers.get("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        None => wants_html(headers) && !headers.contains_key("x-requested-with"),
    }
}

pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.to_ascii_lowercase().contains("text/html")))
}

/// The value of a header that comes once, as text.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::open::names::tests::sites;

    const SHOP: &str = "shop.example.com.localhost:8080";
    const HERE: &str = "http://shop.example.com.localhost:8080";
    const API: &str = "http://api.example.com.localhost:8080";

    /// In a word: "admitted", "admitted, cookie", "foreign", …
    fn verdict(method: &str, target: &str, lines: &[(&str, &str)]) -> String {
        let token = Token("t0k3n".to_owned());
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let sites = sites();
        match judge(&method.parse().unwrap(), &target.parse().unwrap(), &headers, &sites, &token) {
            Verdict::Admitted { cookie: false, .. } => "admitted".to_owned(),
            Verdict::Admitted { cookie: true, .. } => "admitted, cookie".to_owned(),
            Verdict::Enters { to, as_own: false, .. } => format!("enters {to}"),
            Verdict::Enters { to, as_own: true, .. } => format!("enters {to} by a page"),
            Verdict::Refused(refusal) => format!("{refusal:?}").to_lowercase(),
        }
    }

    #[test]
    fn tokens_are_random_and_fit_into_a_path_and_a_cookie() {
        let (one, other) = (Token::random(), Token::random());
        assert_ne!(one.as_str(), other.as_str());
        assert_eq!(one.as_str().len(), 22);
        assert!(one.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert!(one.is(one.as_str().as_bytes()) && !one.is(other.as_str().as_bytes()) && !one.is(b""));
        assert!(!format!("{one:?}").contains(one.as_str()), "no log has it");
    }

    #[test]
    fn only_our_own_names_are_hosts() {
        let cookie = ("cookie", "bridge-open-8080=t0k3n");
        assert_eq!(verdict("GET", "/", &[("host", SHOP), cookie]), "admitted");
        for host in ["evil.example", "localhost:8080", "127.0.0.1:8080", "shop.example.com.localhost:8081"] {
            assert_eq!(verdict("GET", "/", &[("host", host), cookie]), "host", "{host}");
            assert_eq!(verdict("GET", "/.bridge/t0k3n/", &[("host", host)]), "host", "{host}");
        }
        assert_eq!(verdict("GET", "/", &[cookie]), "host");
        assert_eq!(verdict("GET", "/", &[("host", SHOP), ("host", "evil.example"), cookie]), "host");
        assert_eq!(verdict("GET", "http://evil.example/", &[("host", SHOP), cookie]), "host");
        assert_eq!(verdict("GET", &format!("{HERE}/"), &[("host", SHOP), cookie]), "admitted");
        assert_eq!(verdict("CONNECT", SHOP, &[("host", SHOP), cookie]), "meaningless");
    }

    #[test]
    fn the_token_lets_in_and_nothing_else_does() {
        for (target, expected) in [
            ("/.bridge/t0k3n", "enters /"),
            ("/.bridge/t0k3n/", "enters /"),
            ("/.bridge/t0k3n/a/b?c=d", "enters /a/b?c=d"),
            ("/.bridge/t0k3n//evil.example/", "enters //evil.example/"),
            ("/.bridge/t0k3n/.bridge/t0k3n/", "meaningless"),
            ("/.bridge/other/", "unknown"),
            ("/.bridge/", "unknown"),
            ("/.bridge/t0k3nx/", "unknown"),
            ("/", "unknown"),
        ] {
            assert_eq!(verdict("GET", target, &[("host", SHOP)]), expected, "{target}");
        }
        for (cookie, expected) in [
            ("bridge-open-8080=t0k3n", "admitted"),
            ("a=b; bridge-open-8080=t0k3n", "admitted"),
            ("bridge-open-8080=old; bridge-open-8080=t0k3n", "admitted"),
            ("bridge-open-8080=other", "unknown"),
            ("bridge-open-8081=t0k3n", "unknown"),
            ("bridge-open-8080=", "unknown"),
        ] {
            assert_eq!(verdict("GET", "/", &[("host", SHOP), ("cookie", cookie)]), expected, "{cookie}");
        }
    }

    #[test]
    fn pages_of_other_origins_get_nowhere_even_with_the_cookie() {
        for (line, expected) in [
            (("origin", HERE), "admitted"),
            (("origin", API), "admitted"),
            (("origin", "https://evil.example"), "foreign"),
            (("origin", "http://localhost:3000"), "foreign"),
            (("origin", "http://shop.example.com.localhost:8081"), "foreign"),
            (("origin", "http://evil.com.localhost:8080"), "foreign"),
            (("origin", "https://shop.example.com"), "foreign"),
            (("origin", "null"), "foreign"),
            (("origin", ""), "foreign"),
            (("referer", &format!("{API}/x")), "admitted"),
            (("referer", "https://evil.example/"), "foreign"),
            (("referer", "http://localhost:3000/"), "foreign"),
            (("sec-fetch-site", "none"), "admitted"),
            (("sec-fetch-site", "same-origin"), "admitted"),
            (("sec-fetch-site", "same-site"), "foreign"),
            (("sec-fetch-site", "cross-site"), "foreign"),
            (("sec-fetch-site", "new-word"), "foreign"),
        ] {
            for method in ["GET", "POST", "OPTIONS"] {
                let lines = [("host", SHOP), ("cookie", "bridge-open-8080=t0k3n"), line];
                assert_eq!(verdict(method, "/", &lines), expected, "{method} {line:?}");
            }
        }
        let form = [("host", SHOP), ("cookie", "bridge-open-8080=t0k3n"), ("origin", "null")];
        let own = [&form[..], &[("sec-fetch-site", "same-origin")]].concat();
        assert_eq!(verdict("POST", "/", &own), "admitted", "a page that hides its origin");
        let foreign = [&form[..], &[("sec-fetch-site", "cross-site")]].concat();
        assert_eq!(verdict("POST", "/", &foreign), "foreign");
        let two = [("host", SHOP), ("origin", HERE), ("origin", "https://evil.example")];
        assert_eq!(verdict("POST", "/", &two), "foreign");
    }

    #[test]
    fn our_own_pages_reach_each_other_without_a_cookie() {
        let cross = ("sec-fetch-site", "cross-site");
        let fetch = [("host", SHOP), ("origin", API), cross, ("sec-fetch-mode", "cors")];
        assert_eq!(verdict("GET", "/", &fetch), "admitted");
        let referer = format!("{API}/page");
        let link = [("host", SHOP), ("referer", referer.as_str()), cross, ("sec-fetch-mode", "navigate")];
        assert_eq!(verdict("GET", "/", &link), "admitted, cookie");
        let image = [("host", SHOP), ("referer", referer.as_str()), cross, ("sec-fetch-mode", "no-cors")];
        assert_eq!(verdict("GET", "/", &image), "admitted");
        let silent = [("host", SHOP), ("sec-fetch-site", "same-origin")];
        assert_eq!(verdict("GET", "/", &silent), "unknown");
    }

    #[test]
    fn what_enters_from_elsewhere_goes_on_as_our_own() {
        let link = [("host", SHOP), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(verdict("GET", "/.bridge/t0k3n/x", &link), "enters /x by a page");
        let typed = [("host", SHOP), ("sec-fetch-site", "none")];
        assert_eq!(verdict("GET", "/.bridge/t0k3n/x", &typed), "enters /x");
        let redirected = [("host", SHOP), ("referer", API), ("sec-fetch-site", "same-site")];
        assert_eq!(verdict("GET", "/.bridge/t0k3n/x", &redirected), "enters /x");
    }
}
