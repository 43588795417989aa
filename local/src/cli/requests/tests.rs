use super::*;

fn seen(change: impl FnOnce(&mut v1::SeenRequest)) -> Seen {
    let mut request = v1::SeenRequest {
        begun_us: 1_800_000_000_123_456,
        took_us: 1_234,
        target_port: 8080,
        protocol: "HTTP/1".to_owned(),
        method: "GET".to_owned(),
        path: "/v1/orders".to_owned(),
        status: 200,
        ..Default::default()
    };
    change(&mut request);
    v1::SeenByAgent { target: "orders".to_owned(), pod: "orders-bridge-x".to_owned(), request: Some(request) }
        .into()
}

fn about(reason: Reason, about: &str, saw: &str) -> Seen {
    seen(|request| {
        request.set_reason(reason);
        request.about = about.to_owned();
        request.saw = saw.to_owned();
        request.user = "alice".to_owned();
    })
}

#[test]
fn every_reason_in_words() {
    for (reason, of, saw, words) in [
        (Reason::Matched, "x-bridge: alice", "", "matched x-bridge: alice"),
        (Reason::NoRoute, "", "", "no session takes requests on this port"),
        (Reason::Absent, "x-bridge", "", "x-bridge absent"),
        (Reason::Differs, "x-bridge", "alic", "x-bridge differs: saw `alic`"),
        (Reason::Differs, "path", "", "path differs"),
        (Reason::LaptopAway, "x: 1", "", "alice's laptop away (matched x: 1)"),
        (Reason::NothingListens, "x: 1", "", "nothing listens on alice's laptop (matched x: 1)"),
        (Reason::Tls, "", "", "opaque: TLS"),
        (Reason::ServerSpokeFirst, "", "", "opaque: the server spoke first"),
        (Reason::NotHttp, "", "", "opaque: not HTTP"),
        (Reason::Ambiguous, "", "", "opaque: ambiguous message"),
        (Reason::Loop, "x: 1", "", "comes back from alice's laptop (matched x: 1)"),
        (Reason::OwnPod, "", "", "opaque: from a port-forward or a laptop, so not sent to a laptop"),
        (Reason::Copied, "x: 1", "", "copied to alice's laptop (matched x: 1)"),
        (Reason::NotCopied, "x: 1", "", "not copied: asks for another protocol (matched x: 1)"),
        (Reason::Copy, "x: 1", "", "copy: the answer was dropped (matched x: 1)"),
        (Reason::CopyTooSlow, "x: 1", "", "copy given up: alice's laptop was too slow for it"),
        (Reason::CopyNoRoom, "x: 1", "", "copy given up: too many wait for alice's laptop"),
        (Reason::CopyCutShort, "x: 1", "", "copy given up: the request did not come to its end"),
        (Reason::CopyNoAnswer, "x: 1", "", "copy given up: no answer from alice's laptop"),
        (Reason::CopyLaptopAway, "x: 1", "", "copy given up: alice's laptop away"),
        (Reason::CopyNothingListens, "x: 1", "", "copy given up: nothing listens on alice's laptop"),
        (Reason::Unspecified, "", "", "unknown"),
    ] {
        assert_eq!(about(reason, of, saw).why, words);
    }
}

#[test]
fn a_copy_is_told_from_a_request_that_the_laptop_answers() {
    for (reason, to_laptop, expected, shown) in [
        (Reason::Matched, true, "laptop", "alice's laptop"),
        (Reason::Copied, false, "origin", "origin"),
        (Reason::NotCopied, false, "origin", "origin"),
        (Reason::Copy, true, "copy", "alice's laptop (copy)"),
        (Reason::CopyTooSlow, true, "copy", "alice's laptop (copy)"),
    ] {
        let seen = seen(|request| {
            request.set_reason(reason);
            (request.to_laptop, request.user) = (to_laptop, "alice".to_owned());
        });
        assert_eq!((seen.to, seen.row(false)[5].as_str()), (expected, shown), "{reason:?}");
    }
}

#[test]
fn lines_are_aligned_and_nothing_in_them_steers_the_terminal() {
    let mine = seen(|request| {
        request.set_reason(Reason::Matched);
        request.about = "x-bridge: alice".to_owned();
        (request.to_laptop, request.user) = (true, "alice".to_owned());
        (request.status, request.grpc_status, request.took_us) = (200, Some(5), 12_345_678);
    });
    let wrong = seen(|request| {
        request.set_reason(Reason::Differs);
        (request.about, request.saw) = ("x-bridge".to_owned(), "al\u{1b}[2Jic".to_owned());
    });
    let opaque = seen(|request| {
        *request =
            v1::SeenRequest { begun_us: request.begun_us, reason: Reason::Tls.into(), ..Default::default() };
    });
    let mut columns = Columns::new(false);
    let text = table(&[mine, wrong, opaque], &mut columns, true);
    let plain = anstream::adapter::strip_str(&text).to_string();
    // The time is in the time zone of the test machine.
    let without_time: Vec<String> =
        plain.lines().map(|line| line.chars().skip(14).collect::<String>()).collect();
    insta::assert_snapshot!(without_time.join("\n"), @r"
    METHOD  PATH              STATUS  TOOK      TO              WHY
    GET     /v1/orders        200/5   12.3 s    alice's laptop  matched x-bridge: alice
    GET     /v1/orders        200     1.2 ms    origin          x-bridge differs: saw `al\u{1b}[2Jic`
    -       -                 -       -         origin          opaque: TLS
    ");
}

#[test]
fn with_several_services_each_line_names_its_own() {
    let text = table(&[about(Reason::Absent, "x-bridge", "")], &mut Columns::new(true), true);
    assert!(text.lines().next().is_some_and(|head| head.contains("TARGET")), "{text}");
    assert!(text.lines().nth(1).is_some_and(|line| line.contains("  orders    GET")), "{text}");
}

#[test]
fn the_shape_for_programs() {
    insta::assert_json_snapshot!(about(Reason::Differs, "x-bridge", "alic"), @r#"
    {
      "time": "2027-01-15T08:00:00.123456Z",
      "target": "orders",
      "agent": "orders-bridge-x",
      "port": 8080,
      "protocol": "HTTP/1",
      "method": "GET",
      "path": "/v1/orders",
      "status": 200,
      "grpcStatus": null,
      "durationMs": 1.234,
      "to": "origin",
      "user": "alice",
      "reason": "differs",
      "about": "x-bridge",
      "saw": "alic",
      "why": "x-bridge differs: saw `alic`",
      "trace": null
    }
    "#);
    let lines = json_lines(&[about(Reason::Absent, "a", ""), about(Reason::Absent, "b", "")]).unwrap();
    assert_eq!(lines.lines().count(), 2, "one object a line: {lines}");
}
