//! Cookies (RFC 6265) on their way between a real host and its name here, and the cookie that lets a browser in. Pure.

use http::HeaderValue;

/// The names of the cookies that let a browser in begin with this: cookies know no ports, so those of other ports come,
/// too. No site sees them.
const OWN: &[u8] = b"bridge-open-";

/// The name of the cookie for this port.
pub(super) fn own(port: u16) -> String {
    format!("bridge-open-{port}")
}

/// A `Set-Cookie` that lets the browser in at the host that sends it.
pub(super) fn letting_in(port: u16, token: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("{}={token}; Path=/; HttpOnly; SameSite=Lax", own(port))).ok()
}

/// The values of the cookies of this name.
pub(super) fn values<'a>(header: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    pairs(header).filter_map(move |(key, value)| (key == name.as_bytes()).then_some(value))
}

/// A `Cookie` as the site gets it: without ours. `None`: nothing is left.
pub(super) fn for_site(header: &HeaderValue) -> Option<HeaderValue> {
    let kept: Vec<&[u8]> = header
        .as_bytes()
        .split(|&byte| byte == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty() && !pair.starts_with(OWN))
        .collect();
    if kept.is_empty() { None } else { HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok() }
}

/// A `Set-Cookie` of a site as the browser gets it: its domain has another name here, and there is no TLS. `None`: it
/// has the name of one of ours.
pub(super) fn for_browser(header: &HeaderValue) -> Option<HeaderValue> {
    let mut parts = header.as_bytes().split(|&byte| byte == b';');
    let pair = parts.next()?;
    let name = pair.trim_ascii_start();
    if name.starts_with(OWN) {
        return None;
    }
    // Browsers take these only with Secure, which those that know *.localhost as trustworthy accept.
    let is_prefixed = [&b"__secure-"[..], b"__host-"]
        .iter()
        .any(|prefix| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)));
    let attributes: Vec<&[u8]> = parts.map(<[u8]>::trim_ascii).collect();
    let is = |attribute: &[u8], name: &str| attribute.eq_ignore_ascii_case(name.as_bytes());
    let loses_secure = !is_prefixed && attributes.iter().any(|it| is(it, "secure"));
    let mut set = pair.to_vec();
    for attribute in attributes {
        let (key, value) = split(attribute);
        let changed = match () {
            () if is(key, "domain") => domain(value),
            () if is(attribute, "secure") && !is_prefixed => continue,
            // Without Secure, browsers take neither.
            () if loses_secure && is(attribute, "partitioned") => continue,
            () if loses_secure && is(key, "samesite") && is(value, "none") => b"SameSite=Lax".to_vec(),
            () => attribute.to_vec(),
        };
        set.extend_from_slice(b"; ");
        set.extend_from_slice(&changed);
    }
    HeaderValue::from_bytes(&set).ok()
}

/// ".example.com" is "example.com.localhost" here.
fn domain(value: &[u8]) -> Vec<u8> {
    let value = value.strip_prefix(b".").unwrap_or(value);
    match value {
        // The host itself, as without the attribute.
        b"" => b"Domain=".to_vec(),
        value => [b"Domain=", value, b".localhost"].concat(),
    }
}

fn pairs(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    header.split(|&byte| byte == b';').map(|pair| split(pair.trim_ascii()))
}

fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|&byte| byte == b'=') {
        Some(at) => (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()),
        None => (pair, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_s_cookies_work_under_its_name_here() {
        for (real, here) in [
            ("a=b", Some("a=b")),
            ("a=b; Path=/; HttpOnly", Some("a=b; Path=/; HttpOnly")),
            ("a=b; Domain=.example.com; Path=/", Some("a=b; Domain=example.com.localhost; Path=/")),
            ("a=b;domain=Example.com", Some("a=b; Domain=Example.com.localhost")),
            ("a=b; Domain=", Some("a=b; Domain=")),
            ("a=b; Secure; HttpOnly", Some("a=b; HttpOnly")),
            ("a=b; SameSite=None; Secure", Some("a=b; SameSite=Lax")),
            ("a=b; Secure; SameSite=None; Partitioned", Some("a=b; SameSite=Lax")),
            ("a=b; SameSite=Strict; Secure", Some("a=b; SameSite=Strict")),
            ("a=b; SameSite=None", Some("a=b; SameSite=None")),
            ("__Host-a=b; Secure; Path=/", Some("__Host-a=b; Secure; Path=/")),
            ("__secure-a=b; SECURE; SameSite=None", Some("__secure-a=b; SECURE; SameSite=None")),
            ("a=Secure; Max-Age=60", Some("a=Secure; Max-Age=60")),
            (
                "a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
                Some("a=b; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
            ),
            ("bridge-open-8080=mine", None),
            (" bridge-open-1=mine; Path=/", None),
            ("", Some("")),
        ] {
            let set = for_browser(&HeaderValue::from_static(real));
            assert_eq!(set.as_ref().map(|it| it.to_str().unwrap()), here, "{real}");
        }
        let bytes = HeaderValue::from_bytes(b"a=\xe9; Secure").unwrap();
        assert_eq!(for_browser(&bytes).unwrap().as_bytes(), b"a=\xe9");
    }

    #[test]
    fn no_site_sees_what_lets_the_browser_in() {
        for (sent, passed) in [
            ("a=b", Some("a=b")),
            ("a=b; bridge-open-8080=t; c=d", Some("a=b; c=d")),
            ("bridge-open-8080=t; bridge-open-9090=u", None),
            ("a=bridge-open-8080=t", Some("a=bridge-open-8080=t")),
            ("bridge-open-8080=t;a=b;;", Some("a=b")),
        ] {
            let passed_on = for_site(&HeaderValue::from_static(sent));
            assert_eq!(passed_on.as_ref().map(|it| it.to_str().unwrap()), passed, "{sent}");
        }
        let found: Vec<&[u8]> =
            values(b"a=b; bridge-open-8080=t;bridge-open-8080 = u", "bridge-open-8080").collect();
        assert_eq!(found, [b"t", b"u"]);
    }
}
