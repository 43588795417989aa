//! A stream's future and its result: one type for both sides, so that the usual one, between caller and origin, costs
//! no allocation of its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use h2::Reason;

use super::answers::Wanted;
use super::caller::Caller;
use super::exchange::{Accepted, Exchange, Exchanged};
use crate::requests::FellBack;

/// A stream in progress.
pub(super) struct Work {
    pub(super) with: With,
    /// Bytes of the request's head, which may still wait to be sent.
    pub(super) head: usize,
}

/// The side that serves a stream.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and is spared an allocation")]
pub(super) enum With {
    Origin(Exchange),
    Laptop(Pin<Box<dyn Future<Output = Ended> + Send>>),
}

/// A stream whose work is done.
pub(super) struct Done {
    pub(super) ended: Ended,
    pub(super) at_laptop: bool,
    pub(super) head: usize,
}

/// The rest of the work for a finished stream.
pub(super) enum Ended {
    Over,
    /// The laptop was not reached and nothing was delivered: as if the route did not exist.
    ToOrigin(Accepted, FellBack),
    /// The way to the laptop was lost before anything was delivered: to be routed once more.
    Again(Accepted),
    /// To be reset, after the data sent on it.
    Reset(Caller, Reason),
    /// The origin's connection was lost.
    Lost(Caller, Wanted),
}

impl Future for Work {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done> {
        let head = self.head;
        match &mut self.with {
            With::Laptop(exchange) => {
                exchange.as_mut().poll(cx).map(|ended| Done { ended, at_laptop: true, head })
            }
            With::Origin(exchange) => exchange.poll(cx).map(|exchanged| {
                let ended = match exchanged {
                    Exchanged::Over => Ended::Over,
                    Exchanged::Reset(caller, reason) => Ended::Reset(caller, reason),
                    Exchanged::Failed(caller, _) | Exchanged::NoRoom(caller) => {
                        Ended::Lost(caller, exchange.wanted())
                    }
                };
                Done { ended, at_laptop: false, head }
            }),
        }
    }
}
