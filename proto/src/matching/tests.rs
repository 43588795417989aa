use super::*;

/// A request's head in a test.
struct Head<'a> {
    method: &'a str,
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
}

impl RequestHead for Head<'_> {
    fn method(&self) -> &str {
        self.method
    }

    fn path(&self) -> &str {
        self.path
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |(other, _): &&(&str, &str)| other.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| value.as_bytes())
    }
}

fn header(name: &str, value: &str) -> v1::Condition {
    let kind = condition::Kind::Header(v1::HeaderCondition { name: name.into(), value: value.into() });
    v1::Condition { kind: Some(kind) }
}

fn baggage(key: &str, value: &str) -> v1::Condition {
    let kind = condition::Kind::Baggage(v1::MemberCondition { key: key.into(), value: value.into() });
    v1::Condition { kind: Some(kind) }
}

fn tracestate(key: &str, value: &str) -> v1::Condition {
    let kind = condition::Kind::Tracestate(v1::MemberCondition { key: key.into(), value: value.into() });
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

fn matching(any_of: &[&[v1::Condition]]) -> Match {
    let any_of = any_of.iter().map(|all_of| v1::Alternative { all_of: all_of.to_vec() }).collect();
    Match::read(&v1::Match { any_of }).expect("a good match")
}

/// The value in place of the wanted one, if the request is not taken.
fn judged(wanted: &Match, headers: &[(&str, &str)]) -> Result<usize, Option<String>> {
    judged_at(wanted, "GET", "/", headers).map_err(|(_, saw)| saw)
}

/// The condition to blame, and the value that it saw.
fn judged_at(
    wanted: &Match,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<usize, (String, Option<String>)> {
    let head = Head { method, path, headers };
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
fn paths_and_methods_are_compared_as_they_are() {
    let cases = [
        (path(exact("/v1/orders")), "GET", "/v1/orders", true),
        (path(exact("/v1/orders")), "GET", "/v1/orders/", false),
        (path(exact("/v1/orders")), "GET", "/v1%2Forders", false),
        (path(prefix("/v1/")), "POST", "/v1/x", true),
        (path(prefix("/v1/")), "GET", "/v1", false),
        (path(pattern("^/v[12]/")), "GET", "/v2/orders", true),
        (path(pattern("")), "CONNECT", "", true),
        (path(prefix("/")), "CONNECT", "", false),
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
fn the_condition_that_explains_most_is_to_blame() {
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
    let patterns = ["^a", "b$"].map(|text| header_test("x", pattern(text)));
    let mut reversed = patterns.clone();
    reversed.reverse();
    assert_eq!(matching(&[&patterns]), matching(&[&reversed]));
    assert!(Match::Everything.collides(&Match::Everything) && !Match::Everything.collides(&ab));
}

#[test]
fn unknown_conditions_are_refused() {
    let of = |all_of| Match::read(&v1::Match { any_of: vec![v1::Alternative { all_of }] });
    assert_eq!(of(vec![v1::Condition { kind: None }]), Err(BadMatch::UnknownCondition));
    assert!(BadMatch::UnknownCondition.to_string().contains("does not know"));
    assert_eq!(of(Vec::new()), Err(BadMatch::NoConditions));
    let untold = v1::Test { kind: None };
    assert_eq!(of(vec![kind(condition::Kind::Path(untold))]), Err(BadMatch::UnknownCondition));
    let bad = of(vec![path(pattern("a("))]).expect_err("an open group").to_string();
    assert!(bad.starts_with("has a bad pattern") && bad.contains("a("), "{bad}");
}

#[test]
fn a_match_has_bounds() {
    let many = |count: usize| (0..count).map(|n| header("x", &n.to_string())).collect::<Vec<_>>();
    let alternatives = |count: usize| {
        let any_of = many(count).into_iter().map(|one| v1::Alternative { all_of: vec![one] }).collect();
        Match::read(&v1::Match { any_of })
    };
    assert_eq!(alternatives(64).map(|all| all.conditions()), Ok(64));
    assert_eq!(alternatives(65), Err(BadMatch::TooMany(64, "alternatives")));
    let conditions =
        |count| Match::read(&v1::Match { any_of: vec![v1::Alternative { all_of: many(count) }] });
    assert_eq!(conditions(64).map(|all| all.conditions()), Ok(64));
    assert_eq!(conditions(65), Err(BadMatch::TooMany(64, "conditions")));
    let narrowed = conditions(64).and_then(|full| full.narrowed_by(&[Condition::Method("GET".into())]));
    assert_eq!(narrowed, Err(BadMatch::TooMany(64, "conditions")));
}

#[test]
fn the_cost_of_a_match_is_counted() {
    let wanted = matching(&[
        &[header_test("x", pattern("a")), path(pattern("b")), header("y", "1")],
        &[path(prefix("/")), header_test("z", exact("a"))],
    ]);
    assert_eq!((wanted.conditions(), wanted.patterns()), (5, 2));
    assert_eq!((Match::Everything.conditions(), Match::Everything.patterns()), (0, 0));
}

#[test]
fn a_match_travels_and_is_the_same() {
    let sent = [
        &[header("x", "1"), header_test("y", prefix("a")), header_test("z", pattern("^a"))][..],
        &[baggage("bridge", "alice"), method("GET"), path(exact("/a"))],
    ];
    let wanted = matching(&sent);
    assert_eq!(Match::read(&wanted.to_message()), Ok(wanted.clone()));
    let first = &wanted.to_message().any_of[0].all_of[0].kind;
    assert!(matches!(first, Some(condition::Kind::Header(_))), "the kind that every agent knows: {first:?}");
    assert_eq!(Match::Everything.to_message(), v1::Match::default());
    assert_eq!(Match::read(&v1::Match::default()), Ok(Match::Everything));
}

#[test]
fn the_default_of_a_user() {
    let alice = Match::of_user("alice", false);
    assert_eq!(alice.to_string(), "baggage or tracestate: bridge=alice or x-bridge: alice");
    for (headers, expected) in [
        (&[("baggage", "bridge=alice")][..], Ok(0)),
        (&[("tracestate", "rojo=1, bridge=alice")], Ok(1)),
        (&[("x-bridge", "alice")], Ok(2)),
        (&[("tracestate", "bridge=bob")], Err(Some("bob".to_owned()))),
    ] {
        assert_eq!(judged(&alice, headers), expected, "{headers:?}");
    }
    let compatible = Match::of_user("alice", true);
    let texts = [
        "baggage: bridge=alice",
        "tracestate: bridge=alice",
        "x-bridge: alice",
        "kubernetes-route-as: alice",
    ];
    assert_eq!(compatible.texts(), texts);
    assert_eq!(
        compatible.to_string(),
        "baggage or tracestate: bridge=alice or x-bridge or kubernetes-route-as: alice"
    );
    assert_eq!(Match::read(&compatible.to_message()), Ok(compatible));
}

#[test]
fn path_and_method_narrow_the_requests() {
    let narrow = [Condition::Path(Test::Prefix("/v1/".into())), Condition::Method("GET".into())];
    let narrowed = Match::of_user("alice", false).narrowed_by(&narrow).expect("a good match");
    let expected = [
        "baggage: bridge=alice and method GET and path ^=/v1/",
        "tracestate: bridge=alice and method GET and path ^=/v1/",
        "x-bridge: alice and method GET and path ^=/v1/",
    ];
    assert_eq!(narrowed.texts(), expected);
    assert_eq!(Match::Everything.narrowed_by(&narrow), Ok(Match::Everything));
}

#[test]
fn all_that_is_typed_must_hold() {
    let typed = ["b^=2", "A=1", "a=1"].map(|text| text.parse::<HeaderMatch>().expect("a header").0);
    let wanted = Match::all_of(typed.into()).expect("a good match");
    assert_eq!(wanted.texts(), ["a: 1 and b^=2"]);
    assert_eq!(wanted.rule(0), "a: 1 and b^=2");
    assert_eq!(wanted.rule(1), "", "there is no such alternative");
    assert_eq!(Match::all_of(Vec::new()), Err(BadMatch::NoConditions));
}

#[test]
fn a_condition_names_what_it_looks_at() {
    for (sent, subject, of_headers) in [
        (header("X-Bridge", "alice"), "x-bridge", true),
        (header_test("x-tenant", prefix("a")), "x-tenant", true),
        (baggage("bridge", "alice"), "baggage bridge", true),
        (tracestate("bridge", "alice"), "tracestate bridge", true),
        (path(prefix("/v1/")), "path", false),
        (method("GET"), "method", false),
    ] {
        let condition = Condition::read(&sent).expect("a good condition");
        assert_eq!((condition.subject().as_str(), condition.is_of_headers()), (subject, of_headers));
    }
}

#[test]
fn different_conditions_have_different_texts() {
    let named = |test| Condition::Header { name: "path".into(), test };
    let pattern = |text: &str| Test::Pattern(Pattern::new(text).expect("a pattern"));
    for (condition, expected) in [
        (named(Test::Exact("/a".into())), "path: /a"),
        (named(Test::Prefix("/a".into())), "path^=/a"),
        (named(pattern("/a")), "path~=/a"),
        (Condition::Path(Test::Exact("/a".into())), "path /a"),
        (Condition::Path(Test::Prefix("/a".into())), "path ^=/a"),
        (Condition::Path(pattern("^/a$")), "path ~=^/a$"),
        (Condition::Method("GET".into()), "method GET"),
        (Condition::Baggage { key: "bridge".into(), value: "a".into() }, "baggage: bridge=a"),
        (Condition::TraceState { key: "bridge".into(), value: "a".into() }, "tracestate: bridge=a"),
    ] {
        assert_eq!(condition.to_string(), expected);
    }
}

#[test]
fn everything_is_exclusive_and_has_a_name() {
    let none: [String; 0] = [];
    assert!(collide(&none, &none));
    assert!(!collide(&none, &["x: 1".to_owned()]));
    assert!(collide(&["y: 1", "x: 1"], &["x: 1"]));
    assert_eq!(
        (Match::Everything.to_string(), Match::Everything.rule(0)),
        ("everything".into(), "everything".into())
    );
    for (texts, expected) in [
        (&["method GET", "path /a"][..], "method GET or path /a"),
        (&["a: 1", "b: 1", "c: 2"], "a or b: 1 or c: 2"),
        (&["a: 1", "c: 2", "b: 1"], "a: 1 or c: 2 or b: 1"),
        (&["a: 1 and b: 2", "c: 1 and b: 2"], "a or c: 1 and b: 2"),
    ] {
        assert_eq!(sentence(&texts.iter().copied().map(str::to_owned).collect::<Vec<_>>()), expected);
    }
}

#[test]
fn a_value_that_differs_comes_closest() {
    let (alice, condition) = (Match::of_user("alice", false), Condition::Method("GET".into()));
    let miss = |saw| Miss { condition: &condition, saw };
    let (near, far) = (miss(Some(&b"PUT"[..])), miss(None));
    assert!(near.is_near() && !far.is_near());
    assert_eq!((far.or_closer(near), near.or_closer(far), far.or_closer(far)), (near, near, far));
    let other = miss(Some(&b"POST"[..]));
    assert_eq!(near.or_closer(other), near, "the first of two");
    // Of several alternatives, the one that comes closest; and of one with several values, the last that was seen.
    let judged = judged_at(&alice, "GET", "/", &[("baggage", "bridge=a,bridge=b")]);
    assert_eq!(judged, Err(("baggage bridge".to_owned(), Some("b".to_owned()))));
    let two = matching(&[&[header("a", "1"), header("b", "1")]]);
    assert_eq!(judged_at(&two, "GET", "/", &[("b", "2")]), Err(("b".to_owned(), Some("2".to_owned()))));
    assert_eq!(
        judged_at(&two, "GET", "/", &[]),
        Err(("a".to_owned(), None)),
        "the first of two that are not there"
    );
    assert_eq!(
        judged_at(&two, "GET", "/", &[("a", "2"), ("b", "3")]),
        Err(("a".to_owned(), Some("2".to_owned()))),
        "the first of two that differ"
    );
}
