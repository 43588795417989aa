//! The tunnel: many byte streams over one gRPC connection, one bidirectional call each.
//!
//! `engine` decides (offsets, credit, half-close; no I/O, no clock), `budget` limits the memory of all streams of a
//! tunnel, or of all tunnels of a program, `stream` is the thin tokio part: it turns a call's two message streams into
//! one `TunnelStream` of bytes. `carry` ties one to a TCP connection, `alive` distinguishes a silent connection from a
//! slow one.
//!
//! HTTP/2's own windows are wide and always drained at once, so a stalled stream holds up no other; the limit of a
//! stream is the credit of its own messages, granted as the far socket takes the bytes.

pub mod alive;
mod budget;
mod carry;
mod engine;
mod stream;

/// Invariants for any messages: for the tests and for the fuzz targets of `tests/fuzz`.
#[cfg(any(test, fuzzing))]
pub use stream::hostile::frames as hostile_frames;

pub use budget::{Budget, Hold, Pool};
pub use carry::{Carried, carry};
pub use engine::{FRAME, MAX_WINDOW, MIN_WINDOW};
pub use stream::{FrameSender, Offered, Refused, ResetBy, TunnelStream, offered};

/// HTTP/2 window of one stream, in bytes: more than any credit, so that it never limits a stream.
pub const HTTP2_STREAM_WINDOW: u32 = 2 * MAX_WINDOW as u32;
/// HTTP/2 window of the connection, in bytes. Drained at once, so it only has to cover a round trip.
pub const HTTP2_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Largest HTTP/2 frame that either end accepts, in bytes: a message of a stream in one piece, so in one system call.
pub const HTTP2_FRAME: u32 = 2 * FRAME as u32;
/// Limit on the open calls of one tunnel, at both ends (hyper's default of 200 would hang the 201st).
pub const HTTP2_STREAMS: u32 = 20_000;
/// The bytes that all streams of one tunnel may hold beyond their minimum.
pub const TUNNEL_BUDGET: u64 = 64 * 1024 * 1024;
