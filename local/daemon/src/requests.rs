//! What the agents of sessions saw, told to a command: their streams merged in the order of time.

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
/// How long the agents may take to tell what they keep.
const FIRST_WITHIN: Duration = Duration::from_secs(2);
/// What comes within this time is put in order.
const WINDOW: Duration = Duration::from_millis(200);
/// Before an agent whose call ended is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// A session, as far as it matters here.
pub(super) struct Watched {
    /// The Service.
    pub(super) target: String,
    pub(super) live: watch::Receiver<Live>,
}

/// What one agent told.
struct Told {
    target: String,
    pod: String,
    seen: v1::RequestsSeen,
}

/// Tells what is kept, and, if it follows, what comes; until nobody listens or the sessions have ended.
pub(super) async fn tell(sessions: Vec<Watched>, follow: bool, events_tx: mpsc::Sender<v1::SeenByAgents>) {
    let (told_tx, mut told_rx) = mpsc::channel(QUEUE);
    let mut waiting = sessions.iter().map(|session| attended(&session.live.borrow()).len()).sum::<usize>();
    let mut readers = JoinSet::new();
    for session in sessions {
        readers.spawn(read_session(session, follow, told_tx.clone()));
    }
    drop(told_tx);
    let within = Instant::now() + FIRST_WITHIN;
    let mut batch = v1::SeenByAgents::default();
    while waiting > 0 {
        let Ok(Some(told)) = timeout_at(within, told_rx.recv()).await else { break };
        add(&mut batch, told);
        waiting -= 1;
    }
    if events_tx.send(sorted(batch)).await.is_err() || !follow {
        return;
    }
    loop {
        let told = tokio::select! {
            told = told_rx.recv() => told,
            () = events_tx.closed() => return,
        };
        let Some(told) = told else { return };
        let mut batch = v1::SeenByAgents::default();
        add(&mut batch, told);
        let until = Instant::now() + WINDOW;
        while let Ok(Some(told)) = timeout_at(until, told_rx.recv()).await {
            add(&mut batch, told);
        }
        if events_tx.send(sorted(batch)).await.is_err() {
            return;
        }
    }
}

fn add(batch: &mut v1::SeenByAgents, told: Told) {
    let Told { target, pod, seen } = told;
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

/// Asks each agent that is reached, and, if it follows, those that come later.
async fn read_session(session: Watched, follow: bool, told_tx: mpsc::Sender<Told>) {
    let Watched { target, mut live } = session;
    let mut readers = JoinSet::new();
    // Up to when each was heard; `None`: it is being read.
    let mut heard: BTreeMap<String, Option<u64>> = BTreeMap::new();
    loop {
        for (pod, client) in attended(&live.borrow_and_update()) {
            let after_us = match heard.insert(pod.clone(), None) {
                Some(None) => continue,
                earlier => earlier.flatten().unwrap_or_default(),
            };
            readers.spawn(read_agent(client, target.clone(), pod, follow, after_us, told_tx.clone()));
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

/// Reads until the call ends; returns up to when the agent was heard.
async fn read_agent(
    mut client: Client,
    target: String,
    pod: String,
    follow: bool,
    after_us: u64,
    told_tx: mpsc::Sender<Told>,
) -> (String, u64) {
    let mut last = after_us;
    let told = |seen: v1::RequestsSeen| Told { target: target.clone(), pod: pod.clone(), seen };
    match client.requests(v1::RequestsRequest { follow, after_us }).await {
        Ok(answers) => {
            let mut answers = answers.into_inner();
            while let Ok(Some(seen)) = answers.message().await {
                let ended = seen.requests.iter().map(|request| request.begun_us + request.took_us);
                last = ended.max().unwrap_or(last).max(last);
                if told_tx.send(told(seen)).await.is_err() {
                    break;
                }
            }
        }
        // An older agent, or one that is just going: what it saw is not to be had.
        Err(status) => {
            tracing::debug!(%target, %pod, status = status.message(), "cannot follow the requests of an agent");
            let _ = told_tx.send(told(v1::RequestsSeen::default())).await;
        }
    }
    (pod, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_agents_told_is_in_the_order_of_time() {
        let told = |pod: &str, begun: &[u64], left_out: u64| {
            let request = |&begun_us: &u64| v1::SeenRequest { begun_us, ..Default::default() };
            let seen = v1::RequestsSeen { requests: begun.iter().map(request).collect(), left_out };
            Told { target: "orders".to_owned(), pod: pod.to_owned(), seen }
        };
        let mut batch = v1::SeenByAgents::default();
        add(&mut batch, told("a", &[1, 4], 2));
        add(&mut batch, told("b", &[2, 3], 3));
        let batch = sorted(batch);
        let pods: Vec<&str> = batch.requests.iter().map(|seen| seen.pod.as_str()).collect();
        assert_eq!((pods, batch.left_out), (vec!["a", "b", "b", "a"], 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_no_agent_serves_tells_nothing_at_once_and_then_ends_with_it() {
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
