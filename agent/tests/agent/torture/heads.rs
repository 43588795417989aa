//! Request lines and headers: those that parsers read differently go to the origin unread, the odd but clear are
//! routed.

use super::{Kind, OK, Row, torture};

#[tokio::test]
async fn ambiguous_heads() {
    let heads = [
        ("lines that end in LF", "GET / HTTP/1.1\nHost: a\n{alice}\n"),
        ("a request line that ends in LF", "GET / HTTP/1.1\nHost: a\r\n{alice}\r\n"),
        ("a header that ends in LF", "GET / HTTP/1.1\r\nHost: a\n{alice}\r\n"),
        ("an empty line that is a bare LF", "GET / HTTP/1.1\r\nHost: a\r\n{alice}\n"),
        ("a bare LF in front", "\nGET / HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("a bare CR in a value", "GET / HTTP/1.1\r\nX: a\rb\r\n{alice}\r\n"),
        ("a bare CR for a line's end", "GET / HTTP/1.1\r\nX: a\r{alice}\r\n\r\n"),
        ("CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n{alice}\r\n"),
        ("an empty line of CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\n{alice}\r\r\n\r\n"),
        ("a bare CR in the request line", "GET /\r HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("a fold", "GET / HTTP/1.1\r\nX: a\r\n b\r\n{alice}\r\n"),
        ("a fold with a tab", "GET / HTTP/1.1\r\nX: a\r\n\tb\r\n{alice}\r\n"),
        ("a fold behind the request line", "GET / HTTP/1.1\r\n Host: a\r\n{alice}\r\n"),
        ("a NUL in a value", "GET / HTTP/1.1\r\nX: a\0b\r\n{alice}\r\n"),
        ("a NUL in a name", "GET / HTTP/1.1\r\nX\0: a\r\n{alice}\r\n"),
        ("a NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("a bell in a value", "GET / HTTP/1.1\r\nX: a\x07b\r\n{alice}\r\n"),
        ("a DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("a space before a colon", "GET / HTTP/1.1\r\nHost : a\r\n{alice}\r\n"),
        ("a header without a colon", "GET / HTTP/1.1\r\nHost\r\n{alice}\r\n"),
        ("a header without a name", "GET / HTTP/1.1\r\n: a\r\n{alice}\r\n"),
        ("a name with a space", "GET / HTTP/1.1\r\nX Y: a\r\n{alice}\r\n"),
        ("a name that is not ASCII", "GET / HTTP/1.1\r\nX\u{e9}: a\r\n{alice}\r\n"),
        ("a name with a slash", "GET / HTTP/1.1\r\nX/Y: a\r\n{alice}\r\n"),
        ("a space in the method", "GE T / HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("a space before the method", " GET / HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("no method", "/ HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("a method in brackets", "(GET) / HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("two spaces before the target", "GET  / HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("two spaces behind the target", "GET /  HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("a tab behind the target", "GET /\tHTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("a space behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n{alice}\r\n"),
        ("a target of no known form", "GET a/b HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("no target", "GET HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("no version", "GET /\r\nHost: a\r\n{alice}\r\n"),
        ("HTTP/0.9", "GET /\r\n"),
        ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n{alice}\r\n"),
        ("HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n{alice}\r\n"),
        ("HTTP/1", "GET / HTTP/1\r\nHost: a\r\n{alice}\r\n"),
        ("HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n{alice}\r\n"),
        ("http/1.1", "GET / http/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("something like HTTP", "GET / ICAP/1.0\r\nHost: a\r\n{alice}\r\n"),
        ("the preface of HTTP/2, almost", "PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n"),
    ];
    let rows = heads.into_iter().map(|(name, head)| Row::new(Kind::Ambiguous, name).says(head));
    torture(rows.collect()).await;
}

#[tokio::test]
async fn ambiguous_heads_of_a_second_request() {
    let heads = [
        ("a bare LF", "GET / HTTP/1.1\r\nHost: a\nX-Bridge: alice\r\n\r\n"),
        ("an empty line of LF", "\nGET / HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n"),
        ("no version", "GET /\r\nX-Bridge: alice\r\n\r\n"),
        ("HTTP/2.0", "GET / HTTP/2.0\r\nX-Bridge: alice\r\n\r\n"),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("not HTTP at all", "\x16\x03\x01 hello"),
        ("a fold", "GET / HTTP/1.1\r\nX-Bridge: alice\r\n bob\r\n\r\n"),
    ];
    let rows = heads.into_iter().map(|(name, head)| {
        // The first one goes to the origin in any case.
        Row::new(Kind::Ambiguous, name).says(super::PLAIN).answers(OK).says(head)
    });
    torture(rows.collect()).await;
}

#[tokio::test]
async fn heads_beyond_the_limits() {
    let long_header = format!("X: {}", "x".repeat(70_000));
    let many_headers = "X: y\r\n".repeat(300);
    let long_target = "x".repeat(70_000);
    let rows = vec![
        Row::new(Kind::Ambiguous, "a long header")
            .says(format!("GET / HTTP/1.1\r\nHost: a\r\n{{alice}}{long_header}\r\n\r\n")),
        Row::new(Kind::Ambiguous, "a long header after the empty line was almost there")
            .says(format!("GET / HTTP/1.1\r\nHost: a\r\n{{alice}}{long_header}\r\nX: y\r\n\r\n")),
        Row::new(Kind::Ambiguous, "many headers")
            .says(format!("GET / HTTP/1.1\r\nHost: a\r\n{{alice}}{many_headers}\r\n")),
        Row::new(Kind::Ambiguous, "a long target")
            .says(format!("GET /{long_target} HTTP/1.1\r\nHost: a\r\n{{alice}}\r\n")),
        Row::new(Kind::Ambiguous, "a long method")
            .says(format!("{} / HTTP/1.1\r\nHost: a\r\n{{alice}}\r\n", "M".repeat(40))),
        Row::new(Kind::Ambiguous, "headers without an end")
            .says(format!("GET / HTTP/1.1\r\nHost: a\r\n{{alice}}{}", "X: y\r\n".repeat(400))),
        Row::new(Kind::Ambiguous, "empty lines without an end").says("\r\n".repeat(40_000)),
        Row::new(Kind::Plain, "as much as is read")
            .says(format!("GET / HTTP/1.1\r\nHost: a\r\n{{alice}}X: {}\r\n\r\n", "x".repeat(60_000)))
            .answers(OK),
    ];
    torture(rows).await;
}

#[tokio::test]
async fn odd_heads_that_are_clear() {
    let heads = [
        ("an empty line in front", "\r\nGET / HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("empty lines in front", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("a method in small letters", "get / HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("a method of its own", "X-MY~METHOD! / HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("an absolute target", "GET http://a:80/b?c HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("OPTIONS of the server", "OPTIONS * HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        (
            "a target with all that is printed",
            "GET /!\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~ HTTP/1.1\r\n{alice}\r\n",
        ),
        ("a target that is not ASCII", "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n{alice}\r\n"),
        ("no Host", "GET / HTTP/1.1\r\n{alice}X: y\r\n\r\n"),
        ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n{alice}\r\n"),
        ("blanks around values", "GET / HTTP/1.1\r\nHost:\t a \t\r\nX:\r\nY:  \r\n{alice}\r\n"),
        ("a value that is not ASCII", "GET / HTTP/1.1\r\nX: \u{e9}\u{4e2d}\r\n{alice}\r\n"),
        ("HTTP/1.0 with keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n{alice}\r\n"),
        (
            "a list of connection options",
            "GET / HTTP/1.1\r\nConnection: te ,, keep-alive,x\r\nTE: trailers\r\n{alice}\r\n",
        ),
        (
            "an upgrade that nobody asks the connection for",
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n{alice}\r\n",
        ),
        (
            "an upgrade that is not accepted",
            "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n{alice}\r\n",
        ),
    ];
    let rows = heads.into_iter().flat_map(|(name, head)| {
        [
            Row::new(Kind::Plain, name).says(head).answers(OK),
            Row::new(Kind::Plain, name).sends(&head[..5]).sends(&head[5..]).hears(head).answers(OK),
        ]
    });
    torture(rows.collect()).await;
}

#[tokio::test]
async fn heads_byte_by_byte() {
    let rows = vec![
        Row::new(Kind::Plain, "a clear head")
            .spells("PATCH /a?b HTTP/1.1\r\nHost: a\r\n{alice}X: y\r\n\r\n")
            .answers(OK),
        Row::new(Kind::Ambiguous, "an ambiguous head")
            .spells("PATCH /a?b HTTP/1.1\r\nHost: a\r\n{alice}X: y\n\r\n"),
    ];
    torture(rows).await;
}
