//! A process that is known beyond its end: by its number and the time at which it started, which no other one has.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::packets::watched;

/// The time between two looks, where the system does not tell of the end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    pub pid: u32,
    /// In clock ticks since the machine started (proc_pid_stat(5), field 22).
    pub started: u64,
}

impl Life {
    /// This process. `None` without a /proc.
    pub fn of_this_process() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// The process that has this number now; `None` if there is none.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started: started(pid)? })
    }

    /// Whether it runs. One that has ended and is not yet waited for does not.
    pub fn lasts(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Asks it to end (SIGTERM), if it runs.
    pub fn terminate(&self) {
        if let Some(pid) = self.number().filter(|_| self.lasts()) {
            // It may have ended just now.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Resolves when it has ended.
    pub async fn ended(&self) {
        // In some containers, this call is forbidden.
        if self.told_of_its_end().await.is_err() {
            while self.lasts() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    async fn told_of_its_end(&self) -> io::Result<()> {
        let Some(pid) = self.number() else { return Ok(()) };
        let process = watched(pidfd_open(pid, PidfdFlags::NONBLOCK)?)?;
        // It may be of another process that has this number now.
        if self.lasts() {
            let _ = process.readable().await?;
        }
        Ok(())
    }

    fn number(&self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
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
        let life = Life::of(child.id()).expect("it runs");
        assert!(life.lasts());
        life.terminate();
        child.wait().expect("it ends");
        assert!(!life.lasts());
        life.terminate();
    }

    #[tokio::test]
    async fn its_end_resolves_the_wait() {
        let mut child = Command::new("sleep").arg("100").spawn().expect("it starts");
        let life = Life::of(child.id()).expect("it runs");
        let ended = life.ended();
        tokio::pin!(ended);
        let early = tokio::time::timeout(Duration::from_millis(20), &mut ended).await;
        assert!(early.is_err(), "it runs still");
        life.terminate();
        let waited = tokio::time::timeout(Duration::from_secs(10), &mut ended).await;
        waited.expect("it ended, though its parent has not reaped it yet");
        child.wait().expect("it ends");
        life.ended().await;
        let other = Life { started: 1, ..Life::of_this_process().expect("a /proc") };
        other.ended().await;
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
