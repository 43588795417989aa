//! The parts of a call as users type them.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

use bridge_proto::target::Target;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri};

/// The largest body to send.
const LARGEST: u64 = 16 * 1024 * 1024;

/// A Service and one of its ports: "web", "web:8080", "web:http".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) service: String,
    pub(crate) port: Option<String>,
    target: Target,
}

impl Called {
    pub(crate) fn target(&self) -> Target {
        self.target.clone()
    }
}

impl FromStr for Called {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, port) = match text.split_once(':') {
            Some((service, port)) if is_port(port) => (service, Some(port.to_owned())),
            Some((_, port)) => return Err(format!("{port:?} is neither the number nor the name of a port")),
            None => (text, None),
        };
        let target: Target = service.parse().map_err(|bad| format!("{bad}"))?;
        if !target.is_service() {
            return Err("only a Service can be called".to_owned());
        }
        Ok(Self { service: target.name.clone(), port, target })
    }
}

/// Whether it may be a port's number or name (RFC 6335).
fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// "/v1/items?x=1": the path and the query.
pub(crate) fn path(text: &str) -> Result<Uri, String> {
    if !text.starts_with('/') {
        return Err("a path begins with /".to_owned());
    }
    text.parse().map_err(|error| format!("{error}"))
}

/// "Name: value", as curl has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
}

impl FromStr for Typed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
        let name = name.trim().parse().map_err(|_| format!("{name:?} is no name of a header"))?;
        let value =
            HeaderValue::try_from(value.trim()).map_err(|_| format!("{name}: not a value of a header"))?;
        Ok(Self { name, value })
    }
}

/// The body of a request: text, "@FILE", or "@-" for stdin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Text(String),
    File(PathBuf),
    Stdin,
}

impl FromStr for Body {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix('@') {
            Some("-") => Self::Stdin,
            Some(file) => Self::File(file.into()),
            None => Self::Text(text.to_owned()),
        })
    }
}

impl Body {
    /// # Errors
    ///
    /// Why it cannot be read.
    pub(super) fn read(&self) -> Result<Bytes, String> {
        match self {
            Self::Text(text) => Ok(text.clone().into()),
            Self::Stdin => bounded(std::io::stdin(), "stdin"),
            Self::File(path) => {
                let name = path.display().to_string();
                let file = std::fs::File::open(path).map_err(|error| format!("{name}: {error}"))?;
                bounded(file, &name)
            }
        }
    }
}

fn bounded(from: impl Read, name: &str) -> Result<Bytes, String> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("{name}: it has more than {} MiB", LARGEST / 1024 / 1024));
    }
    Ok(bytes.into())
}

/// The answer that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// One of the hops goes to this user's laptop,
    Laptop,
    /// or none does.
    Origin,
    Status(u16),
}

impl Expected {
    pub(super) fn is(self, status: u16, answered_by: &str) -> bool {
        match self {
            Self::Laptop => answered_by == "laptop",
            Self::Origin => answered_by == "origin",
            Self::Status(expected) => status == expected,
        }
    }
}

impl FromStr for Expected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "laptop" => Ok(Self::Laptop),
            "origin" => Ok(Self::Origin),
            _ => text
                .parse()
                .ok()
                .filter(|status| (100..=599).contains(status))
                .map(Self::Status)
                .ok_or_else(|| "expected laptop, origin or a status".to_owned()),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Laptop => f.write_str("the laptop"),
            Self::Origin => f.write_str("the origin"),
            Self::Status(status) => write!(f, "{status}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_and_its_port() {
        for (text, service, port) in
            [("web", "web", None), ("web:8080", "web", Some("8080")), ("svc/web:http", "web", Some("http"))]
        {
            let called: Called = text.parse().expect("a Service");
            assert_eq!((called.service.as_str(), called.port.as_deref()), (service, port), "{text}");
        }
        assert_eq!("deploy/web".parse::<Called>(), Err("only a Service can be called".to_owned()));
        assert!("web:".parse::<Called>().is_err() && "http://web".parse::<Called>().is_err());
    }

    #[test]
    fn paths_and_headers() {
        assert_eq!(path("/v1/items?x=1").expect("a path").path(), "/v1/items");
        assert!(path("v1").is_err() && path("http://web/").is_err() && path("/a b").is_err());
        let header: Typed = "X-Tenant:  7 ".parse().expect("a header");
        assert_eq!((header.name.as_str(), header.value.as_bytes()), ("x-tenant", &b"7"[..]));
        assert!("x".parse::<Typed>().is_err() && "a b: c".parse::<Typed>().is_err());
        assert!("x: a\r\nb: c".parse::<Typed>().is_err(), "one header is one header");
    }

    #[test]
    fn bodies() {
        let read = |text: &str| text.parse::<Body>().expect("any text").read();
        assert_eq!(read("{}"), Ok(Bytes::from_static(b"{}")));
        assert!(read("@/does/not/exist").is_err_and(|why| why.starts_with("/does/not/exist: ")));
        assert_eq!("@-".parse(), Ok(Body::Stdin));
        assert!(bounded(std::io::repeat(0), "it").is_err_and(|why| why == "it: it has more than 16 MiB"));
    }

    #[test]
    fn expectations() {
        for (text, status, by, expected) in [
            ("laptop", 500, "laptop", true),
            ("laptop", 200, "origin", false),
            ("origin", 200, "origin", true),
            ("201", 201, "origin", true),
            ("201", 200, "laptop", false),
        ] {
            assert_eq!(text.parse::<Expected>().expect("one").is(status, by), expected, "{text}");
        }
        assert!("2xx".parse::<Expected>().is_err() && "600".parse::<Expected>().is_err());
    }
}
