use httparse::Header;

use super::*;
use crate::routes::head::Http1Head;

fn header(name: &str, value: &str) -> v1::Condition {
    let kind = condition::Kind::Header(v1::HeaderCondition { name: name.into(), value: value.into() });
    v1::Condition { kind: Some(kind) }
}

fn baggage(key: &str, value: &str) -> v1::Condition {
    let kind = condition::Kind::Baggage(v1::BaggageCondition { key: key.into(), value: value.into() });
    v1::Condition { kind: Some(kind) }
}

fn kind(kind: condition::Kind) -> v1::Condition {
    v1::Condition { kind: Some(kind) }
}

fn test_of(kind: test::Kind) -> v1::Test {
    v1::Test { kind: Some(kind) }
}

fn header_test(name: &str, test: test::Kind) -> v1::Condition {
    kind(condition::Kind::HeaderTest(v1::HeaderTest { name: name.into(), test: Some(test_of(test)) }))
}

fn path(test: test::Kind) -> v1::Condition {
    kind(condition::Kind::Path(test_of(test)))
}

fn method(name: &str) -> v1::Condition {
    kind(condition::Kind::Method(name.into()))
}

fn prefix(text: &str) -> test::Kind {
    test::Kind::Prefix(text.into())
}

fn pattern(text: &str) -> test::Kind {
    test::Kind::Pattern(text.into())
}

fn exact(text: &str) -> test::Kind {
    test::Kind::Exact(text.into())
}

fn matching(any_of: &[&[v1::Condition]]) -> Matching {
    let any_of = any_of.iter().map(|all_of| v1::Alternative { all_of: all_of.to_vec() }).collect();
    Matching::read(80, &v1::Match { any_of }).expect("a good match")
}

/// What was seen in place of what was wanted, if the request is not taken.
fn judged(wanted: &Matching, headers: &[(&str, &str)]) -> Result<usize, Option<String>> {
    judged_at(wanted, "GET", "/", headers).map_err(|(_, saw)| saw)
}

/// The condition that is to blame, and what it saw.
fn judged_at(
    wanted: &Matching,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<usize, (String, Option<String>)> {
    let headers: Vec<Header<'_>> =
        headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
    let head = Http1Head { method, target, headers: &headers };
    wanted.judge(&head).map_err(|miss| {
        (miss.condition.subject(), miss.saw.map(|saw| String::from_utf8_lossy(saw).into_owned()))
    })
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
        assert_eq!(judged(&alice, headers).is_ok(), taken, "{headers:?}");
    }
}

#[test]
fn all_conditions_of_an_alternative_must_hold() {
    let both = matching(&[&[header("a", "1"), header("b", "2")]]);
    assert_eq!(judged(&both, &[("b", "2"), ("a", "1")]), Ok(0));
    assert_eq!(judged(&both, &[("a", "1")]), Err(None));
}

#[test]
fn a_value_that_differs_explains_more_than_a_header_that_is_not_there() {
    let alice = matching(&[&[header("x-bridge", "alice")], &[baggage("bridge", "alice")]]);
    for (headers, saw) in [
        (&[("x-bridge", "alic")][..], Some("alic")),
        (&[("baggage", "secret=1,bridge=alic")], Some("alic")),
        (&[("baggage", "secret=1")], None),
        (&[("cookie", "alice")], None),
    ] {
        assert_eq!(judged(&alice, headers), Err(saw.map(str::to_owned)), "{headers:?}");
    }
}

#[test]
fn values_are_compared_whole_by_their_beginning_or_by_a_pattern() {
    for (condition, taken, left) in [
        (header("x", "al"), &["al"][..], &["alice", "a", "AL", ""][..]),
        (header_test("X", exact("al")), &["al"], &["alice"]),
        (header_test("x", prefix("al")), &["al", "alice"], &["Alice", "hal", ""]),
        (header_test("x", pattern("^al|ob$")), &["alice", "bob"], &["Bo", "b al"]),
        (header_test("x", pattern("a..c")), &["xa\u{e9}c", "ab_cd"], &["abc"]),
        (header_test("x", pattern("^$")), &[""], &["a"]),
    ] {
        let wanted = matching(&[&[condition]]);
        for value in taken {
            // An unwanted value beside it does not matter.
            assert_eq!(judged(&wanted, &[("X", "~"), ("x", value)]), Ok(0), "{wanted:?} {value:?}");
        }
        for value in left {
            assert_eq!(judged(&wanted, &[("x", value)]), Err(Some((*value).to_owned())), "{wanted:?}");
        }
        assert_eq!(judged(&wanted, &[]), Err(None), "an absent header has no value at all");
    }
}

#[test]
fn paths_are_without_their_query_and_methods_as_they_are() {
    let cases = [
        (path(exact("/v1/orders")), "GET", "/v1/orders?x=1", true),
        (path(exact("/v1/orders")), "GET", "/v1/orders/", false),
        (path(exact("/v1/orders")), "GET", "/v1%2Forders", false),
        (path(prefix("/v1/")), "POST", "http://orders/v1/x", true),
        (path(prefix("/v1/")), "GET", "/v1", false),
        (path(pattern("^/v[12]/")), "GET", "/v2/orders", true),
        (path(pattern("secret")), "GET", "/?secret", false),
        (path(pattern("")), "CONNECT", "orders:80", true),
        (path(prefix("/")), "CONNECT", "orders:80", false),
        (path(exact("*")), "OPTIONS", "*", true),
        (method("GET"), "GET", "/", true),
        (method("GET"), "get", "/", false),
        (method("PURGE"), "PURGE", "/", true),
    ];
    for (condition, of, target, taken) in cases {
        let wanted = matching(&[&[condition]]);
        assert_eq!(judged_at(&wanted, of, target, &[]).is_ok(), taken, "{wanted:?}: {of} {target}");
    }
}

#[test]
fn what_keeps_a_request_away_is_the_condition_that_explains_most() {
    let narrowed = [path(prefix("/v1/")), method("GET"), header("x-bridge", "alice")];
    let wanted = matching(&[&narrowed]);
    let blamed = |method, target, headers: &[(&str, &str)]| {
        let (subject, saw) = judged_at(&wanted, method, target, headers).expect_err("not taken");
        format!("{subject} {}", saw.unwrap_or_default())
    };
    assert_eq!(judged_at(&wanted, "GET", "/v1/x", &[("x-bridge", "alice")]), Ok(0));
    assert_eq!(blamed("GET", "/v2/x", &[]), "x-bridge ");
    assert_eq!(blamed("GET", "/v2/x", &[("x-bridge", "alic")]), "x-bridge alic");
    assert_eq!(blamed("GET", "/v2/x", &[("x-bridge", "alice")]), "path /v2/x");
    assert_eq!(blamed("PUT", "/v1/x", &[("x-bridge", "alice")]), "method PUT");
}

#[test]
fn equal_matches_are_known_however_they_are_put() {
    let ab = matching(&[&[header("A", "1"), path(prefix("/v1"))], &[method("GET")]]);
    let ba = matching(&[&[path(prefix("/v1")), header("a", "1"), header("A", "1")]]);
    assert!(ab.collides(&ba) && ba.collides(&ab), "an alternative in common is enough");
    assert_eq!(ba.rule(0), "a: 1 and path ^=/v1");
    for other in [
        &[header("a", "1")][..],
        &[header("a", "1"), path(exact("/v1"))],
        &[header("a", "1"), path(pattern("/v1"))],
    ] {
        assert!(!ba.collides(&matching(&[other])), "{other:?}");
    }
    assert!(Matching::Everything.collides(&Matching::Everything) && !Matching::Everything.collides(&ab));
}

#[test]
fn what_is_not_understood_is_refused() {
    let of = |all_of| Matching::read(80, &v1::Match { any_of: vec![v1::Alternative { all_of }] });
    let refusal = of(vec![v1::Condition { kind: None }]).expect_err("an unknown kind");
    assert!(refusal.to_string().contains("does not know"), "{refusal}");
    assert_eq!(of(Vec::new()), Err(Refusal::NoConditions(80)));
    let untold = v1::Test { kind: None };
    assert_eq!(of(vec![kind(condition::Kind::Path(untold))]), Err(Refusal::UnknownCondition(80)));
    let refusal = of(vec![path(pattern("a("))]).expect_err("an open group").to_string();
    assert!(
        refusal.starts_with("the route for port 80 has a bad pattern") && refusal.contains("a("),
        "{refusal}"
    );
}
