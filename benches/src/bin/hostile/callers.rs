//! The other callers: a steady rate of small requests, over HTTP/1 and HTTP/2, to the same agent. Failures are counted,
//! and the caller connects again.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge_benches::{http1, http2};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::Front;

const HTTP1: usize = 8;
const HTTP2: usize = 4;
/// The interval of each caller.
const EVERY: Duration = Duration::from_millis(20);
/// A request that takes longer has failed.
const WITHIN: Duration = Duration::from_secs(10);

/// The callers' results over a period.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Seen {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) p99_ms: f64,
}

#[derive(Debug, Default)]
struct Taken {
    took: Vec<Duration>,
    failures: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Callers {
    taken: Arc<Mutex<Taken>>,
    _tasks: JoinSet<()>,
}

impl Callers {
    pub(crate) fn start(front: Front) -> Self {
        let taken = Arc::<Mutex<Taken>>::default();
        let mut tasks = JoinSet::new();
        let by_http1 = [By::Http1(front.http1); HTTP1];
        let by_http2 = [By::Http2(front.http2); HTTP2];
        for by in by_http1.into_iter().chain(by_http2) {
            tasks.spawn(ask_steadily(by, taken.clone()));
        }
        Self { taken, _tasks: tasks }
    }

    /// The results since the last call.
    pub(crate) fn seen(&self) -> Seen {
        let mut taken = std::mem::take(&mut *self.taken.lock().unwrap_or_else(PoisonError::into_inner));
        taken.took.sort_unstable();
        for failure in taken.failures.iter().take(3) {
            eprintln!("another caller's request failed: {failure}");
        }
        let p99 = taken.took.get(taken.took.len() * 99 / 100).copied().unwrap_or_default();
        Seen {
            answered: taken.took.len() as u64,
            failed: taken.failures.len() as u64,
            p99_ms: p99.as_secs_f64() * 1e3,
        }
    }
}

fn note(taken: &Mutex<Taken>, began: Instant, answered: anyhow::Result<()>) {
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    match answered {
        Ok(()) => taken.took.push(began.elapsed()),
        Err(error) => taken.failures.push(format!("{error:#}")),
    }
}

/// By which version of HTTP, and on which port.
#[derive(Debug, Clone, Copy)]
enum By {
    Http1(u16),
    Http2(u16),
}

enum Caller {
    Http1(http1::Caller),
    Http2(http2::Caller),
}

impl Caller {
    async fn connect(by: By) -> anyhow::Result<Self> {
        match by {
            By::Http1(port) => {
                http1::Caller::connect((Ipv4Addr::LOCALHOST, port).into(), "").await.map(Self::Http1)
            }
            By::Http2(port) => http2::Caller::connect(port).await.map(Self::Http2),
        }
    }

    async fn ask(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Http1(caller) => caller.ask().await,
            Self::Http2(caller) => caller.ask().await,
        }
    }
}

async fn ask_steadily(by: By, taken: Arc<Mutex<Taken>>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut caller = None;
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let asked = async {
            let mut connected = match caller.take() {
                Some(caller) => caller,
                None => Caller::connect(by).await?,
            };
            connected.ask().await?;
            Ok(connected)
        };
        let asked = timeout(WITHIN, asked).await.unwrap_or_else(|late| Err(late.into()));
        note(&taken, began, asked.map(|connected| caller = Some(connected)));
    }
}
