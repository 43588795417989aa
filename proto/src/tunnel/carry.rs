//! A TCP connection and a stream, tied together.

use std::io;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;

use super::{ResetBy, TunnelStream};
use crate::v1::Cause;

const COPY_BUFFER: usize = 32 * 1024;

/// Carries bytes until both directions ended; a reset on one side becomes a reset on the other. Returns how many bytes
/// went into the tunnel, and how many came out of it.
pub async fn carry(mut connection: TcpStream, mut stream: TunnelStream) -> (u64, u64) {
    let carried = copy_bidirectional_with_sizes(&mut connection, &mut stream, COPY_BUFFER, COPY_BUFFER).await;
    let bytes = stream.bytes();
    if let Err(error) = carried {
        let by_the_tunnel = error.get_ref().is_some_and(|source| source.is::<ResetBy>());
        if by_the_tunnel {
            // Without lingering, closing resets: the peer sees that the other end is gone, not an orderly end.
            let _ = connection.set_zero_linger();
        } else {
            stream.reset(Cause::Reset, error.to_string());
        }
    }
    bytes
}

impl Cause {
    /// Why a connection was not made.
    pub fn of_dial(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Unreachable,
        }
    }
}
