//! The user at the other end of a Unix socket.

use std::{io, os::fd::AsFd};

/// The user that this process acts as.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The user of the process that connected, or that listened, when the connection was made (SO_PEERCRED, unix(7)).
pub fn uid(socket: &impl AsFd) -> io::Result<u32> {
    Ok(rustix::net::sockopt::socket_peercred(socket)?.uid.as_raw())
}

/// Refuses a socket whose other end is not ours.
pub fn check(socket: &impl AsFd) -> io::Result<()> {
    is_same(uid(socket)?, own_uid())
}

fn is_same(peer: u32, own: u32) -> io::Result<()> {
    if peer == own {
        return Ok(());
    }
    let message = format!("the process at the other end belongs to user {peer}, not to user {own}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_of_our_own_socket_is_us() {
        let (a, b) = UnixStream::pair().unwrap();
        assert_eq!(uid(&a).unwrap(), own_uid());
        check(&b).unwrap();
    }

    #[test]
    fn a_peer_of_another_user_is_refused_and_root_is_another_user() {
        for other in [0, 1001] {
            let refused = is_same(other, 1000).expect_err("another user");
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
            assert!(refused.to_string().contains(&format!("user {other}")), "{refused}");
        }
    }
}
