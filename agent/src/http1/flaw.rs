//! Why the agent does not interpret an HTTP/1 message. It relays such a request unread, and replaces such an answer of
//! a laptop with its own.

/// Limit on the headers of one message.
pub(super) const MAX_HEADERS: usize = 256;

/// Why a message is not interpreted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("a line does not end in CRLF")]
    LineEnd,
    #[error("more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    #[error("not an HTTP/1 head")]
    NoHead,
    #[error("malformed head")]
    Grammar,
    #[error("malformed request target")]
    Target,
    #[error("invalid or conflicting Content-Length")]
    Length,
    #[error("unsupported Transfer-Encoding")]
    TransferEncoding,
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndTransferEncoding,
    #[error("Connection names a framing header")]
    ConnectionOption,
    #[error("a body where none is allowed")]
    Body,
    #[error("too many interim answers")]
    Interim,
    #[error("a switch to a protocol that was not requested")]
    Switch,
    #[error("malformed chunk")]
    Chunk,
}
