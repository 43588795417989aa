//! Watches of a pretended API server: what changes from some version on, a line each.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use hyper::body::Frame;
use serde_json::{Value, json};

use super::{ApiServer, Query};

/// A change of one object.
pub(super) struct Change {
    pub(super) version: u64,
    /// "ADDED", "MODIFIED" or "DELETED"
    pub(super) kind: &'static str,
    pub(super) path: String,
    pub(super) object: Value,
}

/// The body of an answer; a watch's does not end by itself.
pub(super) struct Lines(BoxStream<'static, Bytes>);

impl Lines {
    pub(super) fn whole(answer: Bytes) -> Self {
        Self(stream::once(std::future::ready(answer)).boxed())
    }

    /// Of the objects of a kind that a query asks for.
    pub(super) fn of(server: ApiServer, path: String, query: Query) -> Self {
        let changes = server.versions.subscribe();
        let seen = query.version;
        Self(
            stream::unfold((server, changes, seen), move |(server, mut changes, seen)| {
                let (path, query) = (path.clone(), query.clone());
                async move {
                    loop {
                        // Before looking: what changes from now on is seen by the next look.
                        let now = *changes.borrow_and_update();
                        let lines = server.changed(seen, &path, &query);
                        if !lines.is_empty() {
                            return Some((Bytes::from(lines), (server, changes, now.max(seen))));
                        }
                        changes.changed().await.ok()?;
                    }
                }
            })
            .boxed(),
        )
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

impl ApiServer {
    fn changed(&self, since: u64, path: &str, query: &Query) -> String {
        let inner = self.inner.lock().unwrap();
        let of_kind = inner.log.iter().filter(|change| {
            change.version > since && change.path.rsplit_once('/').is_some_and(|(kind, _)| kind == path)
        });
        let asked_for = of_kind.filter(|change| query.selects(&change.object));
        asked_for
            .map(|change| format!("{}\n", json!({"type": change.kind, "object": change.object})))
            .collect()
    }
}
