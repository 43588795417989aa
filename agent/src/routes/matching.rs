//! Which requests a route takes, and what comes closest in one that it does not take. Pure.

use bridge_proto::v1::{self, condition};

use super::Refusal;
use super::head::RequestHead;

/// Bounds of what one session may ask for.
const MAX_ALTERNATIVES: usize = 64;
const MAX_CONDITIONS: usize = 64;

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
            1..=MAX_CONDITIONS => alternative.all_of.iter().map(|all| Condition::read(port, all)).collect(),
            _ => Err(Refusal::TooMany(MAX_CONDITIONS, "conditions")),
        });
        Ok(Matching::AnyOf(any_of.collect::<Result<_, _>>()?))
    }

    /// Whether it takes the request: the index of the alternative that holds, or what comes closest.
    pub(super) fn judge<'a>(&'a self, head: &'a impl RequestHead) -> Result<usize, Miss<'a>> {
        let Matching::AnyOf(any_of) = self else { return Ok(0) };
        let mut closest: Option<Miss<'a>> = None;
        for (index, all_of) in any_of.iter().enumerate() {
            match first_miss(all_of, head) {
                None => return Ok(index),
                Some(miss) if closest.is_none_or(|other| miss.is_near() && !other.is_near()) => {
                    closest = Some(miss);
                }
                Some(_) => {}
            }
        }
        // `read` lets no match without alternatives in.
        closest.map_or(Ok(0), Err)
    }
}

/// The condition that keeps a request from this alternative: a value that differs before one that is not there.
fn first_miss<'a>(all_of: &'a [Condition], head: &'a impl RequestHead) -> Option<Miss<'a>> {
    let mut first: Option<Miss<'a>> = None;
    for condition in all_of {
        let saw = match condition.judge(head) {
            Verdict::Holds => continue,
            Verdict::Absent => None,
            Verdict::Differs(saw) => Some(saw),
        };
        if first.is_none_or(|first| first.saw.is_none() && saw.is_some()) {
            first = Some(Miss { condition, saw });
        }
    }
    first
}

impl Miss<'_> {
    /// The request names what the route asks for, with another value: somebody may wonder.
    pub(crate) fn is_near(&self) -> bool {
        self.saw.is_some()
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
    fn judge<'a>(&'a self, head: &'a impl RequestHead) -> Verdict<'a> {
        let mut verdict = Verdict::Absent;
        match self {
            Condition::Header { name, value } => {
                for theirs in head.values(name) {
                    if theirs == value.as_bytes() {
                        return Verdict::Holds;
                    }
                    verdict = Verdict::Differs(theirs);
                }
            }
            Condition::Baggage { key, value } => {
                for theirs in head.values("baggage").flat_map(|baggage| members(baggage, key.as_bytes())) {
                    if decoded(theirs).eq(value.bytes()) {
                        return Verdict::Holds;
                    }
                    verdict = Verdict::Differs(theirs);
                }
            }
        }
        verdict
    }
}

/// The values of a member of W3C baggage (<https://www.w3.org/TR/baggage/>), still encoded. Properties do not matter.
fn members<'a>(baggage: &'a [u8], key: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    baggage.split(|&byte| byte == b',').filter_map(move |member| {
        let member = member.split(|&byte| byte == b';').next().unwrap_or_default();
        let mut parts = member.splitn(2, |&byte| byte == b'=');
        let (theirs, encoded) = (parts.next().unwrap_or_default(), parts.next());
        encoded.filter(|_| theirs.trim_ascii() == key).map(<[u8]>::trim_ascii)
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
mod tests;
