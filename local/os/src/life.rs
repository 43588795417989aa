//! A process that is known beyond its end: by its number and the time at which it started, which no other one has.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    pub pid: u32,
    /// In clock ticks since the machine started (proc_pid_stat(5), field 22).
    pub started: u64,
}

impl Life {
    /// This process. `None` without a /proc.
    pub fn of_this_process() -> Option<Self> {
        let pid = std::process::id();
        Some(Self { pid, started: started(pid)? })
    }

    /// Whether it runs. One that has ended and is not yet waited for does not.
    pub fn lasts(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Asks it to end (SIGTERM), if it runs.
    pub fn terminate(&self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.lasts()) {
            // It may have ended just now.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

fn started(pid: u32) -> Option<u64> {
    started_from(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Of "7 (a ) b) S 1 …": the second field may contain anything.
fn started_from(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(started)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_lasts_until_its_end_and_no_other_is_taken_for_it() {
        let this = Life::of_this_process().expect("a /proc");
        assert!(this.lasts());
        assert!(!Life { started: this.started + 1, ..this }.lasts(), "another one with this number");
        let mut child = Command::new("sleep").arg("100").spawn().expect("it starts");
        let life = Life { pid: child.id(), started: started(child.id()).expect("it runs") };
        assert!(life.lasts());
        life.terminate();
        child.wait().expect("it ends");
        assert!(!life.lasts());
        life.terminate();
    }

    #[test]
    fn its_name_may_be_anything() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(started_from(&format!("7 (a) S) S {rest}")), Some(4711));
        assert_eq!(started_from(&format!("7 (sh) Z {rest}")), None, "it has ended");
        assert_eq!(started_from("7 (sh) S 1"), None);
        assert_eq!(started_from(""), None);
    }
}
