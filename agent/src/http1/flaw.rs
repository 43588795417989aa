//! Why a message of HTTP/1 is not interpreted. A `Flaw` is not an error of anybody: it says that the message is not for us
//! to read.

/// Headers of one message.
pub(super) const MAX_HEADERS: usize = 256;

/// Why a message is not interpreted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("a line that does not end in CRLF")]
    LineEnd,
    #[error("more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    #[error("something else where \"HTTP/1.\" was due")]
    NoHead,
    #[error("a head that breaks the grammar")]
    Grammar,
    #[error("a request target of no known form")]
    Target,
    #[error("a Content-Length that is no number, or two that differ")]
    Length,
    #[error("a Transfer-Encoding other than chunked")]
    TransferEncoding,
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndTransferEncoding,
    #[error("a Connection option that names the length")]
    ConnectionOption,
    #[error("a body where there can be none")]
    Body,
    #[error("more interim answers than are read")]
    Interim,
    #[error("a protocol that was not asked for")]
    Switch,
    #[error("a bad chunk")]
    Chunk,
}
