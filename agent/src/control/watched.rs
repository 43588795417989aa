//! Daemons' connections, ended when nothing came for too long.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bridge_proto::tunnel::alive::{Listened, SILENT_AFTER};
use futures::{Stream, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;

use super::challenge::Challenged;

/// Daemons' connections at a time.
const MAX_CONNECTIONS: usize = 256;
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts for ever.
pub(super) fn incoming(listener: TcpListener) -> impl Stream<Item = Result<Watched, Infallible>> {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    stream::unfold((listener, room), |(listener, room)| async move {
        loop {
            let permit = room.clone().acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(Watched::new(stream, permit)), (listener, room))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the control port");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}

/// A daemon's connection. Reads and writes fail once nothing came for 5 s.
pub(super) struct Watched {
    io: Listened<TcpStream>,
    silent: Pin<Box<dyn Future<Output = ()> + Send>>,
    challenged: Arc<Challenged>,
    _permit: OwnedSemaphorePermit,
}

impl Watched {
    fn new(stream: TcpStream, permit: OwnedSemaphorePermit) -> Self {
        // Without it, it is only slower.
        let _ = stream.set_nodelay(true);
        let io = Listened::new(stream);
        let heard = io.heard();
        let silent = Box::pin(async move { heard.silent_for(SILENT_AFTER).await });
        Self { io, silent, challenged: Arc::default(), _permit: permit }
    }

    /// What is not ready waits no longer than the silence may last.
    fn or_silent<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_pending() && self.silent.as_mut().poll(cx).is_ready() {
            // It resolves once; it may be asked again.
            self.silent = Box::pin(std::future::ready(()));
            tracing::info!(
                "nothing came from a daemon for {} s: its connection is over",
                SILENT_AFTER.as_secs()
            );
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.or_silent(cx, polled)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.or_silent(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.or_silent(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl Connected for Watched {
    type ConnectInfo = Arc<Challenged>;

    fn connect_info(&self) -> Arc<Challenged> {
        self.challenged.clone()
    }
}
