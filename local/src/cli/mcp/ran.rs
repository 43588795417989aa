//! One run of this program for a tool: its output, its steps, and its end if the client gives it up.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bridge_os::signals;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The largest output that is handed on; the rest is left out, and said to be.
const LARGEST: u64 = 1024 * 1024;
/// The time for a command that is given up to end.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// The output of a run that has ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) succeeded: bool,
    pub(super) stdout: String,
    /// Notes, warnings and errors, a line each.
    pub(super) said: String,
}

impl Ran {
    /// The output; what else it said follows where that matters.
    pub(super) fn text(&self) -> String {
        match (self.succeeded, self.stdout.is_empty()) {
            (true, false) => self.stdout.clone(),
            _ => format!("{}{}", self.stdout, self.said),
        }
    }
}

/// Runs this program with these words; `steps_tx` gets each step.
pub(super) async fn run(
    program: &Path,
    words: &[String],
    given_up: &CancellationToken,
    steps_tx: mpsc::Sender<String>,
) -> io::Result<Ran> {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = child.id().unwrap_or_default();
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("it has no output"));
    };
    let reading = async {
        let mut said = String::new();
        let mut lines = BufReader::new(stderr.take(LARGEST)).lines();
        while let Some(line) = lines.next_line().await? {
            match step_of(&line) {
                // If nobody listens any more, the command goes on all the same.
                Ok(step) => drop(steps_tx.send(step).await),
                Err(other) => said.push_str(&other),
            }
        }
        Ok::<String, io::Error>(said)
    };
    let running = async {
        let (stdout, said) = tokio::join!(bounded(stdout), reading);
        let (stdout, said, status) = (stdout?, said?, child.wait().await?);
        Ok::<_, io::Error>(Ran { succeeded: status.success(), stdout, said })
    };
    let mut running = std::pin::pin!(running);
    tokio::select! {
        ended = &mut running => ended,
        () = given_up.cancelled() => {
            // The daemon undoes what a command has begun that goes.
            signals::terminate(pid);
            let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
            tokio::time::timeout(ENDS_WITHIN, running).await.unwrap_or_else(late)
        }
    }
}

/// Says that there are further requests, each time that agents of the user's sessions have seen some. Ends with the
/// sessions, or if there are none.
pub(super) async fn follow_requests(program: &Path, seen_tx: mpsc::Sender<()>) {
    let follower = Command::new(program)
        .args(["requests", "--follow", "-o", "json", "--progress", "none"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut follower) = follower else { return };
    let Some(stdout) = follower.stdout.take() else { return };
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(_)) = lines.next_line().await {
        // One that waits already stands for this one, too.
        if let Err(mpsc::error::TrySendError::Closed(())) = seen_tx.try_send(()) {
            return;
        }
    }
    let _ = follower.wait().await;
}

/// The step that a line of `--progress json` is; else the line for people.
fn step_of(line: &str) -> Result<String, String> {
    let json: Value = serde_json::from_str(line).unwrap_or_default();
    let entry = json.as_object().and_then(|object| object.iter().next());
    match entry.and_then(|(kind, text)| Some((kind.as_str(), text.as_str()?))) {
        Some(("step", text)) => Ok(text.to_owned()),
        Some((kind, text)) => Err(format!("{kind}: {text}\n")),
        None => Err(format!("{line}\n")),
    }
}

async fn bounded(from: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut from = from.take(LARGEST + 1);
    from.read_to_end(&mut bytes).await?;
    let whole = bytes.len() as u64 <= LARGEST;
    if !whole {
        bytes.truncate(usize::try_from(LARGEST).unwrap_or(usize::MAX));
        // Its writer must not wait.
        from.set_limit(u64::MAX);
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if !whole {
        text.push_str("\n… the rest is left out\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, given_up: &CancellationToken) -> (io::Result<Ran>, Vec<String>) {
        let (steps_tx, mut steps_rx) = mpsc::channel(8);
        let words = ["-c".to_owned(), script.to_owned()];
        let ran = run(Path::new("/bin/sh"), &words, given_up, steps_tx).await;
        let mut steps = Vec::new();
        while let Some(step) = steps_rx.recv().await {
            steps.push(step);
        }
        (ran, steps)
    }

    #[tokio::test]
    async fn output_steps_and_end_are_told_apart() {
        let script =
            r#"echo '{"step":"one"}' >&2; echo '{"error":"no"}' >&2; echo plain >&2; echo '{"a":1}'; exit 3"#;
        let (ran, steps) = shell(script, &CancellationToken::new()).await;
        let ran = ran.expect("it runs");
        assert_eq!(steps, ["one"]);
        assert_eq!(
            ran,
            Ran { succeeded: false, stdout: "{\"a\":1}\n".into(), said: "error: no\nplain\n".into() }
        );
        assert_eq!(ran.text(), "{\"a\":1}\nerror: no\nplain\n");
    }

    #[tokio::test]
    async fn a_run_that_is_given_up_ends() {
        let given_up = CancellationToken::new();
        given_up.cancel();
        // Before or after it has set its trap, it ends.
        let (ran, _) =
            shell("trap 'echo undone; exit 143' TERM; while :; do sleep 0.01; done", &given_up).await;
        assert!(!ran.expect("it ends").succeeded);
    }

    #[tokio::test]
    async fn a_large_output_is_cut() {
        let (ran, _) = shell("head -c 3000000 /dev/zero | tr '\\0' x", &CancellationToken::new()).await;
        let ran = ran.expect("it runs");
        assert!(ran.succeeded && ran.stdout.ends_with("left out\n"), "{}", ran.stdout.len());
    }
}
