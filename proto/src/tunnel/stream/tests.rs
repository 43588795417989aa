//! Two tunnel streams as a pair, their messages delayed under simulated time.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::tunnel::MIN_WINDOW;

/// A network that holds each message for `delay`, in order.
fn network(delay: Duration) -> (FrameSender, ReceiverStream<Result<Frame, Status>>) {
    let (near_tx, mut near_rx) = mpsc::channel(TunnelStream::QUEUE);
    let (far_tx, far_rx) = mpsc::channel(4096);
    let (line_tx, mut line_rx) = mpsc::channel(4096);
    tokio::spawn(async move {
        while let Some(message) = near_rx.recv().await {
            if line_tx.send((Instant::now() + delay, message)).await.is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((at, message)) = line_rx.recv().await {
            tokio::time::sleep_until(at).await;
            if far_tx.send(message).await.is_err() {
                break;
            }
        }
    });
    (near_tx, ReceiverStream::new(far_rx))
}

struct Pair {
    agent: TunnelStream,
    daemon: tokio::task::JoinHandle<Option<Offered>>,
}

fn pair(delay_ms: u64) -> Pair {
    let budget = Budget::new(64 << 20);
    let delay = Duration::from_millis(delay_ms);
    let (to_daemon, from_agent) = network(delay);
    let (to_agent, from_daemon) = network(delay);
    let parked = budget.clone();
    let daemon =
        tokio::spawn(async move { offered(from_agent, to_agent, &parked).await.expect("a first message") });
    let open = v1::Open { session: "s".into(), target_port: 80, local_port: 3000, ..v1::Open::default() };
    Pair { agent: TunnelStream::open(open, from_daemon, to_daemon, &budget), daemon }
}

impl Pair {
    async fn offered(self) -> (TunnelStream, Offered) {
        (self.agent, self.daemon.await.expect("no panic").expect("an offer"))
    }

    async fn connected(self) -> (TunnelStream, TunnelStream) {
        let (mut agent, offered) = self.offered().await;
        let daemon = offered.accept().await.expect("the call is there");
        agent.opened().await.expect("accepted");
        (agent, daemon)
    }
}

fn reset_of(error: &io::Error) -> &ResetBy {
    error.get_ref().and_then(|source| source.downcast_ref()).expect("the cause travels with the error")
}

#[tokio::test(start_paused = true)]
async fn bytes_and_half_close_travel_both_ways() {
    let (mut agent, mut daemon) = pair(10).connected().await;
    agent.write_all(b"question").await.expect("credit");
    agent.shutdown().await.expect("half-close");
    let mut question = Vec::new();
    daemon.read_to_end(&mut question).await.expect("until the half-close");
    daemon.write_all(b"answer").await.expect("the other direction goes on");
    daemon.shutdown().await.expect("half-close");
    let mut answer = Vec::new();
    agent.read_to_end(&mut answer).await.expect("until the half-close");
    assert_eq!((question.as_slice(), answer.as_slice()), (&b"question"[..], &b"answer"[..]));
}

#[tokio::test(start_paused = true)]
async fn data_may_be_written_before_the_answer() {
    let began = Instant::now();
    let (mut agent, offered) = {
        let mut pair = pair(10);
        pair.agent.write_all(b"early").await.expect("the first credit needs no round trip");
        pair.offered().await
    };
    let mut daemon = offered.accept().await.expect("the call is there");
    let mut early = [0; 5];
    daemon.read_exact(&mut early).await.expect("bytes");
    assert_eq!((&early, began.elapsed().as_millis()), (b"early", 10), "one way, no round trip");
    agent.opened().await.expect("accepted");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_arrives_unchanged() {
    let (mut agent, offered) = pair(10).offered().await;
    offered.refuse(Cause::Refused, "127.0.0.1:3000").await.expect("the call is there");
    let refused = agent.opened().await.expect_err("refused");
    assert_eq!(refused, Refused { cause: Cause::Refused, detail: "127.0.0.1:3000".into() });
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_other_side_does_not_end_is_given_up() {
    let budget = Budget::new(0);
    let (line, incoming) = mpsc::channel(1);
    let (outgoing, mut far) = mpsc::channel(TunnelStream::QUEUE);
    line.send(Ok(frame(Kind::Open(v1::Open::default())))).await.expect("a line");
    let offered =
        offered(ReceiverStream::new(incoming), outgoing, &budget).await.expect("a call").expect("an offer");
    offered.refuse(Cause::Forbidden, "").await.expect("the call is there");
    while far.recv().await.is_some() {}
    let began = Instant::now();
    line.closed().await;
    assert_eq!(began.elapsed(), LEFT_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn a_cause_of_a_newer_program_is_a_refusal_all_the_same() {
    let budget = Budget::new(0);
    let (line, incoming) = network(Duration::ZERO);
    let (outgoing, _far) = network(Duration::ZERO);
    let mut agent = TunnelStream::open(v1::Open::default(), incoming, outgoing, &budget);
    let refused = v1::Refused { cause: i32::MAX, detail: "by the moon".into() };
    line.send(Ok(Frame { kind: Some(Kind::Refused(refused)) })).await.expect("a line");
    let refused = agent.opened().await.expect_err("refused");
    assert_eq!(refused, Refused { cause: Cause::Unspecified, detail: "by the moon".into() });
}

#[tokio::test(start_paused = true)]
async fn a_stalled_reader_stops_the_writer_and_lets_it_go_on() {
    let (mut agent, mut daemon) = pair(1).connected().await;
    let total = 8 << 20;
    let writer = tokio::spawn(async move {
        let mut sent = 0;
        while sent < total {
            sent += agent.write(&[7; 1 << 16]).await.expect("credit comes");
        }
        agent.shutdown().await.expect("half-close");
        (agent, sent)
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!writer.is_finished(), "nobody reads, so the writer must wait");
    assert_eq!(daemon.bytes().1, MIN_WINDOW, "what is held is bounded by the credit");
    let mut received = 0;
    let mut buf = vec![0; 1 << 16];
    loop {
        match daemon.read(&mut buf).await.expect("bytes") {
            0 => break,
            n => received += n,
        }
    }
    let (_agent, sent) = writer.await.expect("no panic");
    assert_eq!(received, sent);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_is_reset_at_the_far_end() {
    let (agent, mut daemon) = pair(10).connected().await;
    drop(agent);
    let error = daemon.read_u8().await.expect_err("reset");
    assert_eq!(reset_of(&error).cause, Cause::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_reset_brings_its_cause() {
    let (agent, mut daemon) = pair(10).connected().await;
    agent.reset(Cause::Reset, "by 10.0.0.1");
    let error = daemon.write_all(&[0; 1 << 20]).await.expect_err("reset");
    assert_eq!(reset_of(&error), &ResetBy { cause: Cause::Reset, detail: "by 10.0.0.1".into() });
}

#[tokio::test(start_paused = true)]
async fn a_lost_tunnel_is_distinguished_from_a_reset() {
    let budget = Budget::new(0);
    let (line, incoming) = network(Duration::ZERO);
    let (outgoing, _far) = network(Duration::ZERO);
    let mut agent = TunnelStream::open(v1::Open::default(), incoming, outgoing, &budget);
    drop(line);
    let refused = agent.opened().await.expect_err("no answer can come");
    assert_eq!(refused.cause, Cause::TunnelLost);
    let error = agent.read_u8().await.expect_err("lost");
    assert_eq!((error.kind(), reset_of(&error).cause), (io::ErrorKind::ConnectionAborted, Cause::TunnelLost));
}

#[tokio::test(start_paused = true)]
async fn a_sender_beyond_its_credit_is_reset() {
    let budget = Budget::new(0);
    let (from_far, incoming) = network(Duration::ZERO);
    let (outgoing, mut at_far) = network(Duration::ZERO);
    let mut agent = TunnelStream::open(v1::Open::default(), incoming, outgoing, &budget);
    let bytes = Bytes::from(vec![0; 1 << 17]);
    from_far.send(Ok(frame(Kind::Data(v1::Data { offset: 0, bytes })))).await.expect("room");
    let error = agent.write_all(&[0; 1 << 20]).await.expect_err("reset");
    assert_eq!(reset_of(&error).cause, Cause::Protocol);
    drop(agent);
    let mut last = None;
    while let Some(Ok(Frame { kind })) = at_far.next().await {
        last = kind;
    }
    assert!(
        matches!(last, Some(Kind::Reset(reset)) if reset.cause() == Cause::Protocol),
        "the far end gets a reset"
    );
}
