//! The ground floor: moves bytes from one side to the other, whatever they mean.
//!
//! `side` is a byte stream that can be reset, `buffer` the bytes read from one and not yet written to another, `end`
//! both together, `relay` passes everything between two ends.

pub(crate) mod buffer;
pub(crate) mod end;
pub(crate) mod relay;
pub(crate) mod side;
