//! The memory of this process: its size, the return of freed memory, and its privacy.

use std::{fs, io};

/// From this size on the C library takes each piece of memory from the kernel and returns it on its own; and it returns
/// the free end of its heaps from this size on. Larger than the tunnel's frequent allocations for each connection,
/// smaller than an object of the cluster that is read once.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 256 * 1024;

/// Makes freed memory go back to the kernel. Otherwise glibc raises both its thresholds to twice the largest piece that
/// was ever freed (mallopt(3)), and a process that once had megabytes keeps them for its life.
pub fn give_back_what_is_freed() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt takes two numbers and a lock of its own; whatever it refuses stays as it was.
        #[expect(unsafe_code)]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
        }
    }
}

/// Keeps other processes of the same user from reading this one's memory (ptrace(2), /proc/PID/mem) and the kernel from
/// writing it into a file on a crash (PR_SET_DUMPABLE). Does not apply to programs that it starts.
pub fn keep_to_ourselves() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// The memory that this process has in RAM, in bytes (VmRSS of proc_pid_status(5)).
pub fn resident_bytes() -> io::Result<u64> {
    resident_from(&fs::read_to_string("/proc/self/status")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/status has no VmRSS"))
}

fn resident_from(status: &str) -> Option<u64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(resident_from("Name:\tx\nVmRSS:\t   12 kB\nThreads:\t1\n"), Some(12 * 1024));
        assert_eq!(resident_from("Name:\tx\n"), None);
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
