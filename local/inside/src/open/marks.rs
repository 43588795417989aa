//! The headers that make a request the user's. Pure.

use bridge_proto::matching::{Condition, HEADER, Match, Test, member_of};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The W3C header of which the mark is a member.
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// Headers that say how a request is carried, and none to whom it goes.
const NOT_MARKS: [HeaderName; 8] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::COOKIE,
    header::ORIGIN,
    header::REFERER,
];

/// What a user's requests carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    headers: Vec<(HeaderName, HeaderValue)>,
    /// "bridge=alice"
    member: String,
}

impl Marks {
    /// The user's own, and what the matches of the user's sessions want besides: whole headers of their first
    /// alternatives. Of several values for one header, the first counts.
    #[must_use]
    pub fn of(user: &str, matches: &[Match]) -> Self {
        let mut marks = Self { headers: Vec::new(), member: member_of(user) };
        marks.add(HEADER, user);
        for conditions in matches.iter().filter_map(first) {
            for condition in conditions {
                if let Condition::Header { name, test: Test::Exact(value) } = condition {
                    marks.add(name, value);
                }
            }
        }
        marks
    }

    fn add(&mut self, name: &str, value: &str) {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return;
        };
        let is_there = self.headers.iter().any(|(other, _)| *other == name);
        if !is_there && !NOT_MARKS.contains(&name) && name != BAGGAGE {
            self.headers.push((name, value));
        }
    }

    /// In place of what the request may have of them. Other members of `baggage` stay.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        let key = self.member.split('=').next().unwrap_or_default();
        let is_ours = |member: &&str| member.split(['=', ';']).next().is_some_and(|it| it.trim() == key);
        let all = headers.get_all(BAGGAGE).iter().filter_map(|value| value.to_str().ok());
        let mut members: Vec<&str> = all
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|member| !member.is_empty() && !is_ours(member))
            .collect();
        members.push(&self.member);
        if let Ok(value) = HeaderValue::try_from(members.join(", ")) {
            headers.insert(BAGGAGE, value);
        }
    }

    /// "baggage: bridge=alice", "x-bridge: alice".
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let header = |(name, value): &(HeaderName, HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap_or_default())
        };
        let baggage = format!("{BAGGAGE}: {}", self.member);
        std::iter::once(baggage).chain(self.headers.iter().map(header)).collect()
    }
}

/// The first alternative, if the user's own marks are not one of them.
fn first(wanted: &Match) -> Option<&[Condition]> {
    let Match::AnyOf(alternatives) = wanted else { return None };
    let is_own = |condition: &Condition| match condition {
        Condition::Baggage { .. } | Condition::TraceState { .. } => true,
        Condition::Header { name, .. } => name == HEADER,
        Condition::Method(_) | Condition::Path(_) => false,
    };
    let has_own = alternatives.iter().any(|all| all.iter().any(is_own));
    alternatives.first().filter(|_| !has_own).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, test: Test) -> Condition {
        Condition::Header { name: name.to_owned(), test }
    }

    fn exact(name: &str, value: &str) -> Condition {
        header(name, Test::Exact(value.to_owned()))
    }

    #[test]
    fn a_session_s_own_headers_are_marks_too() {
        let all_of = |conditions: Vec<Condition>| Match::AnyOf(vec![conditions]);
        let own = "baggage: bridge=alice, x-bridge: alice";
        for (matches, expected) in [
            (vec![], own.to_owned()),
            (vec![Match::of_user("alice", true)], own.to_owned()),
            (vec![Match::Everything], own.to_owned()),
            (vec![all_of(vec![exact("x-tenant", "7")])], format!("{own}, x-tenant: 7")),
            (
                vec![
                    all_of(vec![exact("x-tenant", "7"), exact("x-b", "1")]),
                    all_of(vec![exact("x-tenant", "8")]),
                ],
                format!("{own}, x-tenant: 7, x-b: 1"),
            ),
            (vec![all_of(vec![header("x-tenant", Test::Prefix("7".to_owned()))])], own.to_owned()),
            (vec![all_of(vec![exact("host", "evil"), exact("cookie", "a")])], own.to_owned()),
        ] {
            assert_eq!(Marks::of("alice", &matches).describe().join(", "), expected, "{matches:?}");
        }
    }

    #[test]
    fn marks_take_the_place_of_others_of_their_name() {
        for (given, expected) in [
            (&[][..], "bridge=alice"),
            (&["a=1"], "a=1, bridge=alice"),
            (&["a=1,bridge=bob;p, b=2", "bridge = carol", "bridgex=1"], "a=1, b=2, bridgex=1, bridge=alice"),
            (&["bridge"], "bridge=alice"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-bridge", HeaderValue::from_static("bob"));
            for value in given {
                headers.append("baggage", HeaderValue::from_str(value).unwrap());
            }
            Marks::of("alice", &[]).apply(&mut headers);
            assert_eq!(headers.get_all("baggage").iter().collect::<Vec<_>>(), [expected]);
            assert_eq!(headers["x-bridge"], "alice");
        }
    }
}
