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

fn matching(any_of: &[&[v1::Condition]]) -> Matching {
    let any_of = any_of.iter().map(|all_of| v1::Alternative { all_of: all_of.to_vec() }).collect();
    Matching::read(80, &v1::Match { any_of }).expect("a good match")
}

/// What was seen in place of what was wanted, if the request is not taken.
fn judged(wanted: &Matching, headers: &[(&str, &str)]) -> Result<usize, Option<String>> {
    let headers: Vec<Header<'_>> =
        headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
    let head = Http1Head { method: "GET", target: "/", headers: &headers };
    wanted.judge(&head).map_err(|miss| miss.saw.map(|saw| String::from_utf8_lossy(saw).into_owned()))
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
fn what_is_not_understood_is_refused() {
    let of = |all_of| Matching::read(80, &v1::Match { any_of: vec![v1::Alternative { all_of }] });
    let refusal = of(vec![v1::Condition { kind: None }]).expect_err("an unknown kind");
    assert!(refusal.to_string().contains("does not know"), "{refusal}");
    assert_eq!(of(Vec::new()), Err(Refusal::NoConditions(80)));
}
