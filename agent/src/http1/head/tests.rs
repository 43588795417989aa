use proptest::prelude::*;

use super::*;

fn request(head: &str) -> Result<Request, Flaw> {
    let mut scan = HeadScan::default();
    match scan.advance(head.as_bytes())? {
        Scan::Complete(len) => parse_request(&head.as_bytes()[..len], |_| ()).map(|(request, ())| request),
        Scan::Partial => panic!("a partial head: {head:?}"),
    }
}

fn answer(head: &str, method: Method) -> Result<Answer, Flaw> {
    let mut scan = HeadScan::default();
    match scan.advance(head.as_bytes())? {
        Scan::Complete(len) => parse_answer(&head.as_bytes()[..len], method),
        Scan::Partial => panic!("a partial head: {head:?}"),
    }
}

#[test]
fn requests_are_framed() {
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None, false),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None, false),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", Framing::Length(3), false),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\n", Framing::Length(3), false),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n",
            Framing::Chunked,
            true,
        ),
        ("GET / HTTP/1.0\r\n\r\n", Framing::None, true),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Framing::None, false),
    ];
    for (head, framing, closes) in cases {
        let request = request(head).unwrap_or_else(|flaw| panic!("{head:?}: {flaw}"));
        assert_eq!((request.framing, request.closes), (framing, closes), "{head:?}");
        assert_eq!(request.head_len, head.len());
    }
}

#[test]
fn heads_that_two_parsers_could_read_differently_are_not_interpreted() {
    let cases = [
        ("GET / HTTP/1.1\nHost: a\n\n", Flaw::LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Flaw::LineEnd),
        ("GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", Flaw::Grammar),
        ("GET / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n", Flaw::Grammar),
        ("GET / HTTP/1.1\r\n X: a\r\n\r\n", Flaw::Grammar),
        ("GET / HTTP/1.1\r\nX : a\r\n\r\n", Flaw::Grammar),
        ("GET / HTTP/1.1\r\nX\r\n\r\n", Flaw::Grammar),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", Flaw::Grammar),
        ("GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", Flaw::Grammar),
        ("GET / HTTP/1.1\r\nX: a\x08b\r\n\r\n", Flaw::Grammar),
        ("GET  / HTTP/1.1\r\n\r\n", Flaw::Grammar),
        ("GET / HTTP/1.2\r\n\r\n", Flaw::Grammar),
        ("GET a HTTP/1.1\r\n\r\n", Flaw::Target),
        ("GET ://a HTTP/1.1\r\n\r\n", Flaw::Target),
        ("GET a:80 HTTP/1.1\r\n\r\n", Flaw::Target),
        ("GET / HTTP/2.0\r\n\r\n", Flaw::Grammar),
        (
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            Flaw::LengthAndTransferEncoding,
        ),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", Flaw::Length),
        ("POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n", Flaw::Length),
        ("POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n", Flaw::Length),
        ("POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n", Flaw::Length),
        ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", Flaw::Length),
        ("POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", Flaw::Length),
        ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", Flaw::Length),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", Flaw::TransferEncoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", Flaw::TransferEncoding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", Flaw::TransferEncoding),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Flaw::TransferEncoding,
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Flaw::TransferEncoding),
        ("POST / HTTP/1.1\r\nConnection: x, Content-Length\r\n\r\n", Flaw::ConnectionOption),
        ("CONNECT a:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", Flaw::Body),
    ];
    for (head, flaw) in cases {
        assert_eq!(request(head), Err(flaw), "{head:?}");
    }
}

#[test]
fn a_target_has_one_of_four_forms() {
    let target = |method: &str, target: &str| request(&format!("{method} {target} HTTP/1.1\r\n\r\n"));
    for (method, good) in [
        ("GET", "/"),
        ("GET", "/a?b=://c"),
        ("OPTIONS", "*"),
        ("GET", "http://orders/a"),
        ("GET", "H2+c-1.0://orders"),
        ("CONNECT", "orders:80"),
    ] {
        assert!(target(method, good).is_ok(), "{method} {good}");
    }
    for bad in ["a", "**", "orders:80", "://a", "1http://a", "+http://a", "ht_tp://a", "a/b://c", "?a"] {
        assert_eq!(target("GET", bad), Err(Flaw::Target), "{bad}");
    }
}

#[test]
fn other_facts_in_a_request_head() {
    let plain = Request {
        head_len: 0,
        method: Method::Other,
        framing: Framing::None,
        old: false,
        closes: false,
        upgrades: false,
        expects: false,
    };
    let closes = Request { closes: true, ..plain };
    for (head, expected) in [
        ("GET / HTTP/1.1\r\n", plain),
        ("HEAD / HTTP/1.1\r\n", Request { method: Method::Head, ..plain }),
        ("head / HTTP/1.1\r\n", plain),
        ("CONNECT a:1 HTTP/1.1\r\n", Request { method: Method::Connect, ..plain }),
        ("GET / HTTP/1.0\r\n", Request { old: true, ..closes }),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n", Request { old: true, ..plain }),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n", Request { old: true, ..closes }),
        ("GET / HTTP/1.1\r\nConnection: CLOSE\r\n", closes),
        ("GET / HTTP/1.1\r\nConnection: a\r\nConnection: b ,\tclose\r\nConnection: c\r\n", closes),
        ("GET / HTTP/1.1\r\nConnection: closed\r\n", plain),
        ("GET / HTTP/1.1\r\nEXPECT: 100-continue\r\n", Request { expects: true, ..plain }),
        // An upgrade takes both headers, and HTTP/1.1 (RFC 9110 section 7.8).
        (
            "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
            Request { upgrades: true, ..plain },
        ),
        (
            "GET / HTTP/1.1\r\nUpgrade: h2c\r\nUpgrade: a\r\nConnection: a, upgrade\r\n",
            Request { upgrades: true, ..plain },
        ),
        ("GET / HTTP/1.1\r\nConnection: Upgrade\r\n", plain),
        ("GET / HTTP/1.1\r\nConnection: Upgrade\r\nReferer: websocket\r\n", plain),
        ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n", plain),
        ("GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: H2C\r\n", plain),
        ("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: a\r\n", Request { old: true, ..closes }),
    ] {
        let head = format!("{head}\r\n");
        assert_eq!(request(&head), Ok(Request { head_len: head.len(), ..expected }), "{head:?}");
    }
}

#[test]
fn headers_are_known_by_their_names_not_by_their_lengths() {
    let same_lengths = [
        "Cookie: 100-continue",
        "Referer: websocket",
        "User-Agent: close, upgrade, content-length",
        "Accept-Charset: x",
        "If-Modified-Since: x",
    ];
    let head = |headers: &[&str]| format!("GET / HTTP/1.1\r\n{}\r\n\r\n", headers.join("\r\n"));
    let read = request(&head(&same_lengths)).expect("a plain request");
    assert_eq!(read.framing, Framing::None);
    assert!(!read.closes && !read.expects && !read.upgrades, "{read:?}");
    for option in ["content-length", "Transfer-Encoding", "close, transfer-encoding"] {
        let option = format!("Connection: {option}");
        assert_eq!(request(&head(&[&option])), Err(Flaw::ConnectionOption), "{option}");
    }
}

#[test]
fn the_head_of_a_request_is_shown_as_it_is() {
    let bytes = b"PUT /a?b HTTP/1.1\r\nX-Bridge: alice\r\n\r\nbody";
    let (read, shown) = parse_request(bytes, |head| {
        let header = head.headers.first().map(|header| (header.name.to_owned(), header.value.to_vec()));
        (head.method.to_owned(), head.target.to_owned(), header)
    })
    .expect("a good head");
    assert_eq!(read.head_len, bytes.len() - "body".len());
    let header = Some(("X-Bridge".to_owned(), b"alice".to_vec()));
    assert_eq!(shown, ("PUT".to_owned(), "/a?b".to_owned(), header));
    assert_eq!(parse_request(b"GET / HTTP/1.1\r\n", |_| ()).map(|_| ()), Err(Flaw::Grammar), "half a head");
}

#[test]
fn an_answer_is_known_by_its_first_bytes() {
    for (bytes, expected) in [
        ("", Ok(Scan::Partial)),
        ("H", Ok(Scan::Partial)),
        ("HTTP/1.", Ok(Scan::Partial)),
        ("HTTP/1.1 200 OK\r\n", Ok(Scan::Partial)),
        ("HTTP/1.1 200 OK\r\n\r\nmore", Ok(Scan::Complete(19))),
        ("S", Err(Flaw::NoHead)),
        ("HTTQ", Err(Flaw::NoHead)),
        ("HTTP/2", Err(Flaw::NoHead)),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Err(Flaw::NoHead)),
        ("HTTP/1.1 200 OK\n", Err(Flaw::LineEnd)),
    ] {
        assert_eq!(HeadScan::default().advance_answer(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

#[test]
fn more_headers_than_are_read() {
    let head = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert!(request(&head(MAX_HEADERS)).is_ok());
    assert_eq!(request(&head(MAX_HEADERS + 1)), Err(Flaw::TooManyHeaders));
}

#[test]
fn answers_are_framed() {
    let until_close = Kind::Final(Framing::UntilClose);
    let none = Kind::Final(Framing::None);
    let cases = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Method::Other,
            Kind::Final(Framing::Length(5)),
            false,
        ),
        ("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", Method::Other, Kind::Final(Framing::Length(5)), false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::Head, none, false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::Other,
            Kind::Final(Framing::Chunked),
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", Method::Other, until_close, true),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            Method::Other,
            Kind::Final(Framing::Length(5)),
            true,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", Method::Other, none, false),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Method::Other, none, false),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Method::Other, none, false),
        ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Other, none, false),
        ("HTTP/1.1 204 No Content\r\n\r\n", Method::Head, none, false),
        ("HTTP/1.1 100 Continue\r\n\r\n", Method::Head, Kind::Interim, false),
        ("HTTP/1.1 199 Odd\r\nContent-Length: 0\r\n\r\n", Method::Connect, Kind::Interim, false),
        ("HTTP/1.1 101 Switching\r\n\r\n", Method::Head, Kind::Raw, false),
        ("HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", Method::Connect, Kind::Raw, false),
        ("HTTP/1.1 300 Odd\r\n\r\n", Method::Connect, until_close, true),
        ("HTTP/1.1 999 Odd\r\n\r\n", Method::Other, until_close, true),
        ("HTTP/1.0 200 OK\r\n\r\n", Method::Head, none, true),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", Method::Head, none, false),
        ("HTTP/1.1 100 Continue\r\n\r\n", Method::Other, Kind::Interim, false),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Method::Other, Kind::Raw, false),
        ("HTTP/1.1 200 OK\r\n\r\n", Method::Connect, Kind::Raw, false),
        (
            "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
            Method::Connect,
            Kind::Final(Framing::Length(0)),
            false,
        ),
    ];
    for (head, method, kind, closes) in cases {
        let answer = answer(head, method).unwrap_or_else(|flaw| panic!("{head:?}: {flaw}"));
        assert_eq!((answer.kind, answer.closes), (kind, closes), "{head:?}");
    }
}

#[test]
fn answers_that_are_not_interpreted() {
    let cases = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Flaw::LengthAndTransferEncoding,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Flaw::Length),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Flaw::TransferEncoding),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Flaw::Body),
        ("HTTP/1.1 101 Switching\r\nContent-Length: 5\r\n\r\n", Flaw::Body),
        ("HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\n", Flaw::Body),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", Flaw::Body),
        ("HTTP/1.1 200 OK\r\nConnection: content-length\r\n\r\n", Flaw::ConnectionOption),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
            Flaw::TransferEncoding,
        ),
        ("\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Flaw::NoHead),
        ("HTTP/1.1 099 Odd\r\n\r\n", Flaw::Grammar),
        ("HTTP/2 200 OK\r\n\r\n", Flaw::NoHead),
        ("ICY 200 OK\r\n\r\n", Flaw::NoHead),
    ];
    for (head, flaw) in cases {
        assert_eq!(answer(head, Method::Other), Err(flaw), "{head:?}");
    }
}

#[test]
fn an_answer_to_connect_has_no_body() {
    for framing in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        let head = |status: u16| format!("HTTP/1.1 {status} X\r\n{framing}\r\n\r\n");
        for status in [200, 299] {
            assert_eq!(answer(&head(status), Method::Connect), Err(Flaw::Body), "{status} {framing}");
            assert!(answer(&head(status), Method::Other).is_ok(), "{status} {framing}");
        }
        assert!(answer(&head(403), Method::Connect).is_ok(), "a refusal may say why");
    }
}

#[test]
fn other_facts_in_an_answer_head() {
    for (head, status, closes, says_close) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, false, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 200, true, true),
        // Its end is the connection's, whether announced or not.
        ("HTTP/1.1 200 OK\r\n\r\n", 200, true, false),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", 200, true, true),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, true, false),
    ] {
        let answer = answer(head, Method::Other).unwrap_or_else(|flaw| panic!("{head:?}: {flaw}"));
        assert_eq!(
            (answer.status, answer.closes, answer.says_close),
            (status, closes, says_close),
            "{head:?}"
        );
        assert_eq!(answer.head_len, head.len());
    }
    let half = b"HTTP/1.1 200 OK\r\n";
    assert_eq!(parse_answer(half, Method::Other), Err(Flaw::Grammar), "half a head");
}

proptest! {
    #[test]
    fn the_end_of_a_head_is_found_however_it_is_cut(
        head in "(\r\n){0,2}(A[a-z]{0,3}\r?\n){1,4}\r?\n?rest",
        cuts in proptest::collection::vec(0usize..40, 0..6),
    ) {
        let whole = HeadScan::default().advance(head.as_bytes());
        let mut ends: Vec<usize> = cuts.into_iter().map(|cut| cut.min(head.len())).collect();
        ends.sort_unstable();
        ends.push(head.len());
        let mut scan = HeadScan::default();
        let mut result = Ok(Scan::Partial);
        for end in ends {
            result = scan.advance(&head.as_bytes()[..end]);
            if result != Ok(Scan::Partial) {
                break;
            }
        }
        prop_assert_eq!(result, whole);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_request(&bytes, |_| ());
        let _ = parse_answer(&bytes, Method::Other);
    }
}
