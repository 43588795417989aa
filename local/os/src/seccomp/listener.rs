//! Receives the calls of supervised processes.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use libc::{c_long, c_uint, c_ulong, c_void};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::Errno,
    process::Pid,
};

use super::{call::Call, filter::program, obstacle::Obstacle, spare::Spare, trapped::Trapped};

/// The receiving end of a filter. Closing it wakes threads that sleep in a trapped call, with ENOSYS.
#[derive(Debug)]
pub struct Listener {
    pub(super) descriptor: OwnedFd,
    /// Readable after `stop`.
    stopped: OwnedFd,
    /// The thread of this process that has the filter; 0 once it has ended.
    carrier: Arc<AtomicI32>,
    /// The size of the kernel's struct seccomp_notif, in units of 8 bytes.
    words: usize,
    /// For answers that are written into a caller's memory.
    pub(super) spare: Spare,
}

impl Listener {
    /// Installs the filter on a new thread, which then does `work`. (Not on the caller's: there is no way back.)
    pub(super) fn install_on<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(Arc<Listener>, JoinHandle<Option<T>>), Obstacle> {
        let (installed_tx, installed_rx) = mpsc::sync_channel(1);
        let carrier = Arc::new(AtomicI32::new(0));
        let own = Arc::clone(&carrier);
        let thread = thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                own.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Release);
                let installed = install();
                let succeeded = installed.is_ok();
                let _ = installed_tx.send(installed);
                let result = succeeded.then(work);
                own.store(0, Ordering::Release);
                result
            })
            .map_err(Obstacle::Other)?;
        let gone = || Obstacle::Other(io::ErrorKind::BrokenPipe.into());
        let descriptor = installed_rx.recv().map_err(|_| gone())??;
        let stopped = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stopped = stopped.map_err(|errno| Obstacle::Other(errno.into()))?;
        wake_on_the_same_processor(&descriptor);
        let words = notification_words().map_err(Obstacle::Other)?;
        let spare = Spare::new().map_err(Obstacle::Other)?;
        Ok((Arc::new(Listener { descriptor, stopped, carrier, words, spare }), thread))
    }

    /// The next trapped call; `None` once no process is left that has the filter, or after `stop`. Blocks.
    pub fn next(self: &Arc<Self>) -> io::Result<Option<Trapped>> {
        self.receive(None)
    }

    /// As `next`; `None` also after this time.
    pub(super) fn next_within(self: &Arc<Self>, bound: Duration) -> io::Result<Option<Trapped>> {
        let bound = Timespec::try_from(bound).map_err(io::Error::other)?;
        self.receive(Some(&bound))
    }

    /// Ends `next`, now and later.
    pub fn stop(&self) {
        let _ = rustix::io::write(&self.stopped, &1u64.to_ne_bytes());
    }

    fn receive(self: &Arc<Self>, bound: Option<&Timespec>) -> io::Result<Option<Trapped>> {
        loop {
            // Not RECV at once: before Linux 6.11 it does not return when the last process has ended.
            let mut both =
                [PollFd::new(&self.descriptor, PollFlags::IN), PollFd::new(&self.stopped, PollFlags::IN)];
            match poll(&mut both, bound) {
                Ok(0) => return Ok(None),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
                Ok(_) => {}
            }
            let (calls, stopped) = (both[0].revents(), both[1].revents());
            if !stopped.is_empty() || !calls.contains(PollFlags::IN) {
                return Ok(None);
            }
            match self.take() {
                Ok(notification) => {
                    let call = Call::of(&notification.data);
                    let thread = Pid::from_raw(notification.pid as i32);
                    return Ok(Some(Trapped::new(Arc::clone(self), notification.id, thread, call)));
                }
                // The caller died in between (ENOENT).
                Err(Errno::INTR | Errno::NOENT | Errno::AGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// SECCOMP_IOCTL_NOTIF_RECV.
    fn take(&self) -> Result<libc::seccomp_notif, Errno> {
        // The kernel wants it zeroed each time, and a later kernel's may be longer than ours.
        let mut buffer = vec![0u64; self.words];
        // SAFETY: the buffer is writable, aligned to 8 and as long as the kernel's struct. The result is plain
        // integers, of which any value is valid, and no longer than the buffer (`notification_words`).
        #[expect(unsafe_code)]
        let notification = unsafe {
            let fd = self.descriptor.as_raw_fd();
            check(libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_RECV, buffer.as_mut_ptr()))?;
            buffer.as_ptr().cast::<libc::seccomp_notif>().read()
        };
        Ok(notification)
    }

    /// Whether the thread is this process's own: its memory must not be touched from the side.
    pub(super) fn is_own(&self, thread: Pid) -> bool {
        self.carrier.load(Ordering::Acquire) == thread.as_raw_nonzero().get()
    }
}

/// The result of a libc call by its errno.
pub(super) fn check<N: PartialOrd + From<i8>>(result: N) -> Result<N, Errno> {
    if result < N::from(0) {
        let error = io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    Ok(result)
}

/// seccomp(2)
///
/// # Safety
///
/// The argument points to what the operation reads or writes.
#[expect(unsafe_code)]
pub(super) unsafe fn seccomp(
    operation: c_uint,
    flags: c_ulong,
    argument: *const c_void,
) -> Result<c_long, Errno> {
    // SAFETY: by contract.
    check(unsafe { libc::syscall(libc::SYS_seccomp, c_long::from(operation), flags, argument) })
}

/// Installs the filter permanently on this thread and everything that it starts.
fn install() -> Result<OwnedFd, Obstacle> {
    let program = program().ok_or(Obstacle::Processor)?;
    rustix::thread::set_no_new_privs(true).map_err(Obstacle::Forbidden)?;
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // Without the second flag a signal restarts the caller's call while it is being answered: Go's signals come often.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the kernel copies the program, which outlives the call. Its result is a descriptor that nobody else has.
    #[expect(unsafe_code)]
    let descriptor = unsafe {
        let fd = seccomp(libc::SECCOMP_SET_MODE_FILTER, flags, (&raw const program).cast());
        OwnedFd::from_raw_fd(fd.map_err(Obstacle::of_install)? as i32)
    };
    Ok(descriptor)
}

/// SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (Linux 6.6): half the time per call, as supervisor and caller take turns.
fn wake_on_the_same_processor(descriptor: &OwnedFd) {
    const SYNC_WAKE_UP: c_ulong = 1;
    // SAFETY: the argument is a number.
    #[expect(unsafe_code)]
    let _ = unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
}

/// The longer of the kernel's struct seccomp_notif and ours, in units of 8 bytes.
fn notification_words() -> io::Result<usize> {
    let mut sizes = libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
    // SAFETY: SECCOMP_GET_NOTIF_SIZES writes one such struct.
    #[expect(unsafe_code)]
    let asked = unsafe { seccomp(libc::SECCOMP_GET_NOTIF_SIZES, 0, (&raw mut sizes).cast()) };
    asked?;
    Ok(usize::from(sizes.seccomp_notif).max(size_of::<libc::seccomp_notif>()).div_ceil(8))
}
