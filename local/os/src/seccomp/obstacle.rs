//! Why a machine, or the environment of a process on it, has no supervision.

use std::{fs, io, time::Duration};

use rustix::{
    fd::OwnedFd,
    io::Errno,
    process::{PidfdGetfdFlags, Resource, getrlimit, pidfd_getfd},
};

use super::{
    call::Call,
    filter::{HIGH, program},
    listener::{Listener, seccomp},
    trapped::{self, Reply, Trapped},
};

/// The obstacle, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    #[error("supervision supports only x86-64 and arm64")]
    Processor,
    #[error("the kernel was built without seccomp user notification")]
    NoNotification,
    #[error("the kernel is older than Linux 5.19, where supervised calls do not survive signals")]
    OldKernel,
    #[error(
        "another program already supervises this one with seccomp (a container manager, or another `bridge \
         run`), and the kernel allows only one"
    )]
    Nested,
    #[error("the container or a security module forbids seccomp filters")]
    Forbidden(#[source] Errno),
    #[error("kernel.yama.ptrace_scope is {0}: no process may read another's memory, not even its child's")]
    Yama(u8),
    #[error("the container forbids reading the memory of child processes")]
    Access(#[source] io::Error),
    #[error("a trapped call did not arrive within {} s", ARRIVAL.as_secs())]
    Silent,
    #[error("the kernel refuses supervision")]
    Other(#[source] io::Error),
}

/// A trapped call arrives in microseconds.
const ARRIVAL: Duration = Duration::from_secs(5);

impl Obstacle {
    pub(super) fn of_install(errno: Errno) -> Obstacle {
        match errno {
            Errno::NOSYS => Obstacle::NoNotification,
            Errno::INVAL if !notification_known() => Obstacle::NoNotification,
            Errno::INVAL => Obstacle::OldKernel,
            Errno::BUSY => Obstacle::Nested,
            Errno::PERM | Errno::ACCESS => Obstacle::Forbidden(errno),
            other => Obstacle::Other(other.into()),
        }
    }
}

fn notification_known() -> bool {
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: SECCOMP_GET_ACTION_AVAIL reads one u32, which outlives the call.
    #[expect(unsafe_code)]
    let known = unsafe { seccomp(libc::SECCOMP_GET_ACTION_AVAIL, 0, (&raw const action).cast()) };
    known.is_ok()
}

/// Tries everything that supervision needs, on a thread of this process that ends with it. Nothing is started, and
/// nothing of the process is changed. Yama's restriction shows between processes only, so it is read.
pub fn probe() -> Result<(), Obstacle> {
    program().ok_or(Obstacle::Processor)?;
    yama(fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok().as_deref())?;
    let (listener, caller) = Listener::install_on(|| {
        // The filter is on this thread: this call sleeps until it is answered.
        rustix::net::getpeername(&own_descriptor()?).map(drop)
    })?;
    let found =
        listener.next_within(ARRIVAL).map_err(Obstacle::Other)?.ok_or(Obstacle::Silent).and_then(look_into);
    // The end of its listener wakes a thread that still sleeps.
    drop(listener);
    let _ = caller.join();
    found
}

/// The limit of descriptors of this process and its children, if it leaves no room for UDP sockets from `HIGH` on.
pub fn low_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current.filter(|limit| *limit <= u64::from(HIGH))
}

fn own_descriptor() -> Result<OwnedFd, Errno> {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)
}

fn yama(scope: Option<&str>) -> Result<(), Obstacle> {
    match scope.and_then(|scope| scope.trim().parse().ok()) {
        Some(scope @ 2..) => Err(Obstacle::Yama(scope)),
        _ => Ok(()),
    }
}

/// Does the same with a caller as supervision: reads its memory and takes its descriptor.
fn look_into(trapped: Trapped) -> Result<(), Obstacle> {
    let Call::PeerName { socket, length, .. } = trapped.call() else { return Err(Obstacle::Silent) };
    let looked = (|| -> io::Result<()> {
        trapped.read(length, &mut [0; 4])?;
        let process = trapped::process(trapped.thread())?;
        pidfd_getfd(process, socket, PidfdGetfdFlags::empty())?;
        Ok(())
    })();
    trapped.answer(Reply::Error(Errno::NOTCONN));
    looked.map_err(Obstacle::Access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yama_stands_in_the_way_from_2_on() {
        assert!(yama(None).is_ok());
        assert!(yama(Some("0\n")).is_ok());
        assert!(yama(Some("1\n")).is_ok());
        assert!(matches!(yama(Some("2\n")), Err(Obstacle::Yama(2))));
        assert!(matches!(yama(Some("3\n")), Err(Obstacle::Yama(3))));
    }

    #[test]
    fn refusals_of_the_kernel_have_their_meaning() {
        assert!(matches!(Obstacle::of_install(Errno::BUSY), Obstacle::Nested));
        assert!(matches!(Obstacle::of_install(Errno::NOSYS), Obstacle::NoNotification));
        assert!(matches!(Obstacle::of_install(Errno::PERM), Obstacle::Forbidden(_)));
        assert!(matches!(Obstacle::of_install(Errno::NOMEM), Obstacle::Other(_)));
    }

    #[test]
    fn probing_ends_and_can_be_repeated() {
        for _ in 0..2 {
            if let Err(obstacle) = probe() {
                eprintln!("this machine: {obstacle}");
            }
        }
    }
}
