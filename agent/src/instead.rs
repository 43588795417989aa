//! Decides what answers a request that did not reach its laptop: the origin, or one of our own answers. Pure.

use bridge_proto::v1::Fallback;

use crate::http1::answers::Failure;
use crate::inbound::Unreached;
use crate::requests::FellBack;
use crate::routes::Entry;

#[derive(Debug)]
pub(crate) enum Instead {
    Origin(FellBack),
    Answer(Failure),
    /// The request may have been delivered in part: HTTP/1 ends the connection with this answer.
    LastAnswer(Failure),
}

/// `detail`: what the laptop said of it.
pub(crate) fn instead(route: &Entry, why: Unreached, detail: String) -> Instead {
    let user = route.session.user.clone();
    let falls_back = route.fallback == Fallback::Origin;
    match why {
        Unreached::Laptop => Instead::Origin(FellBack::LaptopAway),
        Unreached::Full | Unreached::Crowded if falls_back => Instead::Origin(FellBack::LaptopAway),
        Unreached::Port | Unreached::Loop if falls_back => Instead::Origin(FellBack::NothingListens),
        Unreached::Full => Instead::Answer(Failure::Full { user }),
        Unreached::Crowded => Instead::Answer(Failure::Crowded { user, detail }),
        Unreached::Port => Instead::Answer(Failure::Refused { user, port: route.local_port, detail }),
        Unreached::Loop => Instead::Answer(Failure::LeadsBack { user, detail }),
        Unreached::Unknown => Instead::LastAnswer(Failure::Lost { user }),
    }
}
