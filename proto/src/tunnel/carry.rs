//! Ties a TCP connection and a stream together.

use std::io;

use rustix::io::Errno;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;

use super::{FRAME, ResetBy, TunnelStream};
use crate::v1::Cause;

/// The result of a carried connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Bytes that went into the tunnel.
    pub in_bytes: u64,
    /// Bytes that came out of it.
    pub out_bytes: u64,
    /// Why the tunnel's side ended early, if it did.
    pub reset: Option<ResetBy>,
}

/// Carries bytes until both directions ended; a reset on one side becomes a reset on the other.
pub async fn carry(mut connection: TcpStream, mut stream: TunnelStream) -> Carried {
    let carried = copy_bidirectional_with_sizes(&mut connection, &mut stream, FRAME, FRAME).await;
    let (in_bytes, out_bytes) = stream.bytes();
    let mut reset = None;
    if let Err(error) = carried {
        reset = error.get_ref().and_then(|source| source.downcast_ref::<ResetBy>()).cloned();
        if reset.is_some() {
            // Without lingering, closing resets: the peer sees that the other end is gone, not an orderly end.
            let _ = connection.set_zero_linger();
        } else {
            stream.reset(Cause::Reset, error.to_string());
        }
    }
    Carried { in_bytes, out_bytes, reset }
}

impl Cause {
    /// The reason why a connection was not made.
    pub fn of_dial(error: &io::Error) -> Self {
        if let Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) = Errno::from_io_error(error)
        {
            return Self::NoRoom;
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::NetworkUnreachable => Self::NetworkUnreachable,
            _ => Self::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_not_made_fails_there_as_it_failed_here() {
        for (kind, cause) in [
            (io::ErrorKind::ConnectionRefused, Cause::Refused),
            (io::ErrorKind::TimedOut, Cause::TimedOut),
            (io::ErrorKind::HostUnreachable, Cause::Unreachable),
            (io::ErrorKind::NetworkUnreachable, Cause::NetworkUnreachable),
            (io::ErrorKind::AddrNotAvailable, Cause::Unreachable),
        ] {
            assert_eq!(Cause::of_dial(&kind.into()), cause, "{kind}");
        }
        assert_eq!(Cause::of_dial(&Errno::MFILE.into()), Cause::NoRoom, "no descriptor is left");
    }
}
