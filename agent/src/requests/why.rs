//! Why something did not go the usual way: causes, and the reasons that stand for them in reports. Pure.

use bridge_proto::v1::Reason;

/// Why a request that a session takes went to the origin all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FellBack {
    /// The laptop was not reached.
    LaptopAway,
    /// Nothing listens on its port, and the session lets the origin answer then.
    NothingListens,
    /// It is an unread connection from this pod: perhaps from that laptop.
    OwnPod,
}

impl FellBack {
    pub(super) fn reason(self) -> Reason {
        match self {
            FellBack::LaptopAway => Reason::LaptopAway,
            FellBack::NothingListens => Reason::NothingListens,
            FellBack::OwnPod => Reason::OwnPod,
        }
    }
}

/// Why a copy of a request is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// More of it waited for the laptop than may wait.
    TooSlow,
    /// The session has too many copies, or no memory left.
    NoRoom,
    /// The request that it is of did not come to its end.
    CutShort,
    /// The process on the laptop did not answer, or ended before.
    NoAnswer,
    /// The laptop was not reached.
    LaptopAway,
    /// Nothing takes it on the laptop's port.
    NothingListens,
}

impl GivenUp {
    pub(super) fn reason(self) -> Reason {
        match self {
            GivenUp::TooSlow => Reason::CopyTooSlow,
            GivenUp::NoRoom => Reason::CopyNoRoom,
            GivenUp::CutShort => Reason::CopyCutShort,
            GivenUp::NoAnswer => Reason::CopyNoAnswer,
            GivenUp::LaptopAway => Reason::CopyLaptopAway,
            GivenUp::NothingListens => Reason::CopyNothingListens,
        }
    }
}

/// Why a connection, or the rest of it, is relayed unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opaque {
    Tls,
    /// The server spoke before the client did.
    ServerSpokeFirst,
    /// The client does not speak HTTP.
    NotHttp,
    /// Two parsers could read a message differently.
    Ambiguous,
}

impl Opaque {
    /// Why a client's first bytes are not interpreted.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        // A TLS connection begins with a record of type handshake (RFC 8446 section 5.1).
        if bytes.first() == Some(&22) { Opaque::Tls } else { Opaque::NotHttp }
    }

    pub(super) fn reason(self) -> Reason {
        match self {
            Opaque::Tls => Reason::Tls,
            Opaque::ServerSpokeFirst => Reason::ServerSpokeFirst,
            Opaque::NotHttp => Reason::NotHttp,
            Opaque::Ambiguous => Reason::Ambiguous,
        }
    }
}
