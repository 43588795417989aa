//! Parses the conditions that a user types: headers, paths, a method; with the error for invalid ones.

use std::str::FromStr;

use http::{HeaderName, Method};

use super::{Condition, Test};
use crate::pattern::Pattern;

/// Limit on a value to compare, in bytes.
const MAX_VALUE: usize = 4096;

/// The sign of a test, as typed: `=WHOLE`, `^=BEGINNING` or `~=PATTERN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Exact,
    Prefix,
    Pattern,
}

/// The text before the first `=`, the sign, and the text after it.
fn split(text: &str) -> Option<(&str, Sign, &str)> {
    let (before, value) = text.split_once('=')?;
    Some(if let Some(before) = before.strip_suffix('^') {
        (before, Sign::Prefix, value)
    } else if let Some(before) = before.strip_suffix('~') {
        (before, Sign::Pattern, value)
    } else {
        (before, Sign::Exact, value)
    })
}

fn test(sign: Sign, value: &str) -> Result<Test, String> {
    let plain = || match value {
        "" => Err("the value is empty".to_owned()),
        value if value.len() > MAX_VALUE || !value.chars().all(|c| c.is_ascii_graphic() || c == ' ') => {
            Err(format!("the value must be printable ASCII, {MAX_VALUE} characters at most"))
        }
        value => Ok(value.to_owned()),
    };
    match sign {
        Sign::Exact => plain().map(Test::Exact),
        Sign::Prefix => plain().map(Test::Prefix),
        Sign::Pattern if value.is_empty() => Err("the pattern is empty".to_owned()),
        Sign::Pattern => Pattern::new(value).map(Test::Pattern).map_err(|error| error.to_string()),
    }
}

/// A header that a request must carry: `NAME=VALUE`, `NAME^=BEGINNING`, `NAME~=PATTERN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMatch(pub Condition);

impl FromStr for HeaderMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, sign, value) =
            split(text).ok_or("expected NAME=VALUE, NAME^=BEGINNING or NAME~=PATTERN")?;
        HeaderName::from_str(name).map_err(|_| format!("{name:?} is not a header name"))?;
        // As it will be compared: a header's value has no white space around it.
        let value = match sign {
            Sign::Exact => value.trim(),
            Sign::Prefix => value.trim_start(),
            Sign::Pattern => value,
        };
        Ok(Self(Condition::Header { name: name.to_ascii_lowercase(), test: test(sign, value)? }))
    }
}

/// The path that a request must have: `/WHOLE` or `=/WHOLE`, `^=/BEGINNING`, `~=PATTERN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathMatch(pub Condition);

impl FromStr for PathMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sign, value) = match split(text) {
            _ if text.starts_with('/') => (Sign::Exact, text),
            Some(("", sign, value)) => (sign, value),
            _ => return Err("expected /PATH, ^=/BEGINNING or ~=PATTERN".to_owned()),
        };
        let test = test(sign, value)?;
        if sign != Sign::Pattern {
            if !value.starts_with('/') {
                return Err("a path must start with /".to_owned());
            }
            if value.contains(['?', '#', ' ']) {
                return Err("paths are compared without the query, and cannot contain spaces".to_owned());
            }
        }
        Ok(Self(Condition::Path(test)))
    }
}

/// The method that a request must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodMatch(pub Condition);

impl FromStr for MethodMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A method's case matters, but nobody types `get` for another one.
        const USUAL: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"];
        let upper = text.to_ascii_uppercase();
        let name = if USUAL.contains(&upper.as_str()) { &upper } else { text };
        Method::from_str(name).map_err(|_| "a method is one word, like GET".to_owned())?;
        Ok(Self(Condition::Method(name.to_owned())))
    }
}

/// The first of two whole paths that differ: no request has both.
#[must_use]
pub fn contradiction(paths: &[PathMatch]) -> Option<&str> {
    let mut whole = paths.iter().filter_map(|path| match &path.0 {
        Condition::Path(Test::Exact(path)) => Some(path.as_str()),
        _ => None,
    });
    let first = whole.next()?;
    whole.find(|other| *other != first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(value: &str) -> Test {
        Test::Exact(value.to_owned())
    }

    fn prefix(value: &str) -> Test {
        Test::Prefix(value.to_owned())
    }

    fn pattern(value: &str) -> Test {
        Test::Pattern(Pattern::new(value).unwrap())
    }

    #[test]
    fn headers() {
        for (text, name, test) in [
            ("X-Tenant=a=b", "x-tenant", exact("a=b")),
            ("x-tenant= a ", "x-tenant", exact("a")),
            ("x-tenant=^a", "x-tenant", exact("^a")),
            ("x-tenant^=a", "x-tenant", prefix("a")),
            ("x-tenant~=^a|b$", "x-tenant", pattern("^a|b$")),
            ("x-tenant~= a", "x-tenant", pattern(" a")),
            ("x-tenant^= a b ", "x-tenant", prefix("a b ")),
            (&format!("x={}", "a".repeat(4096)), "x", exact(&"a".repeat(4096))),
        ] {
            assert_eq!(
                HeaderMatch::from_str(text),
                Ok(HeaderMatch(Condition::Header { name: name.to_owned(), test })),
                "{text}"
            );
        }
        for (text, part) in [
            ("x-tenant", "NAME=VALUE"),
            ("x-tenant=", "the value is empty"),
            ("x-tenant^=", "the value is empty"),
            ("x-tenant~=", "the pattern is empty"),
            ("x tenant=a", "not a header name"),
            ("=a", "not a header name"),
            ("^=a", "not a header name"),
            ("x=a\nb", "printable"),
            ("x=a\u{e4}", "printable"),
            (&format!("x={}", "a".repeat(4097)), "4096 characters at most"),
            ("x~=a(b", "unclosed group"),
            (&format!("x~={}", "a".repeat(2000)), "longer than 1024"),
            ("x~=(a{99}){99}", "too large"),
        ] {
            let message = HeaderMatch::from_str(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn paths() {
        for (text, test) in [
            ("/v1/orders", exact("/v1/orders")),
            ("=/v1/orders", exact("/v1/orders")),
            ("/a=b", exact("/a=b")),
            ("/a^=b", exact("/a^=b")),
            ("^=/v1/", prefix("/v1/")),
            ("~=^/v[12]/", pattern("^/v[12]/")),
        ] {
            assert_eq!(PathMatch::from_str(text), Ok(PathMatch(Condition::Path(test))), "{text}");
        }
        for (text, part) in [
            ("v1", "/PATH, ^=/BEGINNING or ~=PATTERN"),
            ("", "/PATH"),
            ("path^=/v1", "/PATH"),
            ("^=v1", "must start with /"),
            ("=", "empty"),
            ("/v1?x=1", "without the query"),
            ("~=(", "unclosed group"),
        ] {
            let message = PathMatch::from_str(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn two_whole_paths_contradict_each_other() {
        let paths = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(contradiction(&paths(&["/a", "^=/b", "=/a"])), None);
        assert_eq!(contradiction(&paths(&["/a", "/b"])), Some("/b"));
    }

    #[test]
    fn methods() {
        for (text, name) in [("GET", "GET"), ("delete", "DELETE"), ("PURGE", "PURGE"), ("purge", "purge")] {
            assert_eq!(MethodMatch::from_str(text), Ok(MethodMatch(Condition::Method(name.to_owned()))));
        }
        for text in ["", "GET,POST", "G T"] {
            assert!(MethodMatch::from_str(text).is_err(), "{text}");
        }
    }
}
