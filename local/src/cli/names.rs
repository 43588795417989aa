//! The grammar of ports and names on the command line, and the errors for invalid ones.

use std::str::FromStr;
use std::time::Duration;

use bridge_os::life::Life;
use bridge_proto::v1;

/// A local port, and the Service's port that leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortMap {
    local: u16,
    remote: String,
}

impl PortMap {
    pub(crate) fn to_message(&self) -> v1::PortMapping {
        v1::PortMapping { local: self.local.into(), remote: self.remote.clone() }
    }

    /// The first of two maps that contradict each other: one Service port, two local ones.
    pub(crate) fn contradiction(maps: &[PortMap]) -> Option<&PortMap> {
        maps.iter()
            .enumerate()
            .find(|(index, map)| maps[..*index].iter().any(|earlier| earlier.remote == map.remote))
            .map(|(_, map)| map)
    }
}

impl std::fmt::Display for PortMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.local)?;
        if self.remote.is_empty() { Ok(()) } else { write!(f, ":{}", self.remote) }
    }
}

impl FromStr for PortMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (local, remote) = match text.split_once(':') {
            Some((_, "")) => return Err("the Service's port is missing after the colon".to_owned()),
            Some((local, remote)) => (local, remote),
            None => (text, ""),
        };
        let local = port(local).ok_or_else(|| format!("{local:?} is not a local port (1 to 65535)"))?;
        // Kubernetes accepts RFC 6335 names; "0x50" or "-http" are typing errors.
        let is_name = remote.len() <= 15
            && remote.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && remote.bytes().any(|b| b.is_ascii_lowercase())
            && !remote.starts_with('-')
            && !remote.ends_with('-');
        if !remote.is_empty() && !is_name && port(remote).is_none() {
            return Err(format!("{remote:?} is neither the number nor the name of a port"));
        }
        Ok(PortMap { local, remote: remote.to_owned() })
    }
}

/// The name of a command that was detached, and of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunName(String);

impl RunName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RunName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_end = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let ends = bytes.first().is_some_and(is_end) && bytes.last().is_some_and(is_end);
        if text.len() > 63 || !ends || !bytes.iter().all(|byte| is_end(byte) || *byte == b'-') {
            return Err(
                "a name consists of lower-case letters, digits and - (not at either end), 63 characters at most".to_owned()
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// "30s", "1h 30m".
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration =
        text.parse::<jiff::SignedDuration>().map_err(|_| "expected a duration, such as 30s or 5m")?;
    Duration::try_from(duration)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "too short".to_owned())
}

/// The number of a process that runs.
pub(crate) fn process(text: &str) -> Result<Life, String> {
    let pid = text.parse().map_err(|_| "expected the number of a process".to_owned())?;
    Life::of(pid).ok_or_else(|| "there is no such process".to_owned())
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0 && text.bytes().all(|b| b.is_ascii_digit()))
}

/// A developer's name: used in headers, `baggage` and annotations, so it must be a valid Kubernetes label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserName(String);

impl UserName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest valid name.
    pub(crate) fn suggestion(text: &str) -> Option<String> {
        let mut name: String = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        name.truncate(63);
        let name = name.trim_matches('-');
        (!name.is_empty() && name != "root").then(|| name.to_owned())
    }
}

impl FromStr for UserName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if text == "root" {
            return Err("\"root\" does not say who you are".to_owned());
        }
        if text.len() > 63
            || !text.bytes().all(allowed)
            || !ends(text.bytes().next())
            || !ends(text.bytes().last())
        {
            return Err(
                "a name consists of letters, digits, -, _ and . (not at either end), 63 characters at most"
                    .to_owned(),
            );
        }
        Ok(UserName(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        for (text, local, remote) in [("3000", 3000, ""), ("3000:80", 3000, "80"), ("1:http-2", 1, "http-2")]
        {
            let map = PortMap::from_str(text).unwrap();
            assert_eq!((map.local, map.remote.as_str(), map.to_string().as_str()), (local, remote, text));
        }
        for text in ["", "0", "65536", "+1", "http", "80:", "80:-x", "80:70000", "80:1:2", ":80"] {
            assert!(PortMap::from_str(text).is_err(), "{text}");
        }
    }

    #[test]
    fn two_local_ports_for_one_of_the_service_contradict_each_other() {
        let maps = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<PortMap>>();
        assert_eq!(PortMap::contradiction(&maps(&["1:http", "2:grpc"])), None);
        assert_eq!(PortMap::contradiction(&maps(&["1:http", "2:http"])), Some(&maps(&["2:http"])[0]));
    }

    #[test]
    fn names() {
        for name in ["alice", "Alice.Smith", "a_b-1"] {
            assert_eq!(UserName::from_str(name).unwrap().as_str(), name);
        }
        for name in ["root", "", "-a", "a b", "äh", &"a".repeat(64)] {
            assert!(UserName::from_str(name).is_err(), "{name}");
        }
        assert_eq!(UserName::suggestion("DOMAIN\\Alice"), Some("domain-alice".to_owned()));
        assert_eq!(UserName::suggestion("root"), None);
    }
}
