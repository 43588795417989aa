//! The hosts of `bridge open` as users type them.

use std::str::FromStr;

use bridge_inside::open::Origin;

use crate::cli::call::typed::Called;

/// A real host: "shop.example.com", or with its scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// With TLS, unless typed otherwise.
    pub(crate) origin: Origin,
    /// The scheme was typed.
    pub(crate) whole: bool,
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Origin::parse(text).map(|origin| Self { origin, whole: true });
        }
        let origin = Origin::of(true, text).ok_or_else(|| format!("{text:?} is not a host"))?;
        Ok(Self { origin, whole: false })
    }
}

/// "https://shop.example.com"
pub(crate) fn url(text: &str) -> Result<Origin, String> {
    Origin::parse(text)
}

/// Another host of the application: "api.example.com=api:8080", or a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Also {
    /// A Service has this name for browsers.
    Service(Host, Called),
    /// It is reached from this machine.
    Url(Origin),
}

impl FromStr for Also {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((host, service)) => Ok(Self::Service(host.parse()?, service.parse()?)),
            None => Origin::parse(text)
                .map(Self::Url)
                .map_err(|_| "expected HOST=SERVICE[:PORT] or a URL".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_services() {
        let host = |text: &str| text.parse::<Host>().map(|host| (host.origin.url(), host.whole));
        assert_eq!(host("Shop.example.com"), Ok(("https://shop.example.com".to_owned(), false)));
        assert_eq!(host("http://shop.example.com"), Ok(("http://shop.example.com".to_owned(), true)));
        assert!(host("shop/x").is_err() && host("").is_err() && host("https://shop/x").is_err());

        let also = |text: &str| text.parse::<Also>();
        let Ok(Also::Service(host, called)) = also("api.example.com=api:http") else { panic!("a Service") };
        assert_eq!((host.origin.authority.as_str(), called.service.as_str()), ("api.example.com", "api"));
        assert!(matches!(also("https://login.example.com"), Ok(Also::Url(_))));
        for wrong in ["api.example.com", "api=", "=api", "a=b=c", "https://a/b"] {
            assert!(also(wrong).is_err(), "{wrong}");
        }
    }
}
