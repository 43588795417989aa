//! Matches: the one model of which requests a session takes, for command, daemon and agent.
//!
//! A match is typed (`typed`), travels as `v1::Match`, is stored as texts in the Service's annotation, is compared with
//! those of others, and tests a request's head (`judge`). Pure.

mod baggage;
mod judge;
mod tracestate;
mod typed;

use std::fmt;

#[cfg(any(test, fuzzing))]
pub use self::baggage::hostile;
pub use self::judge::{Miss, RequestHead};
pub use self::typed::{HeaderMatch, MethodMatch, PathMatch, contradiction};
use crate::pattern::{Pattern, PatternError};
use crate::v1::{self, condition, test};

/// The member of `baggage` and `tracestate` that marks a user's requests: "bridge=alice".
#[must_use]
pub fn member_of(user: &str) -> String {
    format!("{MEMBER}={user}")
}

/// Limits on one match.
const MAX_ALTERNATIVES: usize = 64;
const MAX_CONDITIONS: usize = 64;

/// The header with the user of a request, unless another is chosen.
pub const HEADER: &str = "x-bridge";
/// The same as a member of W3C baggage and tracestate, which instrumented services forward.
const MEMBER: &str = "bridge";
/// The header of Bridge to Kubernetes.
const KUBERNETES_ROUTE_AS: &str = "kubernetes-route-as";

/// The requests of a session. Two are equal if they take the same alternatives in the same order, however they were
/// typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Requests that no other session takes, and opaque connections.
    Everything,
    /// Requests for which every condition of any of these holds. The conditions are sorted and unique.
    AnyOf(Vec<Vec<Condition>>),
}

/// In the order in which people look for them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The name is in lower case.
    Header {
        name: String,
        test: Test,
    },
    Baggage {
        key: String,
        value: String,
    },
    TraceState {
        key: String,
        value: String,
    },
    Method(String),
    Path(Test),
}

/// The test of a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    Exact(String),
    Prefix(String),
    Pattern(Pattern),
}

/// Why a message is no match. As the end of a sentence: "the route for port 80 …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMatch {
    #[error("has more than {0} {1}")]
    TooMany(usize, &'static str),
    #[error("has an alternative without conditions")]
    NoConditions,
    #[error(
        "has a kind of condition that this program ({version}) does not know: use the same version of bridge \
         on both \
         sides",
        version = env!("CARGO_PKG_VERSION")
    )]
    UnknownCondition,
    #[error("has a bad pattern: {0}")]
    BadPattern(#[from] PatternError),
}

impl Match {
    /// Reads a message from the other side.
    ///
    /// # Errors
    ///
    /// [`BadMatch`]
    pub fn read(wanted: &v1::Match) -> Result<Self, BadMatch> {
        if wanted.any_of.is_empty() {
            return Ok(Self::Everything);
        }
        if wanted.any_of.len() > MAX_ALTERNATIVES {
            return Err(BadMatch::TooMany(MAX_ALTERNATIVES, "alternatives"));
        }
        let any_of = wanted.any_of.iter().map(|alternative| {
            let all: Result<Vec<_>, _> = alternative.all_of.iter().map(Condition::read).collect();
            all_of(all?)
        });
        Ok(Self::AnyOf(any_of.collect::<Result<_, _>>()?))
    }

    /// The requests for which all of these hold.
    ///
    /// # Errors
    ///
    /// [`BadMatch`] without conditions, and with too many.
    pub fn all_of(conditions: Vec<Condition>) -> Result<Self, BadMatch> {
        Ok(Self::AnyOf(vec![all_of(conditions)?]))
    }

    /// The marks of a developer's requests if nothing else was chosen, those first that services hand on by themselves;
    /// `kubernetes_route_as`: also by the header of Bridge to Kubernetes.
    #[must_use]
    pub fn of_user(user: &str, kubernetes_route_as: bool) -> Self {
        let header =
            |name: &str| Condition::Header { name: name.to_owned(), test: Test::Exact(user.to_owned()) };
        let (key, value) = (MEMBER.to_owned(), user.to_owned());
        let baggage = Condition::Baggage { key: key.clone(), value: value.clone() };
        let marks = [baggage, Condition::TraceState { key, value }, header(HEADER)];
        let compat = kubernetes_route_as.then(|| header(KUBERNETES_ROUTE_AS));
        Self::AnyOf(marks.into_iter().chain(compat).map(|one| vec![one]).collect())
    }

    /// The requests among these for which the conditions hold as well. Everything stays everything: opaque connections
    /// have no head to look at.
    ///
    /// # Errors
    ///
    /// [`BadMatch`] with too many.
    pub fn narrowed_by(self, conditions: &[Condition]) -> Result<Self, BadMatch> {
        let Self::AnyOf(any_of) = self else { return Ok(self) };
        let narrowed = any_of.into_iter().map(|all| all_of([&all, conditions].concat()));
        Ok(Self::AnyOf(narrowed.collect::<Result<_, _>>()?))
    }

    #[must_use]
    pub fn to_message(&self) -> v1::Match {
        let Self::AnyOf(any_of) = self else { return v1::Match::default() };
        let alternative = |all: &Vec<Condition>| v1::Alternative {
            all_of: all.iter().map(Condition::to_message).collect(),
        };
        v1::Match { any_of: any_of.iter().map(alternative).collect() }
    }

    /// Each alternative as its text: "x-bridge: alice and path ^=/v1/". Equal ones have equal texts. Everything has none.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Everything => Vec::new(),
            Self::AnyOf(any_of) => any_of.iter().map(|all| text_of(all)).collect(),
        }
    }

    /// An alternative for people; empty if there is none with this index.
    #[must_use]
    pub fn rule(&self, index: usize) -> String {
        match self {
            Self::Everything => EVERYTHING.to_owned(),
            Self::AnyOf(any_of) => any_of.get(index).map(|all| text_of(all)).unwrap_or_default(),
        }
    }

    /// Whether two sessions cannot have both.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        collide(self.alternatives(), other.alternatives())
    }

    /// The number of conditions.
    #[must_use]
    pub fn conditions(&self) -> usize {
        self.alternatives().iter().map(Vec::len).sum()
    }

    /// The number of patterns.
    #[must_use]
    pub fn patterns(&self) -> usize {
        let is_pattern = |condition: &&Condition| {
            matches!(
                condition,
                Condition::Header { test: Test::Pattern(_), .. } | Condition::Path(Test::Pattern(_))
            )
        };
        self.alternatives().iter().flatten().filter(is_pattern).count()
    }

    fn alternatives(&self) -> &[Vec<Condition>] {
        match self {
            Self::Everything => &[],
            Self::AnyOf(any_of) => any_of,
        }
    }
}

const EVERYTHING: &str = "everything";

/// For people: "baggage or tracestate: bridge=alice or x-bridge: alice".
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&sentence(&self.texts()))
    }
}

/// A match by the texts of its alternatives, for people. What several headers in a row are to have is said once.
#[must_use]
pub fn sentence(texts: &[String]) -> String {
    if texts.is_empty() {
        return EVERYTHING.to_owned();
    }
    let mut said: Vec<(String, Option<&str>)> = Vec::new();
    for text in texts {
        let (name, wanted) =
            text.split_once(": ").map_or((text.as_str(), None), |(name, it)| (name, Some(it)));
        match said.last_mut() {
            Some((names, same)) if wanted.is_some() && *same == wanted => {
                *names = format!("{names} or {name}")
            }
            _ => said.push((name.to_owned(), wanted)),
        }
    }
    let whole = |(names, wanted): (String, Option<&str>)| match wanted {
        Some(wanted) => format!("{names}: {wanted}"),
        None => names,
    };
    said.into_iter().map(whole).collect::<Vec<_>>().join(" or ")
}

/// Whether two sessions cannot have both, by the alternatives of each, or by their texts: both take everything, or they
/// have one in common.
pub fn collide<T: PartialEq>(ours: &[T], theirs: &[T]) -> bool {
    (ours.is_empty() && theirs.is_empty()) || ours.iter().any(|one| theirs.contains(one))
}

/// Sorts them into an order that does not depend on how they were typed.
fn all_of(mut conditions: Vec<Condition>) -> Result<Vec<Condition>, BadMatch> {
    match conditions.len() {
        0 => Err(BadMatch::NoConditions),
        1..=MAX_CONDITIONS => {
            conditions.sort();
            conditions.dedup();
            Ok(conditions)
        }
        _ => Err(BadMatch::TooMany(MAX_CONDITIONS, "conditions")),
    }
}

fn text_of(all_of: &[Condition]) -> String {
    all_of.iter().map(Condition::to_string).collect::<Vec<_>>().join(" and ")
}

impl Condition {
    /// Reads a message from the other side.
    ///
    /// # Errors
    ///
    /// [`BadMatch`]
    pub fn read(condition: &v1::Condition) -> Result<Self, BadMatch> {
        match condition.kind.clone() {
            Some(condition::Kind::Header(header)) => {
                Ok(Self::Header { name: header.name.to_ascii_lowercase(), test: Test::Exact(header.value) })
            }
            Some(condition::Kind::HeaderTest(header)) => Ok(Self::Header {
                name: header.name.to_ascii_lowercase(),
                test: Test::read(header.test.unwrap_or_default())?,
            }),
            Some(condition::Kind::Path(test)) => Test::read(test).map(Self::Path),
            Some(condition::Kind::Method(method)) => Ok(Self::Method(method)),
            Some(condition::Kind::Baggage(member)) => {
                Ok(Self::Baggage { key: member.key, value: member.value })
            }
            Some(condition::Kind::Tracestate(member)) => {
                Ok(Self::TraceState { key: member.key, value: member.value })
            }
            None => Err(BadMatch::UnknownCondition),
        }
    }

    #[must_use]
    pub fn to_message(&self) -> v1::Condition {
        let kind = match self.clone() {
            // The kind that agents have always known.
            Self::Header { name, test: Test::Exact(value) } => {
                condition::Kind::Header(v1::HeaderCondition { name, value })
            }
            Self::Header { name, test } => {
                condition::Kind::HeaderTest(v1::HeaderTest { name, test: Some(test.to_message()) })
            }
            Self::Baggage { key, value } => condition::Kind::Baggage(v1::MemberCondition { key, value }),
            Self::TraceState { key, value } => {
                condition::Kind::Tracestate(v1::MemberCondition { key, value })
            }
            Self::Method(method) => condition::Kind::Method(method),
            Self::Path(test) => condition::Kind::Path(test.to_message()),
        };
        v1::Condition { kind: Some(kind) }
    }

    /// Whether it tests a header.
    #[must_use]
    pub fn is_of_headers(&self) -> bool {
        matches!(self, Self::Header { .. } | Self::Baggage { .. } | Self::TraceState { .. })
    }

    /// The tested part: "x-bridge", "baggage bridge", "path", "method".
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Header { name, .. } => name.clone(),
            Self::Baggage { key, .. } => format!("baggage {key}"),
            Self::TraceState { key, .. } => format!("tracestate {key}"),
            Self::Path(_) => "path".to_owned(),
            Self::Method(_) => "method".to_owned(),
        }
    }
}

/// As typed, except for exact headers, which look as in a request: `x-bridge: alice`, `x-tenant^=a`, `path ^=/v1/`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, test: Test::Exact(value) } => write!(f, "{name}: {value}"),
            Self::Header { name, test } => write!(f, "{name}{test}"),
            Self::Baggage { key, value } => write!(f, "baggage: {key}={value}"),
            Self::TraceState { key, value } => write!(f, "tracestate: {key}={value}"),
            Self::Path(Test::Exact(path)) => write!(f, "path {path}"),
            Self::Path(test) => write!(f, "path {test}"),
            Self::Method(method) => write!(f, "method {method}"),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(value) => write!(f, "={value}"),
            Self::Prefix(prefix) => write!(f, "^={prefix}"),
            Self::Pattern(pattern) => write!(f, "~={}", pattern.as_str()),
        }
    }
}

impl Test {
    fn read(test: v1::Test) -> Result<Self, BadMatch> {
        match test.kind {
            Some(test::Kind::Exact(value)) => Ok(Self::Exact(value)),
            Some(test::Kind::Prefix(prefix)) => Ok(Self::Prefix(prefix)),
            Some(test::Kind::Pattern(pattern)) => Ok(Self::Pattern(Pattern::new(&pattern)?)),
            None => Err(BadMatch::UnknownCondition),
        }
    }

    fn to_message(&self) -> v1::Test {
        let kind = match self {
            Self::Exact(value) => test::Kind::Exact(value.clone()),
            Self::Prefix(prefix) => test::Kind::Prefix(prefix.clone()),
            Self::Pattern(pattern) => test::Kind::Pattern(pattern.as_str().to_owned()),
        };
        v1::Test { kind: Some(kind) }
    }

    fn passes(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => value == wanted.as_bytes(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Pattern(pattern) => pattern.is_in(value),
        }
    }
}

#[cfg(test)]
mod tests;
