//! Invariants for any input bytes: for the tests of this crate and the fuzz targets of `tests/fuzz`.

pub use crate::http1::hostile::{framing as http1_framing, heads as http1_heads};
