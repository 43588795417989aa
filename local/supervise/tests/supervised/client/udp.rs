//! Programs that use datagrams.

use std::{
    io::{ErrorKind, IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, SockaddrStorage, recvmmsg, recvmsg, sendmmsg, sendmsg,
};

use super::at;
use crate::cluster::{SERVICE, SERVICE6};

pub(super) fn connected_udp() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(at(SERVICE, 7)).unwrap();
    assert_eq!(socket.peer_addr().unwrap(), at(SERVICE, 7));
    let mut buffer = [0; 16];
    socket.send(b"one").unwrap();
    assert_eq!(socket.recv(&mut buffer).unwrap(), 3);
    socket.send(b"second").unwrap();
    assert_eq!(socket.recv_from(&mut buffer).unwrap(), (6, at(SERVICE, 7)));
    assert_eq!(&buffer[..6], b"second");
}

pub(super) fn unconnected_udp() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut buffer = [0; 16];
    for text in ["one", "second"] {
        socket.send_to(text.as_bytes(), at(SERVICE, 7)).unwrap();
        assert_eq!(socket.recv_from(&mut buffer).unwrap(), (text.len(), at(SERVICE, 7)));
        assert_eq!(&buffer[..text.len()], text.as_bytes());
    }
    // Longer than there is room for, peeked at, and then taken.
    socket.send_to(&[7; 40], at(SERVICE, 7)).unwrap();
    assert_eq!(socket.peek_from(&mut buffer).unwrap(), (16, at(SERVICE, 7)));
    assert_eq!(socket.recv_from(&mut buffer).unwrap(), (16, at(SERVICE, 7)));
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(socket.recv_from(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv_from(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    socket.set_nonblocking(false).unwrap();
    // The same socket talks to its own machine too.
    let near = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"near", near.local_addr().unwrap()).unwrap();
    let (_, from) = near.recv_from(&mut buffer).unwrap();
    near.send_to(b"back", from).unwrap();
    socket.set_read_timeout(None).unwrap();
    assert_eq!(socket.recv_from(&mut buffer).unwrap(), (4, near.local_addr().unwrap()));
}

pub(super) fn udp_over_ipv6() {
    let mut buffer = [0; 16];
    let socket = UdpSocket::bind("[::]:0").unwrap();
    let mapped: SocketAddr = format!("[::ffff:{SERVICE}]:7").parse().unwrap();
    for destination in [at(SERVICE6, 7), mapped] {
        socket.send_to(b"six", destination).unwrap();
        assert_eq!(socket.recv_from(&mut buffer).unwrap(), (3, destination));
    }
}

pub(super) fn messages() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let to = SockaddrStorage::from(at(SERVICE, 7));
    let parts = [IoSlice::new(b"two "), IoSlice::new(b"parts")];
    let sent = sendmsg(socket.as_raw_fd(), &parts, &[], MsgFlags::empty(), Some(&to)).unwrap();
    assert_eq!(sent, 9);
    let (mut a, mut b) = ([0; 3], [0; 16]);
    let mut parts = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
    let received =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, None, MsgFlags::empty()).unwrap();
    assert_eq!((received.bytes, received.address), (9, Some(to)));
    assert_eq!((&a[..], &b[..6]), (&b"two"[..], &b" parts"[..]));
}

fn headers(count: usize) -> MultiHeaders<SockaddrIn> {
    MultiHeaders::preallocate(count, None)
}

/// Sends one datagram to each address, and returns the call's count.
fn send_many(socket: &UdpSocket, to: &[SocketAddr]) -> usize {
    let texts: Vec<_> = (0..to.len()).map(|index| vec![b'a' + index as u8; index + 1]).collect();
    let slices: Vec<_> = texts.iter().map(|text| [IoSlice::new(text)]).collect();
    let to: Vec<_> = to
        .iter()
        .map(|to| match to {
            SocketAddr::V4(four) => Some(SockaddrIn::from(*four)),
            SocketAddr::V6(_) => panic!("an address of IPv4"),
        })
        .collect();
    let none: [ControlMessage<'_>; 0] = [];
    let mut headers = headers(to.len());
    let sent = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &to, none, MsgFlags::empty()).unwrap();
    sent.map(|result| assert!(result.bytes > 0)).count()
}

pub(super) fn many_messages() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    assert_eq!(send_many(&socket, &[at(SERVICE, 7); 3]), 3);
    let mut lengths = Vec::new();
    while lengths.len() < 3 {
        let mut buffers = [[0; 16]; 4];
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let mut headers = headers(4);
        let flags = MsgFlags::MSG_WAITFORONE;
        let received = recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None).unwrap();
        for result in received {
            assert_eq!(result.address.map(|address| address.to_string()), Some(at(SERVICE, 7).to_string()));
            lengths.push(result.bytes);
        }
    }
    assert_eq!(lengths, [1, 2, 3]);
}

pub(super) fn mixed_messages() {
    let near = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let to = [near.local_addr().unwrap(), at(SERVICE, 7)];
    assert_eq!(send_many(&socket, &to), 2);
    let mut buffer = [0; 16];
    assert_eq!(near.recv(&mut buffer).unwrap(), 1);
    assert_eq!(socket.recv_from(&mut buffer).unwrap(), (2, at(SERVICE, 7)));
}
