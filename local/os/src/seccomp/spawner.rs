//! The thread that carries the filter, and starts the processes that inherit it.
//!
//! A filter cannot be removed, and applies to everything that a thread starts: so one thread of this process has it,
//! makes none of the trapped calls itself, and does nothing but start processes. The listener is in this process's own
//! table, so nothing has to be passed. Processes die with the thread, not with the process (PR_SET_PDEATHSIG), so it
//! lives as long as the `Spawner`.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
    sync::{Arc, mpsc},
};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, getpid, getppid, getrlimit, set_child_subreaper,
    set_parent_process_death_signal, setrlimit,
};
use tokio::sync::oneshot;

use super::{listener::Listener, obstacle::Obstacle};

struct Request {
    command: Command,
    child_tx: oneshot::Sender<io::Result<Child>>,
}

/// Starts supervised processes. They get SIGTERM when this is dropped.
#[derive(Debug)]
pub struct Spawner {
    requests: mpsc::SyncSender<Request>,
}

/// Makes this process a supervisor: the parent of all orphans below it (Yama checks descent), with as many descriptors
/// as it may have. The caller must take calls from the listener before it starts anything.
pub fn start() -> Result<(Arc<Listener>, Spawner), Obstacle> {
    let other = |errno: rustix::io::Errno| Obstacle::Other(errno.into());
    set_child_subreaper(Some(getpid())).map_err(other)?;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).map_err(other)?;

    let (requests, received) = mpsc::sync_channel::<Request>(1);
    let parent = getpid();
    let (listener, _thread) = Listener::install_on(move || {
        for Request { command, child_tx } in received {
            let _ = child_tx.send(spawn(command, parent, limit));
        }
    })?;
    Ok((listener, Spawner { requests }))
}

impl Spawner {
    /// Starts the command; the caller must wait for its end.
    pub async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (child_tx, child_rx) = oneshot::channel();
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.requests.send(Request { command, child_tx }).map_err(|_| gone())?;
        child_rx.await.map_err(|_| gone())?
    }
}

fn spawn(mut command: Command, parent: Pid, limit: Rlimit) -> io::Result<Child> {
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        setrlimit(Resource::Nofile, limit)?;
        Ok(())
    };
    // SAFETY: between fork and exec, only system calls are made, and nothing is allocated.
    #[expect(unsafe_code)]
    unsafe {
        command.pre_exec(prepare);
    }
    command.spawn()
}
