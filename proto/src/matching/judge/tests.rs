//! The verdicts of a match on requests that it does not take: the condition to blame, and the value that it saw. As
//! stories of typed conditions and of requests as HTTP/2 brings them.

use std::cell::Cell;

use super::super::{HeaderMatch, MethodMatch, PathMatch};
use super::*;

/// A condition as typed: "x-bridge=alice", "baggage bridge=alice", "method GET", "path ^=/v1/".
fn condition(typed: &str) -> Condition {
    match typed.split_once(' ') {
        Some(("method", name)) => name.parse::<MethodMatch>().expect("a method").0,
        Some(("path", path)) => path.parse::<PathMatch>().expect("a path").0,
        Some(("baggage", member)) => {
            let (key, value) = member.split_once('=').expect("a member");
            Condition::Baggage { key: key.to_owned(), value: value.to_owned() }
        }
        _ => typed.parse::<HeaderMatch>().expect("a header").0,
    }
}

fn all_of(typed: &[&str]) -> Match {
    Match::all_of(typed.iter().map(|typed| condition(typed)).collect()).expect("a good match")
}

/// A request's head: "GET /v1/orders", and its headers.
fn request(line: &str, headers: &[(&str, &str)]) -> Parts {
    let (method, target) = line.split_once(' ').expect("a method and a target");
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a good request").into_parts().0
}

/// The reason why the request is not taken: "x-bridge: bob" for that value, "no x-bridge" for none.
fn blamed(wanted: &Match, head: &impl RequestHead) -> Result<usize, String> {
    wanted.judge(head).map_err(|Miss { condition, saw }| match saw {
        Some(saw) => format!("{}: {}", condition.subject(), saw.escape_ascii()),
        None => format!("no {}", condition.subject()),
    })
}

#[test]
fn a_wrong_value_explains_more_than_an_absent_header_and_that_more_than_the_path() {
    let wanted =
        all_of(&["path ^=/v1/", "method GET", "baggage bridge=alice", "x-tenant=a", "x-bridge=alice"]);
    let (alice, tenant, baggage) = (("x-bridge", "alice"), ("x-tenant", "a"), ("baggage", "bridge=alice"));
    for (line, headers, blame) in [
        ("GET /v1/x", &[alice, tenant, baggage][..], None),
        // Only the path and the method: every request has those.
        ("PUT /v1/x", &[alice, tenant, baggage], Some("method: PUT")),
        ("GET /v2/x", &[alice, tenant, baggage], Some("path: /v2/x")),
        ("PUT /v2/x", &[alice, tenant, baggage], Some("method: PUT")),
        // An absent header explains more, wherever it is.
        ("GET /v1/x", &[], Some("no x-bridge")),
        ("PUT /v2/x", &[], Some("no x-bridge")),
        ("PUT /v2/x", &[alice, baggage], Some("no x-tenant")),
        ("PUT /v2/x", &[alice, tenant], Some("no baggage bridge")),
        ("GET /v1/x", &[alice, tenant, ("baggage", "other=1")], Some("no baggage bridge")),
        // A header with another value explains most.
        ("GET /v1/x", &[("x-bridge", "bob")], Some("x-bridge: bob")),
        ("GET /v1/x", &[("x-tenant", "b")], Some("x-tenant: b")),
        ("PUT /v2/x", &[("baggage", "bridge=bob")], Some("baggage bridge: bob")),
        ("GET /v1/x", &[alice, ("baggage", "bridge=bob")], Some("baggage bridge: bob")),
        // The first of equals.
        ("GET /v1/x", &[("x-bridge", "bob"), ("x-tenant", "b")], Some("x-bridge: bob")),
        ("GET /v1/x", &[("x-tenant", "b"), ("baggage", "bridge=bob")], Some("x-tenant: b")),
        // Of several values, the last.
        ("GET /v1/x", &[("x-bridge", "bob"), ("x-bridge", "carol")], Some("x-bridge: carol")),
    ] {
        let expected = blame.map_or(Ok(0), |blame| Err(blame.to_owned()));
        assert_eq!(blamed(&wanted, &request(line, headers)), expected, "{line} {headers:?}");
    }
}

#[test]
fn of_several_alternatives_the_first_that_saw_something_explains_most() {
    let wanted =
        Match::of_user("alice", false).narrowed_by(&[condition("path ^=/v1/")]).expect("a good match");
    let (by_header, by_baggage) = (("x-bridge", "alice"), ("baggage", "bridge=alice"));
    for (line, headers, expected) in [
        ("GET /v1/x", &[by_header][..], Ok(2)),
        ("GET /v1/x", &[by_baggage], Ok(0)),
        ("GET /v1/x", &[by_header, by_baggage], Ok(0)),
        ("GET /v1/x", &[], Err("no baggage bridge")),
        ("GET /v1/x", &[("x-bridge", "bob"), ("baggage", "bridge=bob")], Err("baggage bridge: bob")),
        ("GET /v1/x", &[("x-bridge", "bob")], Err("x-bridge: bob")),
        // Alice's own requests to another path: the path is the reason, not the absent half of the mark.
        ("GET /v2/x", &[by_header], Err("path: /v2/x")),
        ("GET /v2/x", &[by_baggage], Err("path: /v2/x")),
        ("GET /v2/x", &[], Err("no baggage bridge")),
        ("GET /v2/x", &[("x-bridge", "bob"), by_baggage], Err("path: /v2/x")),
    ] {
        let expected = expected.map_err(str::to_owned);
        assert_eq!(blamed(&wanted, &request(line, headers)), expected, "{line} {headers:?}");
    }
}

#[test]
fn everything_takes_any_request() {
    for line in ["GET /", "OPTIONS *", "CONNECT orders:80"] {
        assert_eq!(blamed(&Match::Everything, &request(line, &[])), Ok(0), "{line}");
    }
}

/// Counts how often its path is read.
struct Watched {
    head: Parts,
    looks: Cell<usize>,
}

impl RequestHead for Watched {
    fn method(&self) -> &str {
        self.head.method()
    }

    fn path(&self) -> &str {
        self.looks.set(self.looks.get() + 1);
        RequestHead::path(&self.head)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.head.values(name)
    }
}

#[test]
fn others_requests_cost_no_search_for_patterns_in_their_paths() {
    let wanted = all_of(&["x-bridge=alice", "path ~=^/(v1|v2)/"]);
    for (headers, looked) in
        [(&[][..], false), (&[("x-bridge", "bob")], false), (&[("x-bridge", "alice")], true)]
    {
        let head = Watched { head: request("GET /v1/x", headers), looks: Cell::new(0) };
        assert_eq!(blamed(&wanted, &head).is_ok(), looked);
        assert_eq!(head.looks.get() > 0, looked, "{headers:?}");
    }
}

#[test]
fn a_head_of_http2_shows_its_method_its_path_and_all_values() {
    for (line, method, path) in [
        ("GET http://orders/v1/a%2Fb/../c?x=/y", "GET", "/v1/a%2Fb/../c"),
        ("PURGE http://orders", "PURGE", "/"),
        ("OPTIONS *", "OPTIONS", "*"),
        ("CONNECT orders:80", "CONNECT", ""),
    ] {
        let head = request(line, &[]);
        assert_eq!((RequestHead::method(&head), RequestHead::path(&head)), (method, path), "{line}");
    }
    let head = request("GET /", &[("x-tenant", "1"), ("b", "x"), ("X-Tenant", "2")]);
    assert_eq!(head.values("x-tenant").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(head.values("absent").count(), 0);
}
