//! Which requests a route takes, and what comes closest in one that it does not take. Pure.

use std::fmt;

use bridge_proto::pattern::Pattern;
use bridge_proto::v1::{self, condition, test};

use super::head::RequestHead;
use super::{Refusal, baggage};

/// Bounds of what one session may ask for.
const MAX_ALTERNATIVES: usize = 64;
const MAX_CONDITIONS: usize = 64;

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Matching {
    /// What no other session took, opaque connections too.
    Everything,
    /// Those for which every condition of any of these holds. The conditions are sorted.
    AnyOf(Vec<Vec<Condition>>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    /// The name is in lower case.
    Header {
        name: String,
        test: Test,
    },
    Baggage {
        key: String,
        value: String,
    },
    Method(String),
    Path(Test),
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Test {
    Exact(String),
    Prefix(String),
    Pattern(Pattern),
}

/// What a condition says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict<'a> {
    Holds,
    Absent,
    /// A value that was seen in place of the wanted one.
    Differs(&'a [u8]),
}

/// What keeps a request from a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Miss<'a> {
    pub(crate) condition: &'a Condition,
    /// What was there in place of what the condition wants; `None`: nothing was.
    pub(crate) saw: Option<&'a [u8]>,
}

impl Matching {
    /// `port` is for the refusal.
    pub(super) fn read(port: u32, wanted: &v1::Match) -> Result<Self, Refusal> {
        if wanted.any_of.is_empty() {
            return Ok(Matching::Everything);
        }
        if wanted.any_of.len() > MAX_ALTERNATIVES {
            return Err(Refusal::TooMany(MAX_ALTERNATIVES, "alternatives"));
        }
        let any_of = wanted.any_of.iter().map(|alternative| match alternative.all_of.len() {
            0 => Err(Refusal::NoConditions(port)),
            1..=MAX_CONDITIONS => all_of(port, &alternative.all_of),
            _ => Err(Refusal::TooMany(MAX_CONDITIONS, "conditions")),
        });
        Ok(Matching::AnyOf(any_of.collect::<Result<_, _>>()?))
    }

    /// Whether two sessions cannot both have theirs: both take everything, or they have an alternative in common.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Matching::AnyOf(ours), Matching::AnyOf(theirs)) => ours.iter().any(|one| theirs.contains(one)),
            (ours, theirs) => ours == theirs,
        }
    }

    /// How many conditions it has.
    pub(super) fn conditions(&self) -> usize {
        match self {
            Matching::Everything => 0,
            Matching::AnyOf(any_of) => any_of.iter().map(Vec::len).sum(),
        }
    }

    /// How many patterns it has.
    pub(super) fn patterns(&self) -> usize {
        let Matching::AnyOf(any_of) = self else { return 0 };
        let is_pattern = |condition: &&Condition| {
            matches!(
                condition,
                Condition::Header { test: Test::Pattern(_), .. } | Condition::Path(Test::Pattern(_))
            )
        };
        any_of.iter().flatten().filter(is_pattern).count()
    }

    /// An alternative for people; empty if there is none with this index.
    pub(crate) fn rule(&self, index: usize) -> String {
        match self {
            Matching::Everything => "everything".to_owned(),
            Matching::AnyOf(any_of) => {
                let all_of = any_of.get(index).map_or(&[][..], Vec::as_slice);
                all_of.iter().map(Condition::to_string).collect::<Vec<_>>().join(" and ")
            }
        }
    }

    /// Whether it takes the request: the index of the alternative that holds, or what comes closest.
    pub(super) fn judge<'a>(&'a self, head: &'a impl RequestHead) -> Result<usize, Miss<'a>> {
        let Matching::AnyOf(any_of) = self else { return Ok(0) };
        let mut closest: Option<Miss<'a>> = None;
        for (index, all_of) in any_of.iter().enumerate() {
            match first_miss(all_of, head) {
                None => return Ok(index),
                Some(miss) => closest = Some(closest.map_or(miss, |other| other.or_closer(miss))),
            }
        }
        // `read` lets no match without alternatives in.
        closest.map_or(Ok(0), Err)
    }
}

/// In an order that does not depend on how it was typed.
fn all_of(port: u32, conditions: &[v1::Condition]) -> Result<Vec<Condition>, Refusal> {
    let mut all: Vec<Condition> =
        conditions.iter().map(|condition| Condition::read(port, condition)).collect::<Result<_, _>>()?;
    all.sort();
    all.dedup();
    Ok(all)
}

/// The condition that keeps a request from this alternative. Of several, the one that explains most.
fn first_miss<'a>(all_of: &'a [Condition], head: &'a impl RequestHead) -> Option<Miss<'a>> {
    let mut first: Option<Miss<'a>> = None;
    for condition in all_of {
        // Spares the patterns of paths while the header is not there: paths come last.
        if first.is_some_and(|first| first.weight() >= condition.most_weight()) {
            break;
        }
        let saw = match condition.judge(head) {
            Verdict::Holds => continue,
            Verdict::Absent => None,
            Verdict::Differs(saw) => Some(saw),
        };
        let miss = Miss { condition, saw };
        first = Some(first.map_or(miss, |other| if miss.weight() > other.weight() { miss } else { other }));
    }
    first
}

impl<'a> Miss<'a> {
    /// The request has what the route asks for, or most of it, with another value: somebody may wonder.
    pub(crate) fn is_near(&self) -> bool {
        self.saw.is_some()
    }

    /// The first of two that come equally close.
    pub(super) fn or_closer(self, other: Miss<'a>) -> Miss<'a> {
        if other.is_near() && !self.is_near() { other } else { self }
    }

    /// How much it explains, within one alternative.
    fn weight(&self) -> u8 {
        if self.saw.is_some() { self.condition.most_weight() } else { 1 }
    }
}

impl Condition {
    fn read(port: u32, condition: &v1::Condition) -> Result<Self, Refusal> {
        match condition.kind.clone() {
            Some(condition::Kind::Header(header)) => Ok(Condition::Header {
                name: header.name.to_ascii_lowercase(),
                test: Test::Exact(header.value),
            }),
            Some(condition::Kind::HeaderTest(header)) => Ok(Condition::Header {
                name: header.name.to_ascii_lowercase(),
                test: Test::read(port, header.test.unwrap_or_default())?,
            }),
            Some(condition::Kind::Path(test)) => Test::read(port, test).map(Condition::Path),
            Some(condition::Kind::Method(method)) => Ok(Condition::Method(method)),
            Some(condition::Kind::Baggage(member)) => {
                Ok(Condition::Baggage { key: member.key, value: member.value })
            }
            None => Err(Refusal::UnknownCondition(port)),
        }
    }

    /// Any value of a repeated header can make it hold.
    fn judge<'a>(&'a self, head: &'a impl RequestHead) -> Verdict<'a> {
        let mut verdict = Verdict::Absent;
        match self {
            Condition::Header { name, test } => {
                for theirs in head.values(name) {
                    if test.passes(theirs) {
                        return Verdict::Holds;
                    }
                    verdict = Verdict::Differs(theirs);
                }
            }
            Condition::Baggage { key, value } => {
                let all = head.values("baggage").flat_map(|header| baggage::members(header, key.as_bytes()));
                for theirs in all {
                    if baggage::decoded(theirs).eq(value.bytes()) {
                        return Verdict::Holds;
                    }
                    verdict = Verdict::Differs(theirs);
                }
            }
            Condition::Path(test) => return Verdict::of(test.passes(head.path().as_bytes()), head.path()),
            Condition::Method(method) => return Verdict::of(method == head.method(), head.method()),
        }
        verdict
    }

    /// How much it explains if it does not hold: a wrong value of a header more than an absent one (1), and that more than
    /// the path, which every request has.
    fn most_weight(&self) -> u8 {
        if matches!(self, Condition::Path(_) | Condition::Method(_)) { 0 } else { 2 }
    }

    /// Whether it looks at a header.
    pub(crate) fn is_of_headers(&self) -> bool {
        matches!(self, Condition::Header { .. } | Condition::Baggage { .. })
    }

    /// What it looks at: "x-bridge", "baggage bridge", "path", "method".
    pub(crate) fn subject(&self) -> String {
        match self {
            Condition::Header { name, .. } => name.clone(),
            Condition::Baggage { key, .. } => format!("baggage {key}"),
            Condition::Path(_) => "path".to_owned(),
            Condition::Method(_) => "method".to_owned(),
        }
    }
}

impl<'a> Verdict<'a> {
    fn of(holds: bool, saw: &'a str) -> Self {
        if holds { Verdict::Holds } else { Verdict::Differs(saw.as_bytes()) }
    }
}

/// As in a match that is shown on the laptop: `x-bridge: alice`, `x-tenant^=a`, `path ^=/v1/`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Header { name, test: Test::Exact(value) } => write!(f, "{name}: {value}"),
            Condition::Header { name, test } => write!(f, "{name}{test}"),
            Condition::Baggage { key, value } => write!(f, "baggage: {key}={value}"),
            Condition::Path(Test::Exact(path)) => write!(f, "path {path}"),
            Condition::Path(test) => write!(f, "path {test}"),
            Condition::Method(method) => write!(f, "method {method}"),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Exact(value) => write!(f, "={value}"),
            Test::Prefix(prefix) => write!(f, "^={prefix}"),
            Test::Pattern(pattern) => write!(f, "~={}", pattern.as_str()),
        }
    }
}

impl Test {
    fn read(port: u32, test: v1::Test) -> Result<Self, Refusal> {
        match test.kind {
            Some(test::Kind::Exact(value)) => Ok(Test::Exact(value)),
            Some(test::Kind::Prefix(prefix)) => Ok(Test::Prefix(prefix)),
            Some(test::Kind::Pattern(pattern)) => match Pattern::new(&pattern) {
                Ok(pattern) => Ok(Test::Pattern(pattern)),
                Err(error) => Err(Refusal::BadPattern(port, error)),
            },
            None => Err(Refusal::UnknownCondition(port)),
        }
    }

    fn passes(&self, value: &[u8]) -> bool {
        match self {
            Test::Exact(wanted) => value == wanted.as_bytes(),
            Test::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Test::Pattern(pattern) => pattern.is_in(value),
        }
    }
}

#[cfg(test)]
mod tests;
