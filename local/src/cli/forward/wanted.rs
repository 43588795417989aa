//! The grammar of `bridge forward`'s arguments.

use std::str::FromStr;

/// SERVICE, SERVICE:PORT or LOCAL:SERVICE:PORT; PORT by number or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(super) local: Option<u16>,
    pub(super) service: String,
    pub(super) port: Option<String>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is not of the form [LOCAL:]SERVICE[:PORT]");
        let parts: Vec<&str> = text.split(':').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(shape());
        }
        let wanted = |local, service: &str, port: Option<&str>| Wanted {
            local,
            service: service.to_owned(),
            port: port.map(str::to_owned),
        };
        match (parts.as_slice(), parts[0].parse()) {
            ([local, service], Ok(number)) if !local.is_empty() => Ok(wanted(Some(number), service, None)),
            ([service], _) => Ok(wanted(None, service, None)),
            ([service, port], _) => Ok(wanted(None, service, Some(port))),
            ([_, service, port], Ok(number)) => Ok(wanted(Some(number), service, Some(port))),
            _ => Err(shape()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(local: Option<u16>, service: &str, port: Option<&str>) -> Wanted {
        Wanted { local, service: service.into(), port: port.map(str::to_owned) }
    }

    #[test]
    fn the_grammar_of_a_forwarded_port() {
        for (text, expected) in [
            ("db", wanted(None, "db", None)),
            ("db:5432", wanted(None, "db", Some("5432"))),
            ("db:sql", wanted(None, "db", Some("sql"))),
            ("8080:db", wanted(Some(8080), "db", None)),
            ("8080:db:sql", wanted(Some(8080), "db", Some("sql"))),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", ":", "db:", "x:db:1", "1:2:3:4"] {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
    }
}
