//! The tests.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Output, Stdio},
};

use bridge_os::signals::is_ignored;
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    CLIENT, SUPERVISOR,
    cluster::{BODY, LISTENS, SERVICE, SLOW, TURNS_DOWN},
    trouble,
};

/// The counts of requests to the cluster.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) dialled: usize,
    flows: usize,
    resolved: usize,
}

pub(crate) fn run() -> ExitCode {
    let stories: [(&str, fn()); 49] = [
        ("a blocking connect reaches the cluster", || part("blocking-tcp", counted(1, 0, 0))),
        ("so does one by IPv6, and by IPv4 spelled as IPv6", || part("tcp-over-ipv6", counted(2, 0, 0))),
        ("one direction can end before the other", || part("half-close", counted(1, 0, 0))),
        ("a non-blocking connect is woken when it is established", || {
            part("non-blocking-tcp", counted(1, 0, 0))
        }),
        ("what refuses is seen to refuse", || part("refused", counted(1, 0, 0))),
        ("a non-blocking connect is in progress while it is dialled", || {
            part("in-progress", counted(4, 0, 0))
        }),
        ("a non-blocking connect fails as its destination does", || part("failures", counted(10, 0, 0))),
        ("both by IPv6, and by IPv4 spelled as IPv6", || part("waitless-over-ipv6", counted(4, 0, 0))),
        ("connecting again tells what became of a connect", || part("failure-by-connect", counted(2, 0, 0))),
        ("tokio sees what a program in the cluster sees", || part("tokio", counted(4, 0, 0))),
        ("so does a socket of MPTCP", multipath),
        ("connects that wait do not hold up others", || part("many-in-progress", counted(300, 0, 0))),
        ("a non-blocking connection carries much", || part("much-data", counted(1, 0, 0))),
        ("a program's own time-out holds", || part("time-out", counted(1, 0, 0))),
        ("a destination that is silent times out", || part("silent", counted(1, 0, 0))),
        ("what is not the cluster's is left alone", || part("left-alone", counted(0, 0, 0))),
        ("bridge learns where a program listens", listening),
        ("a connected UDP socket sees its peer", || part("connected-udp", counted(0, 1, 0))),
        ("an unconnected UDP socket sees who answers", || part("unconnected-udp", counted(0, 1, 0))),
        ("UDP by IPv6, and by IPv4 spelled as IPv6", || part("udp-over-ipv6", counted(0, 2, 0))),
        ("sendmsg and recvmsg", || part("messages", counted(0, 1, 0))),
        ("sendmmsg and recvmmsg", || part("many-messages", counted(0, 1, 0))),
        ("one call with datagrams for both sides", || part("mixed-messages", counted(0, 1, 0))),
        ("DNS by UDP and by TCP", || part("dns", counted(0, 0, 4))),
        ("DNS by IPv6", || part("dns-over-ipv6", counted(0, 0, 4))),
        ("short cuts around DNS are closed", || part("short-cuts", counted(0, 0, 0))),
        ("children, grandchildren and orphans are supervised too", || part("tree", counted(2, 1, 0))),
        ("sixteen threads at once", threads),
        ("callers are killed in the middle of a call", trouble::killed_callers),
        ("a supervisor out of descriptors lets nothing through", trouble::out_of_descriptors),
        ("a run inside a run is refused", || part("nested", counted(0, 0, 0))),
        ("the command's exit code and death are its own", exit_codes),
        ("a command that does not exist is reported", missing_command),
        ("signals for the supervisor alone are handed on", handed_on),
        ("Ctrl-C comes to the command once", python_interrupted),
        ("a command whose supervisor is killed ends", trouble::supervisor_killed),
        ("a supervisor that is killed under load leaves nothing hanging", trouble::killed_under_load),
        ("a feature that the machine lacks is reported (simulated by a filter)", trouble::lacking),
        ("a program that hides its memory is left alone and reported", trouble::hides),
        ("so is a 32-bit program", trouble::thirty_two_bit),
        ("a program with few descriptors has its names and connections", trouble::few_descriptors),
        ("what outlives the command does not hang", trouble::left_behind),
        ("curl finds the cluster by name", curl),
        ("getent asks the cluster's DNS", getent),
        ("a storm of signals does not restart a connect", python_storm),
        ("an epoll set filled before the connect is woken", python_epoll),
        ("programs say of what refuses what they say elsewhere", refused_programs),
        ("a network namespace of its own is left alone", trouble::own_network),
        ("a signal's handler runs while Python waits for a datagram", python_alarm),
    ];
    let arguments = Arguments::from_args();
    let obstacle = bridge_supervise::probe().err();
    if let Some(obstacle) = &obstacle {
        eprintln!("skipped, because there is no supervision here: {obstacle}");
    }
    let trial = |(name, story): (&'static str, fn())| {
        let run = move || {
            story();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(obstacle.is_some())
    };
    libtest_mimic::run(&arguments, stories.into_iter().map(trial).collect()).exit_code()
}

pub(crate) fn counted(dialled: usize, flows: usize, resolved: usize) -> Counted {
    Counted { dialled, flows, resolved }
}

/// This program as a supervisor of another.
pub(crate) fn supervisor(program: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([SUPERVISOR, program]).stdin(Stdio::null());
    command
}

pub(crate) fn client(part: &str) -> Command {
    let mut command = supervisor(std::env::current_exe().unwrap().to_str().unwrap());
    command.args([CLIENT, part]);
    command
}

fn part(name: &str, expected: Counted) {
    let output = client(name).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(count(&output), expected, "{}", said(&output));
}

pub(crate) fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy;
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

pub(crate) fn count(output: &Output) -> Counted {
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.strip_prefix("counted ")).expect("nothing was counted");
    let mut numbers = line.split(' ').map(|number| number.parse().unwrap());
    counted(numbers.next().unwrap(), numbers.next().unwrap(), numbers.next().unwrap())
}

fn multipath() {
    let enabled = std::fs::read_to_string("/proc/sys/net/mptcp/enabled");
    if enabled.is_ok_and(|enabled| enabled.trim() == "1") {
        part("multipath-tcp", counted(2, 0, 0));
    } else {
        eprintln!("skipped: this machine has no MPTCP");
    }
}

fn listening() {
    let output = client("listening").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let (listened, reported) = (lines(&output.stdout), lines(&output.stderr));
    let reported: Vec<&str> = reported.iter().filter_map(|line| line.strip_prefix(LISTENS)).collect();
    assert!(listened.len() == 3 && reported == listened, "{}", said(&output));
}

fn lines(output: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(output).lines().map(str::to_owned).collect()
}

fn threads() {
    let output = client("threads").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let Counted { dialled, flows, .. } = count(&output);
    // A port that is used again within the idle time continues its flow.
    assert!(dialled == 16 * 34 && (200..=16 * 16).contains(&flows), "{}", said(&output));
}

fn exit_codes() {
    let code = |script| supervisor("sh").args(["-c", script]).status().unwrap().code();
    assert_eq!(code("exit 0"), Some(0));
    assert_eq!(code("exit 42"), Some(42));
    assert_eq!(code("kill -KILL $$"), Some(128 + 9));
    // Orphans end before and after the command.
    assert_eq!(code("(true &); (sleep 0.05 &); exit 7"), Some(7));
}

fn missing_command() {
    let output = supervisor("/does/not/exist").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(said(&output).contains("not run: cannot start /does/not/exist"), "{}", said(&output));
}

fn handed_on() {
    let signals = [
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
    ];
    // A shell cannot catch what was ignored before it, as by nohup.
    for (name, signal) in signals.into_iter().filter(|(_, signal)| !is_ignored(*signal)) {
        let mut command = supervisor("sh");
        // It waits for a child that ends with it.
        command.args(["-c", &format!(r#"trap 'exit 43' {name}; echo ready; read line <"$0""#)]);
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        // In the background, if there is a terminal.
        command.arg(&fifo).process_group(0);
        let mut running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(first_line(&mut running.stdout), "ready\n");
        kill_process(Pid::from_child(&running), signal).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(43), "expected the command to get SIG{name}");
    }
}

fn python_interrupted() {
    const TERMINAL: &str = r#"
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
def until(text):
    global seen
    while text not in seen:
        seen += os.read(terminal, 4096)
until(b"ready")
os.write(terminal, b"\x03")
until(b"interrupted")
os.write(terminal, b"\n")
until(b"times")
os.waitpid(pid, 0)
words = seen.split()
print(words[words.index(b"times") - 1].decode())
"#;
    const COMMAND: &str = r#"
import signal, sys
count = 0
def more(*_):
    global count
    count += 1
    print("interrupted", flush=True)
signal.signal(signal.SIGINT, more)
print("ready", flush=True)
sys.stdin.readline()
print(count, "times", flush=True)
"#;
    let this = std::env::current_exe().unwrap();
    let mut terminal = Command::new("python3");
    terminal.args(["-c", TERMINAL]).arg(this).args([SUPERVISOR, "python3", "-c", COMMAND]);
    let Ok(output) = terminal.output() else {
        eprintln!("skipped: this machine has no python3");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n", "{}", said(&output));
}

pub(crate) fn first_line(stdout: &mut Option<std::process::ChildStdout>) -> String {
    let mut line = String::new();
    BufReader::with_capacity(1, stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line
}

/// Runs a program of this machine; prints a note and returns `None` if it does not exist.
fn with_program(program: &str, arguments: &[&str]) -> Option<Output> {
    if Command::new(program).arg("--version").output().is_err() {
        eprintln!("skipped: this machine has no {program}");
        return None;
    }
    let output = supervisor(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    Some(output)
}

fn curl() {
    for host in [SERVICE, "orders.shop"] {
        let url = format!("http://{host}/");
        let arguments = ["-sS", "--noproxy", "*", "--max-time", "20", &url];
        let Some(output) = with_program("curl", &arguments) else { return };
        assert_eq!(String::from_utf8_lossy(&output.stdout), BODY);
        assert_eq!(count(&output).dialled, 1);
    }
}

fn getent() {
    let Some(output) = with_program("getent", &["ahostsv4", "orders.shop"]) else { return };
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(SERVICE), "{}", said(&output));
    assert!(count(&output).resolved > 0);
}

fn python_storm() {
    const SCRIPT: &str = r#"
import signal, socket, sys
rings = 0
def ring(*_):
    global rings
    rings += 1
signal.signal(signal.SIGALRM, ring)
signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
for _ in range(3):
    s = socket.socket()
    s.connect((sys.argv[1], 7))
    s.sendall(b"hello")
    assert s.recv(5) == b"hello"
signal.setitimer(signal.ITIMER_REAL, 0)
assert rings > 0
"#;
    let Some(output) = with_program("python3", &["-c", SCRIPT, SLOW]) else { return };
    assert_eq!(count(&output), counted(3, 0, 0), "each connect was dialled once");
}

fn python_epoll() {
    const SCRIPT: &str = r#"
import errno, select, socket, sys
s = socket.socket()
s.setblocking(False)
e = select.epoll()
e.register(s, select.EPOLLOUT | select.EPOLLET)
e.poll(0)
assert s.connect_ex((sys.argv[1], 7)) in (0, errno.EINPROGRESS)
assert e.poll(20)[0][1] & select.EPOLLOUT
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
s = socket.socket()
s.setblocking(False)
e.register(s, select.EPOLLOUT | select.EPOLLET)
e.poll(0)
assert s.connect_ex((sys.argv[2], 7)) == errno.EINPROGRESS
assert e.poll(20)[0][1] & select.EPOLLERR
assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
"#;
    with_program("python3", &["-c", SCRIPT, SERVICE, TURNS_DOWN]);
}

/// Nobody listens at this address of the machine itself either: unsupervised, the kernel refuses.
fn refused_programs() {
    const PYTHON: &str = r#"
import asyncio, sys
async def main():
    try:
        await asyncio.open_connection(sys.argv[1], 7)
    except OSError as error:
        print(error)
asyncio.run(main())
"#;
    const NODE: &str = r#"
require("net").connect(7, process.argv[1]).on("error", error => console.log(error.code, error.message));
"#;
    let url = format!("http://{TURNS_DOWN}:7/");
    // Without its time in ms.
    let curl = format!("curl -sS --noproxy '*' {url} 2>&1 | sed 's/after [0-9]* ms//'");
    for (program, arguments) in [
        ("sh", ["-c", &curl].as_slice()),
        ("python3", &["-c", PYTHON, TURNS_DOWN]),
        ("node", &["-e", NODE, TURNS_DOWN]),
    ] {
        let Some(supervised) = with_program(program, arguments) else { continue };
        let outside = Command::new(program).args(arguments).output().unwrap();
        assert_eq!(supervised.stdout, outside.stdout, "{}", said(&supervised));
        assert!(!supervised.stdout.is_empty() && count(&supervised).dialled > 0, "{}", said(&supervised));
    }
}

fn python_alarm() {
    const SCRIPT: &str = r#"
import signal, socket, sys
class Alarm(Exception): pass
def ring(*_): raise Alarm
signal.signal(signal.SIGALRM, ring)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"one", (sys.argv[1], 7))
assert s.recvfrom(9) == (b"one", (sys.argv[1], 7))
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    s.recvfrom(9)
except Alarm:
    print("rang")
t = socket.create_connection((sys.argv[1], 7), timeout=20)
assert t.getpeername() == (sys.argv[1], 7)
t.sendall(b"hello")
assert t.recv(5) == b"hello"
"#;
    let Some(output) = with_program("python3", &["-c", SCRIPT, SERVICE]) else { return };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "rang\n");
}
