//! Programs with non-blocking connects.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    num::NonZeroU32,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send,
        socket_with, sockopt::socket_error,
    },
};

use super::{at, echo};
use crate::cluster::{
    AWAY, FORBIDDEN, SERVICE, SERVICE6, SILENT, SLOW, TURNS_DOWN, TURNS_DOWN6, WITHOUT_A_ROUTE,
};

const MPTCP: Protocol = Protocol::from_raw(NonZeroU32::new(262).unwrap());
/// Mebibytes.
const MUCH: usize = 64;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

pub(super) fn stream_socket() -> OwnedFd {
    socket_with(AddressFamily::INET, SocketType::STREAM, FLAGS, None).unwrap()
}

fn stream_socket6() -> OwnedFd {
    socket_with(AddressFamily::INET6, SocketType::STREAM, FLAGS, None).unwrap()
}

pub(super) fn wait(socket: &OwnedFd, events: PollFlags) -> PollFlags {
    let mut one = [PollFd::new(socket, events)];
    let bound = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut one, Some(&bound)).unwrap(), 1, "nothing within 20 s");
    one[0].revents()
}

pub(super) fn begin(destination: SocketAddr) -> OwnedFd {
    let socket = stream_socket();
    assert!(matches!(connect(&socket, &destination), Ok(()) | Err(Errno::INPROGRESS)));
    socket
}

/// The outcome of a connect.
pub(super) fn outcome(socket: &OwnedFd) -> Result<(), Errno> {
    wait(socket, PollFlags::OUT);
    socket_error(socket).unwrap()
}

pub(super) fn non_blocking_tcp() {
    let socket = begin(at(SERVICE, 7));
    assert!(wait(&socket, PollFlags::OUT).contains(PollFlags::OUT));
    assert_eq!(socket_error(&socket).unwrap(), Ok(()));
    // The first connect afterwards reports it, if it succeeded in the meantime; then it is one too many.
    assert!(matches!(connect(&socket, &at(SERVICE, 7)), Ok(()) | Err(Errno::ISCONN)));
    assert_eq!(connect(&socket, &at(SERVICE, 7)), Err(Errno::ISCONN));
    send(&socket, b"hello", SendFlags::empty()).unwrap();
    wait(&socket, PollFlags::IN);
    let mut back = [0; 5];
    assert_eq!(recv(&socket, &mut back[..], RecvFlags::empty()).unwrap().0, 5);
    assert_eq!(&back, b"hello");
    let peer = SocketAddr::try_from(rustix::net::getpeername(&socket).unwrap().unwrap()).unwrap();
    assert_eq!(peer, at(SERVICE, 7));
}

pub(super) fn over_ipv6() {
    let mapped: SocketAddr = format!("[::ffff:{SERVICE}]:7").parse().unwrap();
    for destination in [at(SERVICE6, 7), mapped] {
        let socket = stream_socket6();
        assert_eq!(connect(&socket, &destination), Err(Errno::INPROGRESS));
        assert_eq!(outcome(&socket), Ok(()));
        let mut stream = blocking(socket);
        assert_eq!(stream.peer_addr().unwrap(), destination);
        echo(&mut stream);
    }
    let mapped: SocketAddr = format!("[::ffff:{TURNS_DOWN}]:7").parse().unwrap();
    for destination in [at(TURNS_DOWN6, 7), mapped] {
        let socket = stream_socket6();
        assert_eq!(connect(&socket, &destination), Err(Errno::INPROGRESS));
        assert_eq!(outcome(&socket), Err(Errno::CONNREFUSED), "{destination}");
    }
}

pub(super) fn in_progress() {
    let socket = stream_socket();
    assert_eq!(connect(&socket, &at(SLOW, 7)), Err(Errno::INPROGRESS));
    // It has neither succeeded nor failed yet, however one asks.
    let mut one = [PollFd::new(&socket, PollFlags::IN | PollFlags::OUT)];
    assert_eq!(poll(&mut one, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0));
    assert_eq!(connect(&socket, &at(SLOW, 7)), Err(Errno::ALREADY));
    assert_eq!(socket_error(&socket).unwrap(), Ok(()));
    assert_eq!(rustix::net::getpeername(&socket), Err(Errno::NOTCONN));
    assert_eq!(send(&socket, b"x", SendFlags::empty()), Err(Errno::AGAIN));
    assert_eq!(outcome(&socket), Ok(()));
    // One that is closed meanwhile disturbs nobody, and neither does one whose program begins to wait for it.
    drop(begin(at(SLOW, 7)));
    for (host, outcome) in [(SLOW, Ok(())), (FORBIDDEN, Err(Errno::ACCESS))] {
        let socket = begin(at(host, 7));
        rustix::io::ioctl_fionbio(&socket, false).unwrap();
        assert_eq!(connect(&socket, &at(host, 7)), outcome, "{host}");
    }
}

pub(super) fn failures() {
    let all = [
        (TURNS_DOWN, Errno::CONNREFUSED),
        (AWAY, Errno::NETUNREACH),
        (WITHOUT_A_ROUTE, Errno::HOSTUNREACH),
        (FORBIDDEN, Errno::ACCESS),
        (SILENT, Errno::TIMEDOUT),
    ];
    let all = all.map(|(host, errno)| (host, begin(at(host, 7)), errno));
    for (host, socket, errno) in all {
        assert_eq!(outcome(&socket), Err(errno), "{host}");
        assert_eq!(socket_error(&socket).unwrap(), Ok(()), "said once");
        // The socket can be used again.
        assert_eq!(connect(&socket, &at(SERVICE, 7)), Err(Errno::INPROGRESS));
        assert_eq!(outcome(&socket), Ok(()));
        echo(&mut blocking(socket));
    }
}

/// Like programs that never ask for SO_ERROR.
pub(super) fn failure_by_connect() {
    let socket = begin(at(TURNS_DOWN, 7));
    wait(&socket, PollFlags::OUT);
    assert_eq!(connect(&socket, &at(TURNS_DOWN, 7)), Err(Errno::CONNREFUSED));
    let socket = begin(at(SERVICE, 7));
    wait(&socket, PollFlags::OUT);
    assert_eq!(connect(&socket, &at(SERVICE, 7)), Ok(()));
}

pub(super) fn tokio_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let error = tokio::net::TcpStream::connect(at(TURNS_DOWN, 7)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let six = tokio::net::TcpStream::connect(at(SERVICE6, 7)).await.unwrap();
        assert_eq!(six.peer_addr().unwrap(), at(SERVICE6, 7));
        // Waiting ones hold nobody up.
        let silent = tokio::net::TcpStream::connect(at(SILENT, 7));
        assert!(tokio::time::timeout(Duration::from_millis(50), silent).await.is_err());
        tokio::net::TcpStream::connect(at(SERVICE, 7)).await.unwrap();
    });
}

pub(super) fn multipath_tcp() {
    let connected = |host| {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, FLAGS, Some(MPTCP)).unwrap();
        let connected = connect(&socket, &at(host, 7));
        (socket, connected)
    };
    assert_eq!(connected(TURNS_DOWN).1, Err(Errno::CONNREFUSED));
    let (socket, begun) = connected(SERVICE);
    assert!(matches!(begun, Ok(()) | Err(Errno::INPROGRESS)));
    assert_eq!(outcome(&socket), Ok(()));
    echo(&mut blocking(socket));
}

/// However many wait, each is woken when its own destination has answered.
pub(super) fn many_in_progress() {
    let begun = Instant::now();
    let silent: Vec<_> = (0..100).map(|_| begin(at(SILENT, 7))).collect();
    let slow: Vec<_> = (0..100).map(|_| begin(at(SLOW, 7))).collect();
    for _ in 0..100 {
        assert_eq!(outcome(&begin(at(SERVICE, 7))), Ok(()));
    }
    for socket in &slow {
        assert_eq!(outcome(socket), Ok(()));
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "one after the other: {:?}", begun.elapsed());
    drop(silent);
}

/// The two ends have opened at the same time: the connection is as reliable as any other.
pub(super) fn much_data() {
    let socket = begin(at(SERVICE, 7));
    assert_eq!(outcome(&socket), Ok(()));
    let mut outward = blocking(socket);
    let mut back = outward.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for piece in 0..MUCH {
            outward.write_all(&[piece as u8; 1 << 20]).unwrap();
        }
        outward.shutdown(Shutdown::Write).unwrap();
    });
    let mut buffer = vec![0; 1 << 20];
    for piece in 0..MUCH {
        back.read_exact(&mut buffer).unwrap();
        assert!(buffer.iter().all(|byte| *byte == piece as u8));
    }
    assert_eq!(back.read(&mut buffer).unwrap(), 0);
    writer.join().unwrap();
}

fn blocking(socket: OwnedFd) -> TcpStream {
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false).unwrap();
    stream
}
