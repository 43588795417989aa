//! The tests of failures: machines that lack something, programs that cannot be supervised, and deaths.

use std::{
    io::Read,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::io::Errno;

use crate::{
    CLIENT, LACKING, SUPERVISOR, lacking,
    stories::{client, count, counted, first_line, said, supervisor},
};

/// Limit on how long anything hangs after its supervisor's death. A connect in progress ends with the next packet that
/// the kernel sends for it: after a second, if it has not been in progress for longer than that.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
const NOBODY: u32 = 65_534;

/// Simulates other machines.
pub(crate) fn lacking() {
    let own = std::env::current_exe().unwrap();
    for (what, said_of_it) in lacking::ALL {
        let mut command = Command::new(&own);
        let output = command.args([LACKING, what]).arg(&own).args([SUPERVISOR, "true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{what}: {}", said(&output));
        assert!(said(&output).contains("not run: "), "{what}: {}", said(&output));
        assert!(said(&output).contains(said_of_it), "{what}: {}", said(&output));
    }
}

/// As a user who may not read everything.
pub(crate) fn hides() {
    let mut command = client("hides");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(count(&output), counted(0, 0, 0));
    assert_eq!(remarks(&output, " hides its memory"), 1, "{}", said(&output));
}

/// It connects twice, by both existing calls.
pub(crate) fn thirty_two_bit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("old");
    std::fs::write(&path, thirty_two_bit_program()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let alone = Command::new(&path).status();
    // Nobody listens there on this machine.
    if !alone.is_ok_and(|status| status.code() == Some(Errno::CONNREFUSED.raw_os_error())) {
        eprintln!("skipped: this machine runs no such programs");
        return;
    }
    let output = supervisor(path.to_str().unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(Errno::CONNREFUSED.raw_os_error()), "{}", said(&output));
    assert_eq!(count(&output), counted(0, 0, 0));
    assert_eq!(remarks(&output, "old is a 32-bit program"), 1, "{}", said(&output));
}

/// A static program for i386: socket(AF_INET, SOCK_STREAM, 0), connect to 127.96.0.1:7 by connect(2) and by socketcall(2),
/// exit with the second one's errno.
fn thirty_two_bit_program() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    #[rustfmt::skip]
    let code: Vec<u8> = vec![
        0xb8, 0x67, 0x01, 0, 0,             // mov eax, 359 (socket)
        0xbb, 2, 0, 0, 0,                   // mov ebx, AF_INET
        0xb9, 1, 0, 0, 0,                   // mov ecx, SOCK_STREAM
        0x31, 0xd2,                         // xor edx, edx
        0xcd, 0x80,                         // int 0x80
        0x89, 0xc3,                         // mov ebx, eax
        0xb8, 0x6a, 0x01, 0, 0,             // mov eax, 362 (connect)
        0xb9, 0, 0, 0, 0,                   // mov ecx, the address (below)
        0xba, 16, 0, 0, 0,                  // mov edx, 16
        0xcd, 0x80,                         // int 0x80
        0x52, 0x51, 0x53,                   // push edx, ecx, ebx: the arguments
        0xb8, 0x66, 0, 0, 0,                // mov eax, 102 (socketcall)
        0xbb, 3, 0, 0, 0,                   // mov ebx, SYS_CONNECT
        0x89, 0xe1,                         // mov ecx, esp
        0xcd, 0x80,                         // int 0x80
        0xf7, 0xd8,                         // neg eax
        0x89, 0xc3,                         // mov ebx, eax
        0xb8, 1, 0, 0, 0,                   // mov eax, 1 (exit)
        0xcd, 0x80,                         // int 0x80
    ];
    const ADDRESS_AT: usize = 27;
    let mut code = code;
    let address = BASE + HEADERS + code.len() as u32;
    code[ADDRESS_AT..ADDRESS_AT + 4].copy_from_slice(&address.to_le_bytes());
    code.extend([2, 0, 0, 7, 127, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);

    // Elf32_Ehdr and one Elf32_Phdr, which loads all of it.
    let size = HEADERS + code.len() as u32;
    let mut program = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
    for word in [1, BASE + HEADERS, 52, 0, 0] {
        program.extend(u32::to_le_bytes(word));
    }
    for half in [52u16, 32, 1, 0, 0, 0] {
        program.extend(half.to_le_bytes());
    }
    for word in [1, 0, BASE, BASE, size, size, 5, 0x1000] {
        program.extend(u32::to_le_bytes(word));
    }
    program.extend(code);
    program
}

pub(crate) fn few_descriptors() {
    let own = std::env::current_exe().unwrap();
    let mut command = supervisor("sh");
    command.args(["-c", r#"ulimit -n 256 && exec "$@""#, "sh"]).arg(own).args([CLIENT, "few-descriptors"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(count(&output), counted(1, 1, 0));
    assert_eq!(remarks(&output, "cannot have file descriptors from 768 on"), 1, "{}", said(&output));
}

/// The number of remarks with this text.
fn remarks(output: &std::process::Output, text: &str) -> usize {
    let stderr = String::from_utf8_lossy(&output.stderr);
    stderr.lines().filter(|line| line.starts_with("remark: ") && line.contains(text)).count()
}

/// The command outlives the SIGTERM that comes with its supervisor's death.
pub(crate) fn killed_under_load() {
    let mut command = supervisor("sh");
    command.args(["-c", r#"trap '' TERM; "$@""#, "sh"]).arg(std::env::current_exe().unwrap());
    let mut running = command.args([CLIENT, "under-load"]).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(first_line(&mut running.stdout), "ready\n");
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(rest(running.stdout.take().unwrap(), ENDS_WITHIN), "ended\n");
}

/// The output until the last process that has the other end is gone.
fn rest(mut stdout: std::process::ChildStdout, within: Duration) -> String {
    let (rest_tx, rest_rx) = mpsc::channel();
    std::thread::spawn(move || {
        let mut rest = String::new();
        let _ = stdout.read_to_string(&mut rest);
        rest_tx.send(rest)
    });
    rest_rx.recv_timeout(within).expect("it still runs")
}

pub(crate) fn out_of_descriptors() {
    let own = std::env::current_exe().unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", r#"ulimit -n 48 && exec "$@""#, "sh"]);
    let output =
        limited.arg(&own).arg(SUPERVISOR).arg(&own).args([CLIENT, "out-of-descriptors"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

pub(crate) fn killed_callers() {
    let output = client("killed-callers").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    // Some were killed before they were heard.
    assert!((1..=45).contains(&count(&output).dialled), "{}", said(&output));
}

pub(crate) fn left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut command = supervisor("sh");
    command
        .args(["-c", r#""$@" &"#, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([CLIENT, "left-behind"]);
    let mut running = command.arg(&fifo).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    assert!(running.wait().unwrap().success());
    std::fs::write(&fifo, "go\n").unwrap();
    let mut printed = String::new();
    running.stdout.unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!(printed, format!("{:?}\n", Some(Errno::NOSYS)));
}

pub(crate) fn supervisor_killed() {
    let mut running = client("waits").stdout(Stdio::piped()).spawn().unwrap();
    first_line(&mut running.stdout);
    running.kill().unwrap();
    running.wait().unwrap();
    rest(running.stdout.take().unwrap(), ENDS_WITHIN);
}

/// Its loopback is another one, which is down: the connect fails there, and nobody dials.
pub(crate) fn own_network() {
    if !Command::new("unshare").args(["-rn", "true"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no network namespaces here");
        return;
    }
    let mut command = supervisor("unshare");
    let output =
        command.args(["-rn"]).arg(std::env::current_exe().unwrap()).args([CLIENT, "blocking-tcp"]).output();
    let output = output.unwrap();
    assert!(!output.status.success() && said(&output).contains("NetworkUnreachable"), "{}", said(&output));
    assert_eq!(count(&output), counted(0, 0, 0));
}
