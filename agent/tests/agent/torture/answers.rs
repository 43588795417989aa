//! Answers of a laptop that break the rules: the caller's connection is often a shared pool, and no byte of them may
//! get to another caller.

use super::{ALICES, OK, PLAIN};
use crate::peer::Peer;
use crate::world::{World, story};

const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n";
const OLD: &str = "GET / HTTP/1.0\r\nConnection: keep-alive\r\nX-Bridge: alice\r\n\r\n";

/// The part of a laptop's answer that a caller sees.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// A 502 with a message that has these words; its connection ends.
    Refused(&'static str),
    /// Its first piece, which ends like this, and then a reset.
    Cut(&'static str),
    /// All of it, with these as its last bytes; its connection ends in order.
    Whole(&'static str),
    /// All of it; the connection goes on and is as good as before.
    GoesOn(&'static str),
}

struct Row {
    name: &'static str,
    request: &'static str,
    /// The local process's answer, piece by piece.
    answer: Vec<String>,
    ends: Ends,
    seen: Seen,
}

/// The end of the local process's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Not,
    InOrder,
    WithReset,
}

fn row<const N: usize>(name: &'static str, answer: [&str; N], ends: Ends, seen: Seen) -> Row {
    Row { name, request: ALICES, answer: answer.map(str::to_owned).to_vec(), ends, seen }
}

/// It breaks the rules at once.
fn refused(name: &'static str, answer: &str, words: &'static str) -> Row {
    row(name, [answer], Ends::Not, Seen::Refused(words))
}

impl Row {
    fn to(self, request: &'static str) -> Self {
        Self { request, ..self }
    }

    async fn play(&self) {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let (mut caller, mut origin) = world.connection().await;
        caller.says(self.request).await;
        let mut process = local.accepts().await;
        process.hears(self.request).await;
        for (at, piece) in self.answer.iter().enumerate() {
            // Nothing more is read from the side that broke the rules.
            let _ = process.tries_to_say(piece).await;
            match self.seen {
                Seen::Cut(begun) if at == 0 => {
                    assert!(caller.hears_up_to(begun).await.starts_with("HTTP/1.1 200 "))
                }
                _ => {}
            }
        }
        let mut process = Some(process);
        match (self.ends, &mut process) {
            (Ends::InOrder, Some(process)) => process.ends().await,
            (Ends::WithReset, process) => process.take().map_or((), Peer::resets),
            _ => {}
        }
        match self.seen {
            Seen::Refused(words) => {
                let (head, sentence) = caller.hears_answer_to(self.request).await;
                assert!(head.starts_with("HTTP/1.1 502 "), "expected a 502, got {head}");
                assert!(
                    self.request == HEAD || sentence.contains(words),
                    "expected {words:?} in {sentence:?}"
                );
                caller.hears_end().await;
            }
            Seen::Cut(_) => drop(caller.hears_reset().await),
            Seen::Whole(last) => {
                let heard = caller.hears_rest().await;
                assert!(heard.ends_with(last), "expected {last:?} at the end of {heard:?}");
            }
            Seen::GoesOn(last) => {
                let heard = caller.hears_up_to(last).await;
                assert!(heard.starts_with("HTTP/1."), "{heard:?}");
                next_is_unspoilt(&mut caller, &mut origin).await;
            }
        }
    }
}

/// The next caller on this connection gets the origin's answer and nothing else.
async fn next_is_unspoilt(caller: &mut Peer, origin: &mut Peer) {
    caller.says(PLAIN).await;
    origin.hears(PLAIN).await;
    origin.says(OK).await;
    caller.hears(OK).await;
}

async fn torture(rows: Vec<Row>) {
    for row in rows {
        let _failing = Failing(row.name);
        story(row.play()).await;
    }
}

/// Names the row, if it fails.
struct Failing(&'static str);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("row {:?}", self.0);
        }
    }
}

#[tokio::test]
async fn heads_that_break_the_rules() {
    let length = "Content-Length: 2\r\n\r\nok";
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n{length}", "x".repeat(70_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}{length}", "X: y\r\n".repeat(300));
    torture(vec![
        refused("garbage", "\0\u{1}\u{2}\r\n\r\n", "not an HTTP/1 head"),
        refused("garbage without a line's end", "hello", "not an HTTP/1 head"),
        refused("TLS", "\u{15}\u{3}\u{1}\0\u{2}", "not an HTTP/1 head"),
        refused("HTTP/2", "\0\0\0\u{4}\0\0\0\0\0", "not an HTTP/1 head"),
        refused("an empty line in front", "\r\nHTTP/1.1 200 OK\r\n\r\n", "not an HTTP/1 head"),
        refused("HTTP/2 in words", "HTTP/2 200 OK\r\n\r\n", "not an HTTP/1 head"),
        refused("HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", "malformed head"),
        refused("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "malformed head"),
        refused("a status below 100", "HTTP/1.1 099 OK\r\n\r\n", "malformed head"),
        refused("a bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "CRLF"),
        refused("a fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "malformed head"),
        refused("a NUL", "HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n", "malformed head"),
        refused(
            "a blank before a colon",
            "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
            "malformed head",
        ),
        refused("a split answer", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n", "malformed head"),
        refused("a large head", &large, "64 KiB"),
        refused("many headers", &many, "more than 256 headers"),
        row(
            "too many interim answers",
            [&"HTTP/1.1 102 P\r\n\r\n".repeat(40)],
            Ends::Not,
            Seen::Whole("too many interim answers\n"),
        ),
        refused(
            "a switch that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "not requested",
        ),
    ])
    .await;
}

#[tokio::test]
async fn lengths_that_break_the_rules() {
    let with = |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{body}");
    torture(vec![
        refused(
            "both lengths",
            &with("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            "both",
        ),
        refused("unequal lengths", &with("Content-Length: 2\r\nContent-Length: 3", "ok!"), "conflicting"),
        refused("a list of lengths", &with("Content-Length: 2, 2", "ok"), "Content-Length"),
        refused("a negative length", &with("Content-Length: -2", "ok"), "Content-Length"),
        refused(
            "another coding",
            &with("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"),
            "Transfer-Encoding",
        ),
        refused(
            "a length for proxies to drop",
            &with("Connection: content-length\r\nContent-Length: 2", "ok"),
            "framing header",
        ),
        refused("bytes to spare", &with("Content-Length: 2", "okHTTP/1.1 200 OK\r\n\r\n"), "a body where"),
        refused(
            "bytes to spare after chunks",
            &with("Transfer-Encoding: chunked", "0\r\n\r\nmore"),
            "a body where",
        ),
        refused("a bad chunk", &with("Transfer-Encoding: chunked", "2\nok\n0\n\n"), "chunk"),
        refused(
            "a chunk with a blank",
            &with("Transfer-Encoding: chunked", "2 \r\nok\r\n0\r\n\r\n"),
            "chunk",
        ),
        refused("204 with a body", "HTTP/1.1 204 No Content\r\n\r\nbody", "a body where"),
        refused(
            "204 with a length",
            "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody",
            "a body where",
        ),
        refused(
            "304 with a body",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nbody",
            "a body where",
        ),
        refused("102 with a body", "HTTP/1.1 102 P\r\nContent-Length: 4\r\n\r\nbody", "a body where"),
        refused(
            "chunks of HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding",
        ),
        refused("chunks for HTTP/1.0", &with("Transfer-Encoding: chunked", "0\r\n\r\n"), "Transfer-Encoding")
            .to(OLD),
        refused("HEAD with a body", &with("Content-Length: 4", "body"), "").to(HEAD),
        refused("HEAD with a body of chunks", &with("Transfer-Encoding: chunked", "0\r\n\r\n"), "").to(HEAD),
        refused("HEAD with both lengths", &with("Content-Length: 5\r\nTransfer-Encoding: chunked", ""), "")
            .to(HEAD),
    ])
    .await;
}

#[tokio::test]
async fn flaws_that_show_later() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n";
    let endless = "HTTP/1.1 200 OK\r\n\r\nab";
    torture(vec![
        row("an end before the head", [], Ends::InOrder, Seen::Refused("ended the connection")),
        row("a reset before the head", [], Ends::WithReset, Seen::Refused("ended the connection")),
        row(
            "an end in the head",
            ["HTTP/1.1 200 OK\r\nX"],
            Ends::InOrder,
            Seen::Refused("ended the connection"),
        ),
        row("an end in the body", [length], Ends::InOrder, Seen::Cut("ab")),
        row("a reset in the body", [length], Ends::WithReset, Seen::Cut("ab")),
        row("an end between chunks", [chunked], Ends::InOrder, Seen::Cut("2\r\nab\r\n")),
        row("an end after the last chunk", [chunked, "0\r\n"], Ends::InOrder, Seen::Cut("2\r\nab\r\n")),
        row("a bad chunk behind a good one", [chunked, "2\nab\n"], Ends::Not, Seen::Cut("2\r\nab\r\n")),
        row("an end that is the length", [endless, "cd"], Ends::InOrder, Seen::Whole("\r\n\r\nabcd")),
        row("a reset where an end is the length", [endless], Ends::WithReset, Seen::Cut("ab")),
        row(
            "an end after interim answers",
            ["HTTP/1.1 103 E\r\n\r\n"],
            Ends::InOrder,
            Seen::Whole("answered\n"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn odd_answers_that_are_allowed() {
    let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let old_endless = "HTTP/1.0 200 OK\r\nServer: SimpleHTTP\r\n\r\nok";
    let interim = "HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nLink: </a>\r\n\r\n";
    torture(vec![
        row(
            "an answer in pieces",
            ["HT", "TP/1.1 200 OK\r\nContent-Le", "ngth: 2\r\n\r", "\no", "k"],
            Ends::Not,
            Seen::GoesOn("\r\n\r\nok"),
        ),
        row("interim answers", [interim, OK], Ends::Not, Seen::GoesOn("\r\n\r\nok")),
        row(
            "interim answers that HTTP/1.0 does not know",
            [interim, OK],
            Ends::Not,
            Seen::GoesOn("\r\n\r\nok"),
        )
        .to(OLD),
        row(
            "HEAD with a length",
            ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"],
            Ends::Not,
            Seen::GoesOn("\r\n\r\n"),
        )
        .to(HEAD),
        row("an answer that ends the connection", [closing], Ends::InOrder, Seen::Whole("\r\n\r\nok")),
        row("HTTP/1.0", [old], Ends::InOrder, Seen::Whole("\r\n\r\nok")),
        row("HTTP/1.0 without a length", [old_endless], Ends::InOrder, Seen::Whole("\r\n\r\nok")),
        row(
            "HTTP/1.0 with keep-alive",
            ["HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"],
            Ends::Not,
            Seen::GoesOn("\r\n\r\nok"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_caller_of_http_1_0_sees_no_interim_answers() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = world.client().await;
        caller.says(OLD).await;
        let mut process = local.accepts().await;
        process.hears(OLD).await;
        process.says("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        caller.hears("HTTP/1.1 200 OK\r\n").await;
    })
    .await;
}

#[tokio::test]
async fn bytes_to_spare_that_come_late_reach_nobody() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let (mut caller, mut origin) = world.connection().await;
        for request in [ALICES, HEAD] {
            caller.says(request).await;
            let mut process = local.accepts().await;
            process.hears(request).await;
            process.says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            assert!(caller.hears_head().await.starts_with("HTTP/1.1 200 "));
            let _ = process.tries_to_say("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npoisons").await;
            next_is_unspoilt(&mut caller, &mut origin).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_in_place_of_a_body_that_was_not_waited_for_is_not_the_laptops() {
    story(async {
        let world = World::new().await;
        let (_alice, local) = world.alice().await;
        let mut caller = world.client().await;
        let request =
            "PUT / HTTP/1.1\r\nX-Bridge: alice\r\nContent-Length: 90\r\nExpect: 100-continue\r\n\r\n";
        caller.says(request).await;
        let mut process = local.accepts().await;
        process.hears(request).await;
        // Given a laptop that does not want the body,
        process.says("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno").await;
        let (head, _) = caller.hears_answer().await;
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        // and a caller that goes on with another caller's request,
        let _ = caller.tries_to_say(PLAIN).await;
        // then the laptop does not take it for the body.
        process.hears_end().await;
    })
    .await;
}
