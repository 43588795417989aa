use bridge_proto::v1;
use httparse::Header;

use super::*;
use crate::routes::Table;
use crate::routes::head::Http1Head;

const PORT: Port = Port { place: 0, number: 80 };

/// Alice's route on it.
fn table(header: &str, value: &str) -> Table {
    table_with(header, value, false)
}

fn table_with(header: &str, value: &str, copy: bool) -> Table {
    let header = v1::HeaderCondition { name: header.to_owned(), value: value.to_owned() };
    let kind = Some(v1::condition::Kind::Header(header));
    let alternative = v1::Alternative { all_of: vec![v1::Condition { kind }] };
    let route = v1::Route {
        target_port: 80,
        local_port: 3000,
        r#match: Some(v1::Match { any_of: vec![alternative] }),
        copy,
        ..v1::Route::default()
    };
    let session = Arc::new(Session::new("s1", "alice", 1, String::new()));
    Table::new(1, crate::routes::read(&session, &[PORT], &[route]).expect("a good route").into_iter())
}

/// The kept record of one request, after `tell` has changed it.
async fn seen(table: &Table, headers: &[(&str, &str)], tell: impl FnOnce(&mut Record)) -> SeenRequest {
    let headers: Vec<Header<'_>> =
        headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
    let head = Http1Head { method: "GET", target: "/v1/orders?secret=1", headers: &headers };
    let requests = Arc::new(Requests::new());
    let mut record = requests.begin(PORT, Protocol::Http1, &head, &table.decide(PORT, &head));
    tell(&mut record);
    assert!(requests.follow(0).next().await.requests.is_empty(), "it has not ended");
    drop(record);
    requests.follow(0).next().await.requests.pop().expect("it has ended")
}

#[tokio::test]
async fn a_request_that_matched() {
    let seen =
        seen(&table("x-bridge", "alice"), &[("X-Bridge", "alice")], |record| record.answered(201)).await;
    assert_eq!((seen.reason(), seen.to_laptop, seen.status), (Reason::Matched, true, 201));
    assert_eq!((seen.user.as_str(), seen.about.as_str()), ("alice", "x-bridge: alice"));
    let what = (seen.protocol.as_str(), seen.method.as_str(), seen.path.as_str(), seen.target_port);
    assert_eq!(what, ("HTTP/1", "GET", "/v1/orders", 80), "the query may hold secrets");
    assert!(seen.begun_us > 1_700_000_000_000_000, "{}", seen.begun_us);
}

#[tokio::test]
async fn a_request_that_did_not_match_has_a_reason() {
    let alice = table("x-bridge", "alice");
    let others = [("cookie", "secret"), ("authorization", "secret")];
    let absent = seen(&alice, &others, |_| {}).await;
    assert_eq!((absent.reason(), absent.about.as_str(), absent.status), (Reason::Absent, "x-bridge", 0));
    assert!(!format!("{absent:?}").contains("secret"), "{absent:?}");
    let differs = seen(&alice, &[("x-bridge", "alic")], |record| record.answered(200)).await;
    assert_eq!(
        (differs.reason(), differs.about.as_str(), differs.saw.as_str()),
        (Reason::Differs, "x-bridge", "alic")
    );
    let long = seen(&alice, &[("x-bridge", &"a".repeat(100))], |_| {}).await;
    assert_eq!(long.saw, "a".repeat(64) + "\u{2026}");
    let nobody = seen(&Table::new(1, std::iter::empty()), &[("x-bridge", "alice")], |_| {}).await;
    assert_eq!((nobody.reason(), nobody.to_laptop), (Reason::NoRoute, false));
}

#[tokio::test]
async fn a_value_that_may_be_a_secret_is_not_shown() {
    for name in ["cookie", "authorization", "x-api-key", "x-csrf-token"] {
        let seen = seen(&table(name, "mine"), &[(name, "another's")], |_| {}).await;
        assert_eq!((seen.reason(), seen.about.as_str(), seen.saw.as_str()), (Reason::Differs, name, ""));
    }
}

#[tokio::test]
async fn a_request_whose_laptop_was_away_went_to_the_origin() {
    let seen = seen(&table("x-bridge", "alice"), &[("x-bridge", "alice")], |record| {
        record.fell_back(FellBack::LaptopAway);
        record.answered(200);
    })
    .await;
    assert_eq!((seen.reason(), seen.to_laptop, seen.user.as_str()), (Reason::LaptopAway, false, "alice"));
}

#[tokio::test]
async fn a_copy_has_a_record_of_its_own() {
    let session = Arc::new(Session::new("s1", "alice", 1, String::new()));
    let headers = [Header { name: "x-bridge", value: b"alice" }];
    let head = Http1Head { method: "GET", target: "/v1/orders", headers: &headers };
    let table = table_with("x-bridge", "alice", true);
    for (given_up, reason, status) in
        [(None, Reason::Copy, 500), (Some(GivenUp::TooSlow), Reason::CopyTooSlow, 0)]
    {
        let requests = Arc::new(Requests::new());
        let mut record = requests.begin(PORT, Protocol::Http1, &head, &table.decide(PORT, &head));
        let mut copy = record.copy(&session);
        record.answered(200);
        drop(record);
        match given_up {
            Some(why) => copy.given_up(why),
            None => copy.answered(status),
        }
        drop(copy);
        let seen = requests.follow(0).next().await.requests;
        let what: Vec<_> = seen.iter().map(|seen| (seen.reason(), seen.to_laptop, seen.status)).collect();
        assert_eq!(what, [(Reason::Copied, false, 200), (reason, true, status.into())]);
        assert!(seen.iter().all(|seen| seen.path == "/v1/orders" && seen.about == "x-bridge: alice"));
        let copied = requests.copied().to_message().requests;
        assert_eq!((requests.to_origin().to_message().requests, copied), (1, u64::from(given_up.is_none())));
    }
    assert_eq!(session.given_up.load(Ordering::Relaxed), 1);
    assert_eq!(session.copied.to_message().failed, 1);
}

#[tokio::test]
async fn all_are_counted_even_when_there_are_too_many_to_keep() {
    let alice = table("x-bridge", "alice");
    let head = Http1Head { method: "GET", target: "/", headers: &[] };
    let requests = Arc::new(Requests::new());
    for _ in 0..1000 {
        requests.begin(PORT, Protocol::Http1, &head, &alice.decide(PORT, &head)).answered(200);
    }
    requests.opaque(PORT, Opaque::Tls, To::Origin);
    assert_eq!(requests.to_origin().to_message().requests, 1000);
    assert_eq!((requests.counted(Reason::Absent), requests.opaque_so_far()), (1000, 1));
}

#[test]
fn every_reason_has_its_counter() {
    assert!(Reason::try_from(i32::try_from(REASONS).expect("small")).is_err());
    assert!(Reason::try_from(i32::try_from(REASONS - 1).expect("small")).is_ok());
}

#[tokio::test]
async fn a_request_names_its_trace() {
    let alice = table("x-bridge", "alice");
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (header, expected) in [
        (format!("00-{trace}-00f067aa0ba902b7-01"), trace),
        (format!("cc-{trace}-00f067aa0ba902b7-01-what-the-future-will-be-like"), trace),
        (format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()), ""),
        (format!("00-{}-00f067aa0ba902b7-01", &trace[1..]), ""),
        ("00".to_owned(), ""),
        (String::new(), ""),
    ] {
        let seen = seen(&alice, &[("Traceparent", &header)], |_| {}).await;
        assert_eq!(seen.trace, expected, "{header}");
    }
}
