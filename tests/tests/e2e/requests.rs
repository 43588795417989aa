//! Matches beyond the exact header, and how the command shows where requests went and why.

use std::time::Duration;

use bridge_tests::laptop::Laptop;
use bridge_tests::process::USUAL;
use bridge_tests::{World, eventually};
use serde_json::{Value, json};

#[test]
#[ignore = "needs a cluster: make test"]
fn a_developer_sees_where_requests_went_and_why() {
    // Given Alice's orders, connected for the requests of one tenant group below one path.
    let world = World::new("requests");
    let before = world.objects();
    let (alice, bob) = (world.laptop("alice"), world.laptop("bob"));
    let orders = alice.runs("orders");
    let port = orders.for_port("http");
    let alices_match = ["--header", "x-tenant^=eu-", "--path", "~=^/who", "--method", "get"];
    let connect = [&["connect", "orders", "--port", &port][..], &alices_match[..]].concat();
    let _ = alice.bridge(&connect).succeeds();
    let none = alice.bridge(&["requests", "bogus"]);
    none.fails(3, "bogus is not connected");

    // Then her match is shown as typed, and nobody else can claim it, in whatever order it is typed.
    let shown = "x-tenant^=eu- and method GET and path ~=^/who";
    assert_eq!(alice.session()["routes"][0]["match"], shown);
    let listed = bob.bridge(&["list", "-o", "json"]).succeeds().json();
    assert_eq!(listed["services"][0]["sessions"][0]["matches"], json!([format!("80: {shown}")]), "{listed}");
    let reversed = ["--method", "GET", "--path", "~=^/who", "--header", "X-Tenant^=eu-"];
    let taken = bob.bridge(&[&["connect", "orders", "--port", &port][..], &reversed[..]].concat());
    taken.fails(6, "alice");
    let unreadable = bob.bridge(&["connect", "orders", "--header", "x-tenant~=eu-("]);
    unreadable.fails(2, "unclosed group");

    // When requests come that match, that nearly match, and that do not, `requests -f` follows them.
    let following = alice.start_bridge(&["requests", "orders", "-f", "-o", "json"]);
    assert_eq!(world.who_answers(&["x-tenant=eu-7"]), orders.name);
    assert!(world.who_answers(&["x-tenant=us-1"]).starts_with("orders-"), "another tenant's are the pods'");
    assert!(world.who_answers(&["x-other=eu-7"]).starts_with("orders-"), "so are those without the header");

    // Then each is listed once with the reason, from whichever agent saw it.
    let matched = is_listed(&alice, "matched", |seen| seen["to"] == "laptop" && seen["user"] == "alice");
    let what = [&matched["method"], &matched["path"], &matched["status"], &matched["about"]];
    assert_eq!(what, [&json!("GET"), &json!("/whoami"), &json!(200), &json!(shown)], "{matched}");
    let differs = is_listed(&alice, "differs", |seen| seen["to"] == "origin");
    assert_eq!((&differs["about"], &differs["saw"]), (&json!("x-tenant"), &json!("us-1")), "{differs}");
    let _ = is_listed(&alice, "absent", |seen| seen["about"] == "x-tenant" && seen["saw"].is_null());
    let table = alice.bridge(&["requests"]).succeeds();
    assert!(table.stdout.contains("x-tenant differs: saw `us-1`"), "expected it in words: {table}");
    assert!(!table.stdout.contains('\u{1b}'), "no colours where there is no terminal: {table}");

    // And status counts them.
    eventually("status counts requests of both kinds", Duration::from_secs(10), || {
        let requests = alice.session()["requests"].clone();
        let counted = |to: &str| requests[to]["count"].as_u64().unwrap_or_default();
        let both = counted("toLaptop") >= 1 && counted("toOrigin") >= 2;
        (both && requests["toLaptop"]["p50Ms"].is_number()).then_some(()).ok_or(requests.to_string())
    });

    // When she disconnects, `requests -f` reports it and ends; it has printed all of them.
    let _ = alice.bridge(&["disconnect", "orders"]).succeeds();
    let followed = following.ends(USUAL).succeeds();
    for reason in ["\"matched\"", "\"differs\"", "\"absent\""] {
        assert!(followed.stdout.contains(reason), "expected {reason} among: {followed}");
    }
    world.is_given_back(&before);
}

/// The first kept request with this reason.
pub(crate) fn is_listed(laptop: &Laptop, reason: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("a request is listed as {reason}"), Duration::from_secs(5), || {
        let listed = laptop.bridge(&["requests", "-o", "json"]).succeeds().json();
        let found = listed["requests"].as_array().into_iter().flatten();
        let mut found = found.filter(|seen| seen["reason"] == reason && wanted(seen));
        found.next().cloned().ok_or_else(|| listed.to_string())
    })
}
