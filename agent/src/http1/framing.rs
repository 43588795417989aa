//! Finds the end of a message's body (RFC 9112 section 6): the framing that its head announces, and a scanner that
//! counts.

use super::chunked::Chunked;
use super::flaw::Flaw;

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// The content of one message's length headers.
#[derive(Debug, Default)]
pub(crate) struct Lengths {
    length: Option<u64>,
    chunked: bool,
}

impl Lengths {
    /// Adds a Content-Length header.
    pub(crate) fn length(&mut self, value: &[u8]) -> Result<(), Flaw> {
        // 18 digits cannot overflow, and are more than any body.
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(Flaw::Length);
        }
        let length = value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        match self.length.replace(length) {
            Some(other) if other != length => Err(Flaw::Length),
            _ => Ok(()),
        }
    }

    /// Adds a Transfer-Encoding header.
    pub(crate) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Flaw> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Flaw::TransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    pub(crate) fn agree(&self) -> Result<(), Flaw> {
        if self.chunked && self.length.is_some() { Err(Flaw::LengthAndTransferEncoding) } else { Ok(()) }
    }

    pub(crate) fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// The framing that they announce; `None` if they are absent.
    pub(crate) fn framing(&self) -> Option<Framing> {
        if self.chunked { Some(Framing::Chunked) } else { self.length.map(Framing::Length) }
    }
}

/// A body, as far as it has been seen.
#[derive(Debug)]
pub(crate) enum Body {
    /// The number of bytes left.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Body::Length(0),
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunked::default()),
            Framing::UntilClose => Body::UntilClose,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        match self {
            Body::Length(left) => *left == 0,
            Body::Chunked(chunked) => chunked.is_over(),
            Body::UntilClose => false,
        }
    }

    pub(crate) fn lasts_until_close(&self) -> bool {
        matches!(self, Body::UntilClose)
    }

    /// Bytes of trailers so far, the empty line after them included.
    pub(crate) fn trailers(&self) -> usize {
        match self {
            Body::Chunked(chunked) => chunked.trailers(),
            Body::Length(_) | Body::UntilClose => 0,
        }
    }

    /// The number of the next bytes that belong to the body.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<usize, Flaw> {
        match self {
            Body::Length(left) => {
                let own = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= own as u64;
                Ok(own)
            }
            Body::Chunked(chunked) => chunked.scan(bytes),
            Body::UntilClose => Ok(bytes.len()),
        }
    }
}

#[cfg(test)]
mod tests;
