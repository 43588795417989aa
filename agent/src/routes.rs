//! Which route a request matches. Pure: routes and headers in, an entry out.

use std::sync::Arc;

use bridge_proto::v1::{self, Fallback, condition};
use httparse::Header;

use crate::sessions::Session;

/// Bounds of what one session may ask for.
const MAX_ROUTES: usize = 256;
const MAX_ALTERNATIVES: usize = 64;
const MAX_CONDITIONS: usize = 64;

/// All routes in force, by the index of the port.
#[derive(Debug, Default)]
pub(crate) struct Table {
    ports: Vec<Vec<Arc<Entry>>>,
}

/// A session's route on one port.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) session: Arc<Session>,
    /// Index of the port.
    pub(crate) port: usize,
    pub(crate) matching: Matching,
    pub(crate) local_port: u16,
    pub(crate) fallback: Fallback,
    pub(crate) keep_cache_headers: bool,
}

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Matching {
    /// What no other session took, opaque connections too.
    Everything,
    /// Those for which every condition of any of these holds.
    AnyOf(Vec<Vec<Condition>>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The name is in lower case.
    Header {
        name: String,
        value: String,
    },
    Baggage {
        key: String,
        value: String,
    },
}

/// Why routes are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this agent does not listen on port {0}")]
    NoSuchPort(u32),
    #[error("{0} is not a port")]
    NotAPort(u32),
    #[error("more than {0} {1}")]
    TooMany(usize, &'static str),
    #[error("the route for port {0} does not say which requests it is for")]
    NoMatch(u32),
    #[error("the route for port {0} has an alternative without conditions")]
    NoConditions(u32),
    #[error(
        "the route for port {0} has a condition of a kind that this agent ({version}) does not know: \
         use the same version of bridge on both sides",
        version = env!("CARGO_PKG_VERSION")
    )]
    UnknownCondition(u32),
    #[error("{holder} already takes these requests of port {port}")]
    Taken { holder: String, port: u16 },
    #[error("this agent is being stopped")]
    Stopping,
}

impl Table {
    /// Sorts the entries into the order in which they are asked: the oldest session first, everything last.
    pub(crate) fn new(ports: usize, entries: impl Iterator<Item = Arc<Entry>>) -> Self {
        let mut table = Self { ports: vec![Vec::new(); ports] };
        for entry in entries {
            if let Some(port) = table.ports.get_mut(entry.port) {
                port.push(entry);
            }
        }
        for port in &mut table.ports {
            port.sort_by(|a, b| {
                let rank = |entry: &Entry| (entry.matching == Matching::Everything, entry.session.since_ms);
                rank(a).cmp(&rank(b)).then_with(|| a.session.id.cmp(&b.session.id))
            });
        }
        table
    }

    /// The first route that takes a request with these headers.
    pub(crate) fn find(&self, port: usize, headers: &[Header<'_>]) -> Option<Arc<Entry>> {
        self.of(port).iter().find(|entry| entry.matching.takes(headers)).cloned()
    }

    /// Whether there is a route on the port at all.
    pub(crate) fn any(&self, port: usize) -> bool {
        !self.of(port).is_empty()
    }

    /// The route that takes what no other took.
    pub(crate) fn everything(&self, port: usize) -> Option<Arc<Entry>> {
        self.of(port).last().filter(|entry| entry.matching == Matching::Everything).cloned()
    }

    fn of(&self, port: usize) -> &[Arc<Entry>] {
        self.ports.get(port).map_or(&[], Vec::as_slice)
    }
}

impl Entry {
    /// Reads a session's route. `ports` are those that the agent listens on.
    pub(crate) fn read(session: &Arc<Session>, ports: &[u16], route: &v1::Route) -> Result<Self, Refusal> {
        let target = route.target_port;
        let port =
            ports.iter().position(|&port| u32::from(port) == target).ok_or(Refusal::NoSuchPort(target))?;
        let local_port = match u16::try_from(route.local_port) {
            Ok(local_port) if local_port > 0 => local_port,
            _ => return Err(Refusal::NotAPort(route.local_port)),
        };
        let matching = Matching::read(target, route.r#match.as_ref().ok_or(Refusal::NoMatch(target))?)?;
        Ok(Self {
            session: session.clone(),
            port,
            matching,
            local_port,
            fallback: route.fallback(),
            keep_cache_headers: route.keep_cache_headers,
        })
    }
}

/// Reads all routes of a session.
pub(crate) fn read(
    session: &Arc<Session>,
    ports: &[u16],
    routes: &[v1::Route],
) -> Result<Vec<Arc<Entry>>, Refusal> {
    if routes.len() > MAX_ROUTES {
        return Err(Refusal::TooMany(MAX_ROUTES, "routes"));
    }
    routes.iter().map(|route| Entry::read(session, ports, route).map(Arc::new)).collect()
}

impl Matching {
    fn read(port: u32, wanted: &v1::Match) -> Result<Self, Refusal> {
        if wanted.any_of.is_empty() {
            return Ok(Matching::Everything);
        }
        if wanted.any_of.len() > MAX_ALTERNATIVES {
            return Err(Refusal::TooMany(MAX_ALTERNATIVES, "alternatives"));
        }
        let any_of = wanted.any_of.iter().map(|alternative| match alternative.all_of.len() {
            0 => Err(Refusal::NoConditions(port)),
            1..=MAX_CONDITIONS => alternative.all_of.iter().map(|all| Condition::read(port, all)).collect(),
            _ => Err(Refusal::TooMany(MAX_CONDITIONS, "conditions")),
        });
        Ok(Matching::AnyOf(any_of.collect::<Result<_, _>>()?))
    }

    fn takes(&self, headers: &[Header<'_>]) -> bool {
        match self {
            Matching::Everything => true,
            Matching::AnyOf(any_of) => {
                any_of.iter().any(|all_of| all_of.iter().all(|condition| condition.holds(headers)))
            }
        }
    }
}

impl Condition {
    fn read(port: u32, condition: &v1::Condition) -> Result<Self, Refusal> {
        match condition.kind.clone() {
            Some(condition::Kind::Header(header)) => {
                Ok(Condition::Header { name: header.name.to_ascii_lowercase(), value: header.value })
            }
            Some(condition::Kind::Baggage(member)) => {
                Ok(Condition::Baggage { key: member.key, value: member.value })
            }
            None => Err(Refusal::UnknownCondition(port)),
        }
    }

    /// Any value of a repeated header can make it hold.
    fn holds(&self, headers: &[Header<'_>]) -> bool {
        match self {
            Condition::Header { name, value } => {
                headers.iter().any(|header| is_named(header, name) && header.value == value.as_bytes())
            }
            Condition::Baggage { key, value } => headers
                .iter()
                .filter(|header| is_named(header, "baggage"))
                .any(|header| has_member(header.value, key.as_bytes(), value.as_bytes())),
        }
    }
}

fn is_named(header: &Header<'_>, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name)
}

/// Whether W3C baggage (<https://www.w3.org/TR/baggage/>) has this member with this value. Properties do not matter.
fn has_member(baggage: &[u8], key: &[u8], value: &[u8]) -> bool {
    baggage.split(|&byte| byte == b',').any(|member| {
        let member = member.split(|&byte| byte == b';').next().unwrap_or_default();
        let mut parts = member.splitn(2, |&byte| byte == b'=');
        let (theirs, encoded) = (parts.next().unwrap_or_default(), parts.next());
        theirs.trim_ascii() == key
            && encoded.is_some_and(|encoded| decoded(encoded.trim_ascii()).eq(value.iter().copied()))
    })
}

/// Percent-decodes; what is not an escape stands for itself.
fn decoded(mut bytes: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (byte, rest) = match *bytes {
            [] => return None,
            [b'%', high, low, ref rest @ ..] => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => (high * 16 + low, rest),
                _ => (b'%', &bytes[1..]),
            },
            [byte, ref rest @ ..] => (byte, rest),
        };
        bytes = rest;
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> v1::Condition {
        let kind = condition::Kind::Header(v1::HeaderCondition { name: name.into(), value: value.into() });
        v1::Condition { kind: Some(kind) }
    }

    fn baggage(key: &str, value: &str) -> v1::Condition {
        let kind = condition::Kind::Baggage(v1::BaggageCondition { key: key.into(), value: value.into() });
        v1::Condition { kind: Some(kind) }
    }

    fn matching(any_of: &[&[v1::Condition]]) -> v1::Match {
        v1::Match {
            any_of: any_of.iter().map(|all_of| v1::Alternative { all_of: all_of.to_vec() }).collect(),
        }
    }

    fn takes(wanted: &v1::Match, headers: &[(&'static str, &'static str)]) -> bool {
        let headers: Vec<Header<'_>> =
            headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
        Matching::read(80, wanted).expect("a good match").takes(&headers)
    }

    #[test]
    fn the_default_route_of_a_session() {
        let alice = matching(&[&[header("X-Bridge", "alice")], &[baggage("bridge", "alice")]]);
        for (headers, taken) in [
            (&[("x-bridge", "alice")][..], true),
            (&[("X-BRIDGE", "alice")], true),
            (&[("x-bridge", "Alice")], false),
            (&[("x-bridge", "alice2")], false),
            (&[("x-bridge", "bob"), ("x-bridge", "alice")], true),
            (&[("baggage", "a=b,bridge=alice;p=1 ,c=d")], true),
            (&[("baggage", "a=b"), ("Baggage", " bridge = alice ")], true),
            (&[("baggage", "bridge=al%69ce")], true),
            (&[("baggage", "bridge=al%6")], false),
            (&[("baggage", "Bridge=alice")], false),
            (&[("baggage", "a=bridge=alice")], false),
            (&[("baggage", "bridge")], false),
            (&[("bridge", "alice")], false),
            (&[], false),
        ] {
            assert_eq!(takes(&alice, headers), taken, "{headers:?}");
        }
    }

    #[test]
    fn all_conditions_of_an_alternative_must_hold() {
        let both = matching(&[&[header("a", "1"), header("b", "2")]]);
        assert!(takes(&both, &[("b", "2"), ("a", "1")]));
        assert!(!takes(&both, &[("a", "1")]));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let unknown = matching(&[&[v1::Condition { kind: None }]]);
        let refusal = Matching::read(80, &unknown).expect_err("an unknown kind");
        assert!(refusal.to_string().contains("does not know"), "{refusal}");
        assert_eq!(Matching::read(80, &matching(&[&[]])), Err(Refusal::NoConditions(80)));
    }

    #[test]
    fn the_oldest_session_is_asked_first_and_everything_last() {
        let entry = |id: &str, since_ms: u64, wanted: &v1::Match| {
            let session = Arc::new(Session::new(id, id, since_ms, String::new()));
            let route = v1::Route {
                target_port: 80,
                local_port: 3000,
                r#match: Some(wanted.clone()),
                ..v1::Route::default()
            };
            Arc::new(Entry::read(&session, &[80], &route).expect("a good route"))
        };
        let by_a = matching(&[&[header("a", "1")]]);
        let by_b = matching(&[&[header("b", "1")]]);
        let entries =
            [entry("all", 1, &v1::Match::default()), entry("young", 9, &by_a), entry("old", 5, &by_b)];
        let table = Table::new(1, entries.into_iter());
        let found = |headers: &[Header<'_>]| table.find(0, headers).map(|entry| entry.session.id.clone());
        let (a, b) = (Header { name: "A", value: b"1" }, Header { name: "B", value: b"1" });
        assert_eq!(found(&[a, b]).as_deref(), Some("old"));
        assert_eq!(found(&[a]).as_deref(), Some("young"));
        assert_eq!(found(&[]).as_deref(), Some("all"));
        assert!(table.everything(0).is_some() && table.any(0) && !table.any(1));
    }
}
