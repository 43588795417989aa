//! The other callers: a steady rate of small requests, over HTTP/1 and HTTP/2, to the same agent. What fails is counted,
//! and the caller connects anew.

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
/// Of each caller.
const EVERY: Duration = Duration::from_millis(20);
/// What takes longer has failed.
const WITHIN: Duration = Duration::from_secs(10);

/// What callers have seen for a while.
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
        for _ in 0..HTTP1 {
            tasks.spawn(by_http1(front.http1, taken.clone()));
        }
        for _ in 0..HTTP2 {
            tasks.spawn(by_http2(front.http2, taken.clone()));
        }
        Self { taken, _tasks: tasks }
    }

    /// What was seen since the last time.
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

fn note(taken: &Mutex<Taken>, began: Instant, answered: anyhow::Result<()>) -> bool {
    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    match &answered {
        Ok(()) => taken.took.push(began.elapsed()),
        Err(error) => taken.failures.push(format!("{error:#}")),
    }
    answered.is_ok()
}

async fn by_http1(port: u16, taken: Arc<Mutex<Taken>>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut caller = None;
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let asked = async {
            let mut connected = match caller.take() {
                Some(caller) => caller,
                None => http1::Caller::connect((Ipv4Addr::LOCALHOST, port).into(), "").await?,
            };
            connected.ask().await?;
            Ok(connected)
        };
        let asked = timeout(WITHIN, asked).await.unwrap_or_else(|late| Err(late.into()));
        let answered = asked.map(|connected| caller = Some(connected));
        note(&taken, began, answered);
    }
}

async fn by_http2(port: u16, taken: Arc<Mutex<Taken>>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut caller = None;
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let asked = async {
            let mut connected = match caller.take() {
                Some(caller) => caller,
                None => http2::Caller::connect(port).await?,
            };
            connected.ask().await?;
            Ok(connected)
        };
        let asked = timeout(WITHIN, asked).await.unwrap_or_else(|late| Err(late.into()));
        let answered = asked.map(|connected| caller = Some(connected));
        note(&taken, began, answered);
    }
}
