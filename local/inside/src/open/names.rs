//! The names under which a browser finds real hosts here: `shop.example.com` is `http://shop.example.com.localhost:PORT`,
//! which browsers take to loopback by themselves (RFC 6761 section 6.3). Each real origin has one of its own, as cookies,
//! storage and CORS go by it. Finds where a request goes, and translates URLs both ways. Pure.

use std::net::SocketAddr;

/// What every name here ends with.
const LOCALHOST: &str = ".localhost";

/// Where a request is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A Service, from inside the cluster, without TLS.
    Service { name: String, address: SocketAddr },
    /// A host, from this machine.
    Host(Origin),
}

/// A scheme, and a host with a port if it is not the scheme's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub encrypted: bool,
    /// "shop.example.com", "web:8080", in lower case.
    pub authority: String,
}

/// A real origin, and where requests to it go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub origin: Origin,
    /// Paths that lead elsewhere.
    pub ways: Vec<Way>,
    pub otherwise: Destination,
}

/// A path of a site, as an Ingress has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    pub path: String,
    /// This path only, and none below it.
    pub exact: bool,
    pub to: Destination,
}

/// All that a browser reaches through one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sites {
    port: u16,
    /// The first is the one that is opened.
    sites: Vec<Site>,
}

/// A URL in its parts.
struct Parts<'a> {
    /// Without the colon; `None`: the page's.
    scheme: Option<&'a str>,
    authority: &'a str,
    /// From the path on.
    rest: &'a str,
}

impl Origin {
    /// Of "https://shop.example.com".
    ///
    /// # Errors
    ///
    /// Why it is no origin, as a sentence.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = || format!("{url:?} is not a URL like https://shop.example.com");
        let parts =
            split(url).filter(|parts| parts.rest.is_empty() || parts.rest == "/").ok_or_else(wrong)?;
        let encrypted = match parts.scheme {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        Self::of(encrypted, parts.authority).ok_or_else(wrong)
    }

    /// Of a host, and a port if it has one. `None`: it is not one.
    #[must_use]
    pub fn of(encrypted: bool, authority: &str) -> Option<Self> {
        let authority = authority.to_ascii_lowercase();
        let (host, port) = host_and_port(&authority);
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_address = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        let is_name = !host.is_empty() && host.bytes().all(is_part) && !host.ends_with('.');
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
        let usual = if encrypted { "443" } else { "80" };
        let authority = if port == Some(usual) { host.to_owned() } else { authority.clone() };
        ((is_name || is_address) && is_port).then_some(Self { encrypted, authority })
    }

    /// "https://shop.example.com"
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority)
    }

    /// "https"
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.encrypted { "https" } else { "http" }
    }

    /// Without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        host_and_port(&self.authority).0
    }
}

impl Site {
    /// "shop.example.com.localhost". An address of IPv6 has no place in a name.
    #[must_use]
    pub fn name(&self) -> String {
        let host = self.origin.host().trim_matches(|it| it == '[' || it == ']').replace(':', "-");
        format!("{host}{LOCALHOST}")
    }

    /// Where this path goes: by the longest one that fits, as in an Ingress.
    #[must_use]
    pub fn way(&self, path: &str) -> &Destination {
        let fits = |way: &&Way| match way.exact {
            true => path == way.path,
            false => path
                .strip_prefix(way.path.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        };
        let longest = self.ways.iter().filter(fits).max_by_key(|way| (way.path.len(), way.exact));
        longest.map_or(&self.otherwise, |way| &way.to)
    }
}

impl Sites {
    /// Those of this port; the first is opened. Of several with the same name here, the first counts.
    #[must_use]
    pub fn new(port: u16, all: Vec<Site>) -> Self {
        let mut sites: Vec<Site> = Vec::new();
        for site in all {
            if sites.iter().all(|other| other.name() != site.name()) {
                sites.push(site);
            }
        }
        Self { port, sites }
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The one that is opened.
    #[must_use]
    pub fn first(&self) -> Option<&Site> {
        self.sites.first()
    }

    #[must_use]
    pub fn all(&self) -> &[Site] {
        &self.sites
    }

    /// The origin of a site here: "http://shop.example.com.localhost:8080".
    #[must_use]
    pub fn url(&self, site: &Site) -> String {
        format!("http://{}:{}", site.name(), self.port)
    }

    /// The site of a request, by its `Host`.
    #[must_use]
    pub fn of_host(&self, host: &str) -> Option<&Site> {
        let (name, port) = host_and_port(host);
        // A browser leaves out the port of the scheme.
        let port = port.map_or(Some(80), |port| port.parse().ok())?;
        (port == self.port).then_some(())?;
        self.sites.iter().find(|site| site.name().eq_ignore_ascii_case(name))
    }

    /// The site of an origin here.
    #[must_use]
    pub fn of_origin(&self, origin: &str) -> Option<&Site> {
        let parts = split(origin).filter(|parts| parts.scheme == Some("http"))?;
        self.of_host(parts.authority)
    }

    /// A real URL, as it is here; `None`: its host is not known.
    #[must_use]
    pub fn here(&self, url: &str) -> Option<String> {
        let (site, parts) = self.known(url)?;
        Some(self.made_here(site, &parts, ""))
    }

    /// The same for what follows a navigation from `from`: another site lets the browser in by the way.
    pub(super) fn here_after(&self, url: &str, from: &Site, enter: &str) -> Option<String> {
        let (site, parts) = self.known(url)?;
        let by = if site.name() == from.name() { "" } else { enter };
        Some(self.made_here(site, &parts, by))
    }

    fn made_here(&self, site: &Site, parts: &Parts<'_>, by: &str) -> String {
        let scheme = match parts.scheme {
            Some("ws" | "wss") => "ws:",
            Some(_) => "http:",
            None => "",
        };
        let slash = if parts.rest.starts_with('/') { "" } else { "/" };
        format!("{scheme}//{}:{}{by}{slash}{}", site.name(), self.port, parts.rest)
    }

    /// A URL of here, as it really is; `None`: it is not one of here.
    #[must_use]
    pub fn real(&self, url: &str) -> Option<String> {
        let parts = split(url)?;
        let site = self.of_origin(url)?;
        Some(format!("{}{}", site.origin.url(), parts.rest))
    }

    /// The site of a real URL.
    fn known<'a>(&self, url: &'a str) -> Option<(&Site, Parts<'a>)> {
        let parts = split(url)?;
        let encrypted = |site: &Site| match parts.scheme {
            Some("https" | "wss") => Some(true),
            Some("http" | "ws") => Some(false),
            Some(_) => None,
            None => Some(site.origin.encrypted),
        };
        let is_it = |site: &&Site| {
            let origin = encrypted(site).and_then(|encrypted| Origin::of(encrypted, parts.authority));
            origin.is_some_and(|origin| origin.authority == site.origin.authority)
        };
        Some((self.sites.iter().find(is_it)?, parts))
    }

    /// The sites that a source of a Content-Security-Policy allows: "https://*.example.com:443/js/".
    pub(super) fn allowed_by<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Site> {
        let (pattern, port) = host_and_port(host);
        let fits = move |site: &&Site| {
            let (host, own) = host_and_port(&site.origin.authority);
            let named = match pattern.strip_prefix("*.") {
                Some(parent) => host.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')),
                None => pattern == host,
            };
            named
                && (port.is_none() || port == Some("*") || port == own || matches!(port, Some("443" | "80")))
        };
        self.sites.iter().filter(fits)
    }
}

/// "shop.example.com:8080", "[::1]:80"
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// The parts of a URL with a host. Browsers read more than that as one ("https:/\x"): what is not split here stays as it
/// was, and leads nowhere else for it.
fn split(url: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = match url.split_once("//")? {
        ("", rest) => (None, rest),
        (scheme, rest) => (Some(scheme.strip_suffix(':')?), rest),
    };
    let scheme = match scheme {
        Some(scheme) => {
            Some(["http", "https", "ws", "wss"].into_iter().find(|it| it.eq_ignore_ascii_case(scheme))?)
        }
        None => None,
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    (!authority.is_empty() && !authority.contains('@') && !rest.starts_with('\\')).then_some(Parts {
        scheme,
        authority,
        rest,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::open) fn service(name: &str, last: u8) -> Destination {
        Destination::Service { name: name.to_owned(), address: ([10, 96, 0, last], 80).into() }
    }

    /// shop.example.com (web, and orders below /orders), api.example.com:8443, and web.
    pub(in crate::open) fn sites() -> Sites {
        let site = |url: &str, to: Destination| Site {
            origin: Origin::parse(url).unwrap(),
            ways: Vec::new(),
            otherwise: to,
        };
        let way = |path: &str, exact, to| Way { path: path.to_owned(), exact, to };
        let shop = Site {
            ways: vec![
                way("/", false, service("web", 1)),
                way("/orders", false, service("orders", 2)),
                way("/orders/new/", false, service("new", 3)),
                way("/exact", true, service("orders", 2)),
            ],
            ..site("https://shop.example.com", service("web", 1))
        };
        let all = vec![
            shop,
            site("https://api.example.com:8443", service("api", 4)),
            site("http://web", service("web", 1)),
        ];
        Sites::new(8080, all)
    }

    #[test]
    fn origins() {
        for (url, expected) in [
            ("https://shop.example.com", Some("https://shop.example.com")),
            ("https://Shop.Example.com:443/", Some("https://shop.example.com")),
            ("http://web:8080", Some("http://web:8080")),
            ("http://[::1]:8080", Some("http://[::1]:8080")),
            ("https://shop.example.com/x", None),
            ("ftp://shop", None),
            ("shop.example.com", None),
            ("https://me@shop", None),
            ("https://a b", None),
            ("https://a:b", None),
            ("https://*.example.com", None),
        ] {
            assert_eq!(Origin::parse(url).ok().map(|origin| origin.url()).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_request_s_site_is_that_of_its_host_and_no_other() {
        let sites = sites();
        let found = |host: &str| sites.of_host(host).map(|site| site.origin.authority.clone());
        assert_eq!(found("shop.example.com.localhost:8080").as_deref(), Some("shop.example.com"));
        assert_eq!(found("SHOP.example.com.LOCALHOST:8080").as_deref(), Some("shop.example.com"));
        assert_eq!(found("api.example.com.localhost:8080").as_deref(), Some("api.example.com:8443"));
        for other in [
            "shop.example.com.localhost",
            "shop.example.com.localhost:8081",
            "shop.example.com:8080",
            "shop.example.com.localhost.evil.example:8080",
            "evil.example:8080",
            "localhost:8080",
            "127.0.0.1:8080",
            "evil.shop.example.com.localhost:8080",
            "x@shop.example.com.localhost:8080",
            "",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn the_longest_path_decides() {
        let sites = sites();
        let shop = sites.first().unwrap();
        for (path, expected) in [
            ("/", "web"),
            ("/orders", "orders"),
            ("/orders/1", "orders"),
            ("/ordersx", "web"),
            ("/orders/new", "new"),
            ("/orders/new/1", "new"),
            ("/exact", "orders"),
            ("/exact/1", "web"),
        ] {
            let Destination::Service { name, .. } = shop.way(path) else { panic!("{path}") };
            assert_eq!(name, expected, "{path}");
        }
        assert_eq!(*sites.all()[1].way("/x"), service("api", 4));
    }

    #[test]
    fn urls_are_translated_both_ways() {
        let sites = sites();
        for (real, here) in [
            ("https://shop.example.com/a?b#c", Some("http://shop.example.com.localhost:8080/a?b#c")),
            ("http://shop.example.com/a", Some("http://shop.example.com.localhost:8080/a")),
            ("https://shop.example.com", Some("http://shop.example.com.localhost:8080/")),
            ("HTTPS://SHOP.example.com:443?x", Some("http://shop.example.com.localhost:8080/?x")),
            ("//shop.example.com/a", Some("//shop.example.com.localhost:8080/a")),
            ("wss://shop.example.com/ws", Some("ws://shop.example.com.localhost:8080/ws")),
            ("https://api.example.com:8443/", Some("http://api.example.com.localhost:8080/")),
            ("https://api.example.com/", None),
            ("https://shop.example.com:444/", None),
            ("https://shop.example.com.evil.example/", None),
            ("https://shop.example.com@evil.example/", None),
            ("https://evil.example/https://shop.example.com/", None),
            ("https:/\\shop.example.com", None),
            ("/a", None),
            ("a//b", None),
            ("mailto:me@shop.example.com", None),
            ("", None),
        ] {
            assert_eq!(sites.here(real).as_deref(), here, "{real}");
        }
        for (here, real) in [
            ("http://shop.example.com.localhost:8080", Some("https://shop.example.com")),
            ("http://api.example.com.localhost:8080/a?b", Some("https://api.example.com:8443/a?b")),
            ("https://shop.example.com.localhost:8080", None),
            ("http://shop.example.com.localhost:8081", None),
            ("http://localhost:8080", None),
            ("null", None),
        ] {
            assert_eq!(sites.real(here).as_deref(), real, "{here}");
        }
    }

    #[test]
    fn another_site_is_entered_by_the_way() {
        let sites = sites();
        let shop = sites.first().unwrap();
        let after = |url: &str| sites.here_after(url, shop, "/.bridge/t");
        assert_eq!(
            after("https://api.example.com:8443/x").as_deref(),
            Some("http://api.example.com.localhost:8080/.bridge/t/x")
        );
        assert_eq!(after("http://web").as_deref(), Some("http://web.localhost:8080/.bridge/t/"));
        assert_eq!(
            after("https://shop.example.com/x").as_deref(),
            Some("http://shop.example.com.localhost:8080/x")
        );
        assert_eq!(after("https://evil.example/"), None);
    }
}
