use bridge_proto::v1::Reason;
use clap::Parser;

use super::*;
use crate::cli::args::{Cli, Command};

fn args(line: &str) -> CallArgs {
    match Cli::try_parse_from(line.split_whitespace()).expect("a command").command {
        Command::Call(args) => args,
        other => panic!("{other:?}"),
    }
}

fn hop(target: &str, to_laptop: bool, user: &str) -> Seen {
    let request = v1::SeenRequest {
        to_laptop,
        user: user.to_owned(),
        reason: Reason::Matched.into(),
        about: "baggage: bridge=alice".to_owned(),
        ..v1::SeenRequest::default()
    };
    v1::SeenByAgent { target: target.to_owned(), request: Some(request), ..v1::SeenByAgent::default() }.into()
}

#[test]
fn a_request_carries_the_marks_of_its_user_unless_they_are_typed() {
    let request = |line: &str, body: &'static str| {
        request(&args(line), "alice", "4bf92f3577b34da6a3ce929d0e0e4736", body.into()).expect("a request")
    };
    let header = |request: &Request<Full<Bytes>>, name: &str| {
        request.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
    };
    let plain = request("bridge call web", "");
    assert_eq!((plain.method().as_str(), plain.uri().to_string().as_str()), ("GET", "/"));
    assert_eq!(header(&plain, "host"), "web");
    assert_eq!(header(&plain, "baggage"), "bridge=alice");
    assert_eq!(header(&plain, "x-bridge"), "alice");
    let traceparent = header(&plain, "traceparent");
    assert!(traceparent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{traceparent}");
    assert_eq!(traceparent.len(), 55, "{traceparent}");

    let typed = request("bridge call web:8080 /v1?x=1 -H baggage:bridge=bob -H host:shop.example", "{}");
    assert_eq!((typed.method().as_str(), typed.uri().to_string().as_str()), ("POST", "/v1?x=1"));
    assert_eq!(
        (header(&typed, "baggage"), header(&typed, "host")),
        ("bridge=bob".into(), "shop.example".into())
    );
    assert_eq!(header(&request("bridge call web:8080", ""), "host"), "web:8080");
    assert_eq!(header(&request("bridge call web:http", ""), "host"), "web");
    assert_eq!(request("bridge call web -X DELETE", "").method(), "DELETE");
}

#[test]
fn the_port_that_a_url_means() {
    let port = |number, name: &str| Port { number, name: name.into() };
    let found = |wanted: Option<&str>, ports: &[Port]| {
        port_of("web", wanted, ports).map_err(|failed| format!("{}; {}", failed.message, failed.advice))
    };
    let two = [port(9090, "metrics"), port(8080, "http")];
    assert_eq!(found(None, &two), Ok(8080));
    assert_eq!(found(None, &[port(9090, "http"), port(80, "")]), Ok(80));
    assert_eq!(found(None, &two[..1]), Ok(9090));
    assert_eq!(found(Some("metrics"), &two), Ok(9090));
    assert_eq!(found(Some("8080"), &two), Ok(8080));
    assert_eq!(
        found(Some("grpc"), &two),
        Err("Service web has no TCP port grpc; its ports: 9090 metrics, 8080 http".into())
    );
    assert!(found(None, &[port(1, "a"), port(2, "b")]).is_err_and(|why| why.contains("several ports")));
}

#[test]
fn who_answered_is_said_by_the_hops() {
    let answer = || Response::new(Bytes::from_static(b"hello"));
    let of = |hops: Vec<Seen>, expected: Option<Expected>| {
        outcome("http://web:80/".into(), &answer(), Duration::from_millis(12), hops, "alice", expected)
    };
    let two = || vec![hop("web", false, ""), hop("orders", true, "alice")];
    let both = of(two(), Some(Expected::Laptop));
    assert_eq!((both.answered_by, both.as_expected), ("laptop", Some(true)));
    assert_eq!(
        both.describe(),
        "  http://web:80/ 200 in 12 ms\n  web: origin, matched baggage: bridge=alice\n  orders: alice's laptop, \
         matched baggage: bridge=alice\n"
    );
    let bobs = of(vec![hop("orders", true, "bob")], Some(Expected::Laptop));
    assert_eq!((bobs.answered_by, bobs.as_expected), ("origin", Some(false)), "another's laptop is not hers");
    let none = of(vec![], None);
    assert_eq!((none.answered_by, none.as_expected), ("origin", None));
    assert!(none.describe().contains("none of your sessions"), "{}", none.describe());
}
