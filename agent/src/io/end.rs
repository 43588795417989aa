//! One end of a connection: its byte stream, its read bytes, and the directions that are over.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::buffer::Buffer;
use super::side::Side;

/// The time for which a side may go on sending after we have closed: its bytes are discarded.
const LINGER: Duration = Duration::from_secs(5);

/// A side and its state.
#[derive(Debug)]
pub(crate) struct End<S> {
    pub(crate) side: S,
    /// Bytes that came from it and did not go on yet.
    pub(crate) read: Buffer,
    /// It sent its last byte.
    pub(crate) ended: bool,
    /// We sent our last byte to it.
    pub(crate) finished: bool,
}

impl<S: Side> End<S> {
    pub(crate) fn new(side: S) -> Self {
        Self { side, read: Buffer::new(), ended: false, finished: false }
    }

    /// Reads once. 0: it has ended, now or before. To be called only while the buffer is not full.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let read = ready!(self.read.poll_fill(cx, &mut self.side))?;
        self.ended = read == 0;
        Poll::Ready(Ok(read))
    }

    /// Ends our direction: nothing follows.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.finished {
            ready!(Pin::new(&mut self.side).poll_shutdown(cx))?;
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Resolves when the side fails, and only then; its bytes are kept meanwhile, as far as there is room.
    pub(crate) async fn failure(&mut self) -> io::Error {
        std::future::poll_fn(|cx| {
            while !self.ended && !self.read.is_full() {
                if let Err(error) = ready!(self.poll_fill(cx)) {
                    return Poll::Ready(error);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Closes in order: ends our direction, and reads for a while, so that a reset does not overtake the last bytes
    /// that were sent.
    pub(crate) async fn close(mut self) {
        self.read.consume(self.read.filled().len());
        let discard = std::future::poll_fn(|cx| {
            if ready!(self.poll_finish(cx)).is_err() {
                return Poll::Ready(());
            }
            loop {
                match ready!(self.poll_fill(cx)) {
                    Ok(0) | Err(_) => return Poll::Ready(()),
                    Ok(read) => self.read.consume(read),
                }
            }
        });
        // A peer that sends after this gets a reset.
        let _ = tokio::time::timeout(LINGER, pin!(discard)).await;
    }
}
