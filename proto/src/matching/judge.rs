//! Tests a match with a request's head, and finds the closest condition for one that it does not take.

use http::request::Parts;

use super::{Condition, Match, baggage, tracestate};

/// A request's head, as far as matches need it, in any version of HTTP.
pub trait RequestHead {
    fn method(&self) -> &str;

    /// The path as it was sent, without the query: escapes and dots are left alone, as proxies leave them. Empty if the
    /// request has none (CONNECT).
    fn path(&self) -> &str;

    /// All values of the header `name`, which is in lower case.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
}

/// A head of HTTP/2.
impl RequestHead for Parts {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn path(&self) -> &str {
        // A CONNECT has only an authority; http's `path` would return "/" for one with a scheme.
        self.uri.path_and_query().map_or("", |path| path.path())
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.get_all(name).into_iter().map(|value| value.as_bytes())
    }
}

/// The result of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict<'a> {
    Holds,
    Absent,
    /// A value that was seen in place of the wanted one.
    Differs(&'a [u8]),
}

/// The reason why a request misses a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miss<'a> {
    pub condition: &'a Condition,
    /// The value in place of the wanted one; `None`: there was none.
    pub saw: Option<&'a [u8]>,
}

impl Match {
    /// Whether it takes the request: the index of the alternative that holds, or the closest miss.
    pub fn judge<'a>(&'a self, head: &'a impl RequestHead) -> Result<usize, Miss<'a>> {
        let Match::AnyOf(any_of) = self else { return Ok(0) };
        let mut closest: Option<Miss<'a>> = None;
        for (index, all_of) in any_of.iter().enumerate() {
            match first_miss(all_of, head) {
                None => return Ok(index),
                Some(miss) => closest = Some(closest.map_or(miss, |other| other.or_closer(miss))),
            }
        }
        // `read` accepts no match without alternatives.
        closest.map_or(Ok(0), Err)
    }
}

/// The condition that keeps a request from this alternative. Of several, the one that explains most.
fn first_miss<'a>(all_of: &'a [Condition], head: &'a impl RequestHead) -> Option<Miss<'a>> {
    let mut first: Option<Miss<'a>> = None;
    for condition in all_of {
        // Saves the patterns of paths if the header is absent: paths come last.
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
    /// Whether the request has what the route asks for, or most of it, with another value.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.saw.is_some()
    }

    /// The first of two that come equally close.
    #[must_use]
    pub fn or_closer(self, other: Miss<'a>) -> Miss<'a> {
        if other.is_near() && !self.is_near() { other } else { self }
    }

    /// How much it explains, within one alternative.
    fn weight(&self) -> u8 {
        if self.saw.is_some() { self.condition.most_weight() } else { 1 }
    }
}

impl Condition {
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
            Condition::TraceState { key, value } => {
                let all =
                    head.values("tracestate").flat_map(|header| tracestate::members(header, key.as_bytes()));
                for theirs in all {
                    if theirs == value.as_bytes() {
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

    /// How much it explains if it does not hold: a wrong value of a header more than an absent one (1), and that more
    /// than the path, which every request has.
    fn most_weight(&self) -> u8 {
        if matches!(self, Condition::Path(_) | Condition::Method(_)) { 0 } else { 2 }
    }
}

impl<'a> Verdict<'a> {
    fn of(holds: bool, saw: &'a str) -> Self {
        if holds { Verdict::Holds } else { Verdict::Differs(saw.as_bytes()) }
    }
}

#[cfg(test)]
mod tests;
