//! The supervisor's role: it runs a program, and plays the cluster for it. Requests to the cluster are counted, and the
//! counts printed on stderr at the end.
//!
//! The cluster's addresses are of loopback's own range: connections that are missed by mistake stay on this machine.

use std::{
    ffi::OsString,
    future::pending,
    net::{IpAddr, SocketAddr},
    os::unix::process::ExitStatusExt,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bridge_supervise::{Carry, Destinations, Flow, Refusal, Remark, Transport, Verdict, Way, run};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

/// Echoes, by TCP and by UDP, on port 7; speaks HTTP on port 80.
pub(crate) const SERVICE: &str = "127.96.0.1";
pub(crate) const SERVICE6: &str = "fd10:96::1";
/// Known to refuse.
pub(crate) const REFUSES: &str = "127.96.0.2";
/// Turns out to refuse when it is dialled.
pub(crate) const TURNS_DOWN: &str = "127.96.0.3";
pub(crate) const TURNS_DOWN6: &str = "fd10:96::3";
/// Each fails in its own way when it is dialled, after `SLOWNESS`.
pub(crate) const AWAY: &str = "127.96.0.6";
pub(crate) const WITHOUT_A_ROUTE: &str = "127.96.0.7";
pub(crate) const FORBIDDEN: &str = "127.96.0.8";
/// Never answers: given up after `PATIENCE`, longer than anything else takes here.
pub(crate) const SILENT: &str = "127.96.0.4";
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Echoes as `SERVICE` does, once it was dialled for longer than signals and kills take.
pub(crate) const SLOW: &str = "127.96.0.5";
const SLOWNESS: Duration = Duration::from_millis(200);
/// Answers every question for an A record with `SERVICE`; with more than fits if the name begins with "big".
pub(crate) const RESOLVER: &str = "127.96.0.10";
pub(crate) const RESOLVER6: &str = "fd10:96::a";

/// The supervisor's message when a program begins to listen.
pub(crate) const LISTENS: &str = "listens at ";

pub(crate) const BODY: &str = "from the cluster";

#[derive(Default)]
struct Cluster {
    dialled: AtomicUsize,
    flows: AtomicUsize,
    resolved: AtomicUsize,
}

impl Destinations for Cluster {
    fn of(&self, destination: SocketAddr, _: Transport) -> Verdict {
        let ours = match destination.ip() {
            IpAddr::V4(four) => four.octets()[..2] == [127, 96],
            IpAddr::V6(six) => six.segments()[..2] == [0xfd10, 0x96],
        };
        if destination.port() == 53 {
            Verdict::Resolve
        } else if destination.ip().to_string() == REFUSES {
            Verdict::Refuse(Refusal::Refused)
        } else if ours {
            Verdict::Relay
        } else {
            Verdict::Leave
        }
    }
}

impl Way for Cluster {
    type Stream = Server;

    const PATIENCE: Duration = PATIENCE;

    async fn dial(&self, destination: SocketAddr) -> Result<Server, Refusal> {
        self.dialled.fetch_add(1, Ordering::Relaxed);
        match destination.ip().to_string().as_str() {
            SERVICE | SERVICE6 if destination.port() == 80 => Ok(Server::Http),
            SERVICE | SERVICE6 => Ok(Server::Echo),
            SLOW => {
                tokio::time::sleep(SLOWNESS).await;
                Ok(Server::Echo)
            }
            SILENT => pending().await,
            AWAY => late(Refusal::NetworkUnreachable).await,
            WITHOUT_A_ROUTE => late(Refusal::HostUnreachable).await,
            FORBIDDEN => late(Refusal::Forbidden).await,
            _ => Err(Refusal::Refused),
        }
    }

    async fn flow(&self, _: SocketAddr) -> Result<Flow, Refusal> {
        self.flows.fetch_add(1, Ordering::Relaxed);
        let (datagrams_tx, mut out) = mpsc::channel::<Bytes>(64);
        let (back, datagrams_rx) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Some(datagram) = out.recv().await {
                if back.send(datagram).await.is_err() {
                    return;
                }
            }
        });
        Ok(Flow { datagrams_tx, datagrams_rx })
    }

    async fn resolve(&self, query: Bytes, _: SocketAddr) -> Bytes {
        self.resolved.fetch_add(1, Ordering::Relaxed);
        answer(&query)
    }

    fn listens(&self, address: SocketAddr) {
        // Requests come at once.
        let state =
            if std::net::TcpStream::connect(address).is_ok() { LISTENS } else { "does not yet listen at " };
        eprintln!("{state}{address}");
    }
}

async fn late(refusal: Refusal) -> Result<Server, Refusal> {
    tokio::time::sleep(SLOWNESS).await;
    Err(refusal)
}

/// The query's question, and an A record if it asks for one.
fn answer(query: &[u8]) -> Bytes {
    let name = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let (kind, question_end) = (query[name + 1], name + 4);
    let records: u16 = match (kind, query[13..].starts_with(b"big")) {
        (1, true) => 100,
        (1, false) => 1,
        _ => 0,
    };
    let mut answer = BytesMut::from(&query[..question_end]);
    answer[2] |= 0x80;
    answer[3] = 0x80;
    answer[6..8].copy_from_slice(&records.to_be_bytes());
    answer[8..12].fill(0);
    for _ in 0..records {
        answer.put_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 127, 96, 0, 1]);
    }
    answer.freeze()
}

enum Server {
    Echo,
    Http,
}

impl Carry for Server {
    async fn carry(self, mut local: TcpStream) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = local.read(&mut buffer).await {
            let written = match self {
                Server::Echo => local.write_all(&buffer[..length]).await,
                Server::Http => {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
                    local.write_all(head.as_bytes()).await
                }
            };
            if written.is_err() {
                return;
            }
        }
    }
}

/// Runs the program, prints the counts, and ends as the program did.
pub(crate) fn supervise(mut program: Vec<OsString>) -> ExitCode {
    let mut command = Command::new(program.remove(0));
    command.args(program);
    let cluster = Arc::new(Cluster::default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tell = |remark: &Remark| eprintln!("remark: {remark}");
    let ended = runtime.block_on(run(command, Arc::clone(&cluster), Arc::clone(&cluster), tell));
    runtime.shutdown_background();
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    eprintln!("counted {} {} {}", count(&cluster.dialled), count(&cluster.flows), count(&cluster.resolved));
    match ended {
        Ok(status) => {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
            ExitCode::from(code as u8)
        }
        Err(error) => {
            eprintln!("not run: {error}");
            ExitCode::from(125)
        }
    }
}
