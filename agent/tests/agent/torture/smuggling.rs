//! Messages whose length two parsers could read differently: the means to smuggle requests.

use super::{Kind, Row, torture};

/// Ambiguous length headers, and a body that is a request to one half of the parsers.
const LENGTHS: &[(&str, &str)] = &[
    ("CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked"),
    ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4"),
    ("TE.CL with an empty length", "Transfer-Encoding: chunked\r\nContent-Length: 0"),
    ("a space before the colon", "Transfer-Encoding : chunked"),
    ("a space before the colon, and a length", "Content-Length: 5\r\nTransfer-Encoding : chunked"),
    ("a tab before the colon", "Transfer-Encoding\t: chunked"),
    ("a NUL before the colon", "Transfer-Encoding\0: chunked"),
    ("a vertical tab before the coding", "Transfer-Encoding:\x0bchunked"),
    ("a vertical tab after the coding", "Transfer-Encoding: chunked\x0b"),
    ("a form feed before the name", "\x0cTransfer-Encoding: chunked"),
    ("a space before the name", " Transfer-Encoding: chunked"),
    ("a coding on a folded line", "Transfer-Encoding:\r\n chunked"),
    ("a coding split by a fold", "Transfer-Encoding: chun\r\n\tked"),
    ("a coding hidden in a fold", "X: y\r\n Transfer-Encoding: chunked"),
    ("a coding behind a bare LF", "X: y\nTransfer-Encoding: chunked"),
    ("a coding behind a bare CR", "X: y\rTransfer-Encoding: chunked"),
    ("a coding behind a NUL", "X: y\0Transfer-Encoding: chunked"),
    ("xchunked", "Transfer-Encoding: xchunked"),
    ("chunkedx", "Transfer-Encoding: chunkedx"),
    ("a quoted coding", "Transfer-Encoding: \"chunked\""),
    ("a coding with a parameter", "Transfer-Encoding: chunked;q=1"),
    ("a coding with a comma", "Transfer-Encoding: chunked,"),
    ("a comma before the coding", "Transfer-Encoding: ,chunked"),
    ("chunked, identity", "Transfer-Encoding: chunked, identity"),
    ("identity, chunked", "Transfer-Encoding: identity, chunked"),
    ("identity", "Transfer-Encoding: identity\r\nContent-Length: 5"),
    ("gzip, chunked", "Transfer-Encoding: gzip, chunked"),
    ("chunked twice in one", "Transfer-Encoding: chunked, chunked"),
    ("chunked twice in two", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ("chunked and identity in two", "Transfer-Encoding: chunked\r\nTransfer-encoding: identity"),
    ("identity and chunked in two", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
    ("cow and chunked in two", "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked"),
    ("an empty coding", "Transfer-Encoding:"),
    ("an empty coding and a good one", "Transfer-Encoding:\r\nTransfer-Encoding: chunked"),
    ("a coding that is not ASCII", "Transfer-Encoding: chun\u{212a}ed"),
    ("a length with a plus", "Content-Length: +5"),
    ("a negative length", "Content-Length: -5"),
    ("a length in hex", "Content-Length: 0x5"),
    ("a length with an exponent", "Content-Length: 5e0"),
    ("a length with a fraction", "Content-Length: 5.0"),
    ("a length with an underscore", "Content-Length: 1_0"),
    ("a length with something behind it", "Content-Length: 5 5"),
    ("a length with a semicolon", "Content-Length: 5;"),
    ("a length with a vertical tab", "Content-Length: \x0b5"),
    ("a length with a NUL", "Content-Length: 5\0"),
    ("a length in other digits", "Content-Length: \u{0665}"),
    ("no length", "Content-Length:"),
    ("a list of equal lengths", "Content-Length: 5 ,5"),
    ("a list of unequal lengths", "Content-Length: 5, 6"),
    ("a list with a comma too many", "Content-Length: 5,"),
    ("two unequal lengths", "Content-Length: 5\r\nContent-Length: 6"),
    ("two unequal lengths, the first empty", "Content-Length:\r\nContent-Length: 5"),
    ("a length that overflows 64 bits", "Content-Length: 18446744073709551621"),
    ("a length that overflows 32 bits twice", "Content-Length: 9999999999999999999999999999999"),
    ("a length with a space before the colon", "Content-Length : 5"),
    ("a length on a folded line", "Content-Length:\r\n 5"),
    ("a length that a proxy is to drop", "Connection: Content-Length\r\nContent-Length: 5"),
    (
        "a coding that a proxy is to drop",
        "Connection: close, transfer-encoding\r\nTransfer-Encoding: chunked",
    ),
];

/// Reads as a complete chunked body, as five bytes, and as a request, depending on the reader.
const BODY: &str = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nX-Bridge: alice\r\nX: ";

#[tokio::test]
async fn ambiguous_lengths() {
    let rows = LENGTHS.iter().map(|(name, headers)| {
        let message = format!("POST / HTTP/1.1\r\nHost: a\r\n{{alice}}{headers}\r\n\r\n{BODY}");
        Row::new(Kind::Ambiguous, name).says(message)
    });
    torture(rows.collect()).await;
}

#[tokio::test]
async fn ambiguous_lengths_in_pieces() {
    let rows = LENGTHS.iter().map(|(name, headers)| {
        let (before, after) = headers.split_at(headers.len() / 2);
        Row::new(Kind::Ambiguous, name)
            .sends("POST / HTTP/1.1\r\nHost: a\r\n{alice}")
            .sends(before)
            .sends(after)
            .sends("\r\n\r\n")
            .hears(format!("POST / HTTP/1.1\r\nHost: a\r\n{{alice}}{headers}\r\n\r\n"))
            .says(BODY)
    });
    torture(rows.collect()).await;
}

#[tokio::test]
async fn http_1_0_and_connect_know_no_chunks() {
    let rows = vec![
        Row::new(Kind::Ambiguous, "chunks in HTTP/1.0")
            .says("POST / HTTP/1.0\r\n{alice}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Row::new(Kind::Ambiguous, "chunks in HTTP/1.0 with keep-alive").says(
            "POST / HTTP/1.0\r\n{alice}Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        Row::new(Kind::Ambiguous, "a CONNECT with a length")
            .says("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n{alice}Content-Length: 5\r\n\r\n0\r\n\r\n"),
        Row::new(Kind::Ambiguous, "a CONNECT with chunks")
            .says("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n{alice}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ];
    torture(rows).await;
}

#[tokio::test]
async fn lengths_that_look_odd_and_are_not() {
    let rows = [
        ("two equal lengths", "Content-Length: 5\r\ncontent-length: 5"),
        ("zeros before the length", "Content-Length: 000005"),
        ("blanks around the length", "Content-Length: \t 5 \t"),
        ("no blank before the length", "Content-Length:5"),
        ("a name in capitals", "CONTENT-LENGTH: 5"),
        ("names that only look like it", "X-Content-Length: 9\r\nContent-Length: 5\r\nContent_Length: 9"),
    ];
    let rows = rows.into_iter().map(|(name, headers)| {
        Row::new(Kind::Plain, name)
            .says(format!("POST / HTTP/1.1\r\nHost: a\r\n{{alice}}{headers}\r\n\r\nhello"))
            .answers(super::OK)
    });
    torture(rows.collect()).await;
}
