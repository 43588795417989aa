//! Simulates other machines: a seccomp filter around the supervisor refuses what they lack.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// The features that machines lack, and the supervisor's error without each.
pub(crate) const ALL: [(&str, &str); 6] = [
    ("seccomp", "the container or a security module forbids seccomp filters"),
    ("notification", "the kernel was built without seccomp user notification"),
    ("linux-5.19", "the kernel is older than Linux 5.19"),
    ("pidfd_getfd", "forbids reading the memory of child processes"),
    ("process_vm_readv", "forbids reading the memory of child processes"),
    ("pidfd_open", "forbids reading the memory of child processes"),
];

/// Becomes the program, on a machine that lacks this.
pub(crate) fn become_one(what: &str, mut program: Vec<OsString>) -> ! {
    let (call, rules, errno) = match what {
        "seccomp" => (libc::SYS_seccomp, vec![], libc::EPERM),
        "notification" => (libc::SYS_seccomp, vec![], libc::ENOSYS),
        "linux-5.19" => (libc::SYS_seccomp, vec![with_killable_wait()], libc::EINVAL),
        "pidfd_getfd" => (libc::SYS_pidfd_getfd, vec![], libc::EPERM),
        "process_vm_readv" => (libc::SYS_process_vm_readv, vec![], libc::EPERM),
        "pidfd_open" => (libc::SYS_pidfd_open, vec![], libc::EPERM),
        other => panic!("nothing is known of {other}"),
    };
    let here = std::env::consts::ARCH.try_into().unwrap();
    let refuse = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new([(call, rules)].into(), SeccompAction::Allow, refuse, here).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    let error = Command::new(program.remove(0)).args(program).exec();
    panic!("not started: {error}");
}

/// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV among the flags of seccomp(2), which only Linux 5.19 knows.
fn with_killable_wait() -> SeccompRule {
    const FLAG: u64 = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let masked = SeccompCmpOp::MaskedEq(FLAG);
    SeccompRule::new(vec![SeccompCondition::new(1, SeccompCmpArgLen::Dword, masked, FLAG).unwrap()]).unwrap()
}
