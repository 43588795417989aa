//! A process that is started by a command and outlives it and its terminal: the daemon, or a detached command.
//!
//! The command's side (`start`) waits until the process reports that it is ready, or why it is not; the process's side
//! (`Detached`) reports it. They use a pipe, which is the process's stdout until then, so that only the three standard
//! descriptors are passed.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{BorrowedFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::io::AsyncReadExt;

const READY: &str = "ready";
/// More than any readable reason.
const MAX_REASON: u64 = 8 << 10;

/// The command to start.
#[derive(Debug)]
pub struct Start {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub directory: PathBuf,
    /// The file for its stderr; an earlier process's output is kept beside it with the extension `old`.
    pub log_file: PathBuf,
    pub timeout: Duration,
}

/// Why there is no running process.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot write the log file {}", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("cannot start {}", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    /// The process's own message.
    #[error("{0}")]
    Refused(String),
    #[error("it exited before it was ready")]
    Ended,
    #[error("it was not ready after {} s", .0.as_secs())]
    Timeout(Duration),
}

/// Starts the process in a session of its own, and waits until it is ready. Returns its process id.
pub async fn start(start: Start) -> Result<u32, StartError> {
    let Start { program, arguments, environment, directory, log_file, timeout } = start;
    let log = open_log(&log_file).map_err(|source| StartError::Log { path: log_file, source })?;
    close_on_exec_from_3();
    let spawned = tokio::process::Command::new(&program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn();
    let mut child = spawned.map_err(|source| StartError::Spawn { program, source })?;
    let id = child.id().unwrap_or_default();
    let Some(pipe) = child.stdout.take() else { return Err(StartError::Ended) };

    let mut said = String::new();
    let read = tokio::time::timeout(timeout, pipe.take(MAX_REASON).read_to_string(&mut said)).await;
    match (read, said.trim()) {
        (Err(_), _) => {
            // It may hang: nobody else knows of it, so we must end it.
            let _ = child.start_kill();
            Err(StartError::Timeout(timeout))
        }
        (Ok(_), READY) => Ok(id),
        (Ok(_), "") => Err(StartError::Ended),
        (Ok(_), reason) => Err(StartError::Refused(reason.to_owned())),
    }
}

fn former(log: &Path) -> PathBuf {
    log.with_extension("old")
}

/// Undoes what a start has done to the log of a process that is still there.
pub fn keep_former_log(log: &Path) {
    // Without it, that process logs beside it.
    let _ = fs::rename(former(log), log);
}

fn open_log(path: &Path) -> io::Result<File> {
    match fs::rename(path, former(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Descriptors beyond the standard ones that this process got itself (from a shell, a test runner) must not go to a
/// process that stays: it would hold pipes open that others wait on.
fn close_on_exec_from_3() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    for entry in entries.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        if number >= 3 {
            // SAFETY: the borrow ends with this statement. The number was open when the directory was read; if another
            // thread has closed it since, fcntl fails with EBADF or marks a newer descriptor, which std marks anyway.
            #[expect(unsafe_code)]
            let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
            let _ = rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC);
        }
    }
}

/// The variables of `environment` that a process for later commands should have, too: those that describe the user,
/// none of a single shell.
pub fn lasting_environment(
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    const NAMES: [&str; 9] = [
        "HOME",
        "LANG",
        "LOGNAME",
        "PATH",
        "RUST_BACKTRACE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "USER",
    ];
    const PREFIXES: [&str; 3] = ["BRIDGE_", "LC_", "XDG_"];
    let lasts = |name: &OsStr| {
        let name = name.to_string_lossy();
        NAMES.contains(&&*name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    environment.filter(|(name, _)| lasts(name)).collect()
}

/// The started process's side.
#[derive(Debug)]
pub struct Detached(());

impl Detached {
    /// The same as `in_own_session`. Files that the process creates from now on (mainly its socket) are only the user's.
    pub fn new() -> Self {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        Self::in_own_session()
    }

    /// Leaves the session of the process that started it, so that no signal of that terminal arrives.
    pub fn in_own_session() -> Self {
        // It fails for the leader of a process group: if started by hand from a shell, the terminal is wanted.
        let _ = rustix::process::setsid();
        Detached(())
    }

    /// Reports that the process is ready; its output goes to its log from now on.
    pub fn ready(self) {
        let _ = writeln!(io::stdout(), "{READY}");
        hang_up();
    }

    /// Reports why the process will not be ready.
    pub fn failed(self, reason: &str) {
        let _ = writeln!(io::stdout(), "{}", reason.trim());
        hang_up();
    }
}

impl Default for Detached {
    fn default() -> Self {
        Detached::new()
    }
}

fn hang_up() {
    let _ = io::stdout().flush();
    let _ = rustix::stdio::dup2_stdout(io::stderr());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, directory: &Path) -> Start {
        Start {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("PATH".into(), std::env::var_os("PATH").unwrap())],
            directory: "/".into(),
            log_file: directory.join("log"),
            timeout: Duration::from_secs(20),
        }
    }

    #[tokio::test]
    async fn it_is_waited_for_until_it_is_ready() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("log"), "before").unwrap();
        // It stays, as a daemon does, until it reads a line from the fifo.
        let fifo = directory.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let script = format!(
            "pwd >&2; ls /proc/self/fd >&2; echo ready; exec 1>&2; read line <{}; echo $line >&2",
            fifo.display()
        );

        let id = start(shell(&script, directory.path())).await.unwrap();

        assert!(Path::new(&format!("/proc/{id}")).exists());
        fs::write(&fifo, "ended\n").unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("log.old")).unwrap(), "before");
        let log = fs::read_to_string(directory.path().join("log")).unwrap();
        assert!(log.starts_with("/\n0\n1\n2\n"), "{log}");
    }

    #[tokio::test]
    async fn its_reason_is_handed_on() {
        let directory = tempfile::tempdir().unwrap();
        let refused = start(shell("echo no room; exit 1", directory.path())).await;
        assert!(matches!(refused, Err(StartError::Refused(reason)) if reason == "no room"));
        let ended = start(shell("exit 3", directory.path())).await;
        assert!(matches!(ended, Err(StartError::Ended)));
        let missing = Start { program: "/does/not/exist".into(), ..shell("", directory.path()) };
        assert!(matches!(start(missing).await, Err(StartError::Spawn { .. })));
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let hangs = Start { timeout: Duration::from_millis(50), ..shell("exec sleep 100", directory.path()) };
        assert!(matches!(start(hangs).await, Err(StartError::Timeout(_))));
    }

    #[test]
    fn variables_of_one_shell_do_not_last() {
        let given = ["PATH", "XDG_RUNTIME_DIR", "AWS_SECRET_ACCESS_KEY", "BRIDGE_LOG", "KUBECONFIG"];
        let environment = given.iter().map(|name| (OsString::from(name), OsString::from("x")));
        let lasting: Vec<_> = lasting_environment(environment).into_iter().map(|(name, _)| name).collect();
        assert_eq!(lasting, ["PATH", "XDG_RUNTIME_DIR", "BRIDGE_LOG"]);
    }
}
