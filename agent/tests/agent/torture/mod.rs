//! The torture table of HTTP/1: each row is played without the agent, through it, and through it with alice's header.
//!
//! A row lists what the caller sends, in which pieces, and what the server answers. The server gets the very bytes that
//! the caller sent and the caller the very bytes of the answer, in all three; ambiguous messages never reach the
//! laptop.

mod answers;
mod bodies;
mod heads;
mod origin_answers;
mod smuggling;

use std::time::Duration;

use futures::FutureExt as _;

use crate::peer::{Peer, Server};
use crate::world::{World, story};

const PLAIN: &str = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
const ALICES: &str = "GET /next HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// The place of alice's header in a row's request, if it has one.
const HOLE: &str = "{alice}";
const HEADER: &str = "X-Bridge: alice\r\n";
const MARKS: &str = "x-bridge-served-by: alice\r\nCache-Control: private\r\n";

/// The kind of a row's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Can be read in one way only; the connection goes on after it.
    Plain,
    /// The same, but it is the last one of its connection.
    Last,
    /// It goes to the origin even if it seems to match, and so does everything after it.
    Ambiguous,
    /// Shows after its head has gone on that it is ambiguous.
    Late,
}

#[derive(Debug, Clone)]
enum Step {
    /// The caller sends this.
    Send(String),
    /// The same, byte by byte.
    Spell(String),
    /// The server gets this.
    Hear(String),
    /// The server sends this, and the caller gets it.
    Answer(String),
    /// The caller half-closes, and the server sees it.
    CallerEnds,
    /// The same in two parts: the first one may wait for the second.
    AnswerInParts(String, String),
    /// The server half-closes, and the caller sees it.
    ServerEnds,
}

struct Row {
    name: &'static str,
    kind: Kind,
    steps: Vec<Step>,
    /// The part of a laptop's answer beyond the origin's.
    marks: &'static str,
}

/// The world in which a row is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    WithoutAgent,
    Unmatched,
    Matched,
}

impl Row {
    fn new(kind: Kind, name: &'static str) -> Self {
        Self { name, kind, steps: Vec::new(), marks: MARKS }
    }

    fn sends(mut self, bytes: impl Into<String>) -> Self {
        self.steps.push(Step::Send(bytes.into()));
        self
    }

    fn hears(mut self, bytes: impl Into<String>) -> Self {
        self.steps.push(Step::Hear(bytes.into()));
        self
    }

    /// The bytes from the caller arrive before anything else happens.
    fn says(self, bytes: impl Into<String>) -> Self {
        let bytes = bytes.into();
        self.sends(bytes.clone()).hears(bytes)
    }

    /// The same, byte by byte.
    fn spells(mut self, bytes: &str) -> Self {
        self.steps.push(Step::Spell(bytes.into()));
        self.hears(bytes)
    }

    fn answers(mut self, bytes: impl Into<String>) -> Self {
        self.steps.push(Step::Answer(bytes.into()));
        self
    }

    fn answers_in_parts(mut self, one: &str, two: &str) -> Self {
        self.steps.push(Step::AnswerInParts(one.into(), two.into()));
        self
    }

    fn caller_ends(mut self) -> Self {
        self.steps.push(Step::CallerEnds);
        self
    }

    fn server_ends(mut self) -> Self {
        self.steps.push(Step::ServerEnds);
        self
    }

    fn marked_with(mut self, marks: &'static str) -> Self {
        self.marks = marks;
        self
    }

    /// Whether the laptop gets it.
    fn is_at_laptop(&self, way: Way) -> bool {
        way == Way::Matched && self.kind != Kind::Ambiguous
    }

    async fn play(&self, way: Way, world: &World, local: &Server) {
        let _failing = Failing(self.name, way);
        let played = async {
            let (mut caller, mut origin) = match way {
                Way::WithoutAgent => directly_connected().await,
                Way::Unmatched | Way::Matched => world.connection().await,
            };
            if self.is_at_laptop(way) {
                // A head that comes in pieces is routed when it is whole.
                let heads = |step: &Step| matches!(step, Step::Send(_) | Step::Spell(_));
                let (pieces, rest) =
                    self.steps.split_at(self.steps.iter().take_while(|step| heads(step)).count());
                for piece in pieces {
                    piece.sent_by(&mut caller, way).await;
                }
                let mut process = local.accepts().await;
                self.play_steps(rest, way, &mut caller, &mut process).await;
            } else {
                self.play_steps(&self.steps, way, &mut caller, &mut origin).await;
            }
            self.then(way, caller, origin, local).await;
        };
        tokio::time::timeout(Duration::from_secs(8), played).await.expect("the row should have ended by now");
        assert!(local.accepts().now_or_never().is_none(), "something reached the laptop");
    }

    async fn play_steps(&self, steps: &[Step], way: Way, caller: &mut Peer, server: &mut Peer) {
        let late = self.kind == Kind::Late && self.is_at_laptop(way);
        for (at, step) in steps.iter().enumerate() {
            match step {
                Step::Send(_) | Step::Spell(_) => step.sent_by(caller, way).await,
                Step::Hear(_) if late && at > 0 => {
                    // An unreadable message is not passed on, and the caller gets a 400.
                    let (head, sentence) = caller.hears_answer().await;
                    assert!(head.starts_with("HTTP/1.1 400 "), "expected a 400, got {head}{sentence}");
                    server.hears_reset().await;
                    return;
                }
                Step::Hear(bytes) => server.hears(filled(bytes, way)).await,
                Step::Answer(bytes) => {
                    server.says(bytes).await;
                    let marks = if self.is_at_laptop(way) { self.marks } else { "" };
                    caller.hears(marked(bytes, marks)).await;
                }
                Step::AnswerInParts(one, two) => {
                    server.says(one).await;
                    tokio::task::yield_now().await;
                    server.says(two).await;
                    caller.hears([one.as_str(), two].concat()).await;
                }
                Step::CallerEnds => {
                    caller.ends().await;
                    server.hears_end().await;
                }
                Step::ServerEnds => {
                    server.ends().await;
                    caller.hears_end().await;
                }
            }
        }
    }

    /// The state of the connection afterwards.
    async fn then(&self, way: Way, mut caller: Peer, mut origin: Peer, local: &Server) {
        match (self.kind, way) {
            (Kind::Last, _) | (_, Way::WithoutAgent) | (Kind::Late, Way::Matched) => {}
            (Kind::Plain, Way::Unmatched) => {
                caller.says(ALICES).await;
                let mut process = local.accepts().await;
                process.hears(ALICES).await;
                process.says(OK).await;
                assert_eq!(caller.hears_answer().await.1, "ok");
            }
            (Kind::Plain, Way::Matched) => {
                caller.says(PLAIN).await;
                origin.hears(PLAIN).await;
                origin.says(OK).await;
                caller.hears(OK).await;
            }
            (Kind::Ambiguous | Kind::Late, _) => {
                caller.says(ALICES).await;
                origin.hears(ALICES).await;
                origin.says("whatever this is").await;
                caller.hears("whatever this is").await;
            }
        }
    }
}

impl Step {
    async fn sent_by(&self, caller: &mut Peer, way: Way) {
        match self {
            Step::Send(bytes) => caller.says(filled(bytes, way)).await,
            Step::Spell(bytes) => {
                for byte in filled(bytes, way).into_bytes() {
                    caller.says([byte]).await;
                }
            }
            _ => panic!("not the caller's: {self:?}"),
        }
    }
}

/// Plays all rows in all ways.
async fn torture(rows: Vec<Row>) {
    torture_in(rows, &[Way::WithoutAgent, Way::Unmatched, Way::Matched]).await;
}

/// Plays all rows that concern only the origin.
async fn torture_without_laptop(rows: Vec<Row>) {
    torture_in(rows, &[Way::WithoutAgent, Way::Unmatched]).await;
}

async fn torture_in(rows: Vec<Row>, ways: &[Way]) {
    for part in rows.chunks(16) {
        story(async {
            let world = World::new().await;
            let (_alice, local) = world.alice().await;
            for row in part {
                for way in ways {
                    row.play(*way, &world, &local).await;
                }
            }
        })
        .await;
    }
}

fn filled(bytes: &str, way: Way) -> String {
    bytes.replace(HOLE, if way == Way::Matched { HEADER } else { "" })
}

/// A final answer has the marks after its status line.
fn marked(answer: &str, marks: &str) -> String {
    match answer.split_once("\r\n") {
        Some((status, rest)) if status.starts_with("HTTP/1.") && !answer.starts_with("HTTP/1.1 10") => {
            format!("{status}\r\n{marks}{rest}")
        }
        Some((status, rest)) if answer.starts_with("HTTP/1.1 101") && !marks.is_empty() => {
            format!("{status}\r\nx-bridge-served-by: alice\r\n{rest}")
        }
        _ => answer.to_owned(),
    }
}

async fn directly_connected() -> (Peer, Peer) {
    let origin = Server::start().await;
    let caller = Peer::connect(origin.port()).await;
    (caller, origin.accepts().await)
}

/// Names the row, if it fails.
struct Failing(&'static str, Way);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("row {:?}, {:?}", self.0, self.1);
        }
    }
}
