//! A supervised command from its start to its end.
//!
//! It stays in this process's group and has its terminal: Ctrl-C and Ctrl-Z reach both, so this process must not die of
//! an interrupt. Signals for this process only are passed on. Orphans of the tree become children of this process, and
//! are reaped.

use std::{
    fs::File,
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use bridge_os::{
    child::ends_with_us,
    seccomp::{self, Listener, Obstacle},
    signals::is_ignored,
};
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, getpgrp, kill_process, wait},
    termios::tcgetpgrp,
};
use tokio::{
    runtime::Handle,
    signal::unix::{self, SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
};

use crate::{
    remark::Remark,
    remark::Remarks,
    supervisor::{Supervisor, answer_all},
    tcp::{Parking, Relay},
    udp::{Fronts, Touched},
    unix::ShortCuts,
    way::{Destinations, Way},
};

/// Why a command was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
    #[error("cannot open a loopback socket for the relay")]
    Relay(#[source] io::Error),
    #[error("cannot start {}", program.display())]
    Spawn { program: PathBuf, source: io::Error },
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    #[error("trapped calls no longer arrive")]
    Lost(#[source] io::Error),
}

/// Runs the command until it ends, even if the rest of its tree goes on: that gets ENOSYS where it would be supervised,
/// as after the death of this process. `tell` gets one remark about each program that is not wholly supervised.
///
/// It changes this process for good: its signal handlers, its limit of descriptors, and that orphans below become its
/// children. All children of this process are waited for while it lasts. So: once at a time, in a process that has no
/// children of its own.
pub async fn run<D: Destinations, W: Way>(
    command: Command,
    destinations: Arc<D>,
    way: Arc<W>,
    tell: impl Fn(&Remark) + Send + Sync + 'static,
) -> Result<ExitStatus, SuperviseError> {
    // Failures that would show only when the first call is trapped.
    let probed = tokio::task::spawn_blocking(seccomp::probe).await;
    probed.unwrap_or_else(|panic| Err(Obstacle::Other(io::Error::other(panic))))?;
    let mut signals = Signals::new().map_err(SuperviseError::Signals)?;
    let (listener, spawner) = seccomp::start()?;
    let (peers, failures) = (Arc::default(), Arc::default());
    let relay = Relay::bind(Arc::clone(&way), Arc::clone(&peers));
    let (relay, listeners) = relay.map_err(SuperviseError::Relay)?;
    let parking = Parking::new(Arc::clone(&peers), Arc::clone(&failures)).map_err(SuperviseError::Relay)?;
    let mut serving = JoinSet::new();
    for listener in listeners {
        serving.spawn(Arc::clone(&relay).serve(listener));
    }
    let runtime = Handle::current();
    let supervisor = Arc::new(Supervisor {
        destinations,
        way,
        relay,
        parking,
        peers,
        failures,
        fronts: Fronts::new(runtime.clone()),
        touched: Touched::default(),
        short_cuts: ShortCuts::here(),
        remarks: Remarks::new(tell),
        network: seccomp::own_network().map_err(Obstacle::Access)?,
        runtime,
        waiting: Mutex::default(),
        next_number: 0.into(),
    });
    let mut supervision = Supervision::begin(supervisor, listener)?;

    let program = PathBuf::from(command.get_program());
    let child = spawner.spawn(command).await;
    let child = child.map_err(|source| SuperviseError::Spawn { program, source })?;
    let main = Pid::from_child(&child);
    signals.wait(main, &mut supervision.lost).await
}

/// Runs the command until it ends, as `run` does but without supervision: for machines that do not support it. To be
/// polled by a thread that stays, as the command ends with the thread that starts it.
pub async fn run_alone(mut command: Command) -> Result<ExitStatus, SuperviseError> {
    let mut signals = Signals::new().map_err(SuperviseError::Signals)?;
    ends_with_us(&mut command);
    let program = PathBuf::from(command.get_program());
    let child = command.spawn().map_err(|source| SuperviseError::Spawn { program, source })?;
    // The sender lives as long as nothing can be lost.
    let (_lost_tx, mut lost_rx) = mpsc::channel(1);
    signals.wait(Pid::from_child(&child), &mut lost_rx).await
}

/// The thread that answers calls, and the tasks that wait for them. Ends when dropped.
struct Supervision<D: Destinations, W: Way> {
    supervisor: Arc<Supervisor<D, W>>,
    listener: Arc<Listener>,
    lost: mpsc::Receiver<io::Error>,
}

impl<D: Destinations, W: Way> Supervision<D, W> {
    fn begin(supervisor: Arc<Supervisor<D, W>>, listener: Arc<Listener>) -> Result<Self, Obstacle> {
        let (lost_tx, lost) = mpsc::channel(1);
        let supervision = Supervision { supervisor, listener, lost };
        let (supervisor, listener) = (Arc::clone(&supervision.supervisor), Arc::clone(&supervision.listener));
        let answers = move || match answer_all(&supervisor, &listener) {
            Ok(()) => {}
            Err(error) => {
                let _ = lost_tx.try_send(error);
            }
        };
        std::thread::Builder::new().name("supervisor".to_owned()).spawn(answers).map_err(Obstacle::Other)?;
        Ok(supervision)
    }
}

impl<D: Destinations, W: Way> Drop for Supervision<D, W> {
    fn drop(&mut self) {
        self.listener.stop();
        self.supervisor.waiting.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// The signals to handle while a command runs. Those that were ignored before us are ignored by the command, too.
struct Signals {
    children: unix::Signal,
    /// By someone who knows only this process.
    passed_on: Vec<(Signal, unix::Signal)>,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        let passed_on = [
            (Signal::TERM, SignalKind::terminate()),
            (Signal::HUP, SignalKind::hangup()),
            (Signal::INT, SignalKind::interrupt()),
            (Signal::QUIT, SignalKind::quit()),
            (Signal::USR1, SignalKind::user_defined1()),
            (Signal::USR2, SignalKind::user_defined2()),
        ];
        let passed_on = passed_on.into_iter().filter(|(number, _)| !is_ignored(*number));
        let passed_on = passed_on.map(|(number, kind)| Ok((number, signal(kind)?)));
        Ok(Signals {
            children: signal(SignalKind::child())?,
            passed_on: passed_on.collect::<io::Result<_>>()?,
        })
    }

    async fn wait(
        &mut self,
        main: Pid,
        lost: &mut mpsc::Receiver<io::Error>,
    ) -> Result<ExitStatus, SuperviseError> {
        loop {
            tokio::select! {
                _ = self.children.recv() => {
                    if let Some(status) = reap(main) {
                        return Ok(status);
                    }
                }
                number = next(&mut self.passed_on) => if !has_it_already(number) {
                    hand_on(main, number);
                },
                Some(error) = lost.recv() => return Err(SuperviseError::Lost(error)),
            }
        }
    }
}

async fn next(signals: &mut [(Signal, unix::Signal)]) -> Signal {
    std::future::poll_fn(|cx| {
        for (number, signal) in &mut *signals {
            if signal.poll_recv(cx).is_ready() {
                return Poll::Ready(*number);
            }
        }
        Poll::Pending
    })
    .await
}

/// A terminal sends Ctrl-C and Ctrl-\ to all processes in its foreground, and the command is in our group.
fn has_it_already(signal: Signal) -> bool {
    let of_terminals = [Signal::INT, Signal::QUIT].contains(&signal);
    let in_foreground = || {
        let terminal = File::open("/dev/tty").ok()?;
        Some(tcgetpgrp(terminal).ok()? == getpgrp())
    };
    of_terminals && in_foreground() == Some(true)
}

/// The command has not been reaped, so its id is its own.
fn hand_on(main: Pid, signal: Signal) {
    let _ = kill_process(main, signal);
}

/// Reaps all children that have ended; returns the status of the command if it is among them.
fn reap(main: Pid) -> Option<ExitStatus> {
    let mut status = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((child, ended))) if child == main => status = Some(ExitStatus::from_raw(ended.as_raw())),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return status,
        }
    }
}
