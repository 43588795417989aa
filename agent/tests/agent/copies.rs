//! Requests that the origin answers, and that a laptop gets as well.

use std::time::Duration;

use bridge_proto::v1::{Reason, RequestsSeen, SeenRequest};
use tonic::Streaming;

use crate::peer::{Peer, Server, dead_port};
use crate::requests::requests;
use crate::world::{Laptop, World, story};

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ALICES: &str = "GET / HTTP/1.1\r\nHost: a\r\nX-Bridge: alice\r\n\r\n";
const ORIGINS: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\norigin";
const DROPPED: &str = "HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nlaptop";

/// The reports that a laptop follows.
pub(crate) struct Reports {
    seen: Streaming<RequestsSeen>,
    waiting: Vec<SeenRequest>,
}

impl Reports {
    pub(crate) async fn of(laptop: &mut Laptop) -> Self {
        Self { seen: requests(laptop, true).await, waiting: Vec::new() }
    }

    /// The next one with this reason; the others wait.
    pub(crate) async fn next(&mut self, reason: Reason) -> SeenRequest {
        loop {
            if let Some(at) = self.waiting.iter().position(|seen| seen.reason() == reason) {
                return self.waiting.remove(at);
            }
            let more = self.seen.message().await.expect("the session lives").expect("it goes on");
            self.waiting.extend(more.requests);
        }
    }
}

/// Alice gets copies, and a client has a connection to the origin.
struct Scene {
    world: World,
    alice: Laptop,
    local: Server,
    reports: Reports,
    client: Peer,
    origin: Peer,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let (mut alice, local) = world.copies().await;
        let reports = Reports::of(&mut alice).await;
        let (client, origin) = world.connection().await;
        Self { world, alice, local, reports, client, origin }
    }

    async fn answered_by_the_origin(&mut self, request: &str) {
        answered_by_the_origin(&mut self.client, &mut self.origin, request).await;
    }
}

/// The origin gets this request, and its answer reaches the client unchanged.
async fn answered_by_the_origin(client: &mut Peer, origin: &mut Peer, request: &str) {
    origin.hears(request).await;
    origin.says(ORIGINS).await;
    client.hears(ORIGINS).await;
}

/// The process gets this request, and its answer is read and dropped.
async fn dropped(process: &mut Peer, request: &str) {
    process.hears(request).await;
    process.says(DROPPED).await;
    process.hears_end().await;
}

#[tokio::test]
async fn the_origin_answers_and_the_laptop_s_answer_is_dropped() {
    story(async {
        let mut scene = Scene::new().await;
        for _ in 0..2 {
            // The laptop answers first, or last: the client does not notice.
            scene.client.says(ALICES).await;
            dropped(&mut scene.local.accepts().await, ALICES).await;
            scene.answered_by_the_origin(ALICES).await;
            let copy = scene.reports.next(Reason::Copy).await;
            let what = (copy.status, copy.to_laptop, copy.user.as_str(), copy.about.as_str());
            assert_eq!(what, (500, true, "alice", "x-bridge: alice"));
            assert_eq!((copy.method.as_str(), copy.path.as_str()), ("GET", "/"));
            let copied = scene.reports.next(Reason::Copied).await;
            assert_eq!((copied.status, copied.to_laptop, copied.user.as_str()), (200, false, "alice"));
            // Others' requests are only the origin's.
            scene.client.says(PLAIN).await;
            scene.answered_by_the_origin(PLAIN).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_copy_is_the_same_request_however_its_body_is_framed() {
    story(async {
        let mut scene = Scene::new().await;
        let long = format!("Content-Length: {}\r\n\r\n{}", 200 << 10, "0123456789abcdef".repeat(200 << 6));
        for rest in [
            "Content-Length: 5\r\n\r\nhello",
            "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nSum: 1\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &long,
        ] {
            let request = format!("POST /v1?a=b HTTP/1.1\r\nX-Bridge: alice\r\nCookie: c\r\n{rest}");
            scene.client.says(&request).await;
            scene.answered_by_the_origin(&request).await;
            dropped(&mut scene.local.accepts().await, &request).await;
        }
    })
    .await;
}

#[tokio::test]
async fn pipelined_requests_are_copied_one_by_one() {
    story(async {
        let mut scene = Scene::new().await;
        scene.client.says([ALICES, PLAIN, ALICES].concat()).await;
        for request in [ALICES, PLAIN, ALICES] {
            scene.answered_by_the_origin(request).await;
            if request == ALICES {
                dropped(&mut scene.local.accepts().await, ALICES).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_that_waits_for_the_origin_s_100_is_copied() {
    story(async {
        let mut scene = Scene::new().await;
        let head = "POST / HTTP/1.1\r\nX-Bridge: alice\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        scene.client.says(head).await;
        scene.origin.hears(head).await;
        let mut process = scene.local.accepts().await;
        process.hears(head).await;
        // The laptop's 100 is not the origin's.
        process.says("HTTP/1.1 100 Continue\r\n\r\n").await;
        scene.origin.says("HTTP/1.1 100 Continue\r\n\r\n").await;
        scene.client.hears("HTTP/1.1 100 Continue\r\n\r\n").await;
        scene.client.says("hello").await;
        process.hears("hello").await;
        process.says(DROPPED).await;
        process.hears_end().await;
        scene.answered_by_the_origin("hello").await;
    })
    .await;
}

#[tokio::test]
async fn answers_without_a_body_end_a_copy_too() {
    story(async {
        let mut scene = Scene::new().await;
        let head = ALICES.replace("GET", "HEAD");
        for (request, answer, status) in [
            (head.as_str(), "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", 200),
            (ALICES, "HTTP/1.1 204 No Content\r\n\r\n", 204),
        ] {
            scene.client.says(request).await;
            scene.origin.hears(request).await;
            scene.origin.says(answer).await;
            scene.client.hears(answer).await;
            let mut process = scene.local.accepts().await;
            process.hears(request).await;
            process.says(answer).await;
            process.hears_end().await;
            assert_eq!(scene.reports.next(Reason::Copy).await.status, status);
        }
    })
    .await;
}

#[tokio::test]
async fn a_laptop_that_reads_nothing_slows_nobody() {
    story(async {
        let mut scene = Scene::new().await;
        scene.local.has_a_small_buffer();
        scene.local.has_a_small_buffer();
        let body = "0123456789abcdef".repeat(1 << 20);
        let head = format!("POST / HTTP/1.1\r\nX-Bridge: alice\r\nContent-Length: {}\r\n\r\n", body.len());
        // Given a process that takes the connection and reads nothing,
        scene.client.says(&head).await;
        let process = scene.local.accepts().await;
        // the origin gets all of a large request,
        let request = async {
            scene.client.says(&body).await;
            scene.client.hears(ORIGINS).await;
        };
        let answer = async {
            scene.origin.hears(format!("{head}{body}")).await;
            scene.origin.says(ORIGINS).await;
        };
        tokio::join!(request, answer);
        // and the copy is given up whole.
        let given_up = scene.reports.next(Reason::CopyTooSlow).await;
        assert_eq!((given_up.status, given_up.to_laptop), (0, true));
        assert_eq!(scene.reports.next(Reason::Copied).await.status, 200);
        is_reset(process).await;
    })
    .await;
}

/// The process gets a reset, perhaps after a part of the request.
async fn is_reset(mut process: Peer) {
    let _ = process.hears_reset().await;
}

#[tokio::test]
async fn a_process_that_answers_early_gets_no_more_than_it_takes() {
    story(async {
        let mut scene = Scene::new().await;
        let head = "POST / HTTP/1.1\r\nX-Bridge: alice\r\nContent-Length: 10\r\n\r\n";
        scene.client.says([head, "first"].concat()).await;
        let mut process = scene.local.accepts().await;
        process.hears([head, "first"].concat()).await;
        process.says("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
        process.ends().await;
        assert_eq!(scene.reports.next(Reason::Copy).await.status, 413);
        scene.client.says("after").await;
        scene.answered_by_the_origin(&[head, "firstafter"].concat()).await;
    })
    .await;
}

#[tokio::test]
async fn nothing_listens_and_nobody_notices() {
    story(async {
        let world = World::new().await;
        let mut alice = world.laptop("alice", world.copying("alice", dead_port().await)).await;
        let mut reports = Reports::of(&mut alice).await;
        let (mut client, mut origin) = world.connection().await;
        client.says(ALICES).await;
        answered_by_the_origin(&mut client, &mut origin, ALICES).await;
        reports.next(Reason::CopyNothingListens).await;
        assert_eq!(reports.next(Reason::Copied).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_process_that_dies_ends_its_copy_alone() {
    story(async {
        let mut scene = Scene::new().await;
        for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlap", "nonsense\r\n\r\n"] {
            scene.client.says(ALICES).await;
            let mut process = scene.local.accepts().await;
            process.hears(ALICES).await;
            process.says(answer).await;
            process.resets();
            scene.reports.next(Reason::CopyNoAnswer).await;
            scene.answered_by_the_origin(ALICES).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_that_ends_takes_its_copies_with_it() {
    story(async {
        let world = World::new().await;
        let (mut alice, local) = world.copies().await;
        let mut bob = world.laptop("bob", world.route("bob", 1)).await;
        let mut reports = Reports::of(&mut bob).await;
        let (mut client, mut origin) = world.connection().await;
        client.says(ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
        alice.stops_attending();
        reports.next(Reason::CopyNoAnswer).await;
        is_reset(process).await;
        answered_by_the_origin(&mut client, &mut origin, ALICES).await;
        client.says(ALICES).await;
        answered_by_the_origin(&mut client, &mut origin, ALICES).await;
        reports.next(Reason::Differs).await;
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_cut_short_is_cut_short_at_the_laptop() {
    story(async {
        let mut scene = Scene::new().await;
        let part = "POST / HTTP/1.1\r\nX-Bridge: alice\r\nContent-Length: 10\r\n\r\nfirst";
        scene.client.says(part).await;
        scene.origin.hears(part).await;
        let mut process = scene.local.accepts().await;
        process.hears(part).await;
        scene.client.resets();
        scene.origin.hears_reset().await;
        scene.reports.next(Reason::CopyCutShort).await;
        is_reset(process).await;
    })
    .await;
}

#[tokio::test]
async fn an_origin_that_answers_before_the_body_ends_ends_the_copy() {
    story(async {
        let mut scene = Scene::new().await;
        let part = "POST / HTTP/1.1\r\nX-Bridge: alice\r\nContent-Length: 10\r\n\r\nfirst";
        scene.client.says(part).await;
        let mut process = scene.local.accepts().await;
        process.hears(part).await;
        scene.answered_by_the_origin(part).await;
        scene.origin.ends().await;
        scene.client.hears_end().await;
        scene.client.says("after").await;
        scene.origin.hears("after").await;
        drop(scene.client);
        scene.reports.next(Reason::CopyCutShort).await;
        is_reset(process).await;
    })
    .await;
}

#[tokio::test]
async fn a_websocket_is_not_copied() {
    story(async {
        let mut scene = Scene::new().await;
        let request =
            "GET /ws HTTP/1.1\r\nX-Bridge: alice\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        scene.client.says(request).await;
        scene.origin.hears(request).await;
        let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02hi";
        scene.origin.says(switched).await;
        scene.client.hears(switched).await;
        let report = scene.reports.next(Reason::NotCopied).await;
        assert_eq!((report.status, report.to_laptop, report.user.as_str()), (101, false, "alice"));
    })
    .await;
}

#[tokio::test]
async fn a_copy_that_comes_back_ends_at_once() {
    story(async {
        let mut scene = Scene::new().await;
        scene.client.says(ALICES).await;
        scene.answered_by_the_origin(ALICES).await;
        let mut process = scene.local.accepts().await;
        let copy = process.hears_head().await;
        assert!(copy.contains("x-bridge-hops: session%20of%20alice:"), "{copy}");
        // Given a port that leads back to the Service, the origin does not get the request a second time.
        let mut again = scene.world.client().await;
        again.says(&copy).await;
        let (head, _) = again.hears_answer().await;
        assert!(head.starts_with("HTTP/1.1 508 "), "{head}");
    })
    .await;
}

#[tokio::test]
async fn copies_have_a_bound_and_give_back_what_they_hold() {
    story(async {
        let world = World::new().await;
        let (mut alice, local) = world.copies().await;
        let mut reports = Reports::of(&mut alice).await;
        // Given a process that answers nothing, until there are too many copies,
        let mut waiting = Vec::new();
        for _ in 0..64 {
            let (mut client, mut origin) = world.connection().await;
            client.says(ALICES).await;
            answered_by_the_origin(&mut client, &mut origin, ALICES).await;
            waiting.push(local.accepts().await);
        }
        let (mut client, mut origin) = world.connection().await;
        client.says(ALICES).await;
        answered_by_the_origin(&mut client, &mut origin, ALICES).await;
        reports.next(Reason::CopyNoRoom).await;
        // then there is room again when it has answered.
        let full = world.agent.memory().0;
        for process in &mut waiting {
            dropped(process, ALICES).await;
        }
        drop(waiting);
        for _ in 0..64 {
            reports.next(Reason::Copy).await;
        }
        while world.agent.memory().0 > full / 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        client.says(ALICES).await;
        answered_by_the_origin(&mut client, &mut origin, ALICES).await;
        let mut process = local.accepts().await;
        process.hears(ALICES).await;
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_not_copied_as_a_whole() {
    story(async {
        let world = World::new().await;
        let local = Server::local().await;
        let everything = bridge_proto::v1::Route { copy: true, ..world.everything(local.port()) };
        let mut alice = world.laptop("alice", everything).await;
        let mut reports = Reports::of(&mut alice).await;
        let (mut client, mut origin) = world.connection().await;
        client.says("*1\r\n$4\r\nPING\r\n").await;
        origin.hears("*1\r\n$4\r\nPING\r\n").await;
        origin.says("+PONG\r\n").await;
        client.hears("+PONG\r\n").await;
        assert!(!reports.next(Reason::NotHttp).await.to_laptop);
        // Its requests are.
        let (mut client, mut origin) = world.connection().await;
        client.says(PLAIN).await;
        answered_by_the_origin(&mut client, &mut origin, PLAIN).await;
        local.accepts().await.hears(PLAIN).await;
    })
    .await;
}

#[tokio::test]
async fn copies_are_counted_apart() {
    story(async {
        let mut scene = Scene::new().await;
        for answer in [DROPPED, "nonsense\r\n\r\n"] {
            scene.client.says(ALICES).await;
            scene.answered_by_the_origin(ALICES).await;
            let mut process = scene.local.accepts().await;
            process.hears(ALICES).await;
            process.says(answer).await;
        }
        let counts = scene.alice.counts.wait_for(|counts| counts.copies_given_up == 1).await;
        let counts = counts.expect("the session lives").clone();
        let (laptop, copies) = (counts.laptop.unwrap_or_default(), counts.copies.unwrap_or_default());
        assert_eq!((laptop.requests, copies.requests, copies.failed), (0, 1, 1));
        assert_eq!(counts.origin.unwrap_or_default().requests, 2);
        let mut prometheus = Peer::connect(scene.world.agent.metrics).await;
        prometheus.says("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let text = prometheus.hears_rest().await;
        for sample in [
            "bridge_agent_requests_total{to=\"copy\",status=\"5xx\"} 1",
            "bridge_agent_requests_total{to=\"laptop\",status=\"5xx\"} 0",
            "bridge_agent_decisions_total{reason=\"copied\"} 2",
            "bridge_agent_copies_total{reason=\"answered\"} 1",
            "bridge_agent_copies_total{reason=\"no-answer\"} 1",
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample} in\n{text}");
        }
    })
    .await;
}
