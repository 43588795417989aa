//! Copies of requests: the origin answers, and a laptop gets the same request, whose answer is dropped.
//!
//! An exchange puts the bytes that it has passed on into a `pipe` and never waits for the laptop; a task of its own
//! carries them there (`http1::copy`, `http2::copy`). A copy that falls behind is given up whole. `tee` is how HTTP/1
//! passes bytes to both.

pub(crate) mod pipe;
pub(crate) mod tee;

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use self::pipe::{Inlet, Outlet};
use crate::inbound::Unreached;
use crate::requests::{GivenUp, Record};
use crate::routes::Entry;
use crate::session::share;

/// The time that the process on the laptop has for its answer, once it has the whole request.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(600);

impl From<Unreached> for GivenUp {
    fn from(why: Unreached) -> Self {
        match why {
            Unreached::Port | Unreached::Loop => GivenUp::NothingListens,
            Unreached::Laptop => GivenUp::LaptopAway,
            Unreached::Full | Unreached::Crowded => GivenUp::NoRoom,
            Unreached::Unknown => GivenUp::NoAnswer,
        }
    }
}

/// A copy under way: its record, and its place among the session's.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) record: Record,
    pub(crate) outlet: Outlet,
    _place: OwnedSemaphorePermit,
}

/// Begins a copy of the request with this record. The first `skipped` bytes that the inlet gets are not in the pipe: a
/// head that goes to the laptop in another form. `None`: there is no room for another copy, which is recorded.
pub(crate) fn begin(of: &Record, route: &Entry, skipped: usize) -> Option<(Inlet, Ticket)> {
    let session = &route.session;
    let mut record = of.copy(session);
    let place = session.copies.clone().try_acquire_owned().ok();
    let (Some(place), Some(room)) = (place, session.budget.begin(share::COPY)) else {
        record.given_up(GivenUp::NoRoom);
        return None;
    };
    let (inlet, outlet) = pipe::pipe(room, skipped);
    Some((inlet, Ticket { record, outlet, _place: place }))
}

impl Ticket {
    /// Ends the copy.
    pub(crate) fn end(mut self, carried: Result<(), GivenUp>) {
        if let Err(why) = carried {
            tracing::debug!(?why, "a copy was given up");
            self.record.given_up(why);
        }
    }
}
