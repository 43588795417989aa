//! Watches of a pretended API server: the changes since a version, one on each line.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::watch;

/// A change of one object.
pub(super) struct Change {
    pub(super) version: u64,
    /// "ADDED", "MODIFIED" or "DELETED"
    pub(super) kind: &'static str,
    pub(super) path: String,
    pub(super) object: Value,
}

impl Change {
    pub(super) fn line(&self) -> String {
        format!("{}\n", json!({"type": self.kind, "object": self.object}))
    }
}

/// The body of an answer; a watch's body does not end.
pub(super) struct Lines(BoxStream<'static, Bytes>);

impl Lines {
    pub(super) fn whole(answer: Bytes) -> Self {
        Self(stream::once(std::future::ready(answer)).boxed())
    }

    /// Yields what `look` finds after a version, now and at each change; `look` also returns the version up to which it
    /// has looked.
    pub(super) fn of(
        changes: watch::Receiver<u64>,
        since: u64,
        look: impl Fn(u64) -> (String, u64) + Send + Sync + 'static,
    ) -> Self {
        let look = Arc::new(look);
        let lines = stream::unfold((changes, since), move |(mut changes, since)| {
            let look = look.clone();
            async move {
                loop {
                    // Before looking: later changes are seen by the next look.
                    changes.mark_unchanged();
                    let (lines, seen) = look(since);
                    if !lines.is_empty() {
                        return Some((Bytes::from(lines), (changes, seen)));
                    }
                    changes.changed().await.ok()?;
                }
            }
        });
        Self(lines.boxed())
    }
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_next_unpin(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
