//! The requests that the agents of sessions have recorded, for a command: their streams merged in order of time.

use std::collections::BTreeMap;
use std::time::Duration;

use bridge_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::session::Live;
use super::tunnel::Client;

/// Messages of agents that may wait to be merged.
const QUEUE: usize = 64;
/// How long to wait for the agents' existing records.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// Records that arrive within this time of each other are sorted.
const WINDOW: Duration = Duration::from_millis(200);
/// Pause before the next call, after an agent's call has ended.
const PAUSE: Duration = Duration::from_millis(500);

/// A session, as far as needed here.
pub(super) struct Watched {
    /// The Service.
    pub(super) target: String,
    pub(super) live: watch::Receiver<Live>,
}

/// One agent's records.
struct Report {
    target: String,
    pod: String,
    seen: v1::RequestsSeen,
}

/// Sends the existing records and, if `follow`, new ones, until nobody listens or the sessions have ended.
pub(super) async fn tell(sessions: Vec<Watched>, follow: bool, events_tx: mpsc::Sender<v1::SeenByAgents>) {
    let (reports_tx, mut reports_rx) = mpsc::channel(QUEUE);
    let mut waiting = sessions.iter().map(|session| attended(&session.live.borrow()).len()).sum::<usize>();
    let mut readers = JoinSet::new();
    for session in sessions {
        readers.spawn(read_session(session, follow, reports_tx.clone()));
    }
    drop(reports_tx);
    let within = Instant::now() + FIRST_WITHIN;
    let mut batch = v1::SeenByAgents::default();
    while waiting > 0 {
        let Ok(Some(report)) = timeout_at(within, reports_rx.recv()).await else { break };
        add(&mut batch, report);
        waiting -= 1;
    }
    if events_tx.send(sorted(batch)).await.is_err() || !follow {
        return;
    }
    loop {
        let report = tokio::select! {
            report = reports_rx.recv() => report,
            () = events_tx.closed() => return,
        };
        let Some(report) = report else { return };
        let mut batch = v1::SeenByAgents::default();
        add(&mut batch, report);
        let until = Instant::now() + WINDOW;
        while let Ok(Some(report)) = timeout_at(until, reports_rx.recv()).await {
            add(&mut batch, report);
        }
        if events_tx.send(sorted(batch)).await.is_err() {
            return;
        }
    }
}

fn add(batch: &mut v1::SeenByAgents, report: Report) {
    let Report { target, pod, seen } = report;
    batch.left_out += seen.left_out;
    batch.requests.extend(seen.requests.into_iter().map(|request| v1::SeenByAgent {
        target: target.clone(),
        pod: pod.clone(),
        request: Some(request),
    }));
}

fn sorted(mut batch: v1::SeenByAgents) -> v1::SeenByAgents {
    batch.requests.sort_by_key(|seen| seen.request.as_ref().map_or(0, |request| request.begun_us));
    batch
}

fn attended(live: &Live) -> BTreeMap<String, Client> {
    let client = |agent: &super::session::Agent| agent.attended.as_ref().map(|a| a.client.clone());
    live.agents.iter().filter_map(|(pod, agent)| Some((pod.clone(), client(agent)?))).collect()
}

/// Reads from each agent that has a tunnel and, if `follow`, from those that come later.
async fn read_session(session: Watched, follow: bool, reports_tx: mpsc::Sender<Report>) {
    let Watched { target, mut live } = session;
    let mut readers = JoinSet::new();
    // The time up to which each agent was read; `None`: it is being read.
    let mut heard: BTreeMap<String, Option<u64>> = BTreeMap::new();
    loop {
        for (pod, client) in attended(&live.borrow_and_update()) {
            let after_us = match heard.insert(pod.clone(), None) {
                Some(None) => continue,
                earlier => earlier.flatten().unwrap_or_default(),
            };
            readers.spawn(read_agent(client, target.clone(), pod, follow, after_us, reports_tx.clone()));
        }
        if !follow && readers.is_empty() {
            return;
        }
        tokio::select! {
            changed = live.changed(), if follow => if changed.is_err() { return },
            Some(ended) = readers.join_next() => {
                let Ok((pod, after_us)) = ended else { continue };
                if follow {
                    tokio::time::sleep(PAUSE).await;
                    heard.insert(pod, Some(after_us));
                }
            }
        }
    }
}

/// Reads until the call ends; returns the time up to which the agent was read.
async fn read_agent(
    mut client: Client,
    target: String,
    pod: String,
    follow: bool,
    after_us: u64,
    reports_tx: mpsc::Sender<Report>,
) -> (String, u64) {
    let mut last = after_us;
    let report = |seen: v1::RequestsSeen| Report { target: target.clone(), pod: pod.clone(), seen };
    match client.requests(v1::RequestsRequest { follow, after_us }).await {
        Ok(answers) => {
            let mut answers = answers.into_inner();
            while let Ok(Some(seen)) = answers.message().await {
                let ended = seen.requests.iter().map(|request| request.begun_us + request.took_us);
                last = ended.max().unwrap_or(last).max(last);
                if reports_tx.send(report(seen)).await.is_err() {
                    break;
                }
            }
        }
        // An older agent, or one that is going: its records cannot be read.
        Err(status) => {
            tracing::debug!(%target, %pod, status = status.message(), "cannot follow the requests of an agent");
            let _ = reports_tx.send(report(v1::RequestsSeen::default())).await;
        }
    }
    (pod, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_several_agents_are_in_order_of_time() {
        let report = |pod: &str, begun: &[u64], left_out: u64| {
            let request = |&begun_us: &u64| v1::SeenRequest { begun_us, ..Default::default() };
            let seen = v1::RequestsSeen { requests: begun.iter().map(request).collect(), left_out };
            Report { target: "orders".to_owned(), pod: pod.to_owned(), seen }
        };
        let mut batch = v1::SeenByAgents::default();
        add(&mut batch, report("a", &[1, 4], 2));
        add(&mut batch, report("b", &[2, 3], 3));
        let batch = sorted(batch);
        let pods: Vec<&str> = batch.requests.iter().map(|seen| seen.pod.as_str()).collect();
        assert_eq!((pods, batch.left_out), (vec!["a", "b", "b", "a"], 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_without_agents_has_an_empty_first_answer_and_ends_the_stream() {
        let (live_tx, live) = watch::channel(Live::default());
        let (events_tx, mut events_rx) = mpsc::channel(1);
        let watched = Watched { target: "orders".to_owned(), live };
        let telling = tokio::spawn(tell(vec![watched], true, events_tx));
        assert_eq!(events_rx.recv().await, Some(v1::SeenByAgents::default()));
        drop(live_tx);
        assert_eq!(events_rx.recv().await, None);
        telling.await.expect("no panic");
    }
}
