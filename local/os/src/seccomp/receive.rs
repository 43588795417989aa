//! recvmsg(2) with all its results, and the wait for a datagram.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

use super::{
    address::{LONGEST, Name, decode},
    listener::check,
};

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The sent length; the buffer may be shorter.
    pub length: usize,
    pub from: Option<SocketAddr>,
    /// The filled length of the control buffer, with structs cmsghdr.
    pub control: usize,
    /// MSG_TRUNC, MSG_CTRUNC …
    pub flags: i32,
}

/// Receives a datagram, if one is there. `flags` beyond MSG_PEEK and the like are the caller's to choose.
pub fn receive(
    socket: BorrowedFd<'_>,
    flags: i32,
    data: &mut [u8],
    control: &mut [u8],
) -> io::Result<Received> {
    let mut name = [0u8; LONGEST];
    let mut vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: a struct msghdr of zeroes is an empty one.
    #[expect(unsafe_code)]
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = name.len() as libc::socklen_t;
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len() as _;
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: the message's parts are buffers of ours that outlive the call, with their lengths.
    #[expect(unsafe_code)]
    let length = check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) })?;
    let from = match decode(&name[..(message.msg_namelen as usize).min(LONGEST)]) {
        Name::Internet(address) => Some(address),
        _ => None,
    };
    Ok(Received {
        length: length as usize,
        from,
        control: message.msg_controllen as usize,
        flags: message.msg_flags,
    })
}

/// Registers the socket with the current runtime, for waits.
pub fn watched(socket: BorrowedFd<'_>, interest: Interest) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: a borrowed descriptor is open, and the same, for as long as it is borrowed, which the result cannot outlive.
    #[expect(unsafe_code)]
    let watched = unsafe { AsyncFd::register_with_interest(socket, interest) };
    Ok(watched?)
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd};

    use super::*;

    #[test]
    fn a_datagram_says_how_long_it_was_and_from_where() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let none = receive(b.as_fd(), 0, &mut [0; 4], &mut []).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);

        a.send_to(b"longer than four", b.local_addr().unwrap()).unwrap();
        let mut data = [0; 4];
        let received = receive(b.as_fd(), 0, &mut data, &mut []).unwrap();
        assert_eq!(&data, b"long");
        assert_eq!((received.length, received.from), (16, Some(a.local_addr().unwrap())));
        assert_ne!(received.flags & libc::MSG_TRUNC, 0);
    }
}
