//! The system calls that no safe crate offers: becoming another program, holding a signal back, and ending.

use core::{arch::asm, ffi::CStr};

use rustix::{
    fd::{AsRawFd, BorrowedFd},
    io::Errno,
};

#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const EXECVE: usize = 59;
    pub(super) const EXECVEAT: usize = 322;
    pub(super) const EXIT_GROUP: usize = 231;
    pub(super) const RT_SIGPROCMASK: usize = 14;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub(super) const EXECVE: usize = 221;
    pub(super) const EXECVEAT: usize = 281;
    pub(super) const EXIT_GROUP: usize = 94;
    pub(super) const RT_SIGPROCMASK: usize = 135;
}

const AT_EMPTY_PATH: usize = 0x1000;

/// Becomes the program at `path`; returns only on failure, with the error.
///
/// # Safety
/// `argv` and `environment` are null-terminated arrays of C strings.
pub(crate) unsafe fn execve(path: &CStr, argv: *const *const u8, environment: *const *const u8) -> Errno {
    // SAFETY: the caller's promise, and `path` is a C string: execve(2) reads these and nothing else.
    errno(unsafe { syscall(number::EXECVE, [path.as_ptr().addr(), argv.addr(), environment.addr(), 0, 0]) })
}

/// Becomes the program in the open `file`; returns only on failure, with the error.
///
/// # Safety
/// As for `execve`.
pub(crate) unsafe fn fexecve(
    file: BorrowedFd<'_>,
    argv: *const *const u8,
    environment: *const *const u8,
) -> Errno {
    let file = file.as_raw_fd().unsigned_abs() as usize;
    // SAFETY: as for `execve`.
    errno(unsafe {
        let arguments = [file, c"".as_ptr().addr(), argv.addr(), environment.addr(), AT_EMPTY_PATH];
        syscall(number::EXECVEAT, arguments)
    })
}

/// Blocks SIGTERM until the agent can handle it: the kernel drops signals without a handler for the first process of a
/// container, and Kubernetes would wait out the grace period. A blocked signal stays pending, also across execve.
pub(crate) fn hold_sigterm() {
    const SIG_BLOCK: usize = 0;
    const SIGTERM: u64 = 15;
    let set: u64 = 1 << (SIGTERM - 1);
    let size = size_of_val(&set);
    // SAFETY: rt_sigprocmask(2) reads `size` bytes of `set`, which lives, and writes nothing without an old set.
    unsafe { syscall(number::RT_SIGPROCMASK, [SIG_BLOCK, (&raw const set).addr(), 0, size, 0]) };
}

pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: exit_group(2) touches no memory and does not come back.
        unsafe { syscall(number::EXIT_GROUP, [code.unsigned_abs() as usize, 0, 0, 0, 0]) };
    }
}

fn errno(result: isize) -> Errno {
    Errno::from_raw_os_error(-(result as i32))
}

/// # Safety
/// That of the system call.
unsafe fn syscall(number: usize, [a, b, c, d, e]: [usize; 5]) -> isize {
    let result;
    // SAFETY: the kernel's calling convention; what it does to memory is the caller's promise.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            options(nostack));
    }
    result
}
