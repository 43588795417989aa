//! The cost of supervision per connect: to an address that is not the cluster's, and to one that is. The program is
//! this one in another role; the cluster is played in the supervisor's memory. All on loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use bridge_benches::{Budget, Row, median, supervisor, write};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use serde_json::json;

use Kind::{Blocking, NonBlocking, Polled};

const CONNECTS: u32 = 3000;
const QUEUE: i32 = 4096;
const ROUNDS: usize = 5;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => tokio::runtime::Runtime::new()?.block_on(compare()),
        [role, address, kind, file] if role == "connect" => {
            let each = connects(address.parse()?, Kind::of(kind)?)?;
            Ok(std::fs::write(file, each.to_string())?)
        }
        _ => bail!("no arguments, please"),
    }
}

async fn compare() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Room for all of a round: a connect that finds the queue full is sent again after a second.
    rustix::net::listen(&listener, QUEUE)?;
    let near = listener.local_addr()?;
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let far = SocketAddr::from((supervisor::CLUSTER, 80));
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("each");
    let kinds = [("begun", NonBlocking), ("until it is made", Polled), ("blocking", Blocking)];
    let mut samples = kinds.map(|_| <[Vec<f64>; 3]>::default());
    for _ in 0..ROUNDS {
        for ((_, kind), [plain, left, redirected]) in kinds.iter().zip(&mut samples) {
            ensure!(program(near, *kind, &file)?.status()?.success(), "the program failed");
            plain.push(read(&file)?);
            left.push(supervised(near, *kind, &file).await?);
            redirected.push(supervised(far, *kind, &file).await?);
        }
    }
    let row = |what: String, supervised: &[f64], plain: &[f64], budget| Row {
        what,
        measured: format!("{:.1} µs", median(supervised)),
        beside: format!("unsupervised {:.1}", median(plain)),
        figure: median(supervised) - median(plain),
        unit: "µs more".to_owned(),
        budget,
        samples: json!({"supervised": supervised, "unsupervised": plain, "unit": "µs"}),
    };
    let mut rows = Vec::new();
    for ((name, kind), [plain, left, redirected]) in kinds.iter().zip(&samples) {
        let budget = matches!(kind, NonBlocking).then_some(Budget::AtMost(15.0));
        rows.push(row(format!("supervised connect, not ours, {name}"), left, plain, budget));
        rows.push(row(format!("supervised connect, redirected, {name}"), redirected, plain, None));
    }
    write("supervise", &rows)
}

fn program(address: SocketAddr, kind: Kind, file: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("connect").arg(address.to_string()).arg(kind.name()).arg(file);
    Ok(command)
}

async fn supervised(address: SocketAddr, kind: Kind, file: &Path) -> anyhow::Result<f64> {
    let status = supervisor::run(program(address, kind, file)?).await?;
    ensure!(status.success(), "the supervised program failed");
    read(file)
}

fn read(file: &Path) -> anyhow::Result<f64> {
    let each = std::fs::read_to_string(file).context("what the program measured")?;
    std::fs::remove_file(file)?;
    Ok(each.parse()?)
}

/// The program's way to connect.
#[derive(Debug, Clone, Copy)]
enum Kind {
    NonBlocking,
    /// As event loops do: connect, wait until the socket is writable, ask for its error.
    Polled,
    Blocking,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            NonBlocking => "non-blocking",
            Polled => "polled",
            Blocking => "blocking",
        }
    }

    fn of(name: &str) -> anyhow::Result<Self> {
        let known = [NonBlocking, Polled, Blocking].into_iter().find(|kind| kind.name() == name);
        known.with_context(|| format!("there is no connect that is {name}"))
    }
}

/// Microseconds per socket that is made, connected and closed.
fn connects(address: SocketAddr, kind: Kind) -> anyhow::Result<f64> {
    let flags = match kind {
        Blocking => SocketFlags::CLOEXEC,
        NonBlocking | Polled => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
    };
    let began = Instant::now();
    for _ in 0..CONNECTS {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        if matches!(kind, Polled) {
            poll(&mut [PollFd::new(&socket, PollFlags::OUT)], None)?;
            sockopt::socket_error(&socket)??;
        }
        // Its port is free again at once.
        sockopt::set_socket_linger(&socket, Some(std::time::Duration::ZERO))?;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(CONNECTS))
}
