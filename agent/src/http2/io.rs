//! The byte streams under HTTP/2 connections: they start with bytes that were read before, and are handed back at the
//! end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::first::{First, FirstFrame};
use super::frames::Frames;
use crate::io::end::End;
use crate::io::side::Side;

/// A side under an HTTP/2 connection, which owns it and never returns it; this returns it when dropped.
#[derive(Debug)]
pub(super) struct Io<S: Side> {
    side: Option<S>,
    /// Bytes that come before those of the side.
    read: Bytes,
    home_tx: Option<oneshot::Sender<S>>,
    first: Option<Spy>,
    stuck: Arc<AtomicBool>,
    turn: Option<Turn>,
    frames: Option<Frames>,
    hearing: Hearing,
}

/// The fate of bytes that a peer sent before it closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hearing {
    /// They are lost with the connection, as soon as something cannot be written.
    Ends,
    /// They are read.
    GoesOn,
    /// They are being read; nothing more is written.
    Only,
}

/// Listens for the peer's first frame.
#[derive(Debug)]
struct Spy {
    frame: FirstFrame,
    first_tx: oneshot::Sender<First>,
}

/// Limits the reads of one connection's task before others get their turn: h2 itself reads on as long as data comes.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn(Arc<AtomicU32>);

impl Turn {
    /// Reads of one turn, each of some KiB.
    const READS: u32 = 4;

    pub(super) fn begin(&self) {
        self.0.store(Self::READS, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Counts a read.
    fn take(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(1), Ordering::Relaxed);
    }
}

/// Knows whether everything that could be written is written.
#[derive(Debug)]
pub(super) struct Written(Arc<AtomicBool>);

impl Written {
    pub(super) fn all(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

impl<S: Side> Io<S> {
    /// Returns also the receiver that gets the side when this is dropped.
    pub(super) fn new(end: End<S>) -> (Self, oneshot::Receiver<S>) {
        let (home_tx, home_rx) = oneshot::channel();
        let io = Self {
            side: Some(end.side),
            read: Bytes::copy_from_slice(end.read.filled()),
            home_tx: Some(home_tx),
            first: None,
            stuck: Arc::default(),
            turn: None,
            frames: None,
            hearing: Hearing::Ends,
        };
        (io, home_rx)
    }

    /// Resolves with the peer's first frame. If the first bytes are no frame, reading fails.
    pub(super) fn first(&mut self) -> oneshot::Receiver<First> {
        let (first_tx, first_rx) = oneshot::channel();
        self.first = Some(Spy { frame: FirstFrame::default(), first_tx });
        first_rx
    }

    /// Limits its reads to the turn from now on.
    pub(super) fn takes_turns(&mut self, turn: &Turn) {
        self.turn = Some(turn.clone());
    }

    /// Counts the small frames in all that is read.
    pub(super) fn counts(&mut self, frames: Frames) {
        self.frames = Some(frames);
    }

    /// Reads everything that the peer has sent, even after it has closed: a server may close right after its last byte,
    /// and h2 does not read on once it cannot write.
    pub(super) fn is_heard_out(&mut self) {
        self.hearing = Hearing::GoesOn;
    }

    pub(super) fn written(&self) -> Written {
        Written(self.stuck.clone())
    }

    fn side(&mut self) -> io::Result<Pin<&mut S>> {
        self.side.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Writes `len` bytes, or discards them if the peer is gone. Reading then reports the end, after the bytes sent
    /// before it.
    fn write(
        &mut self,
        len: usize,
        write: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.hearing == Hearing::Only {
            return Poll::Ready(Ok(len));
        }
        let polled = write(self.side()?);
        self.stuck.store(polled.is_pending(), Ordering::Relaxed);
        match polled {
            Poll::Ready(Err(error)) if self.hearing == Hearing::GoesOn && is_of_closed(&error) => {
                self.hearing = Hearing::Only;
                Poll::Ready(Ok(len))
            }
            polled => polled,
        }
    }
}

impl<S: Side> AsyncRead for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn.as_ref().is_some_and(Turn::is_over) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if self.read.is_empty() {
            ready!(self.side()?.poll_read(cx, buf))?;
        } else {
            let len = self.read.len().min(buf.remaining());
            buf.put_slice(&self.read[..len]);
            self.read.advance(len);
        }
        if let Some(turn) = &self.turn {
            turn.take();
        }
        if let Some(frames) = &mut self.frames {
            frames.advance(&buf.filled()[before..]);
        }
        if let Some(mut spy) = self.first.take() {
            let Some(first) = spy.frame.advance(&buf.filled()[before..]) else {
                self.first = Some(spy);
                return Poll::Ready(Ok(()));
            };
            let foreign = matches!(first, First::Foreign(_));
            // If it cannot be sent, nobody listens.
            let _ = spy.first_tx.send(first);
            if foreign {
                buf.set_filled(before);
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Side> AsyncWrite for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(buf.len(), |side| side.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.side()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hearing == Hearing::Only {
            return Poll::Ready(Ok(()));
        }
        self.side()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        self.write(len, |side| side.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.side.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}

/// Whether the peer has closed: reading comes to an end.
fn is_of_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl<S: Side> Drop for Io<S> {
    fn drop(&mut self) {
        if let (Some(side), Some(home_tx)) = (self.side.take(), self.home_tx.take()) {
            // If nobody waits for it, it ends here.
            let _ = home_tx.send(side);
        }
    }
}
