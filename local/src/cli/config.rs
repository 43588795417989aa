//! The config file, with options that a user would otherwise type each time. `$XDG_CONFIG_HOME/bridge/config.toml`.
//!
//! ```toml
//! me = "alice"
//! namespace = "shop"
//! context = "kind-dev"
//! header = ["x-tenant=7"]     # or one string
//! compat = "bridge-to-kubernetes"
//! fallback = "origin"
//! replicas = 2
//! agent_image = "registry.example/bridge-agent:0.1.0"
//!
//! [targets.orders]
//! port = ["3000:http"]        # or one string
//!
//! [mcp]                       # see `mcp::allowed`
//! contexts = ["kind-dev"]
//! ```

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de};

use bridge_proto::matching::HeaderMatch;

use super::choices::{Compat, Fallback};
use super::mcp::allowed::Allowed;
use super::names::{PortMap, UserName};

/// The defaults; each of them is optional.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    #[serde(deserialize_with = "parsed")]
    pub(crate) me: Option<UserName>,
    pub(crate) namespace: Option<String>,
    pub(crate) context: Option<String>,
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) header: Vec<HeaderMatch>,
    pub(crate) compat: Option<Compat>,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) replicas: Option<u32>,
    pub(crate) agent_image: Option<String>,
    pub(crate) targets: BTreeMap<String, TargetConfig>,
    /// What agents that write code may do.
    pub(crate) mcp: Allowed,
}

/// Options for one target, under the name that the user types.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TargetConfig {
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) port: Vec<PortMap>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the config file {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the config file {}, line {line}: {message}", path.display())]
    Wrong { path: PathBuf, line: usize, message: String, nearest: Option<String> },
}

/// The path of the file, if there can be one.
pub(crate) fn path() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".config")))?;
    Some(base.join("bridge").join("config.toml"))
}

/// The user's defaults; none if there is no file.
pub(crate) fn load() -> Result<Config, ConfigError> {
    let Some(path) = path() else { return Ok(Config::default()) };
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&text, &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Config::default()),
        Err(source) => Err(ConfigError::Io { path, source }),
    }
}

fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        let (message, nearest) = match unknown_key(error.message()) {
            Some((key, nearest)) => (format!("unknown key {key}"), nearest),
            None => (unquoted(error.message()), None),
        };
        ConfigError::Wrong { path: path.to_owned(), line, message, nearest }
    })
}

/// The message without the wrong value, which may be a secret.
fn unquoted(message: &str) -> String {
    // The beginning quotes the value: "invalid type: string "x", expected u32".
    if let Some((_, expected)) = message.split_once(", expected ") {
        return format!("expected {}", expected.trim());
    }
    // An invalid pattern is shown above its error.
    let last = message.trim().lines().last().unwrap_or_default();
    let quoted = last.strip_prefix('"').and_then(|rest| rest.rsplit_once('"'));
    quoted.map_or_else(|| last.to_owned(), |(_, rest)| format!("it{rest}"))
}

/// The key, and the nearest of those that serde expected: ``unknown field `a`, expected one of `b`, `c` ``.
fn unknown_key(message: &str) -> Option<(&str, Option<String>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let key = quoted.next()?;
    let nearest = quoted
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(3) / 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known.to_owned());
    Some((key, nearest))
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

fn one_or_more<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a string or a list of strings")]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    let texts = match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) => texts,
    };
    texts.into_iter().map(|text| text.parse().map_err(de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> (usize, String, Option<String>) {
        match parse(text, Path::new("config.toml")) {
            Err(ConfigError::Wrong { line, message, nearest, .. }) => (line, message, nearest),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_that_the_head_of_this_file_shows() {
        let text: String = include_str!("config.rs")
            .lines()
            .skip_while(|line| !line.contains("```toml"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| line.trim_start_matches("//!").to_owned() + "\n")
            .collect();
        let config = parse(&text, Path::new("config.toml")).unwrap();
        assert_eq!(config.me.as_ref().map(UserName::as_str), Some("alice"));
        assert_eq!(config.header, ["x-tenant=7".parse().unwrap()]);
        assert_eq!(config.fallback, Some(Fallback::Origin));
        assert_eq!(config.targets["orders"].port, ["3000:http".parse().unwrap()]);
    }

    #[test]
    fn nothing_is_needed_and_one_string_will_do() {
        assert_eq!(parse("", Path::new("x")).unwrap(), Config::default());
        assert_eq!(parse("header = 'a=b'", Path::new("x")).unwrap().header.len(), 1);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
        let (line, message, nearest) = wrong("me = 'alice'\n\nnamspace = 'shop'\n");
        assert_eq!(
            (line, message.as_str(), nearest.as_deref()),
            (3, "unknown key namspace", Some("namespace"))
        );
        let (line, message, nearest) = wrong("[targets.orders]\nports = '1'\n");
        assert_eq!((line, message.as_str(), nearest.as_deref()), (2, "unknown key ports", Some("port")));
        assert_eq!(wrong("colour = 1").2, None);
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        let (line, message, _) = wrong("\nme = 'root'\n");
        assert_eq!(line, 2);
        assert_eq!(message, "it does not say who you are");
        let (line, message, _) = wrong("replicas = 2\nheader = ['a']\n");
        assert_eq!(line, 2, "{message}");
        assert_eq!(wrong("me = \n").0, 1);
    }

    #[test]
    fn a_wrong_value_is_not_quoted() {
        for text in [
            "me = 'hunter2 '",
            "me = hunter2",
            "me = ['hunter2']",
            "header = 'hunter2'",
            "header = ['x-token~=(hunter2']",
            "header = {a = 'hunter2'}",
            "compat = 'hunter2'",
            "fallback = 'hunter2'",
            "replicas = 'hunter2'",
            "namespace = \"hunter2",
            "targets = 'hunter2'",
            "[targets.orders]\nport = 'hunter2'",
        ] {
            let (_, message, _) = wrong(text);
            assert!(!message.contains("hunter2") && !message.is_empty(), "{text}: {message}");
        }
    }
}
