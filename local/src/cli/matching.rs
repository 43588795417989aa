//! What a user types for which requests: headers, paths, a method: the grammar, and what is wrong with what does not follow
//! it.

use std::str::FromStr;

use bridge_proto::pattern::Pattern;
use bridge_proto::v1::{self, condition, test};

/// Bytes of a value that is compared.
const MAX_VALUE: usize = 4096;

/// What a value must be: `=WHOLE`, `^=BEGINNING` or `~=PATTERN`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exact(String),
    Prefix(String),
    Pattern(Pattern),
}

/// The sign of a test, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Exact,
    Prefix,
    Pattern,
}

/// What comes before the first `=`, the sign, and what comes after it.
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

impl Test {
    fn read(sign: Sign, value: &str) -> Result<Self, String> {
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

    fn to_message(&self) -> v1::Test {
        let kind = match self {
            Test::Exact(value) => test::Kind::Exact(value.clone()),
            Test::Prefix(prefix) => test::Kind::Prefix(prefix.clone()),
            Test::Pattern(pattern) => test::Kind::Pattern(pattern.as_str().to_owned()),
        };
        v1::Test { kind: Some(kind) }
    }
}

/// A header that a request must carry: `NAME=VALUE`, `NAME^=BEGINNING`, `NAME~=PATTERN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderMatch {
    name: String,
    test: Test,
}

impl HeaderMatch {
    fn to_message(&self) -> v1::Condition {
        let name = self.name.clone();
        condition(match &self.test {
            // The kind that agents have always known.
            Test::Exact(value) => condition::Kind::Header(v1::HeaderCondition { name, value: value.clone() }),
            test => {
                let test = Some(test.to_message());
                condition::Kind::HeaderTest(v1::HeaderTest { name, test })
            }
        })
    }
}

impl FromStr for HeaderMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "NAME=VALUE, NAME^=BEGINNING or NAME~=PATTERN is what is understood";
        let (name, sign, value) = split(text).ok_or(shape)?;
        http::HeaderName::from_str(name).map_err(|_| format!("{name:?} is no header name"))?;
        // As it will be compared: a header's value has no white space around it.
        let value = match sign {
            Sign::Exact => value.trim(),
            Sign::Prefix => value.trim_start(),
            Sign::Pattern => value,
        };
        Ok(HeaderMatch { name: name.to_ascii_lowercase(), test: Test::read(sign, value)? })
    }
}

/// The path that a request must have: `/WHOLE` or `=/WHOLE`, `^=/BEGINNING`, `~=PATTERN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathMatch(Test);

impl PathMatch {
    fn to_message(&self) -> v1::Condition {
        condition(condition::Kind::Path(self.0.to_message()))
    }

    /// The first of two whole paths that differ: no request has both.
    pub(crate) fn contradiction(paths: &[PathMatch]) -> Option<&str> {
        let mut whole = paths.iter().filter_map(|path| match &path.0 {
            Test::Exact(path) => Some(path.as_str()),
            Test::Prefix(_) | Test::Pattern(_) => None,
        });
        let first = whole.next()?;
        whole.find(|other| *other != first)
    }
}

impl FromStr for PathMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (sign, value) = match split(text) {
            _ if text.starts_with('/') => (Sign::Exact, text),
            Some(("", sign, value)) => (sign, value),
            _ => return Err("/PATH, ^=/BEGINNING or ~=PATTERN is what is understood".to_owned()),
        };
        let test = Test::read(sign, value)?;
        if sign != Sign::Pattern {
            if !value.starts_with('/') {
                return Err("a path begins with /".to_owned());
            }
            if value.contains(['?', '#', ' ']) {
                return Err("a path is compared without its query, and has no space in it".to_owned());
            }
        }
        Ok(PathMatch(test))
    }
}

/// The method that a request must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MethodMatch(String);

impl MethodMatch {
    fn to_message(&self) -> v1::Condition {
        condition(condition::Kind::Method(self.0.clone()))
    }
}

impl FromStr for MethodMatch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A method's case matters, but nobody means another one by `get`.
        const USUAL: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"];
        let upper = text.to_ascii_uppercase();
        let name = if USUAL.contains(&upper.as_str()) { &upper } else { text };
        http::Method::from_str(name).map_err(|_| "a method is one word, like GET".to_owned())?;
        Ok(MethodMatch(name.to_owned()))
    }
}

fn condition(kind: condition::Kind) -> v1::Condition {
    v1::Condition { kind: Some(kind) }
}

/// All of the headers; none of them: the daemon's default for the user.
pub(crate) fn match_of(headers: &[HeaderMatch]) -> Option<v1::Match> {
    let all_of: Vec<_> = headers.iter().map(HeaderMatch::to_message).collect();
    (!all_of.is_empty()).then(|| v1::Match { any_of: vec![v1::Alternative { all_of }] })
}

/// What narrows the match: paths, all of them, and a method.
pub(crate) fn narrowed_by(paths: &[PathMatch], method: Option<&MethodMatch>) -> Vec<v1::Condition> {
    paths.iter().map(PathMatch::to_message).chain(method.map(MethodMatch::to_message)).collect()
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
        ] {
            assert_eq!(
                HeaderMatch::from_str(text),
                Ok(HeaderMatch { name: name.to_owned(), test }),
                "{text}"
            );
        }
        for (text, part) in [
            ("x-tenant", "NAME=VALUE"),
            ("x-tenant=", "the value is empty"),
            ("x-tenant^=", "the value is empty"),
            ("x-tenant~=", "the pattern is empty"),
            ("x tenant=a", "no header name"),
            ("=a", "no header name"),
            ("^=a", "no header name"),
            ("x=a\nb", "printable"),
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
            assert_eq!(PathMatch::from_str(text), Ok(PathMatch(test)), "{text}");
        }
        for (text, part) in [
            ("v1", "/PATH, ^=/BEGINNING or ~=PATTERN"),
            ("", "/PATH"),
            ("path^=/v1", "/PATH"),
            ("^=v1", "begins with /"),
            ("=", "empty"),
            ("/v1?x=1", "without its query"),
            ("~=(", "unclosed group"),
        ] {
            let message = PathMatch::from_str(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn two_whole_paths_contradict_each_other() {
        let paths = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(PathMatch::contradiction(&paths(&["/a", "^=/b", "=/a"])), None);
        assert_eq!(PathMatch::contradiction(&paths(&["/a", "/b"])), Some("/b"));
    }

    #[test]
    fn methods() {
        for (text, name) in [("GET", "GET"), ("delete", "DELETE"), ("PURGE", "PURGE"), ("purge", "purge")] {
            assert_eq!(MethodMatch::from_str(text), Ok(MethodMatch(name.to_owned())));
        }
        for text in ["", "GET,POST", "G T"] {
            assert!(MethodMatch::from_str(text).is_err(), "{text}");
        }
    }

    #[test]
    fn all_that_is_typed_must_hold() {
        let headers = ["a=1", "b^=2"].map(|text| HeaderMatch::from_str(text).unwrap());
        let matching = match_of(&headers).unwrap();
        assert_eq!(matching.any_of.len(), 1);
        assert_eq!(matching.any_of[0].all_of.len(), 2);
        assert_eq!(match_of(&[]), None);
        let paths = ["/a", "~=a$"].map(|text| PathMatch::from_str(text).unwrap());
        assert_eq!(narrowed_by(&paths, Some(&"GET".parse().unwrap())).len(), 3);
    }

    #[test]
    fn an_exact_header_is_what_every_agent_understands() {
        let header = HeaderMatch::from_str("a=1").unwrap().to_message();
        assert!(matches!(header.kind, Some(condition::Kind::Header(_))), "{header:?}");
    }
}
