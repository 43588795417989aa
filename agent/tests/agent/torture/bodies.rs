//! Bodies: chunks of all kinds, expectations, upgrades, early ends.

use super::{Kind, OK, Row, torture};
use crate::world::{World, story};

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\n{alice}Transfer-Encoding: chunked\r\n\r\n";
const FIVE: &str = "POST / HTTP/1.1\r\nHost: a\r\n{alice}Content-Length: 5\r\n\r\n";

/// Chunks that can be read in one way only.
const CHUNKS: &[(&str, &str)] = &[
    ("no data", "0\r\n\r\n"),
    ("zeros", "0000\r\n\r\n"),
    ("two chunks", "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
    ("sizes in hex", "A\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n"),
    ("a size with zeros in front", "000005\r\nhello\r\n0\r\n\r\n"),
    ("an extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n"),
    ("a quoted extension", "5;a=\"x;y\\\"z\"\r\nhello\r\n0\r\n\r\n"),
    ("trailers", "5\r\nhello\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n"),
    (
        "trailers that look like framing",
        "0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nX-Bridge: bob\r\n\r\n",
    ),
    ("data that looks like an end", "9\r\n\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n"),
    ("data that looks like a request", "12\r\nGET / HTTP/1.1\r\n\r\n\r\n0\r\n\r\n"),
];

/// Chunks that can be read in several ways.
const BAD_CHUNKS: &[(&str, &str)] = &[
    ("a size with a plus", "+5\r\nhello\r\n0\r\n\r\n"),
    ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
    ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("a size with a blank behind it", "5 \r\nhello\r\n0\r\n\r\n"),
    ("a size with a blank in front", " 5\r\nhello\r\n0\r\n\r\n"),
    ("a size with a tab", "5\t\r\nhello\r\n0\r\n\r\n"),
    ("a size with an underscore", "1_0\r\nhello\r\n0\r\n\r\n"),
    ("no size", "\r\nhello\r\n0\r\n\r\n"),
    ("an extension without a size", ";a\r\nhello\r\n0\r\n\r\n"),
    ("a size of too many digits", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a size that overflows", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a size that ends in LF", "5\nhello\r\n0\r\n\r\n"),
    ("a size that ends in CR", "5\rhello\r\n0\r\n\r\n"),
    ("a blank before an extension", "5 ;a\r\nhello\r\n0\r\n\r\n"),
    ("an extension with a bare LF", "5;a\nhello\r\n0\r\n\r\n"),
    ("an extension with a bare CR", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("an extension with a NUL", "5;a\0\r\nhello\r\n0\r\n\r\n"),
    ("a quoted extension over two lines", "5;a=\"\r\nhello\"\r\n0\r\n\r\n"),
    ("a quoted extension without an end", "5;a=\"x\r\nhello\r\n0\r\n\r\n"),
    ("an extension that is too long", "LONG\r\nhello\r\n0\r\n\r\n"),
    ("data longer than its size", "5\r\nhello!\r\n0\r\n\r\n"),
    ("data shorter than its size", "7\r\nhello\r\n0\r\n\r\n"),
    ("data that ends in LF", "5\r\nhello\n0\r\n\r\n"),
    ("data that ends in nothing", "5\r\nhello0\r\n\r\n"),
    ("a trailer without a colon", "0\r\nX\r\n\r\n"),
    ("a trailer with a blank before the colon", "0\r\nX : y\r\n\r\n"),
    ("a trailer on a folded line", "0\r\nX: y\r\n z\r\n\r\n"),
    ("a trailer that ends in LF", "0\r\nX: y\n\r\n"),
    ("a last line that is a bare LF", "0\r\n\n"),
    ("a last line of CR and something", "0\r\n\rX"),
    ("a last chunk that ends in LF", "0\n\n"),
];

#[tokio::test]
async fn chunks() {
    let rows = CHUNKS.iter().flat_map(|(name, body)| {
        let message = format!("{CHUNKED}{body}");
        [
            Row::new(Kind::Plain, name).says(&message).answers(OK),
            Row::new(Kind::Plain, name).spells(&message).answers(OK),
            Row::new(Kind::Plain, name).says(CHUNKED).says(*body).answers(OK),
        ]
    });
    torture(rows.collect()).await;
}

#[tokio::test]
async fn bad_chunks() {
    let long = format!("5;{}", "x".repeat(5000));
    let rows = BAD_CHUNKS.iter().flat_map(|(name, body)| {
        let body = body.replace("LONG", &long);
        [
            Row::new(Kind::Ambiguous, name).says(format!("{CHUNKED}{body}")),
            Row::new(Kind::Late, name).says(CHUNKED).says(&body),
            // The good chunk in front of it may go on.
            Row::new(Kind::Late, name).says(format!("{CHUNKED}1\r\nx\r\n")).says(&body),
        ]
    });
    torture(rows.collect()).await;
}

#[tokio::test]
async fn bodies_that_do_not_come() {
    let rows = vec![
        Row::new(Kind::Last, "a length, and an end before it").says(format!("{FIVE}he")).caller_ends(),
        Row::new(Kind::Last, "chunks without a last one")
            .says(format!("{CHUNKED}5\r\nhello\r\n"))
            .caller_ends(),
        Row::new(Kind::Last, "chunks without their last line")
            .says(format!("{CHUNKED}5\r\nhello\r\n0\r\n"))
            .caller_ends(),
        Row::new(Kind::Last, "and an answer all the same")
            .says(format!("{FIVE}he"))
            .caller_ends()
            .answers("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .server_ends(),
    ];
    torture(rows).await;
}

#[tokio::test]
async fn callers_that_half_close() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n{alice}\r\n";
    let rows = vec![
        Row::new(Kind::Last, "after a request").says(get).caller_ends().answers(OK).server_ends(),
        Row::new(Kind::Last, "after a body")
            .says(format!("{FIVE}hello"))
            .caller_ends()
            .answers(OK)
            .server_ends(),
        Row::new(Kind::Last, "and get an answer that lasts until the end")
            .says(get)
            .caller_ends()
            .answers("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome")
            .answers("thing")
            .server_ends(),
    ];
    torture(rows).await;
}

#[tokio::test]
async fn callers_that_half_close_before_their_request_is_whole() {
    for said in ["", "G", "GET / HTTP/1.1\r\nHos", "GET / HTTP/1.1\r\nX-Bridge: alice\r\n"] {
        story(async {
            let world = World::new().await;
            let (_alice, _local) = world.alice().await;
            let (mut caller, mut origin) = world.connection().await;
            caller.says(said).await;
            caller.ends().await;
            assert_eq!(origin.hears_rest().await, said);
            origin.says("what was that?").await;
            origin.ends().await;
            assert_eq!(caller.hears_rest().await, "what was that?");
        })
        .await;
    }
}

#[tokio::test]
async fn expectations() {
    let expecting = "PUT / HTTP/1.1\r\nHost: a\r\n{alice}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let rows = vec![
        Row::new(Kind::Plain, "a body that waits").says(expecting).answers(go_on).says("hello").answers(OK),
        Row::new(Kind::Plain, "a body that does not wait").says(format!("{expecting}hello")).answers(OK),
        Row::new(Kind::Plain, "a body that waits no longer").says(expecting).says("hello").answers(OK),
        Row::new(Kind::Plain, "100 although the body is there")
            .says(format!("{expecting}hello"))
            .answers(go_on)
            .answers(OK),
        Row::new(Kind::Plain, "other interim answers first")
            .says(expecting)
            .answers("HTTP/1.1 102 Processing\r\n\r\n")
            .answers("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            .answers(go_on)
            .says("hello")
            .answers(OK),
        Row::new(Kind::Plain, "nothing to wait for")
            .says("GET / HTTP/1.1\r\nHost: a\r\n{alice}Expect: 100-continue\r\n\r\n")
            .answers(OK),
        // The caller may or may not send the body, so the following bytes are not read.
        Row::new(Kind::Last, "an answer in place of 100")
            .says(expecting)
            .marked_with("x-bridge-served-by: alice\r\nCache-Control: private\r\nConnection: close\r\n")
            .answers("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno"),
        Row::new(Kind::Last, "an answer in place of 100, after hints")
            .says(expecting)
            .marked_with("x-bridge-served-by: alice\r\nCache-Control: private\r\nConnection: close\r\n")
            .answers("HTTP/1.1 103 Early Hints\r\n\r\n")
            .answers("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno"),
    ];
    torture(rows).await;
}

#[tokio::test]
async fn early_answers() {
    let rows = vec![
        Row::new(Kind::Plain, "an answer before the body").says(FIVE).answers(OK).says("hello"),
        Row::new(Kind::Plain, "an answer in the middle of the body")
            .says(format!("{FIVE}he"))
            .answers(OK)
            .says("llo"),
        Row::new(Kind::Plain, "an answer between chunks")
            .says(format!("{CHUNKED}5\r\nhello\r\n"))
            .answers(OK)
            .says("5\r\nworld\r\n")
            .says("0\r\n\r\n"),
        Row::new(Kind::Last, "an answer that ends the connection")
            .says(format!("{FIVE}he"))
            .answers("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
            .server_ends(),
    ];
    torture(rows).await;
}

#[tokio::test]
async fn upgrades() {
    let websocket =
        "GET / HTTP/1.1\r\nHost: a\r\n{alice}Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let connect = "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n{alice}\r\n";
    let rows = vec![
        Row::new(Kind::Last, "an upgrade")
            .says(websocket)
            .answers(switch)
            .says("GET / HTTP/1.1\r\nX-Bridge: alice\r\n\r\n")
            .answers("\u{1}\u{2}hi")
            .server_ends()
            .says("more")
            .caller_ends(),
        Row::new(Kind::Last, "an upgrade with bytes ahead")
            .sends(format!("{websocket}\u{1}ahead"))
            .hears(websocket)
            .answers(switch)
            .hears("\u{1}ahead")
            .answers("\u{1}seen"),
        Row::new(Kind::Plain, "an upgrade that is refused")
            .says(websocket)
            .answers("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno"),
        Row::new(Kind::Last, "a CONNECT")
            .says(connect)
            .marked_with("x-bridge-served-by: alice\r\n")
            .answers("HTTP/1.1 200 Connected\r\n\r\n")
            .says("\u{16}\u{3}")
            .answers("\u{16}\u{2}")
            .caller_ends()
            .answers("more")
            .server_ends(),
        Row::new(Kind::Plain, "a CONNECT that is refused")
            .says(connect)
            .answers("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"),
    ];
    torture(rows).await;
}
