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
fn what_two_parsers_could_read_differently_is_not_interpreted() {
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
