//! Commands with a deadline: their output, their end, and their duration.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The default limit for a command: longer than any of bridge's own limits.
pub const USUAL: Duration = Duration::from_secs(90);

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// The command line, without the program's path.
    pub line: String,
    /// `None` if ended by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Done {
    /// Panics unless it succeeded.
    ///
    /// # Panics
    ///
    /// With all output of the command.
    #[track_caller]
    #[must_use]
    pub fn succeeds(self) -> Self {
        assert!(self.code == Some(0), "expected to succeed: {self}");
        self
    }

    /// Panics unless it ended with this exit code, and `reason` in its output.
    ///
    /// # Panics
    ///
    /// With all output of the command.
    #[track_caller]
    pub fn fails(&self, code: i32, reason: &str) {
        assert!(self.code == Some(code), "expected exit code {code}: {self}");
        assert!(self.stderr.contains(reason), "expected to say {reason:?}: {self}");
    }

    /// The output, as JSON.
    ///
    /// # Panics
    ///
    /// If it is no JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.map_or("a signal".to_owned(), |code| format!("code {code}"));
        write!(f, "`{}` ended with {code} after {:.1?}\n{}{}", self.line, self.took, self.stdout, self.stderr)
    }
}

/// A running command. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    line: String,
    begun: Instant,
    child: Child,
    output: Option<(JoinHandle<String>, JoinHandle<String>)>,
}

impl Running {
    /// Starts a command with this standard input. `line` names it in messages.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    #[must_use]
    pub fn start(line: String, mut command: Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start `{line}`: {error}"));
        // A program that reads nothing may have closed it already.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let output = (all(child.stdout.take().expect("piped")), all(child.stderr.take().expect("piped")));
        Self { line, begun, child, output: Some(output) }
    }

    /// Presses Ctrl-C.
    ///
    /// # Panics
    ///
    /// If it has ended already.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Kills it, and not its children.
    ///
    /// # Panics
    ///
    /// If it has ended already.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to `{}`: {error}", self.line));
    }

    /// Waits for the end.
    ///
    /// # Panics
    ///
    /// If it does not come in time.
    #[track_caller]
    #[must_use]
    pub fn ends(mut self, within: Duration) -> Done {
        let code = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status.code();
            }
            assert!(self.begun.elapsed() < within, "`{}` has not ended after {within:?}", self.line);
            crate::pause(Duration::from_millis(5));
        };
        let took = self.begun.elapsed();
        let (stdout, stderr) = self.output.take().expect("taken only here");
        // The command's children must not hold its output open: that would hang its reader.
        crate::eventually(
            &format!("`{}` closes its output at its end", self.line),
            Duration::from_secs(5),
            || (stdout.is_finished() && stderr.is_finished()).then_some(()).ok_or("it is open".to_owned()),
        );
        let text = |reader: JoinHandle<String>| reader.join().expect("a reader");
        Done { line: std::mem::take(&mut self.line), code, stdout: text(stdout), stderr: text(stderr), took }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // Output that came before an error still counts.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
