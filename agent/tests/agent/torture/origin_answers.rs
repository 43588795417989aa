//! Answers: those that can be read in one way only, from either side, and those of the origin that cannot.

use super::{ALICES, HEADER, Kind, OK, PLAIN, Row, torture, torture_without_laptop};
use crate::world::{World, story};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n{alice}\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n{alice}\r\n";
/// The addition to a laptop's answer that ends its connection without announcing it.
const CLOSED: &str = "x-bridge-served-by: alice\r\nCache-Control: private\r\nConnection: close\r\n";

#[tokio::test]
async fn answers_after_which_the_connection_goes_on() {
    let answers = [
        ("a length", GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("no body", GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("two equal lengths", GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
        (
            "chunks",
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX: y\r\n\r\n",
        ),
        ("no reason", GET, "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"),
        ("an empty reason", GET, "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
        ("a long reason", GET, "HTTP/1.1 200 Fine, and\tgood: \u{e9}\r\nContent-Length: 2\r\n\r\nok"),
        ("a status of its own", GET, "HTTP/1.1 799 Hm\r\nContent-Length: 2\r\n\r\nok"),
        ("205", GET, "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
        ("204", GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        ("204 with a length of 0", GET, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        ("304", GET, "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"),
        (
            "304 with the length of what is not sent",
            GET,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        ),
        (
            "304 with the coding of what is not sent",
            GET,
            "HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("HEAD", HEAD, "HTTP/1.1 200 OK\r\n\r\n"),
        ("HEAD with a length", HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"),
        ("HEAD with chunks", HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (
            "HTTP/1.0 with keep-alive",
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n{alice}\r\n",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        ),
        (
            "HTTP/1.1 to HTTP/1.0 with keep-alive",
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n{alice}\r\n",
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        ),
    ];
    let rows = answers
        .into_iter()
        .map(|(name, request, answer)| Row::new(Kind::Plain, name).says(request).answers(answer));
    torture(rows.collect()).await;
}

#[tokio::test]
async fn interim_answers() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let rows = vec![
        Row::new(Kind::Plain, "hints").says(GET).answers(hints).answers(OK),
        Row::new(Kind::Plain, "hints to HEAD")
            .says(HEAD)
            .answers(hints)
            .answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        Row::new(Kind::Plain, "several of them")
            .says(GET)
            .answers("HTTP/1.1 102 Processing\r\n\r\n")
            .answers(hints)
            .answers("HTTP/1.1 104 Whatever\r\nX: y\r\n\r\n")
            .answers(OK),
        Row::new(Kind::Plain, "100 that nobody waited for")
            .says(GET)
            .answers("HTTP/1.1 100 Continue\r\n\r\n")
            .answers(OK),
    ];
    torture(rows).await;
}

#[tokio::test]
async fn answers_that_end_the_connection() {
    let says_close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let old = "GET / HTTP/1.0\r\n{alice}\r\n";
    let closing = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{alice}\r\n";
    let rows = vec![
        Row::new(Kind::Last, "it says so").says(GET).answers(says_close).server_ends(),
        Row::new(Kind::Last, "it says so in a list")
            .says(GET)
            .answers("HTTP/1.1 200 OK\r\nConnection: x , CLOSE\r\nContent-Length: 2\r\n\r\nok")
            .server_ends(),
        Row::new(Kind::Last, "in two headers")
            .says(GET)
            .answers("HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .server_ends(),
        Row::new(Kind::Last, "the end is the length")
            .says(GET)
            .marked_with(CLOSED)
            .answers("HTTP/1.1 200 OK\r\n\r\nsome")
            .answers("thing")
            .server_ends(),
        Row::new(Kind::Last, "the end is the length, and there is none")
            .says(GET)
            .marked_with(CLOSED)
            .answers("HTTP/1.1 200 OK\r\n\r\n")
            .server_ends(),
        Row::new(Kind::Last, "the request said so").says(closing).answers(says_close).server_ends(),
        Row::new(Kind::Last, "only the request said so")
            .says(closing)
            .marked_with(CLOSED)
            .answers(OK)
            .server_ends(),
        Row::new(Kind::Last, "the request is of HTTP/1.0")
            .says(old)
            .marked_with(CLOSED)
            .answers("HTTP/1.0 200 OK\r\n\r\nsome")
            .answers("thing")
            .server_ends(),
        Row::new(Kind::Last, "the answer is of HTTP/1.0")
            .says(GET)
            .answers("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .server_ends(),
    ];
    torture(rows).await;
}

#[tokio::test]
async fn ambiguous_answers_of_the_origin() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answers = [
        (
            "both lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("unequal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
        ("a bad length", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
        ("another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (
            "chunks in HTTP/1.0",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"),
        ("204 with chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("103 with a length", "HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nok"),
        ("a bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
        ("a fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
        ("a NUL", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok"),
        ("a blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
        ("an empty line in front", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("HTTP/2", "HTTP/2 200\r\nContent-Length: 2\r\n\r\nok"),
        ("another protocol", "ICY 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("no head, and not even a line", "hello"),
        ("the beginning of TLS", "\u{15}\u{3}\u{1}\0\u{2}\u{2}F"),
        ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("a status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("a protocol that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\n\r\nhello"),
        ("more than its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay"),
        ("a body where there is none", "HTTP/1.1 304 Not Modified\r\n\r\nbody"),
        ("two answers", &[OK, OK].concat()),
        ("a large head", &format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000))),
        ("many headers", &format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(300))),
        ("a bad chunk", &format!("{chunked}5 \r\nhello\r\n0\r\n\r\n")),
        ("a chunk that ends in LF", &format!("{chunked}5\nhello\n0\n\n")),
        ("a quote over two lines", &format!("{chunked}2;a=\"\r\nok\r\n0\r\n\r\n")),
    ];
    let rows = answers.iter().flat_map(|(name, answer)| {
        let (before, after) = answer.split_at(answer.len() / 2);
        [
            Row::new(Kind::Ambiguous, name).says(PLAIN).answers(*answer),
            // In two parts; a head with a plausible first part waits for the second.
            Row::new(Kind::Ambiguous, name).says(PLAIN).answers_in_parts(before, after),
        ]
    });
    torture_without_laptop(rows.collect()).await;
}

#[tokio::test]
async fn keep_alive_to_the_limit() {
    let mut row = Row::new(Kind::Last, "the origin counts");
    for left in (1..20).rev() {
        row = row.says(PLAIN).answers(format!(
            "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max={left}\r\nContent-Length: 2\r\n\r\nok"
        ));
    }
    let row = row
        .says(PLAIN)
        .answers("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        .server_ends();
    torture_without_laptop(vec![row]).await;
}

#[tokio::test]
async fn pipelined_requests_of_both_keep_their_order() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let (mut caller, mut origin) = world.connection().await;
        // Given a caller that sends all at once, bodies included,
        let of = |number: usize| {
            let header = if number % 3 == 1 { HEADER } else { "" };
            match number % 2 {
                0 => format!("GET /{number} HTTP/1.1\r\nHost: a\r\n{header}\r\n"),
                _ => format!("POST /{number} HTTP/1.1\r\n{header}Content-Length: 1\r\n\r\nx"),
            }
        };
        let requests: Vec<String> = (0..12).map(of).collect();
        caller.says(requests.concat()).await;
        let mut process = None;
        for (number, request) in requests.iter().enumerate() {
            // each goes to its destination, once the one before it was answered,
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{number}", number.to_string().len());
            if number % 3 == 1 {
                if process.is_none() {
                    process = Some(local.accepts().await);
                }
                let process = process.as_mut().expect("the laptop's connection");
                process.hears(request).await;
                process.says(answer).await;
            } else {
                origin.hears(request).await;
                origin.says(answer).await;
            }
            // and the answers come in order.
            assert_eq!(caller.hears_answer().await.1, number.to_string());
        }
    })
    .await;
}

#[tokio::test]
async fn an_ambiguous_one_among_pipelined_requests_ends_the_reading() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let (mut caller, mut origin) = world.connection().await;
        let ambiguous =
            "GET / HTTP/1.1\r\nX-Bridge: alice\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n";
        caller.says([ALICES, ambiguous, ALICES].concat()).await;
        // Given that the first one is clear,
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
        process.says(OK).await;
        assert_eq!(caller.hears_answer().await.1, "ok");
        // the other two go to the origin.
        origin.hears([ambiguous, ALICES].concat()).await;
    })
    .await;
}
