use bridge_proto::v1::{condition, test};
use httparse::Header;

use super::head::Http1Head;
use super::*;

const PORT: Port = Port { place: 0, number: 80 };
const OTHER: Port = Port { place: 1, number: 81 };

fn session(id: &str, since_ms: u64) -> Arc<Session> {
    Arc::new(Session::new(id, id, since_ms, String::new()))
}

fn header(name: &str, value: &str) -> v1::Condition {
    let kind = condition::Kind::Header(v1::HeaderCondition { name: name.into(), value: value.into() });
    v1::Condition { kind: Some(kind) }
}

fn pattern() -> v1::Condition {
    let test = v1::Test { kind: Some(test::Kind::Pattern("^/v1/".into())) };
    v1::Condition { kind: Some(condition::Kind::Path(test)) }
}

/// A route from port 80 to port 3000 for all requests that have any of these.
fn route(any_of: &[&[v1::Condition]]) -> v1::Route {
    let any_of = any_of.iter().map(|all_of| v1::Alternative { all_of: all_of.to_vec() }).collect();
    v1::Route {
        target_port: 80,
        local_port: 3000,
        r#match: Some(v1::Match { any_of }),
        ..v1::Route::default()
    }
}

fn entry(id: &str, since_ms: u64, any_of: &[(&str, &str)]) -> Arc<Entry> {
    let conditions: Vec<_> = any_of.iter().map(|(name, value)| [header(name, value)]).collect();
    let any_of: Vec<_> = conditions.iter().map(<[_; 1]>::as_slice).collect();
    Arc::new(Entry::read(&session(id, since_ms), &[PORT], &route(&any_of)).expect("a good route"))
}

fn found(table: &Table, headers: &[Header<'_>]) -> Result<String, Option<String>> {
    let head = Http1Head { method: "GET", target: "/", headers };
    match table.decide(PORT, &head) {
        Decision::Laptop(way) => Ok(way.route.session.id.clone()),
        Decision::Copied(way) => Ok(format!("copy for {}", way.route.session.id)),
        Decision::Origin(miss) => {
            Err(miss.and_then(|miss| miss.saw).map(|saw| String::from_utf8_lossy(saw).into_owned()))
        }
    }
}

#[test]
fn the_oldest_session_is_asked_first_and_everything_last() {
    let entries = [entry("all", 1, &[]), entry("young", 9, &[("a", "1")]), entry("old", 5, &[("b", "1")])];
    let table = Table::new(1, entries.into_iter());
    let (a, b) = (Header { name: "A", value: b"1" }, Header { name: "B", value: b"1" });
    assert_eq!(found(&table, &[a, b]).as_deref(), Ok("old"));
    assert_eq!(found(&table, &[a]).as_deref(), Ok("young"));
    assert_eq!(found(&table, &[]).as_deref(), Ok("all"));
    assert!(table.everything(PORT).is_some() && table.any(PORT) && !table.any(OTHER));
}

#[test]
fn a_request_without_a_route_names_the_closest() {
    let entries = [entry("old", 1, &[("a", "1")]), entry("young", 2, &[("b", "1")])];
    let table = Table::new(1, entries.into_iter());
    assert_eq!(found(&table, &[]), Err(None));
    assert_eq!(found(&table, &[Header { name: "b", value: b"2" }]), Err(Some("2".to_owned())));
    assert_eq!(found(&Table::new(1, std::iter::empty()), &[]), Err(None));
}

#[test]
fn of_two_sessions_of_one_age_the_ids_decide() {
    for order in [["a", "b"], ["b", "a"]] {
        let table = Table::new(1, order.map(|id| entry(id, 1, &[("x", "1")])).into_iter());
        assert_eq!(found(&table, &[Header { name: "x", value: b"1" }]).as_deref(), Ok("a"));
    }
}

#[test]
fn across_sessions_the_oldest_that_saw_something_explains_most() {
    let entries = [
        entry("old", 1, &[("a", "1")]),
        entry("middle", 2, &[("b", "1")]),
        entry("young", 3, &[("b", "2"), ("c", "1")]),
    ];
    let table = Table::new(1, entries.into_iter());
    let (b, c) = (Header { name: "b", value: b"3" }, Header { name: "c", value: b"4" });
    for (headers, subject, saw) in [
        (&[][..], "a", None),
        (&[b], "b", Some(&b"3"[..])),
        (&[c], "c", Some(b"4")),
        (&[c, b], "b", Some(b"3")),
    ] {
        let head = Http1Head { method: "GET", target: "/", headers };
        let Decision::Origin(Some(miss)) = table.decide(PORT, &head) else { panic!("no route takes it") };
        assert_eq!((miss.condition.subject().as_str(), miss.saw), (subject, saw));
    }
}

#[test]
fn a_request_goes_on_with_the_alternative_that_took_it_and_its_hops() {
    let table = Table::new(1, std::iter::once(entry("s1", 1, &[("a", "1"), ("b", "1")])));
    for (hops, expected) in [
        ("s0:80", Ok("s0:80, s1:80".to_owned())),
        ("s1:80, s2:80", Err(Loop::Back(vec!["s2:80".to_owned()]))),
    ] {
        let headers = [Header { name: "b", value: b"1" }, Header { name: HOPS, value: hops.as_bytes() }];
        let head = Http1Head { method: "GET", target: "/", headers: &headers };
        let Decision::Laptop(way) = table.decide(PORT, &head) else { panic!("the route takes it") };
        assert_eq!((way.rule, way.hops), (1, expected), "{hops}");
    }
}

/// A route for all requests that have this header; the laptop gets copies.
fn copying(id: &str, since_ms: u64, any_of: &[&[v1::Condition]]) -> Arc<Entry> {
    let sent = v1::Route { copy: true, ..route(any_of) };
    Arc::new(Entry::read(&session(id, since_ms), &[PORT], &sent).expect("a good route"))
}

#[test]
fn a_request_is_copied_by_the_first_route_that_takes_it() {
    let entries =
        [entry("young", 9, &[("b", "1")]), copying("old", 5, &[&[header("a", "1")]]), copying("all", 1, &[])];
    let table = Table::new(1, entries.into_iter());
    let (a, b) = (Header { name: "a", value: b"1" }, Header { name: "b", value: b"1" });
    assert_eq!(found(&table, &[a, b]).as_deref(), Ok("copy for old"));
    assert_eq!(found(&table, &[b]).as_deref(), Ok("young"));
    assert_eq!(found(&table, &[]).as_deref(), Ok("copy for all"));
    assert!(table.everything(PORT).is_none(), "connections are not copied as a whole");
}

#[test]
fn a_copy_that_comes_back_is_not_copied_again() {
    let table = Table::new(1, std::iter::once(copying("s1", 1, &[])));
    let decided = |hops: &'static str| {
        let headers = [Header { name: HOPS, value: hops.as_bytes() }];
        let head = Http1Head { method: "GET", target: "/", headers: &headers };
        match table.decide(PORT, &head).goes() {
            Goes::Copied(way) => Ok(way.hops),
            Goes::Laptop(way) => Err(way.hops),
            Goes::Origin => panic!("the route takes it"),
        }
    };
    assert_eq!(decided("s0:80"), Ok("s0:80, s1:80".to_owned()));
    assert_eq!(decided("s1:80"), Err(Err(Loop::Back(vec![]))));
}

#[test]
fn the_route_that_takes_everything_is_found_wherever_it_comes() {
    let (some, all) = (entry("some", 1, &[("a", "1")]), entry("all", 2, &[]));
    for (entries, found) in
        [(vec![], None), (vec![&some], None), (vec![&all], Some("all")), (vec![&all, &some], Some("all"))]
    {
        let everything = Table::new(1, entries.into_iter().cloned()).everything(PORT);
        assert_eq!(everything.as_ref().map(|entry| entry.session.id.as_str()), found);
    }
}

#[test]
fn a_route_of_a_port_that_does_not_exist_takes_nothing() {
    let table = Table::new(0, std::iter::once(entry("s1", 1, &[])));
    assert!(!table.any(PORT) && table.everything(PORT).is_none());
}

#[test]
fn routes_lead_to_the_same_place_on_the_same_laptop_by_the_same_port() {
    let (alice, bob) = (session("alice", 1), session("bob", 1));
    let to = |session: &Arc<Session>, local_port| {
        let route = v1::Route { local_port, ..route(&[]) };
        Entry::read(session, &[PORT], &route).expect("a good route")
    };
    assert!(to(&alice, 3000).leads_where(&to(&alice, 3000)));
    assert!(!to(&alice, 3000).leads_where(&to(&alice, 3001)));
    assert!(!to(&alice, 3000).leads_where(&to(&bob, 3000)));
}

#[test]
fn a_route_is_read_as_it_was_sent() {
    let sent = v1::Route {
        target_port: 81,
        local_port: 65535,
        fallback: Fallback::Origin.into(),
        keep_cache_headers: true,
        copy: true,
        ..route(&[])
    };
    let entry = Entry::read(&session("s1", 1), &[PORT, OTHER], &sent).expect("a good route");
    assert_eq!((entry.port, entry.local_port), (OTHER, 65535));
    assert_eq!((entry.fallback, entry.keep_cache_headers, entry.copies), (Fallback::Origin, true, true));
}

#[test]
fn a_route_that_makes_no_sense_is_refused() {
    for (sent, words) in [
        (v1::Route { target_port: 81, ..route(&[]) }, "this agent does not listen on port 81"),
        (v1::Route { target_port: 65616, ..route(&[]) }, "this agent does not listen on port 65616"),
        (v1::Route { local_port: 0, ..route(&[]) }, "0 is not a port"),
        (v1::Route { local_port: 65536, ..route(&[]) }, "65536 is not a port"),
        (v1::Route { r#match: None, ..route(&[]) }, "the route for port 80 has no match"),
        (route(&[&[]]), "the route for port 80 has an alternative without conditions"),
    ] {
        let refusal = read(&session("s1", 1), &[PORT], &[sent]).expect_err("a bad route");
        assert_eq!(refusal.to_string(), words);
    }
}

#[test]
fn a_session_s_routes_have_bounds() {
    let many = |count, route: v1::Route| {
        read(&session("s1", 1), &[PORT], &vec![route; count]).map(|read| read.len())
    };
    let eight = |condition: fn(usize) -> v1::Condition| route(&[&std::array::from_fn::<_, 8, _>(condition)]);
    let headers = || eight(|n| header("x", &n.to_string()));
    let patterns = || route(&[&[pattern()], &[pattern()]]);
    assert_eq!(many(256, route(&[])), Ok(256));
    assert_eq!(many(257, route(&[])), Err(Refusal::TooMany(256, "routes")));
    assert_eq!(many(32, patterns()), Ok(32));
    assert_eq!(many(33, patterns()), Err(Refusal::TooMany(64, "patterns")));
    assert_eq!(many(128, headers()), Ok(128));
    assert_eq!(many(129, headers()), Err(Refusal::TooMany(1024, "conditions")));
}

#[test]
fn routes_cost_what_their_conditions_hold() {
    let cost = |routes: &[v1::Route]| size(&read(&session("s1", 1), &[PORT], routes).expect("good routes"));
    let plain = route(&[&[header("a", "1"), header("b", "1")]]);
    let searching = route(&[&[pattern()], &[header("a", "1"), pattern()]]);
    assert_eq!(cost(&[]), 0);
    assert_eq!(cost(&[route(&[])]), 1 << 10, "a route without conditions");
    assert_eq!(cost(std::slice::from_ref(&plain)), 3 << 10);
    assert_eq!(cost(std::slice::from_ref(&searching)), (2 * 128 + 4) << 10);
    assert_eq!(cost(&[plain, searching]), (3 + 2 * 128 + 4) << 10);
}
