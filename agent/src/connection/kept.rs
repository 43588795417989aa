//! A stream to a laptop that has brought an answer and can bring another: the next request of the same client saves the
//! round trip. It is kept for a moment only, so that the local process, which may close idle connections, hardly ever
//! does so while a request is on its way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bridge_proto::tunnel::TunnelStream;
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;

use crate::inbound;
use crate::io::end::End;
use crate::routes::Entry;

/// Servers that close idle connections do it after seconds.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// At most one stream.
#[derive(Debug, Default)]
pub(crate) struct Kept(Option<Box<Stream>>);

#[derive(Debug)]
struct Stream {
    route: Arc<Entry>,
    end: End<TunnelStream>,
    until: Pin<Box<Sleep>>,
}

impl Kept {
    /// Keeps a stream whose last answer is complete.
    pub(crate) fn keep(&mut self, route: Arc<Entry>, end: End<TunnelStream>) {
        let until = Box::pin(tokio::time::sleep_until(Instant::now() + KEPT_FOR));
        self.0 = Some(Box::new(Stream { route, end, until }));
    }

    /// The stream, if it leads to the route's port and is still good.
    pub(crate) async fn take(&mut self, route: &Entry, tasks: &TaskTracker) -> Option<End<TunnelStream>> {
        std::future::poll_fn(|cx| {
            self.poll(cx, tasks);
            Poll::Ready(())
        })
        .await;
        if !self.0.as_deref().is_some_and(|stream| stream.route.leads_where(route)) {
            self.clear(tasks);
        }
        Some(self.0.take()?.end)
    }

    /// Finishes the stream when its time is over, or when the local process ends it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, tasks: &TaskTracker) {
        let Some(stream) = &mut self.0 else { return };
        let over = stream.end.poll_fill(cx).is_ready() || stream.until.as_mut().poll(cx).is_ready();
        if over {
            self.clear(tasks);
        }
    }

    /// Finishes the stream now.
    pub(crate) fn clear(&mut self, tasks: &TaskTracker) {
        if let Some(stream) = self.0.take() {
            tasks.spawn(inbound::farewell(stream.end));
        }
    }
}
