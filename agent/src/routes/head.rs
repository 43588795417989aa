//! The part of a request that the decision depends on, in any version of HTTP.

use bridge_proto::matching::RequestHead;
use httparse::Header;

/// A head that httparse has read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Http1Head<'a> {
    pub(crate) method: &'a str,
    /// The request target (RFC 9112 section 3.2), in any of its forms.
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [Header<'a>],
}

impl RequestHead for Http1Head<'_> {
    fn method(&self) -> &str {
        self.method
    }

    fn path(&self) -> &str {
        path_of(self.target)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|header| header.value)
    }
}

/// The path of a request target: of `/a?b` and `http://host/a?b` it is `/a`, of `host:80` nothing, and `*` is itself.
fn path_of(target: &str) -> &str {
    let path = if target.starts_with('/') || target == "*" {
        target
    } else if let Some((_, rest)) = target.split_once("://") {
        match rest.find(['/', '?']) {
            Some(at) if rest.as_bytes()[at] == b'/' => &rest[at..],
            // Without a path the root is meant (RFC 9110 section 4.2.3).
            _ => "/",
        }
    } else {
        ""
    };
    let end = memchr::memchr2(b'?', b'#', path.as_bytes()).unwrap_or(path.len());
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_without_the_query() {
        for (target, path) in [
            ("/", "/"),
            ("/v1/orders?secret=1", "/v1/orders"),
            ("/a//b/../c%2Fd", "/a//b/../c%2Fd"),
            ("http://orders/v1?x=/y", "/v1"),
            ("http://orders", "/"),
            ("http://orders?x=/y", "/"),
            ("*", "*"),
            ("orders:80", ""),
            ("/a#b?c", "/a"),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }

    #[test]
    fn both_versions_of_http_show_the_same() {
        let headers =
            [("X-Tenant", "1"), ("b", "x"), ("x-tenant", "2")].map(|(name, value)| (name, value.as_bytes()));
        let old = headers.map(|(name, value)| Header { name, value });
        let old = Http1Head { method: "GET", target: "/v1?x=1", headers: &old };
        let mut new = http::Request::get("http://orders/v1?x=1");
        for (name, value) in headers {
            new = new.header(name, value);
        }
        let (new, ()) = new.body(()).expect("a good request").into_parts();
        for (of_old, of_new) in [(old.method(), new.method()), (old.path(), new.path())] {
            assert_eq!(of_old, of_new);
        }
        assert_eq!(old.values("x-tenant").collect::<Vec<_>>(), [b"1", b"2"]);
        assert!(old.values("x-tenant").eq(new.values("x-tenant")), "all values, in their order");
        assert_eq!(new.values("absent").count(), 0);
    }
}
