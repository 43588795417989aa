//! Processes that end with this one.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Makes the command get SIGTERM when the thread that starts it ends, and so when this process does (PR_SET_PDEATHSIG):
/// it must be started by a thread that stays.
pub fn ends_with_us(command: &mut Command) {
    let parent = getpid();
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // It may have ended just before.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec, only system calls are made, and nothing is allocated.
    #[expect(unsafe_code)]
    unsafe {
        command.pre_exec(prepare);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn it_ends_with_the_thread_that_has_started_it() {
        let start = || {
            let mut command = Command::new("sleep");
            command.arg("100");
            ends_with_us(&mut command);
            command.spawn().unwrap()
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    }
}
