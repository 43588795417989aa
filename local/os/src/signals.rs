//! The signals that this process was started to ignore.

/// Whether a signal is ignored (SIG_IGN), as nohup(1) and shells arrange for background processes.
pub fn is_ignored(signal: rustix::process::Signal) -> bool {
    // SAFETY: a struct sigaction of zeroes is one; without a new action the call only writes the present one.
    #[expect(unsafe_code)]
    let (result, present) = unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal.as_raw(), std::ptr::null(), &raw mut present), present)
    };
    result == 0 && present.sa_sigaction == libc::SIG_IGN
}
