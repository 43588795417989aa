//! The supervised program's role: every kind of socket use by programs, once. A panic reports a difference to the
//! cluster.

mod trouble;
mod udp;
mod waitless;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixListener, UnixStream},
    process::Command,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, connect, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use crate::{
    CLIENT,
    cluster::{PATIENCE, REFUSES, RESOLVER, RESOLVER6, SERVICE, SERVICE6, SILENT, TURNS_DOWN},
};

pub(crate) fn play(part: &str) {
    match part {
        "blocking-tcp" => blocking_tcp(),
        "tcp-over-ipv6" => tcp_over_ipv6(),
        "half-close" => half_close(),
        "non-blocking-tcp" => waitless::non_blocking_tcp(),
        "refused" => refused(),
        "in-progress" => waitless::in_progress(),
        "failures" => waitless::failures(),
        "failure-by-connect" => waitless::failure_by_connect(),
        "tokio" => waitless::tokio_runtime(),
        "multipath-tcp" => waitless::multipath_tcp(),
        "many-in-progress" => waitless::many_in_progress(),
        "much-data" => waitless::much_data(),
        "time-out" => time_out(),
        "silent" => silent(),
        "left-alone" => left_alone(),
        "listening" => listening(),
        "connected-udp" => udp::connected_udp(),
        "unconnected-udp" => udp::unconnected_udp(),
        "udp-over-ipv6" => udp::udp_over_ipv6(),
        "messages" => udp::messages(),
        "many-messages" => udp::many_messages(),
        "mixed-messages" => udp::mixed_messages(),
        "dns" => dns(RESOLVER, "0.0.0.0:0"),
        "dns-over-ipv6" => dns(RESOLVER6, "[::]:0"),
        "waitless-over-ipv6" => waitless::over_ipv6(),
        "short-cuts" => short_cuts(),
        "tree" => tree(),
        "threads" => threads(),
        "killed-callers" => trouble::killed_callers(),
        "left-behind" => trouble::left_behind(),
        "out-of-descriptors" => trouble::out_of_descriptors(),
        "nested" => trouble::nested(),
        "waits" => trouble::waits(),
        "waits-to-connect" => trouble::waits_to_connect(),
        "waits-in-progress" => trouble::waits_in_progress(),
        "under-load" => trouble::under_load(),
        "hides" => trouble::hides(),
        "few-descriptors" => trouble::few_descriptors(),
        other => panic!("no such part: {other}"),
    }
}

fn at(host: &str, port: u16) -> SocketAddr {
    SocketAddr::new(host.parse().unwrap(), port)
}

fn echo(stream: &mut TcpStream) {
    stream.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}

fn blocking_tcp() {
    let mut stream = TcpStream::connect(at(SERVICE, 7)).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), at(SERVICE, 7));
    echo(&mut stream);
    assert_eq!(connect(&stream, &at(SERVICE, 7)), Err(Errno::ISCONN));
    echo(&mut stream);
}

fn tcp_over_ipv6() {
    let mut stream = TcpStream::connect(at(SERVICE6, 7)).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), at(SERVICE6, 7));
    echo(&mut stream);
    let mapped: SocketAddr = format!("[::ffff:{SERVICE}]:7").parse().unwrap();
    let mut stream = TcpStream::connect(mapped).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), mapped);
    echo(&mut stream);
}

fn half_close() {
    let mut stream = TcpStream::connect(at(SERVICE, 7)).unwrap();
    stream.write_all(b"all").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "all");
}

fn refused() {
    for host in [REFUSES, TURNS_DOWN] {
        let error = TcpStream::connect(at(host, 7)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{host}");
    }
    assert_eq!(connect(waitless::stream_socket(), &at(REFUSES, 7)), Err(Errno::CONNREFUSED), "known at once");
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    assert_eq!(socket.connect(at(REFUSES, 7)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(socket.send_to(b"x", at(REFUSES, 7)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

fn time_out() {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    set_socket_timeout(&socket, Timeout::Send, Some(Duration::from_millis(50))).unwrap();
    assert_eq!(connect(&socket, &at(SILENT, 7)), Err(Errno::INPROGRESS), "as tcp(7) has it");
}

fn silent() {
    let begun = Instant::now();
    let error = TcpStream::connect(at(SILENT, 7)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let took = begun.elapsed();
    assert!((PATIENCE..PATIENCE * 2).contains(&took), "{took:?}");
}

/// Prints its address, and takes a connection there.
fn listening() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        println!("{address}");
        let _stream = TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
    }
    // It gets its address by listening.
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::listen(&socket, 8).unwrap();
    let listener = TcpListener::from(socket);
    println!("{}", listener.local_addr().unwrap());
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(rustix::net::listen(&connected, 8), Err(Errno::INVAL));
    let unix = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(unix.path().join("socket")).unwrap());
}

fn left_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    let (accepted, from) = listener.accept().unwrap();
    assert_eq!(accepted.peer_addr().unwrap(), from);
    let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    a.send_to(b"near", b.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(b.recv_from(&mut buffer).unwrap(), (4, a.local_addr().unwrap()));
    drop(listener);
    assert_eq!(TcpStream::connect(from).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

fn question(name: &str) -> Vec<u8> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

fn dns(resolver: &str, any: &str) {
    let mut buffer = [0; 4096];
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(at(resolver, 53)).unwrap();
    socket.send(&question("orders.shop")).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(buffer[length - 4..length], [127, 96, 0, 1]);
    socket.send(&question("big.shop")).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!((length, buffer[2] & 2), (question("big.shop").len(), 2), "cut, and says so");

    let mut stream = TcpStream::connect(at(resolver, 53)).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), at(resolver, 53));
    for _ in 0..2 {
        let query = question("big.shop");
        stream.write_all(&(query.len() as u16).to_be_bytes()).unwrap();
        stream.write_all(&query).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let length = usize::from(u16::from_be_bytes(length));
        assert_eq!(length, query.len() + 1600);
        stream.read_exact(&mut buffer[..length]).unwrap();
    }
}

fn short_cuts() {
    for path in ["/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket"] {
        assert_eq!(UnixStream::connect(path).unwrap_err().kind(), ErrorKind::NotFound);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a-socket-of-the-users-own");
    let _listener = UnixListener::bind(&path).unwrap();
    UnixStream::connect(&path).unwrap();
}

fn itself(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([CLIENT, part]);
    command
}

fn tree() {
    let own = std::env::current_exe().unwrap();
    // A shell and its child, and a daemon whose parent is gone when it connects.
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let script = r#""$0" "$1" "$2" && (mkfifo "$3"; ("$0" "$1" "$2" && echo yes >"$3") & ) && cat "$3""#;
    let output =
        Command::new("sh").args(["-c", script]).arg(own).args([CLIENT, "blocking-tcp"]).arg(&done).output();
    let output = output.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "yes\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // From a thread that is not the first: its children's parent, and a caller with its own id.
    let status = std::thread::spawn(|| itself("unconnected-udp").status().unwrap()).join().unwrap();
    assert!(status.success());
}

fn threads() {
    let many: Vec<_> = (0..16)
        .map(|_| {
            std::thread::spawn(|| {
                for turn in 0..50 {
                    match turn % 3 {
                        0 => waitless::non_blocking_tcp(),
                        1 => echo(&mut TcpStream::connect(at(SERVICE, 7)).unwrap()),
                        _ => unconnected(),
                    }
                }
            })
        })
        .collect();
    for thread in many {
        thread.join().unwrap();
    }
}

fn unconnected() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.send_to(b"one", at(SERVICE, 7)).unwrap();
    assert_eq!(socket.recv_from(&mut [0; 8]).unwrap(), (3, at(SERVICE, 7)));
}

fn print_now(text: &str) {
    print!("{text}");
    std::io::stdout().flush().unwrap();
}
