//! One trapped call: its caller sleeps in the kernel. Its memory can be read and written, its descriptors taken, and it
//! continues when it is answered.
//!
//! A caller may be killed at any moment and its id reused, so data taken from it counts only if the call still exists
//! afterwards, and it is written to through a descriptor of its memory that was opened while the call existed. A
//! process that has made itself unreadable (PR_SET_DUMPABLE, an unreadable program) stays so.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt},
    },
    sync::{Arc, OnceLock},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use super::{
    call::Call,
    listener::{Listener, check},
};

/// The answer to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The kernel carries it out, as if it had not been trapped. It reads its arguments again.
    Continue,
    /// It was carried out, and returns this value.
    Value(i64),
    /// It fails.
    Error(Errno),
}

/// A network namespace (network_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace(u64, u64);

/// The network namespace of this process.
pub fn own_network() -> io::Result<Namespace> {
    network("self")
}

fn network(process: &str) -> io::Result<Namespace> {
    let of = fs::metadata(format!("/proc/{process}/ns/net"))?;
    Ok(Namespace(of.dev(), of.ino()))
}

#[derive(Debug)]
pub struct Trapped {
    listener: Arc<Listener>,
    id: u64,
    /// `None` for a caller that this process cannot see.
    thread: Option<Pid>,
    call: Call,
    answered: bool,
    /// Opened when it is first written to.
    memory: OnceLock<Memory>,
}

impl Trapped {
    pub(super) fn new(listener: Arc<Listener>, id: u64, thread: Option<Pid>, call: Call) -> Trapped {
        Trapped { listener, id, thread, call, answered: false, memory: OnceLock::new() }
    }

    pub fn call(&self) -> Call {
        self.call
    }

    pub(super) fn thread(&self) -> Option<Pid> {
        self.thread
    }

    /// Whether the caller still waits.
    pub fn is_alive(&self) -> bool {
        // SAFETY: SECCOMP_IOCTL_NOTIF_ID_VALID reads one u64, which outlives the call.
        #[expect(unsafe_code)]
        let result = unsafe {
            let fd = self.listener.descriptor.as_raw_fd();
            libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const self.id)
        };
        result == 0
    }

    /// Lets the caller continue; false if it is gone.
    pub fn answer(mut self, reply: Reply) -> bool {
        self.send(reply)
    }

    fn send(&mut self, reply: Reply) -> bool {
        let (val, error, flags) = match reply {
            Reply::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Reply::Value(value) => (value, 0, 0),
            Reply::Error(errno) => (0, -errno.raw_os_error(), 0),
        };
        self.answered = true;
        let response = libc::seccomp_notif_resp { id: self.id, val, error, flags };
        // SAFETY: SECCOMP_IOCTL_NOTIF_SEND reads one such struct, which outlives the call.
        #[expect(unsafe_code)]
        let result = unsafe {
            let fd = self.listener.descriptor.as_raw_fd();
            libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const response)
        };
        result == 0
    }

    /// Fills the buffer from the caller's memory.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let own = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let other = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: buffer.len() };
        let thread = self.thread.ok_or(Errno::SRCH)?.as_raw_nonzero().get();
        // SAFETY: only the buffer is written. The kernel reads the other address, and checks it.
        #[expect(unsafe_code)]
        let read =
            check(unsafe { libc::process_vm_readv(thread, &raw const own, 1, &raw const other, 1, 0) })?;
        whole(read as usize, buffer.len())
    }

    /// Writes into the caller's memory.
    pub fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let thread = self.thread.ok_or(Errno::SRCH)?;
        if self.listener.is_own(thread) {
            return Err(Errno::PERM.into());
        }
        self.memory(thread)?.write(address, bytes)
    }

    /// The caller's memory, verified: the call is still pending after it was opened, so its id was not reused.
    fn memory(&self, thread: Pid) -> io::Result<&Memory> {
        if let Some(memory) = self.memory.get() {
            return Ok(memory);
        }
        let memory = self.listener.spare.open(|| Memory::of(thread))?;
        if !self.is_alive() {
            return Err(Errno::SRCH.into());
        }
        Ok(self.memory.get_or_init(|| memory))
    }

    /// A copy of a descriptor of the caller.
    pub fn descriptor(&self, number: i32) -> io::Result<OwnedFd> {
        let process = process(self.thread)?;
        // Only now is the id known to be the caller's, and the data read before to be from its memory.
        if !self.is_alive() {
            return Err(Errno::SRCH.into());
        }
        Ok(pidfd_getfd(process, number, PidfdGetfdFlags::empty())?)
    }

    /// The inode of a descriptor of the caller, without a descriptor in this process: only a look at /proc.
    pub fn inode(&self, number: i32) -> io::Result<u64> {
        let thread = self.thread.ok_or(Errno::SRCH)?;
        let inode = rustix::fs::stat(format!("/proc/{thread}/fd/{number}"))?.st_ino;
        // As above.
        if self.is_alive() { Ok(inode) } else { Err(Errno::SRCH.into()) }
    }

    /// Answers with a descriptor, at the first of these numbers that is free with the caller. The call is handed back
    /// on failure: EBADF if none is free, or is not below the caller's limit.
    pub fn answer_with(
        mut self,
        descriptor: BorrowedFd<'_>,
        numbers: impl IntoIterator<Item = u32>,
        close_on_exec: bool,
    ) -> Result<(), (Trapped, Errno)> {
        let placed = process(self.thread).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let placed = placed.and_then(|process| {
            let free = |number: &u32| {
                pidfd_getfd(&process, *number as i32, PidfdGetfdFlags::empty()).err() == Some(Errno::BADF)
            };
            let number = numbers.into_iter().find(free).ok_or(Errno::BADF)?;
            self.place(descriptor, number, close_on_exec)
        });
        match placed {
            Ok(()) => {
                self.answered = true;
                Ok(())
            }
            Err(errno) => Err((self, errno)),
        }
    }

    /// SECCOMP_IOCTL_NOTIF_ADDFD; the call returns the number.
    fn place(&self, descriptor: BorrowedFd<'_>, number: u32, close_on_exec: bool) -> Result<(), Errno> {
        let request = libc::seccomp_notif_addfd {
            id: self.id,
            flags: (libc::SECCOMP_ADDFD_FLAG_SETFD | libc::SECCOMP_ADDFD_FLAG_SEND) as u32,
            srcfd: descriptor.as_raw_fd() as u32,
            newfd: number,
            newfd_flags: if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 },
        };
        // SAFETY: the request is read only, and its descriptor is open for as long as it is borrowed.
        #[expect(unsafe_code)]
        let placed = check(unsafe {
            let fd = self.listener.descriptor.as_raw_fd();
            libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request)
        });
        placed?;
        Ok(())
    }

    /// The name of the caller's program, which no process can hide; `None` if it is gone.
    pub fn program(&self) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.thread?)).ok()?;
        // A thread's own name is not the program's.
        let process = field(&status, "Tgid:")?;
        let name = fs::read(format!("/proc/{process}/comm")).ok()?;
        Some(String::from_utf8_lossy(&name).trim_end().to_owned())
    }

    /// The caller's network namespace.
    pub fn network(&self) -> io::Result<Namespace> {
        network(&self.thread.ok_or(Errno::SRCH)?.to_string())
    }

    /// Whether a signal with a handler waits for the caller: the handler runs only once the call is answered.
    pub fn has_signal(&self) -> bool {
        let status = self.thread.and_then(|thread| fs::read_to_string(format!("/proc/{thread}/status")).ok());
        status.is_some_and(|status| signal_waits(&status))
    }
}

impl Drop for Trapped {
    fn drop(&mut self) {
        if !self.answered {
            self.send(Reply::Error(Errno::IO));
        }
        if let Some(Memory(file)) = self.memory.take() {
            self.listener.spare.give_back(file.into());
        }
    }
}

fn whole(done: usize, wanted: usize) -> io::Result<()> {
    if done == wanted { Ok(()) } else { Err(Errno::FAULT.into()) }
}

/// The memory of one process, and of no later one with its id (proc_pid_mem(5)).
#[derive(Debug)]
struct Memory(File);

impl Memory {
    fn of(thread: Pid) -> io::Result<Memory> {
        let path = format!("/proc/{}/mem", thread.as_raw_nonzero());
        Ok(Memory(OpenOptions::new().write(true).open(path)?))
    }

    fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        // Whatever is wrong with the address, a system call would return this error.
        self.0.write_all_at(bytes, address).map_err(|_| Errno::FAULT.into())
    }
}

/// A descriptor of a thread's process (pidfd_open(2)).
pub(super) fn process(thread: Option<Pid>) -> io::Result<OwnedFd> {
    /// PIDFD_THREAD (Linux 6.9): without it only a process's first thread can be named.
    const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);
    let thread = thread.ok_or(Errno::SRCH)?;
    match pidfd_open(thread, THREAD) {
        Err(Errno::INVAL) => {}
        opened => return Ok(opened?),
    }
    let status = fs::read_to_string(format!("/proc/{thread}/status"))?;
    let leader = field(&status, "Tgid:").and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
    Ok(pidfd_open(leader.ok_or(Errno::SRCH)?, PidfdFlags::empty())?)
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// From /proc/PID/status (proc_pid_status(5)): pending for the thread or its process, not blocked, and caught.
fn signal_waits(status: &str) -> bool {
    let mask = |name| field(status, name).and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    (mask("SigPnd:") | mask("ShdPnd:")) & !mask("SigBlk:") & mask("SigCgt:") != 0
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_signal_waits_if_it_is_pending_and_caught() {
        let status = |thread: &str, process: &str, blocked: &str, caught: &str| {
            format!(
                "Name:\tx\nSigPnd:\t{thread}\nShdPnd:\t{process}\nSigBlk:\t{blocked}\nSigCgt:\t{caught}\n"
            )
        };
        assert!(signal_waits(&status("0", "2", "0", "2")));
        assert!(signal_waits(&status("2", "0", "4", "6")));
        assert!(!signal_waits(&status("0", "2", "0", "4")), "not caught: the kernel wakes the caller");
        assert!(!signal_waits(&status("0", "2", "2", "2")), "blocked");
        assert!(!signal_waits(&status("0", "0", "0", "ffffffffffffffff")));
    }

    #[test]
    fn writes_reach_the_caller_s_memory_and_no_later_process_s() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let memory = Memory::of(Pid::from_child(&child)).unwrap();
        // A page of its stack: its content does not matter, as it waits.
        let maps = fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
        let stack = maps.lines().find(|line| line.ends_with("[stack]")).unwrap();
        let address = u64::from_str_radix(stack.split('-').next().unwrap(), 16).unwrap();
        memory.write(address, b"here").unwrap();
        let mut there = [0; 4];
        let read = File::open(format!("/proc/{}/mem", child.id())).unwrap();
        read.read_exact_at(&mut there, address).unwrap();
        assert_eq!(&there, b"here");
        let nowhere = memory.write(8, b"x").unwrap_err();
        assert_eq!(Errno::from_io_error(&nowhere), Some(Errno::FAULT));
        child.kill().unwrap();
        child.wait().unwrap();
        memory.write(address, b"gone").unwrap_err();
    }

    #[test]
    fn our_own_network_is_one() {
        assert_eq!(own_network().unwrap(), own_network().unwrap());
    }
}
