//! Relays bytes as they come, both ways: TLS, databases, upgraded connections, and anything that we must not read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use super::end::End;
use super::side::Side;

/// How long data for a side that has closed is discarded, before both are cut.
const DISCARD: Duration = Duration::from_secs(5);

/// One direction.
#[derive(Debug)]
enum Flow {
    Going,
    Over,
    /// The receiver takes nothing any more, but may still send something.
    Discarding(Pin<Box<Sleep>>),
}

/// Relays until both directions are over. An error means that one side broke: the caller aborts both.
pub(crate) async fn both_ways<A: Side, B: Side>(a: &mut End<A>, b: &mut End<B>) -> io::Result<()> {
    let (mut a_to_b, mut b_to_a) = (Flow::Going, Flow::Going);
    std::future::poll_fn(|cx| {
        let one = a_to_b.poll(cx, a, b)?;
        let two = b_to_a.poll(cx, b, a)?;
        if one.is_ready() && two.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

impl Flow {
    fn poll<A: Side, B: Side>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut End<A>,
        to: &mut End<B>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self {
                Flow::Over => return Poll::Ready(Ok(())),
                Flow::Discarding(deadline) => {
                    from.read.consume(from.read.filled().len());
                    match from.poll_fill(cx)? {
                        Poll::Ready(0) => *self = Flow::Over,
                        Poll::Ready(_) => {}
                        Poll::Pending => {
                            ready!(deadline.as_mut().poll(cx));
                            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                        }
                    }
                }
                Flow::Going => *self = ready!(poll_going(cx, from, to))?,
            }
        }
    }
}

/// Moves bytes until there is nothing more to do; returns the state of the direction.
fn poll_going<A: Side, B: Side>(
    cx: &mut Context<'_>,
    from: &mut End<A>,
    to: &mut End<B>,
) -> Poll<io::Result<Flow>> {
    loop {
        let written = if !from.read.is_empty() {
            let len = from.read.filled().len();
            ready!(from.read.poll_drain(cx, len, &mut to.side)).map(drop)
        } else if from.ended {
            match ready!(to.poll_finish(cx)) {
                Ok(()) => return Poll::Ready(Ok(Flow::Over)),
                Err(error) => Err(error),
            }
        } else {
            ready!(from.poll_fill(cx))?;
            continue;
        };
        if written.is_err() {
            return Poll::Ready(Ok(Flow::Discarding(Box::pin(tokio::time::sleep(DISCARD)))));
        }
    }
}
