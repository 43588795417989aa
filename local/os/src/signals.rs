//! The signals of this process.

use rustix::process::{Pid, Signal, getpid, kill_process};

/// Whether a signal is ignored (SIG_IGN), as nohup(1) and shells arrange for background processes.
pub fn is_ignored(signal: Signal) -> bool {
    // SAFETY: a struct sigaction of zeroes is one; without a new action the call only writes the present one.
    #[expect(unsafe_code)]
    let (result, present) = unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal.as_raw(), std::ptr::null(), &raw mut present), present)
    };
    result == 0 && present.sa_sigaction == libc::SIG_IGN
}

/// Asks this process to end, as `kill` would.
pub fn terminate_this_process() {
    // To itself, a process may send any signal.
    let _ = kill_process(getpid(), Signal::TERM);
}

/// Asks a child that has not been waited for to end.
pub fn terminate(child: u32) {
    if let Some(child) = i32::try_from(child).ok().and_then(Pid::from_raw) {
        // It may have ended.
        let _ = kill_process(child, Signal::TERM);
    }
}
