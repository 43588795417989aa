//! The memory of this process: how much it has, that it keeps none that it has freed, and that it is nobody else's.

use std::{fs, io};

/// From this size on the C library takes each piece of memory from the kernel and gives it back on its own; and it gives back
/// what is free at the end of its heaps from this size on. Above what the tunnel takes for each connection over and over,
/// below an object of the cluster that is read once.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 256 * 1024;

/// Has freed memory go back to the kernel. Otherwise glibc raises both its thresholds to twice the largest piece that was
/// ever freed (mallopt(3)), and a process that once had megabytes in its hands keeps them for its life.
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
/// writing it into a file when it crashes (PR_SET_DUMPABLE). What it starts is as any other process again.
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
