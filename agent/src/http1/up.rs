//! A request on its way to the server, origin or laptop: first its bytes, then only the client's end is watched.

use std::task::{Context, Poll};

use tokio::net::TcpStream;

use super::flaw::Flaw;
use super::passage::{Broken, Passage, Passed};
use crate::copies::pipe::Inlet;
use crate::copies::tee::Tee;
use crate::io::end::End;
use crate::io::side::Side;

/// How far the request is.
#[derive(Debug)]
pub(super) enum Up {
    Passing(Passage),
    Over,
    /// The rest of it will not come, or is not wanted.
    Stopped,
}

/// Why the exchange ends while the request is on its way.
#[derive(Debug)]
pub(super) enum UpEnded {
    ClientGone,
    /// Its body cannot be read.
    Flawed(Flaw),
}

impl Up {
    /// Moves the request on, and into the pipe of its copy, if there is one. `Some`: the exchange is over.
    pub(super) fn go<S: Side>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut End<TcpStream>,
        server: &mut End<S>,
        copy: Option<&Inlet>,
    ) -> Option<UpEnded> {
        if let Self::Passing(passage) = self {
            let passed = match copy {
                None => passage.poll(cx, client, &mut server.side),
                Some(copy) => passage.poll(cx, client, &mut Tee { to: &mut server.side, copy }),
            };
            *self = match passed {
                Poll::Pending => return None,
                Poll::Ready(Ok(Passed::Whole)) => Self::Over,
                // The server may have answered before it closed.
                Poll::Ready(Ok(Passed::Truncated) | Err(Broken::Sink)) => Self::Stopped,
                Poll::Ready(Err(Broken::Source(_))) => return Some(UpEnded::ClientGone),
                Poll::Ready(Err(Broken::Flawed(flaw))) => return Some(UpEnded::Flawed(flaw)),
            };
        }
        // A request that the client sends ahead waits in the buffer.
        if client.read.is_empty() {
            match client.poll_fill(cx) {
                Poll::Ready(Err(_)) => return Some(UpEnded::ClientGone),
                Poll::Ready(Ok(0)) if !server.finished => {
                    // If it fails, reading from the server fails as well.
                    let _ = server.poll_finish(cx);
                }
                _ => {}
            }
        }
        None
    }
}
