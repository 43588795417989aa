//! The pod `client`, from which single requests are sent. One `kubectl exec` of `shop client -` takes them all, several
//! at a time: a kubectl and a process in the pod for each would be most of the suite's cost.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::place::admin;
use crate::process::Done;

/// It ends when dropped.
#[derive(Debug)]
pub struct Client {
    exec: Child,
    asking: Mutex<Asking>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug)]
struct Asking {
    stdin: ChildStdin,
    lines: u64,
}

/// The waiter for each line's answer.
#[derive(Debug)]
enum Waiting {
    For(HashMap<u64, Sender<Value>>),
    /// The exec is dead; its last message.
    Ended(String),
}

/// A request that was sent.
#[derive(Debug)]
pub struct Asked {
    line: String,
    begun: Instant,
    answer_rx: Receiver<Value>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Client {
    pub(crate) fn start(namespace: &str) -> Self {
        let mut command = admin();
        command.arg(format!("--namespace={namespace}"));
        command.args(["exec", "--stdin", "deploy/client", "--", "shop", "client", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut exec = command.spawn().expect("kubectl starts");
        let waiting = Arc::new(Mutex::new(Waiting::For(HashMap::new())));
        let stdin = exec.stdin.take().expect("piped");
        let (stdout, stderr) = (exec.stdout.take().expect("piped"), exec.stderr.take().expect("piped"));
        std::thread::spawn({
            let waiting = waiting.clone();
            move || {
                hand_out(stdout, &waiting);
                let mut last = String::new();
                // Output that came before an error still counts.
                let _ = BufReader::new(stderr).read_to_string(&mut last);
                *lock(&waiting) = Waiting::Ended(last);
            }
        });
        Self { exec, asking: Mutex::new(Asking { stdin, lines: 0 }), waiting }
    }

    /// Sends `shop client ARGS…`.
    pub(crate) fn ask(&self, args: &[&str]) -> Asked {
        let line = format!("shop client {}", args.join(" "));
        let (answer_tx, answer_rx) = channel();
        let asked = Asked { line, begun: Instant::now(), answer_rx, waiting: self.waiting.clone() };
        let mut asking = lock(&self.asking);
        asking.lines += 1;
        match &mut *lock(&self.waiting) {
            Waiting::For(answers) => answers.insert(asking.lines, answer_tx),
            Waiting::Ended(last) => asked.has_lost_the_exec(last),
        };
        // A broken pipe shows when the caller waits for the answer.
        let _ = writeln!(asking.stdin, "{}", json!(args));
        asked
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.exec.kill();
        let _ = self.exec.wait();
    }
}

impl Asked {
    /// Waits for the answer.
    ///
    /// # Panics
    ///
    /// If it does not come in time, or cannot come any more.
    #[track_caller]
    #[must_use]
    pub fn ends(self, within: Duration) -> Done {
        let answer = match self.answer_rx.recv_timeout(within.saturating_sub(self.begun.elapsed())) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => panic!("`{}` has not ended after {within:?}", self.line),
            Err(RecvTimeoutError::Disconnected) => match &*lock(&self.waiting) {
                Waiting::Ended(last) => self.has_lost_the_exec(last),
                Waiting::For(_) => self.has_lost_the_exec(""),
            },
        };
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Done {
            line: self.line,
            code: answer["code"].as_i64().and_then(|code| code.try_into().ok()),
            stdout: text("stdout"),
            stderr: text("stderr"),
            took: self.begun.elapsed(),
        }
    }

    #[track_caller]
    fn has_lost_the_exec(&self, last: &str) -> ! {
        panic!("`{}` has no answer: the exec into the pod client has ended: {last}", self.line)
    }
}

fn hand_out(stdout: impl Read, waiting: &Mutex<Waiting>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let Ok(answer) = serde_json::from_str::<Value>(&line) else { continue };
        let number = answer["line"].as_u64().unwrap_or_default();
        if let Waiting::For(answers) = &mut *lock(waiting)
            && let Some(answer_tx) = answers.remove(&number)
        {
            // Nobody may wait any more: the test is over.
            let _ = answer_tx.send(answer);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
