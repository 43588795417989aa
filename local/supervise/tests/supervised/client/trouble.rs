//! Programs whose surroundings fail.

use std::{
    io::{ErrorKind, Read},
    net::{TcpStream, UdpSocket},
    process::Stdio,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use rustix::{
    event::PollFlags,
    io::Errno,
    net::{connect, sockopt::socket_error},
    process::{DumpableBehavior, Resource, Rlimit, getppid, prlimit, set_dumpable_behavior},
};

use super::{
    at, blocking_tcp, echo, itself, print_now, udp,
    waitless::{begin, outcome, stream_socket, wait},
};
use crate::cluster::{SERVICE, SILENT};

/// Programs that are killed in the middle of a connect disturb nobody.
pub(super) fn killed_callers() {
    let many: Vec<_> = ["waits-to-connect", "waits-in-progress"]
        .repeat(4)
        .into_iter()
        .map(|what| {
            let mut child = itself(what).stdout(Stdio::piped()).spawn().unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
            child
        })
        .collect();
    for mut child in many {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    blocking_tcp();
    udp::unconnected_udp();
}

/// Connects when there is no supervisor any more, which a line of the file announces.
pub(super) fn left_behind() {
    let file = std::env::args_os().nth(3).unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), "go\n");
    println!("{:?}", Errno::from_io_error(&TcpStream::connect(at(SERVICE, 7)).unwrap_err()));
}

/// The supervisor's descriptors, and its program's.
const FEW: u64 = 48;
/// More than such a supervisor can serve at a time.
const MANY: usize = 30;

/// The supervisor has few descriptors, each connection takes one, and one that fails looks as if the network were away.
/// It does not go to the address itself, where nothing listens and which would refuse.
pub(super) fn out_of_descriptors() {
    let mut connected = Vec::new();
    let error = loop {
        match TcpStream::connect(at(SERVICE, 7)) {
            Ok(mut stream) => {
                echo(&mut stream);
                connected.push(stream);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
    assert!(!connected.is_empty());
    // The descriptors of the failed connect may be free again by now; the first three are not.
    let limit = supervisor_s_limit(Rlimit { current: Some(3), maximum: Some(FEW) });
    let error = UdpSocket::bind("0.0.0.0:0").unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NOBUFS));
    supervisor_s_limit(limit);
    // The same for non-blocking connects: each succeeds, or fails.
    connected.clear();
    has_room_again();
    let outcomes: Vec<_> = (0..MANY)
        .map(|_| {
            let socket = stream_socket();
            match connect(&socket, &at(SERVICE, 7)) {
                Err(Errno::INPROGRESS) => (Some(socket), Ok(())),
                other => (None, other),
            }
        })
        .collect();
    let outcomes: Vec<_> = outcomes
        .into_iter()
        .map(|(socket, begun)| match socket {
            Some(socket) => (outcome(&socket), Some(socket)),
            None => (begun, None),
        })
        .collect();
    let made = outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count();
    assert!((1..MANY).contains(&made), "{made} were made");
    for (outcome, _) in &outcomes {
        assert!(matches!(outcome, Ok(()) | Err(Errno::NETUNREACH)), "{outcome:?}");
    }
    // One that ends makes room.
    drop(outcomes);
    has_room_again();
}

/// Sets the number of its descriptors, and returns the one before.
fn supervisor_s_limit(limit: Rlimit) -> Rlimit {
    prlimit(getppid(), Resource::Nofile, limit).unwrap()
}

fn has_room_again() {
    let again = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(at(SERVICE, 7)).is_err() {
        assert!(Instant::now() < again, "no room yet");
        std::thread::yield_now();
    }
}

pub(super) fn nested() {
    let obstacle = bridge_supervise::probe().unwrap_err();
    assert!(matches!(obstacle, bridge_supervise::Obstacle::Nested), "{obstacle}");
}

/// Prints a line, and waits in a call that is not answered for long.
pub(super) fn waits() {
    print_now("ready\n");
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.send_to(b"one", at(SERVICE, 7)).unwrap();
    socket.recv_from(&mut [0; 8]).unwrap();
    let _ = socket.recv_from(&mut [0; 8]);
}

pub(super) fn waits_to_connect() {
    print_now("x");
    let _ = TcpStream::connect(at(SILENT, 7));
}

pub(super) fn waits_in_progress() {
    let sockets: Vec<_> = (0..10).map(|_| begin(at(SILENT, 7))).collect();
    print_now("x");
    let _ = outcome(&sockets[0]);
}

/// Does everything at once until it fails, whatever the error; prints when all of it is in progress, and when all has
/// failed.
pub(super) fn under_load() {
    let kinds: [fn(&Barrier); 5] = [
        |begun| {
            begun.wait();
            let _ = TcpStream::connect(at(SILENT, 7)).unwrap_err();
        },
        |begun| {
            let socket = begin(at(SILENT, 7));
            begun.wait();
            // The reason can no longer be asked for.
            wait(&socket, PollFlags::ERR);
            assert_eq!(socket_error(&socket), Err(Errno::NOSYS));
        },
        |begun| {
            begun.wait();
            while TcpStream::connect(at(SERVICE, 7)).is_ok() {}
        },
        |begun| {
            let mut stream = TcpStream::connect(at(SERVICE, 7)).unwrap();
            echo(&mut stream);
            begun.wait();
            assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
        },
        |begun| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"one", at(SERVICE, 7)).unwrap();
            socket.recv_from(&mut [0; 8]).unwrap();
            begun.wait();
            socket.recv_from(&mut [0; 8]).unwrap_err();
        },
    ];
    let begun = Arc::new(Barrier::new(4 * kinds.len() + 1));
    let threads: Vec<_> = kinds
        .repeat(4)
        .into_iter()
        .map(|kind| {
            let begun = Arc::clone(&begun);
            std::thread::spawn(move || kind(&begun))
        })
        .collect();
    begun.wait();
    print_now("ready\n");
    for thread in threads {
        thread.join().unwrap();
    }
    print_now("ended\n");
}

/// Its connect goes to the address itself, where nobody listens on this machine.
pub(super) fn hides() {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).unwrap();
    let error = TcpStream::connect(at(SERVICE, 7)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

pub(super) fn few_descriptors() {
    blocking_tcp();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(at(SERVICE, 7)).unwrap();
    socket.send(b"one").unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 3);
}
